//! Retained messages: one for each topic, bounded in number and bytes.
//!
//! Kept here and not in rumqttd's router, which forgets some of them and drops them on plain empty messages.

use std::{collections::HashMap, time::Instant};

use super::{message::Message, settings::Limits};
use crate::domain::topic;

/// One message for each topic that has one.
#[derive(Debug)]
pub struct Retained {
    messages: HashMap<std::sync::Arc<str>, Message>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

impl Retained {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { messages: HashMap::new(), bytes: 0, most: limits.retained, most_bytes: limits.retained_bytes }
    }

    /// Whether there is room for the message, which may take the place of an older one. The hub's own topics say how things
    /// are now and are few: nobody's many messages leave them stale.
    #[must_use]
    pub fn has_room(&self, message: &Message) -> bool {
        let replaced = self.messages.get(&message.topic);
        let count = self.messages.len() + usize::from(replaced.is_none());
        let bytes = self.bytes - replaced.map_or(0, Message::cost) + message.cost();
        message.payload.is_empty()
            || topic::is_reserved(&message.topic)
            || (count <= self.most && bytes <= self.most_bytes)
    }

    /// Keeps the message as its topic's; an empty one clears the topic. Says whether it was kept: not without room.
    pub fn put(&mut self, message: &Message) -> bool {
        if !self.has_room(message) {
            return false;
        }
        if let Some(old) = self.messages.remove(&message.topic) {
            self.bytes -= old.cost();
        }
        if !message.payload.is_empty() {
            self.bytes += message.cost();
            self.messages.insert(message.topic.clone(), message.clone());
        }
        true
    }

    /// The messages that a new subscription to `filter` begins with, oldest first: those up to `place`, for later ones
    /// come by the router.
    #[must_use]
    pub fn matching(&self, filter: &str, place: u64, now: Instant) -> Vec<Message> {
        let wanted = |message: &&Message| {
            message.place <= place && !message.is_expired(now) && topic::matches(filter, &message.topic)
        };
        let mut found: Vec<Message> = if filter.contains(['+', '#']) {
            self.messages.values().filter(wanted).cloned().collect()
        } else {
            self.messages.get(filter).into_iter().filter(wanted).cloned().collect()
        };
        found.sort_unstable_by_key(|message| message.place);
        found
    }

    /// Forgets what has expired.
    pub fn expire(&mut self, now: Instant) {
        self.messages.retain(|_, message| {
            let keep = !message.is_expired(now);
            if !keep {
                self.bytes -= message.cost();
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::link::{self, QoS};

    fn message(topic: &str, payload: &'static [u8], place: u64) -> Message {
        let plain = link::Message {
            topic: topic.to_owned(),
            payload: Bytes::from_static(payload),
            qos: QoS::AtLeastOnce,
            retain: true,
        };
        Message { place, ..Message::plain(plain, 0) }
    }

    #[test]
    fn the_last_one_stays_and_an_empty_one_clears() {
        let mut retained = Retained::new(&Limits::default());
        assert!(retained.put(&message("a/b", b"1", 1)));
        assert!(retained.put(&message("a/b", b"2", 2)));
        assert!(retained.put(&message("a/c", b"3", 3)));
        let now = Instant::now();
        let payloads: Vec<_> = retained.matching("a/+", 9, now).into_iter().map(|one| one.payload).collect();
        assert_eq!(payloads, [&b"2"[..], b"3"]);
        assert_eq!(retained.matching("a/+", 2, now).len(), 1, "the later one comes by the router");
        assert!(retained.put(&message("a/b", b"", 4)));
        assert!(retained.put(&message("a/c", b"", 5)));
        assert!(retained.messages.is_empty());
        assert_eq!(retained.bytes, 0);
    }

    #[test]
    fn a_full_store_keeps_no_more_topics_but_updates_the_old() {
        let mut retained = Retained::new(&Limits { retained: 1, ..Limits::default() });
        assert!(retained.put(&message("a", b"1", 1)));
        assert!(!retained.put(&message("b", b"1", 2)));
        assert!(retained.put(&message("a", b"2", 3)));
        assert_eq!(retained.messages.len(), 1);
        assert!(retained.put(&message("lock/status", b"open", 4)), "the hub's own topics always have room");
        assert!(retained.put(&message("lock/status", b"closed", 5)));
    }
}
