//! Names of people: which are refused, and when two of them are one and the same to somebody who reads them.
//!
//! `Admin` and `admin`, `ada` with a blank at its end, `admin` with a Cyrillic a: whoever looks at a list of users, or at
//! who opened the door, takes one for the other. So what is compared is [`key`], not the spelling. Who signs in still
//! spells the name as it was given, so that accounts from before this rule, which may differ only in case, go on.

use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use unicode_security::{MixedScript as _, skeleton};

/// Characters without any look of their own that are no control or format characters: fillers, joiners, selectors.
const INVISIBLE: &[std::ops::RangeInclusive<char>] = &[
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{e0100}'..='\u{e01ef}',
];

/// What is wrong with a name that somebody wants to have, in the words of the API's other faults. Names that exist are
/// not asked.
#[must_use]
pub fn fault(name: &str) -> Option<&'static str> {
    if name.trim() != name {
        Some("username must not begin or end with a blank")
    } else if name.chars().any(is_hidden) {
        Some("username must not contain control or invisible characters")
    } else if !name.nfkc().collect::<String>().as_str().is_single_script() {
        Some("username must not mix alphabets, such as Latin and Cyrillic letters")
    } else {
        None
    }
}

fn is_hidden(letter: char) -> bool {
    let category = letter.general_category();
    matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::Unassigned
    ) || INVISIBLE.iter().any(|range| range.contains(&letter))
}

/// Two names with the same key are one name: the name trimmed, by NFKC, without regard to case, to characters that cannot
/// be seen, and to what letters outside of ASCII look like (UTS 39).
#[must_use]
pub fn key(name: &str) -> String {
    let seen: String = name.nfkc().filter(|letter| letter.is_whitespace() || !is_hidden(*letter)).collect();
    let folded = without_case(&seen);
    let alike: String = folded.nfkc().flat_map(look_of).collect();
    let key = without_case(&alike).replace("i\u{307}", "i");
    key.split_whitespace().collect::<Vec<_>>().join(" ").nfkc().collect()
}

/// Each letter through its capital, which makes `ß` and `ss`, `ſ` and `s`, `ı` and `i`, `ς` and `σ` one; by itself, since
/// what stands around it must not count.
fn without_case(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// What the letter looks like. ASCII looks like itself: `1` and `l`, `m` and `rn` are told apart.
fn look_of(letter: char) -> Vec<char> {
    if letter.is_ascii() { vec![letter] } else { skeleton(letter.encode_utf8(&mut [0; 4])).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_read_alike_are_one() {
        for (one, others) in [
            (
                "admin",
                &[
                    "Admin",
                    "ADMIN",
                    " admin",
                    "admin ",
                    "\tadmin\n",
                    "ａｄｍｉｎ",
                    "аdmin",
                    "аԁmіn",
                    "admın",
                    "admİn",
                    "𝐚𝐝𝐦𝐢𝐧",
                    "ad\u{200b}min",
                    "ad\u{ad}min",
                    "\u{202e}admin",
                    "admin\u{a0}",
                    "admin\u{3164}",
                    "ⓐⓓⓜⓘⓝ",
                    "ɑdmin",
                ][..],
            ),
            ("straße", &["STRASSE", "Strasse", "strasse"][..]),
            ("Ἀσίας", &["ἈΣΊΑΣ", "ἀσίασ"][..]),
            ("zoë", &["ZOË", "zoe\u{308}", "Zoë"][..]),
            ("oca", &["оса", "ОСА"][..]),
            ("jan van  eyck", &["Jan\u{a0}van Eyck"][..]),
            ("ﬁona", &["fiona"][..]),
            ("ömer", &["O\u{308}MER"][..]),
        ] {
            for other in others {
                assert_eq!(key(one), key(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn names_that_differ_to_the_eye_are_two() {
        for (one, other) in [
            ("admin", "admin1"),
            ("adm1n", "admin"),
            ("al", "ai"),
            ("l0u", "lou"),
            ("mia", "rnia"),
            ("zoe", "zoë"),
            ("иван", "ivan"),
            ("a.b", "ab"),
            ("a-b", "a_b"),
            ("jan van", "janvan"),
            ("太郎", "次郎"),
        ] {
            assert_ne!(key(one), key(other), "{one} and {other}");
        }
    }

    #[test]
    fn a_name_in_one_alphabet_is_taken_and_others_are_refused() {
        for good in [
            "ada",
            "Ada Lovelace",
            "ada@example.org",
            "a.b-c_d+1",
            "Zoë",
            "Иван",
            "田中たろうタロ",
            "김철수",
            "אדם",
            "ada 🙂",
            "O'Neil",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        let blank = Some("username must not begin or end with a blank");
        let hidden = Some("username must not contain control or invisible characters");
        let mixed = Some("username must not mix alphabets, such as Latin and Cyrillic letters");
        for (bad, why) in [
            ("alice ", blank),
            (" alice", blank),
            ("alice\u{a0}", blank),
            ("alice\n", blank),
            ("\u{3000}alice", blank),
            ("al\nice", hidden),
            ("al\tice", hidden),
            ("al\u{1b}[31mice", hidden),
            ("al\u{7f}ice", hidden),
            ("al\u{85}ice", hidden),
            ("al\u{200b}ice", hidden),
            ("alice\u{200d}", hidden),
            ("\u{202e}ecila", hidden),
            ("\u{feff}alice", hidden),
            ("alice\u{3164}", hidden),
            ("alice\u{2800}", hidden),
            ("alice\u{fe0f}", hidden),
            ("alice\u{e000}", hidden),
            ("al\u{2028}ice", hidden),
            ("аdmin", mixed),
            ("αlice", mixed),
            ("ada太郎", mixed),
            ("alice\u{661}", mixed),
        ] {
            assert_eq!(fault(bad), why, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn case_and_blanks_are_nothing_to_a_key(name in "\\PC{0,20}|[a-zA-Zäöüß ]{0,12}") {
            let folded = key(&name);
            prop_assert_eq!(&key(&format!(" {name}\t")), &folded);
            if name.is_ascii() {
                prop_assert_eq!(key(&name.to_ascii_uppercase()), folded);
            }
        }
    }
}
