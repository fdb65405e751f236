//! A topic filter as a client gives it: plain, or shared by a group (`$share/group/filter`).
//!
//! What is valid and what matches is decided in [`crate::domain::topic`].

use crate::domain::topic;

/// A filter, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub group: Option<&'a str>,
    pub filter: &'a str,
}

/// Takes a filter apart; none if it is not valid.
#[must_use]
pub fn parse(text: &str) -> Option<Parsed<'_>> {
    if !topic::valid_filter(text) {
        return None;
    }
    Some(match topic::shared(text) {
        Some((group, filter)) => Parsed { group: Some(group), filter },
        None => Parsed { group: None, filter: text },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_filter_has_a_group() {
        assert_eq!(parse("$share/g/a/b"), Some(Parsed { group: Some("g"), filter: "a/b" }));
        assert_eq!(parse("a/b"), Some(Parsed { group: None, filter: "a/b" }));
        for wrong in ["$share/g", "$share//a", "$share/g/", "$share/+/a", "a/#/b", ""] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
