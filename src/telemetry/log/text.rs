//! Text of others on its way into the log: nothing in it may end a line, begin another, or steer a terminal, and one
//! client's words are no longer than a line should be.
//!
//! The log's formatting asks here for every field of every event, so that no place where something is logged has to.

use std::{
    borrow::Cow,
    fmt::{Debug, Write as _},
    io,
};

use tracing_subscriber::{
    field::MakeExt as _,
    fmt::{
        FormatFields,
        format::{self, Writer},
    },
};

/// How much of something that a client sent stands in a line, in bytes.
const EXCERPT: usize = 200;
/// The longest field, in bytes: room for whatever the hub says of itself.
const FIELD: usize = 8 * 1024;

/// The beginning of what a client sent, and how much more there was.
#[must_use]
pub fn excerpt(text: &str) -> Cow<'_, str> {
    cut(text, EXCERPT)
}

fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return text.into();
    }
    let kept = &text[..text.floor_char_boundary(longest)];
    format!("{kept}… ({} bytes more)", text.len() - kept.len()).into()
}

/// Whether it would not be seen as itself: it ends a line, moves a cursor, or turns or hides what stands around it.
fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            // Ends of lines and paragraphs.
            '\u{2028}' | '\u{2029}'
            // What turns the direction of writing.
            | '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{206F}'
            // What takes no room. Joiners stay: emoji and several scripts are made with them.
            | '\u{00AD}' | '\u{180E}' | '\u{200B}' | '\u{2060}'..='\u{2065}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}')
}

/// The text with `\n`, `\u{1b}` and the like for all that is unsafe.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if !is_unsafe(letter) => safe.push(letter),
            '\n' | '\r' | '\t' => safe.extend(letter.escape_default()),
            letter => safe.extend(letter.escape_unicode()),
        }
    }
    safe.into()
}

/// JSON that is one line whatever reads it: what is unsafe in it stands in its strings, and means the same escaped.
fn escaped_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return json.into();
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if is_unsafe(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(letter);
        }
    }
    safe.into()
}

/// Fields as text, as the library writes them, but for what is unsafe or too long in them.
pub(super) fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let write = |writer: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn Debug| {
        let value = format!("{value:?}");
        let value = cut(&value, FIELD);
        let value = escaped(&value);
        match field.name() {
            "message" => writer.write_str(&value),
            // Where a line of the crate `log` came from.
            name if name.starts_with("log.") => Ok(()),
            name => {
                let name = name.strip_prefix("r#").unwrap_or(name);
                if writer.has_ansi_escapes() {
                    write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}")
                } else {
                    write!(writer, "{name}={value}")
                }
            }
        }
    };
    format::debug_fn(write).delimited(" ")
}

/// A writer that is given one event's JSON at a time, with the end of its line.
pub(super) struct JsonLines<W>(pub W);

impl<W: io::Write> io::Write for JsonLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut whole = escaped_json(line).into_owned();
        whole.push('\n');
        self.0.write_all(whole.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What must not be told apart from the end of a line, or steer a terminal.
    const ATTACKS: &[&str] = &[
        "a\nINFO forged",
        "a\r\nb",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{9b}31m",
        "\u{85}next",
        "\u{2028}line\u{2029}",
        "\u{202e}desrever\u{202c}",
        "\u{2066}x\u{2069}",
        "\u{feff}\u{200b}\u{e0041}",
        "\u{7f}\u{8}\u{b}\u{c}\u{0}",
    ];

    #[test]
    fn nothing_unsafe_is_left() {
        for attack in ATTACKS {
            assert!(!escaped(attack).contains(is_unsafe), "{attack:?}");
            let json = serde_json::to_string(attack).expect("JSON");
            let safe = escaped_json(&json);
            assert!(!safe.contains(is_unsafe), "{attack:?}");
            assert_eq!(serde_json::from_str::<String>(&safe).expect("JSON"), *attack);
        }
        assert_eq!(escaped("a\nb"), "a\\nb");
        assert_eq!(escaped("\u{202e}"), "\\u{202e}");
        for plain in ["Łukasz \"ä\" 🚪 👨\u{200d}👩", "C:\\n", ""] {
            assert_eq!(escaped(plain), plain);
        }
    }

    #[test]
    fn an_excerpt_is_short_and_says_so() {
        assert_eq!(excerpt("/api"), "/api");
        let long = "ä".repeat(300);
        let short = excerpt(&long);
        assert!(short.len() < EXCERPT + 30 && short.ends_with("… (400 bytes more)"), "{short}");
    }

    #[test]
    fn a_line_of_json_is_one_line() {
        let mut written = Vec::new();
        io::Write::write_all(&mut JsonLines(&mut written), "{\"a\":\"\u{2028}\u{85}\u{e0041}\"}\n".as_bytes())
            .expect("written");
        assert_eq!(String::from_utf8(written).expect("text"), "{\"a\":\"\\u2028\\u0085\\udb40\\udc41\"}\n");
    }

    proptest! {
        #[test]
        fn any_json_means_the_same_escaped(text in any::<String>()) {
            let json = serde_json::to_string(&text).expect("JSON");
            let safe = escaped_json(&json).into_owned();
            prop_assert!(!safe.contains(is_unsafe) && !escaped(&text).contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).expect("JSON"), text);
        }
    }
}
