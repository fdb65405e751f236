//! Who subscribes to what now, those that are away among them, so that a publisher can be told that nobody does.
//!
//! Not the router's memory (`router/subscribers.rs`), which never forgets a filter. Must not know rights: a subscription
//! counts where its filter matches.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use crate::domain::topic;

/// For how many topics the answer is kept; when there are more, all are found out again.
const KEPT: usize = 10_000;

/// The filters that somebody subscribes to now.
#[derive(Debug, Clone, Default)]
pub struct Hearers(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// How many subscriptions there are of each filter without wildcards, which is a topic's name.
    plain: HashMap<Arc<str>, usize>,
    /// And of each with wildcards.
    wide: HashMap<Arc<str>, usize>,
    /// Whether one of the latter matches the topic.
    topics: HashMap<Arc<str>, bool>,
}

impl Known {
    fn of(&mut self, filter: &str) -> &mut HashMap<Arc<str>, usize> {
        if !filter.contains(['+', '#']) {
            return &mut self.plain;
        }
        self.topics.clear();
        &mut self.wide
    }
}

/// A subscription that counts until this is dropped.
#[derive(Debug)]
pub struct Hearing {
    hearers: Hearers,
    filter: Arc<str>,
}

impl Hearers {
    /// One more subscription to this filter, which has no `$share` prefix.
    #[must_use]
    pub fn join(&self, filter: &str) -> Hearing {
        let filter: Arc<str> = filter.into();
        *self.0.write().of(&filter).entry(filter.clone()).or_default() += 1;
        Hearing { hearers: self.clone(), filter }
    }

    /// Whether anybody subscribes to a filter that this topic matches.
    #[must_use]
    pub fn has(&self, name: &Arc<str>) -> bool {
        {
            let known = self.0.read();
            if known.plain.contains_key(name) {
                return true;
            }
            if let Some(heard) = known.topics.get(name) {
                return *heard;
            }
        }
        let mut known = self.0.write();
        let heard = known.wide.keys().any(|filter| topic::matches(filter, name));
        if known.topics.len() >= KEPT {
            known.topics.clear();
        }
        known.topics.insert(name.clone(), heard);
        heard
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut known = self.hearers.0.write();
        let filters = known.of(&self.filter);
        if let Some(count) = filters.get_mut(&self.filter) {
            *count -= 1;
            if *count == 0 {
                filters.remove(&self.filter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_hearers_while_somebody_subscribes() {
        let hearers = Hearers::default();
        let has = |name: &str| hearers.has(&name.into());
        assert!(!has("a/b"));
        let (first, second, wide) = (hearers.join("a/b"), hearers.join("a/b"), hearers.join("c/+"));
        assert!(has("a/b") && has("c/d") && !has("a/c"));
        drop(first);
        assert!(has("a/b"));
        drop(second);
        assert!(!has("a/b") && has("c/d"));
        drop(wide);
        assert!(!has("c/d"));
        let known = hearers.0.read();
        assert!(known.plain.is_empty() && known.wide.is_empty());
    }
}
