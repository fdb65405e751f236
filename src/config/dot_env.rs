//! The file of settings as systemd's `EnvironmentFile=` reads it (systemd.exec(5)), so that the hub, its commands and its
//! unit mean the same by it. Nothing in a value is replaced: `$` is a `$`.
//!
//! What systemd takes in a way that hardly anybody means, or that changes a value in silence, is refused, with the way to
//! write it. No fault shows a value: it may be a secret.

use std::{iter::Peekable, str::Chars};

/// What a file says, in its order, and what of it is refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The last one counts where a name is there more than once.
    pub pairs: Vec<(String, String)>,
    pub faults: Vec<String>,
}

const QUOTES: &str = "put the whole value into 'single quotes' (one with a ' in it into \"double quotes\", with a backslash before \
                      each \", $, ` and backslash)";

/// Reads the text of a file.
#[must_use]
pub fn parse(text: &str) -> Reading {
    let mut reading = Reading::default();
    if text.starts_with('\u{feff}') {
        reading.faults.push(
            "begins with a byte order mark, which systemd takes for a letter: save it as UTF-8 without one".into(),
        );
        return reading;
    }
    let mut rest = Rest { letters: text.chars().peekable(), line: 1 };
    while let Some(letter) = rest.next_of_content() {
        let line = rest.line;
        match letter {
            '#' | ';' => {
                if rest.take_line().ends_with('\\') {
                    reading.faults.push(format!(
                        "line {line}: a comment must not end with a backslash, by which systemd takes the next line for a part of it"
                    ));
                }
            }
            _ => assignment(&mut rest, &mut reading),
        }
    }
    reading
}

fn assignment(rest: &mut Rest<'_>, reading: &mut Reading) {
    let line = rest.line;
    let mut name = String::new();
    while let Some(letter) = rest.letters.next_if(|letter| !is_end(*letter) && *letter != '=') {
        name.push(letter);
    }
    if rest.letters.next_if_eq(&'=').is_none() {
        reading.faults.push(format!("line {line}: NAME=value is wanted"));
        return;
    }
    let name = name.trim_end_matches(is_blank);
    let value = value(rest);
    let fault = match (name, value) {
        (_, Err(fault)) => format!("line {line}, {}: {fault}", shown(name)),
        (name, _) if name.starts_with("export ") || name.starts_with("export\t") => {
            format!("line {line}: leave out the word export, which systemd does not know")
        }
        (name, _) if !is_name(name) => format!("line {line}: what stands before = is no name of letters, digits and _"),
        (name, Ok(value)) => {
            reading.pairs.push((name.to_owned(), value));
            return;
        }
    };
    reading.faults.push(fault);
}

/// The value up to the end of its line; where it is refused, what comes next is the next line.
fn value(rest: &mut Rest<'_>) -> Result<String, String> {
    let (mut value, mut had_quotes) = (String::new(), false);
    loop {
        let had_blanks = rest.skip_blanks();
        let Some(letter) = rest.letters.peek().copied().filter(|letter| !is_end(*letter)) else { return Ok(value) };
        if had_blanks && had_quotes {
            rest.take_line();
            return Err(format!(
                "something comes after its closing quote; a comment has a line of its own, and else {QUOTES}"
            ));
        }
        if let Some(quote) = rest.letters.next_if(|letter| matches!(letter, '\'' | '"')) {
            quoted(rest, quote, &mut value)?;
            had_quotes = true;
            continue;
        }
        let plain = rest.take_line();
        if plain.contains('\\') {
            return Err(format!("without quotes a backslash would be lost: {QUOTES}"));
        }
        if plain.contains(" #") || plain.contains("\t#") || had_blanks && letter == '#' {
            return Err(format!(
                "a # after a blank: a comment has a line of its own, and if it is part of the value, {QUOTES}"
            ));
        }
        value.push_str(plain.trim_end_matches(is_blank));
        return Ok(value);
    }
}

fn quoted(rest: &mut Rest<'_>, quote: char, value: &mut String) -> Result<(), String> {
    loop {
        match (rest.next(), quote) {
            (None, _) => return Err(format!("its {quote} has no end")),
            (Some(letter), _) if letter == quote => return Ok(()),
            (Some('\\'), '"') => match rest.next() {
                None => return Err(format!("its {quote} has no end")),
                // A line that goes on.
                Some('\n') => {}
                Some(letter @ ('"' | '\\' | '`' | '$')) => value.push(letter),
                Some(letter) => value.extend(['\\', letter]),
            },
            (Some(letter), _) => value.push(letter),
        }
    }
}

/// A name as it may be shown: what is none may be a part of a value.
fn shown(name: &str) -> &str {
    if is_name(name) { name } else { "with a name that is none" }
}

/// The names that systemd takes.
fn is_name(name: &str) -> bool {
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.starts_with(|letter: char| letter.is_ascii_digit()) && !name.is_empty() && name.chars().all(is_good)
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

fn is_end(letter: char) -> bool {
    matches!(letter, '\n' | '\r')
}

/// What is not read yet, and in which line that begins.
struct Rest<'a> {
    letters: Peekable<Chars<'a>>,
    line: usize,
}

