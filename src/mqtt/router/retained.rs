//! Retained messages: one for each topic, bounded in number and bytes, of all and of each who publishes them.
//!
//! Kept here and not in rumqttd's router, which forgets some of them and drops them on plain empty messages.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::message::Message;
use crate::{
    auth::holder::Holder,
    domain::{
        pool::{Full, Pool, Share, Standing},
        topic,
    },
    mqtt::{pools, settings::Limits},
};

/// One message for each topic that has one.
#[derive(Debug)]
pub struct Retained {
    messages: HashMap<Arc<str>, Kept>,
    pool: Pool<Holder>,
    bytes: Pool<Holder>,
}

#[derive(Debug)]
struct Kept {
    message: Message,
    /// What it takes of what all may have retained; nothing for the hub's own.
    shares: Option<Shares>,
}

#[derive(Debug)]
struct Shares {
    one: Share<Holder>,
    bytes: Share<Holder>,
}

impl Retained {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let (pool, bytes) = (Pool::new(pools::retained(limits)), Pool::new(pools::retained_bytes(limits)));
        Self { messages: HashMap::new(), pool, bytes }
    }

    /// Whether there is room for the message, which may take the place of an older one.
    #[must_use]
    pub fn has_room(&self, message: &Message) -> bool {
        let Some((holder, standing)) = counts_for(message) else { return true };
        let own = self.own(message, holder);
        let cost = (message.cost() as u64).saturating_sub(own.map_or(0, |old| old.bytes.amount()));
        self.bytes.account(holder, standing).has_room_for(cost)
            && (own.is_some() || self.pool.account(holder, standing).has_room_for(1))
    }

    /// What the same holder has by the topic's older message.
    fn own(&self, message: &Message, holder: Holder) -> Option<&Shares> {
        self.messages.get(&message.topic)?.shares.as_ref().filter(|shares| *shares.one.holder() == holder)
    }

    /// Keeps the message as its topic's; an empty one clears the topic. Says whether it was kept: not without room.
    pub fn put(&mut self, message: &Message) -> bool {
        if message.payload.is_empty() {
            self.messages.remove(&message.topic);
            return true;
        }
        let Ok(shares) = self.make_room(message) else { return false };
        self.messages.insert(message.topic.clone(), Kept { message: message.clone(), shares });
        true
    }

    fn make_room(&mut self, message: &Message) -> Result<Option<Shares>, Full> {
        let Some((holder, standing)) = counts_for(message) else { return Ok(None) };
        let cost = message.cost() as u64;
        let old = self.messages.get_mut(&message.topic).and_then(|kept| {
            let is_own = kept.shares.as_ref().is_some_and(|shares| *shares.one.holder() == holder);
            if is_own { kept.shares.as_mut() } else { None }
        });
        if let Some(old) = old {
            old.bytes.resize(cost)?;
            return Ok(self.messages.get_mut(&message.topic).and_then(|kept| kept.shares.take()));
        }
        let (one, bytes) = (self.pool.take(holder, standing, 1)?, self.bytes.take(holder, standing, cost)?);
        Ok(Some(Shares { one, bytes }))
    }

    /// The messages that a new subscription to `filter` begins with, oldest first: those up to `sequence`, for later
    /// ones come by the router.
    #[must_use]
    pub fn matching(&self, filter: &str, sequence: u64, now: Instant) -> Vec<Message> {
        let wanted = |message: &&Message| {
            message.sequence <= sequence && !message.is_expired(now) && topic::matches(filter, &message.topic)
        };
        let mut found: Vec<Message> = if filter.contains(['+', '#']) {
            self.messages.values().map(|kept| &kept.message).filter(wanted).cloned().collect()
        } else {
            self.messages.get(filter).into_iter().map(|kept| &kept.message).filter(wanted).cloned().collect()
        };
        found.sort_unstable_by_key(|message| message.sequence);
        found
    }

    /// Forgets what has expired.
    pub fn expire(&mut self, now: Instant) {
        self.messages.retain(|_, kept| !kept.message.is_expired(now));
    }
}

/// On whose account a message is retained; nobody's that takes no room, and none of the hub's own topics: those say how
/// things are now and are few, and nobody's many messages leave them stale.
fn counts_for(message: &Message) -> Option<(Holder, Standing)> {
    message.owner.filter(|_| !message.payload.is_empty() && !topic::is_reserved(&message.topic))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::link::{self, QoS};

    fn holder(id: i32) -> Holder {
        Holder::Device(crate::domain::device::DeviceId(id))
    }

    fn message(topic: &str, payload: &'static [u8], sequence: u64) -> Message {
        message_of(topic, payload, sequence, (holder(1), Standing::Common))
    }

    fn message_of(topic: &str, payload: &'static [u8], sequence: u64, owner: (Holder, Standing)) -> Message {
        let plain = link::Message {
            topic: topic.to_owned(),
            payload: Bytes::from_static(payload),
            qos: QoS::AtLeastOnce,
            retain: true,
        };
        Message { sequence, owner: Some(owner), ..Message::plain(plain, 0) }
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
        assert_eq!((retained.bytes.taken(), retained.pool.taken()), (0, 0));
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
    #[test]
    fn nobody_fills_the_store_for_others() {
        let limits = Limits { retained: 10, retained_per_identity: 4, ..Limits::default() };
        let mut retained = Retained::new(&limits);
        let mut put = |id: i32, standing, topic: String, payload| {
            let message = message_of(&topic, payload, 1, (holder(id), standing));
            let had_room = retained.has_room(&message);
            assert_eq!(retained.put(&message), had_room, "{topic} of {id}");
            had_room
        };
        let kept = |put: &mut dyn FnMut(i32, Standing, String, &'static [u8]) -> bool, id, standing| {
            (0..20).filter(|topic| put(id, standing, format!("{id}/{topic}"), b"1")).count()
        };
        assert_eq!(kept(&mut put, 1, Standing::Common), 4);
        assert_eq!(kept(&mut put, 2, Standing::Common), 4, "somebody else has their own");
        assert_eq!(kept(&mut put, 3, Standing::Common), 2);
        assert_eq!(kept(&mut put, 4, Standing::Common), 0);
        assert!(!put(4, Standing::Common, "2/0".to_owned(), b"2"), "nobody pays for somebody else's topic");
        assert!(put(2, Standing::Common, "2/0".to_owned(), b"2"));
        assert!(put(1, Standing::Common, "1/0".to_owned(), b"") && put(4, Standing::Common, "4/0".to_owned(), b"1"));
        assert_eq!(kept(&mut put, 5, Standing::Vital), 16, "and these have the reserve");
    }
}
