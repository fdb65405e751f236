//! Texts of others, cut to a length that they may have here.

use std::borrow::Cow;

/// Stands where something was cut off.
pub const MARK: char = '…';

/// The text in at most `longest` bytes: cut between two characters, with [`MARK`] at its end, if it is longer. `longest`
/// is at least the mark's own three bytes.
#[must_use]
pub fn cut_to_bytes(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(longest.saturating_sub(MARK.len_utf8()));
    Cow::Owned(format!("{}{MARK}", &text[..end]))
}

/// The text in at most `longest` characters, of which the last is [`MARK`] if it is longer. `longest` is at least 1.
#[must_use]
pub fn cut_to_characters(text: String, longest: usize) -> String {
    // A text has no more characters than bytes.
    if text.len() <= longest || text.chars().nth(longest).is_none() {
        return text;
    }
    text.chars().take(longest.saturating_sub(1)).chain([MARK]).collect()
}

/// Whether there is nothing to be read in it.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_stays_and_what_does_not_is_marked() {
        assert_eq!(cut_to_bytes("abcd", 4), "abcd");
        assert_eq!(cut_to_bytes("abcde", 4), "a…");
        assert_eq!(cut_to_bytes("aäöü", 6), "aä…", "never within a character");
        assert_eq!(cut_to_characters("äöü".to_owned(), 3), "äöü");
        assert_eq!(cut_to_characters("äöüß".to_owned(), 3), "äö…");
        assert_eq!(cut_to_characters("😀😀😀".to_owned(), 2), "😀…");
        assert!(is_blank("") && is_blank(" \t\u{a0}") && !is_blank(" a "));
    }

    proptest! {
        #[test]
        fn nothing_is_longer_than_it_may_be(text in "\\PC{0,60}", longest in 3..40_usize) {
            let by_bytes = cut_to_bytes(&text, longest);
            prop_assert!(by_bytes.len() <= longest);
            prop_assert!(by_bytes == text || text.starts_with(by_bytes.strip_suffix(MARK).expect("a mark")));
            let by_characters = cut_to_characters(text.clone(), longest);
            prop_assert!(by_characters.chars().count() <= longest);
            prop_assert_eq!(by_characters == text, text.chars().count() <= longest);
        }
    }
}