impl Rest<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next();
        self.line += usize::from(letter == Some('\n'));
        letter
    }

    /// The next letter that is neither a blank nor the end of a line; it is not taken.
    fn next_of_content(&mut self) -> Option<char> {
        while self.letters.peek().is_some_and(|letter| is_blank(*letter) || is_end(*letter)) {
            self.next();
        }
        self.letters.peek().copied()
    }

    fn skip_blanks(&mut self) -> bool {
        let mut any = false;
        while self.letters.next_if(|letter| is_blank(*letter)).is_some() {
            any = true;
        }
        any
    }

    fn take_line(&mut self) -> String {
        let mut text = String::new();
        while let Some(letter) = self.letters.next_if(|letter| !is_end(*letter)) {
            text.push(letter);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Result<String, String> {
        let mut reading = parse(text);
        match (reading.pairs.pop(), reading.faults.pop()) {
            (Some((name, value)), None) if name == "A" => Ok(value),
            (_, Some(fault)) => Err(fault),
            other => Err(format!("{other:?}")),
        }
    }

    /// `tests/interop/test_dotenv.py` asks systemd's own reader for the same.
    #[test]
    fn values_are_what_systemd_makes_of_them() {
        for (text, value) in [
            ("A=correct$horse-battery#9", "correct$horse-battery#9"),
            ("A=\"correct$horse-battery#9\"", "correct$horse-battery#9"),
            ("A='correct$horse-battery#9'", "correct$horse-battery#9"),
            ("A=${HOME}$$x", "${HOME}$$x"),
            ("A=\"a\\$b\"", "a$b"),
            ("A=\"a\\\\b\\\"c\\`\"", "a\\b\"c`"),
            ("A=\"a\\nb\"", "a\\nb"),
            ("A='a\\nb'", "a\\nb"),
            ("A=two words", "two words"),
            ("A = spaced \t", "spaced"),
            ("  A=indented", "indented"),
            ("A=#9", "#9"),
            ("A=it's", "it's"),
            ("A=a\"b\"c", "a\"b\"c"),
            ("A='a'b", "ab"),
            ("A='a'\"b\"'c'", "abc"),
            ("A=", ""),
            ("A=''", ""),
            ("A=x=y=", "x=y="),
            ("A=crlf\r\n", "crlf"),
            ("A='two\nlines'", "two\nlines"),
            ("A=\"one \\\nline\"", "one line"),
            ("A=first\nA=last", "last"),
            ("# a comment\n; another\n\nA=1", "1"),
            ("A=$(id) `id` ~ * ! % & | ;", "$(id) `id` ~ * ! % & | ;"),
            ("A=päss→wörd", "päss→wörd"),
        ] {
            assert_eq!(one(text).as_deref(), Ok(value), "{text:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, words) in [
            ("A=secret # a comment", "a line of its own"),
            ("A= # a comment", "a line of its own"),
            ("A='secret' # a comment", "after its closing quote"),
            ("A=\"secret\" more", "after its closing quote"),
            ("A=sec\\ret", "backslash"),
            ("A=secret\\", "backslash"),
            ("A='secret", "no end"),
            ("A=\"secret", "no end"),
            ("A=\"secret\\", "no end"),
            ("export A=secret", "export"),
            ("A-B=secret", "no name"),
            ("1A=secret", "no name"),
            ("=secret", "no name"),
            ("secret", "NAME=value"),
            ("\u{feff}A=secret", "byte order mark"),
            ("# A=secret\\\nB=1", "backslash"),
        ] {
            let fault = one(text).expect_err(text);
            assert!(fault.contains(words), "{text:?}: {fault}");
            assert!(!fault.contains("secret") && !fault.contains("sec"), "{text:?}: {fault}");
        }
    }

    #[test]
    fn a_fault_has_its_line_and_hides_no_other() {
        let reading = parse("A=1\nB=x # y\n\nC='a\nb'\nrubbish\nD=2\n");
        assert_eq!(reading.pairs.len(), 3);
        assert!(reading.faults[0].starts_with("line 2, B:") && reading.faults[1].starts_with("line 6:"), "{reading:?}");
    }

    proptest! {
        #[test]
        fn single_quotes_keep_everything(value in "[^']*") {
            prop_assert_eq!(one(&format!("A='{value}'")), Ok(value));
        }

        #[test]
        fn double_quotes_keep_everything_that_is_escaped(value in any::<String>()) {
            let escaped: String = value.chars().flat_map(|letter| {
                let escape = matches!(letter, '"' | '\\' | '`' | '$').then_some('\\');
                escape.into_iter().chain([letter])
            }).collect();
            prop_assert_eq!(one(&format!("A=\"{escaped}\"")), Ok(value));
        }

        #[test]
        fn nothing_panics_and_every_line_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
            let reading = parse(&format!("{}\n", text.replace(['\'', '"', '\\'], "")));
            let lines = reading.pairs.len() + reading.faults.len();
            prop_assert!(lines <= text.split(['\n', '\r']).count());
        }
    }
}
