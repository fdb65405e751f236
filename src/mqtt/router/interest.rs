//! Which topics anybody has ever subscribed to: what nobody can hear need not go through the router at all, and on most
//! hubs that is every detection.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::RwLock;

use crate::domain::topic;

/// For how many topics the answer is kept; when there are more, all are found out again.
const KEPT: usize = 10_000;

/// Every filter that was ever subscribed to: the router keeps about 6 kB for each, for ever.
#[derive(Debug, Default)]
pub(super) struct Interest(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    filters: HashSet<String>,
    /// Whether a filter matches the topic.
    topics: HashMap<Arc<str>, bool>,
}

impl Interest {
    /// Takes note of a filter, before anybody is told that the subscription stands. Refuses a new one above `most`.
    pub(super) fn add(&self, filter: &str, most: usize) -> bool {
        let mut known = self.0.write();
        if known.filters.contains(filter) {
            return true;
        }
        if known.filters.len() >= most {
            return false;
        }
        known.filters.insert(filter.to_owned());
        known.topics.clear();
        true
    }

    /// Whether a message of this topic may have a hearer. One that is on its way while its first hearer subscribes may be
    /// missed, as one that came just before.
    pub(super) fn has(&self, name: &Arc<str>) -> bool {
        if let Some(known) = self.0.read().topics.get(name) {
            return *known;
        }
        let mut known = self.0.write();
        if known.topics.len() >= KEPT {
            known.topics.clear();
        }
        let heard = known.filters.iter().any(|filter| topic::matches(filter, name));
        known.topics.insert(name.clone(), heard);
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_of_interest_once_a_filter_matches_it() {
        let interest = Interest::default();
        let name: Arc<str> = "camera/1/detections".into();
        assert!(!interest.has(&name));
        assert!(interest.add("camera/+/detections", 1));
        assert!(interest.has(&name) && !interest.has(&"camera/1/events".into()));
        assert!(!interest.add("#", 1), "no room for another");
        assert!(interest.add("camera/+/detections", 1), "the same one needs none");
    }
}
