//! All that is wrong with a broker.toml at once; the plain reader stops at the first.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Limits, Settings};
use crate::auth::rights::Entry;

/// Each fault with its line, in the file's order.
pub(super) fn of(text: &str) -> Vec<String> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return errors
            .iter()
            .map(|error| told(text, error.span().map_or(0, |span| span.start), error.message()))
            .collect();
    }
    let mut faults = Vec::new();
    for (key, value) in table.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("limits", DeValue::Table(limits)) => faults.extend(of_keys(text, limits, |pair| {
                let limits: Limits = toml::from_str(pair).map_err(|error| error.message().to_owned())?;
                limits.check().map_err(|error| error.to_string())
            })),
            ("rights", DeValue::Array(entries)) => {
                faults.extend(entries.iter().filter_map(|entry| of_entry(text, entry)));
            }
            (_, inner) => {
                let pair = pair(text, key.span().start, value.span().end, inner);
                let fault = toml::from_str::<Settings>(&pair).err();
                faults.extend(fault.map(|error| (key.span().start, error.message().to_owned())));
            }
        }
    }
    faults.sort();
    faults.into_iter().map(|(at, message)| told(text, at, &message)).collect()
}

/// Each key by itself; none needs another.
fn of_keys(text: &str, table: &DeTable<'_>, check: impl Fn(&str) -> Result<(), String>) -> Vec<(usize, String)> {
    let pairs = table.iter().map(|(key, value)| {
        let start = key.span().start;
        (start, check(&pair(text, start, value.span().end, value.get_ref())))
    });
    pairs.filter_map(|(at, checked)| Some((at, checked.err()?))).collect()
}

/// A whole entry: its keys belong together.
fn of_entry(text: &str, entry: &Spanned<DeValue<'_>>) -> Option<(usize, String)> {
    let start = entry.span().start;
    let DeValue::Table(table) = entry.get_ref() else {
        return Some((start, "a [[rights]] entry is wanted".to_owned()));
    };
    let pairs: String = table
        .iter()
        .map(|(key, value)| pair(text, key.span().start, value.span().end, value.get_ref()) + "\n")
        .collect();
    let error = toml::from_str::<Entry>(&pairs).err()?;
    Some((start, error.message().to_owned()))
}

/// A key with its value, as they stand in the file. A table's name stands in brackets: its content is not asked about.
fn pair(text: &str, start: usize, end: usize, value: &DeValue<'_>) -> String {
    let written = text.get(start..end).unwrap_or_default();
    match value {
        DeValue::Table(_) | DeValue::Array(_) if !written.contains('=') => {
            let name: String = written.chars().take_while(|letter| !matches!(letter, ']' | '\n')).collect();
            format!("{name} = {{}}")
        }
        _ => written.to_owned(),
    }
}

fn told(text: &str, at: usize, message: &str) -> String {
    let line = text.get(..at).unwrap_or_default().lines().count().max(1);
    let begins_line = text.get(..at).is_some_and(|before| before.ends_with('\n'));
    format!("line {}: {}", line + usize::from(begins_line && at > 0), message.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_told_with_their_lines() {
        let text = "plain_lock = 1\nplain_locks = true\n\n[limits]\nconections = 1\nsessions = 0\ninflight = 70000\n\
                    retained = 5\n\n[extra]\na = 1\n\n[[rights]]\nwho = \"sensor\"\naction = \"read\"\nfilter = \"a\"\nallow = true\n\
                    [[rights]]\nwho = \"sensor\"\naction = \"publish\"\nfilter = \"a\"\nallow = true\n";
        let faults = of(text);
        let wanted = [
            ("line 1", "boolean"),
            ("line 2", "plain_locks"),
            ("line 5", "conections"),
            ("line 6", "limits.sessions must be at least 1"),
            ("line 7", "70000"),
            ("line 10", "extra"),
            ("line 13", "read"),
        ];
        assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
        for (fault, (line, word)) in faults.iter().zip(wanted) {
            assert!(fault.starts_with(&format!("{line}:")) && fault.contains(word), "{fault}: {line} {word}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told() {
        let faults = of("plain_lock = true\nconnections ==\n");
        assert!(!faults.is_empty() && faults[0].starts_with("line 2"), "{faults:?}");
    }

    #[test]
    fn a_good_file_has_none() {
        assert!(of(include_str!("../../../broker.toml")).is_empty());
        assert!(of("").is_empty());
    }
}
