//! A session's subscriptions, and what a message that arrives by one of them becomes for the client.
//!
//! The router brings a message once for each filter that matches. The client gets it once, at the highest QoS among
//! them and with all their identifiers (MQTT 5.0, 3.3.4): of the copies the first is delivered, the others are known by
//! their sequence number.

use std::collections::{HashMap, HashSet};

use super::{filter, queue::Delivery};
use crate::{
    auth::holder::Holder,
    domain::{pool::Share, topic},
    mqtt::{
        codec::packet::SubscriptionRequest,
        link::QoS,
        router::message::{Message, SessionNumber},
    },
};

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    /// The filter without `$share/…/`.
    pub filter: String,
    /// The group that shares it, if one does.
    pub group: Option<String>,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    /// The client's own number for it.
    pub id: Option<u32>,
    /// The front's number for it, under which the router delivers.
    pub number: usize,
    /// The sequence number of the last message before it.
    since: u64,
    /// The sequence number of the last message that it brought.
    last: u64,
    /// What it takes of what all may have waiting.
    _share: Share<Holder>,
}

/// All subscriptions of a session, by their filter as the client gave it.
#[derive(Debug, Default)]
pub struct Subscriptions {
    by_text: HashMap<String, Subscription>,
    texts: HashMap<usize, String>,
    /// Those with wildcards that no group shares: any other brings messages of its own name only.
    wide: HashSet<String>,
    last_number: usize,
}

impl Subscriptions {
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    #[must_use]
    pub fn get(&self, text: &str) -> Option<&Subscription> {
        self.by_text.get(text)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.by_text.values()
    }

    /// A number for a new subscription.
    pub fn new_number(&mut self) -> usize {
        self.last_number += 1;
        self.last_number
    }

    /// What a subscription costs to keep, in bytes, roughly: its text is here twice, and once where messages are given
    /// out.
    #[must_use]
    pub fn cost(text: &str) -> u64 {
        const OVERHEAD: u64 = 600;
        OVERHEAD + 4 * text.len() as u64
    }

    /// Puts a new subscription in; `since` is the sequence number of the last message before it.
    pub fn insert(
        &mut self,
        wanted: &SubscriptionRequest,
        id: Option<u32>,
        number: usize,
        since: u64,
        share: Share<Holder>,
    ) {
        let Some(parsed) = filter::parse(&wanted.filter) else { return };
        let subscription = Subscription {
            filter: parsed.filter.to_owned(),
            group: parsed.group.map(str::to_owned),
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            id,
            number,
            since,
            last: since,
            _share: share,
        };
        if subscription.group.is_none() && subscription.filter.contains(['+', '#']) {
            self.wide.insert(wanted.filter.clone());
        }
        self.texts.insert(number, wanted.filter.clone());
        self.by_text.insert(wanted.filter.clone(), subscription);
    }

    /// Gives an old subscription new options.
    pub fn update(&mut self, wanted: &SubscriptionRequest, id: Option<u32>) {
        if let Some(old) = self.by_text.get_mut(&wanted.filter) {
            old.qos = wanted.qos;
            old.no_local = wanted.no_local;
            old.retain_as_published = wanted.retain_as_published;
            old.id = id;
        }
    }

    pub fn remove(&mut self, text: &str) -> Option<Subscription> {
        let removed = self.by_text.remove(text)?;
        self.texts.remove(&removed.number);
        self.wide.remove(text);
        Some(removed)
    }

    /// What becomes of a message that subscription `number` brought to the session `own`; nothing, if it is another
    /// copy, or the client's own and not wanted, or the subscription is gone.
    pub fn deliver(&mut self, number: usize, mut message: Message, own: SessionNumber) -> Option<Delivery> {
        let text = self.texts.get(&number)?;
        let brought = self.by_text.get_mut(text)?;
        let sequence = message.sequence;
        let local = message.origin == own;
        if brought.group.is_some() {
            message.qos = message.qos.min(brought.qos);
            message.retain &= brought.retain_as_published;
            return Some(Delivery { message, subscription_ids: brought.id.into_iter().collect() });
        }
        brought.last = brought.last.max(sequence);
        let (mut qos, mut retain, mut ids, mut wanted) = (QoS::AtMostOnce, false, Vec::new(), false);
        let plain = self.by_text.get(&*message.topic);
        for one in plain.into_iter().chain(self.wide.iter().filter_map(|text| self.by_text.get(text))) {
            let reached = one.number == number
                || (one.group.is_none() && one.since < sequence && topic::matches(&one.filter, &message.topic));
            if !reached {
                continue;
            }
            if one.number != number && one.last >= sequence {
                return None;
            }
            if !(one.no_local && local) {
                wanted = true;
                qos = qos.max(one.qos);
                retain |= one.retain_as_published;
                ids.extend(one.id);
            }
        }
        ids.sort_unstable();
        message.qos = message.qos.min(qos);
        message.retain &= retain;
        wanted.then_some(Delivery { message, subscription_ids: ids })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        domain::pool::Standing,
        mqtt::{codec::packet::RetainHandling, link, pools::Pools, settings::Limits},
    };

    fn share() -> Share<Holder> {
        Pools::new(&Limits::default()).bytes.account(Holder::Hub, Standing::Vital).hold(1)
    }

    fn wanted(filter: &str, qos: QoS) -> SubscriptionRequest {
        SubscriptionRequest {
            filter: filter.to_owned(),
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
        }
    }

    fn message(topic: &str, sequence: u64) -> Message {
        let plain =
            link::Message { topic: topic.to_owned(), payload: Bytes::new(), qos: QoS::ExactlyOnce, retain: true };
        Message { sequence, ..Message::plain(plain, 5) }
    }

    #[test]
    fn overlapping_filters_bring_one_copy_with_all_identifiers() {
        let mut all = Subscriptions::default();
        all.insert(&wanted("a/#", QoS::AtLeastOnce), Some(2), 1, 0, share());
        all.insert(&wanted("a/+", QoS::ExactlyOnce), Some(3), 2, 0, share());
        let first = all.deliver(1, message("a/b", 1), 9).expect("a delivery");
        assert_eq!((first.message.qos, first.subscription_ids), (QoS::ExactlyOnce, vec![2, 3]));
        assert_eq!(all.deliver(2, message("a/b", 1), 9), None);
        assert!(all.deliver(2, message("a/c", 2), 9).is_some(), "the other one may be first");
        assert_eq!(all.deliver(1, message("a/c", 2), 9), None);
    }

    #[test]
    fn a_later_subscription_did_not_bring_an_earlier_message() {
        let mut all = Subscriptions::default();
        all.insert(&wanted("a/#", QoS::AtLeastOnce), None, 1, 0, share());
        all.insert(&wanted("a/b", QoS::AtLeastOnce), None, 2, 7, share());
        assert!(all.deliver(2, message("a/b", 8), 9).is_some());
        assert!(all.deliver(1, message("a/b", 6), 9).is_some(), "not a copy of anything");
        assert_eq!(all.deliver(1, message("a/b", 8), 9), None);
    }

    #[test]
    fn ones_own_messages_can_be_left_out() {
        let mut all = Subscriptions::default();
        all.insert(&SubscriptionRequest { no_local: true, ..wanted("a", QoS::AtLeastOnce) }, None, 1, 0, share());
        assert_eq!(all.deliver(1, message("a", 1), 5), None);
        assert!(all.deliver(1, message("a", 2), 6).is_some());
        assert_eq!(all.deliver(3, message("a", 3), 6), None, "no such subscription");
    }
}
