//! Topic names and topic filters: which are valid, which filter matches which name (MQTT 4.7), and shared filters.
//!
//! Must not know who may use them.

/// The longest name or filter, in bytes. The standard allows 65,535, which nobody needs and everybody would pay for.
pub const LONGEST: usize = 1024;

/// Whether one can publish to this name.
#[must_use]
pub fn is_topic(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && !name.contains(['+', '#', '\0'])
}

/// Whether one can subscribe to this filter, taken without `$share/…/`.
#[must_use]
pub fn is_filter(filter: &str) -> bool {
    let well_sized = !filter.is_empty() && filter.len() <= LONGEST && !filter.contains('\0');
    let mut levels = filter.split('/').peekable();
    let mut well_formed = true;
    while let Some(level) = levels.next() {
        well_formed &= match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            level => !level.contains(['+', '#']),
        };
    }
    well_sized && well_formed
}

/// Whether a name matches a filter. A wildcard in front never matches a name that begins with `$`.
#[must_use]
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut name) = (filter.split('/'), name.split('/'));
    loop {
        match (filter.next(), name.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// A filter as a client gives it: plain, or shared by a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub group: Option<&'a str>,
    pub filter: &'a str,
}

/// Takes a filter apart; none if it is not valid.
#[must_use]
pub fn parse(text: &str) -> Option<Parsed<'_>> {
    let parsed = match text.strip_prefix("$share/") {
        None => Parsed { group: None, filter: text },
        Some(rest) => {
            let (group, filter) = rest.split_once('/')?;
            if group.is_empty() || group.contains(['+', '#']) {
                return None;
            }
            Parsed { group: Some(group), filter }
        }
    };
    is_filter(parsed.filter).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_standards_examples() {
        for (filter, name, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("é/#", "éa", false),
        ] {
            assert_eq!(matches(filter, name), expected, "{filter} {name}");
        }
    }

    #[test]
    fn malformed_filters_and_names() {
        for filter in ["", "a//#/b", "#/x", "+a", "a+", "a#", "a/b#", "a\0"] {
            assert!(!is_filter(filter), "{filter:?}");
        }
        for filter in ["#", "+", "a/+/b/#", "/", "//", "a//b", "é/+"] {
            assert!(is_filter(filter), "{filter:?}");
        }
        for name in ["", "a/+", "#", "x\0"] {
            assert!(!is_topic(name), "{name:?}");
        }
    }

    #[test]
    fn a_shared_filter_has_a_group() {
        assert_eq!(parse("$share/g/a/b"), Some(Parsed { group: Some("g"), filter: "a/b" }));
        assert_eq!(parse("a/b"), Some(Parsed { group: None, filter: "a/b" }));
        for wrong in ["$share/g", "$share//a", "$share/g/", "$share/+/a"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        /// The rule in other words: compare level by level from the end of the filter's list.
        #[test]
        fn matching_agrees_with_a_plain_reading(filter in "(a|b|\\+){1,1}(/(a|b|\\+)){0,3}(/#)?", name in "(a|b)(/(a|b)){0,4}") {
            let wanted: Vec<&str> = filter.split('/').collect();
            let levels: Vec<&str> = name.split('/').collect();
            let (wanted, open) = match wanted.split_last() {
                Some((&"#", front)) => (front.to_vec(), true),
                _ => (wanted, false),
            };
            let long_enough = if open { levels.len() >= wanted.len() } else { levels.len() == wanted.len() };
            let same = wanted.iter().zip(&levels).all(|(one, other)| *one == "+" || one == other);
            prop_assert_eq!(matches(&filter, &name), long_enough && same);
        }
    }
}
