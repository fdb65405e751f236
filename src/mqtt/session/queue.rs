//! What a session still has to give its client: messages that wait, and those that were sent and not yet acknowledged.
//!
//! Pure state: it says what to send and does not send.

use std::{collections::VecDeque, time::Instant};

use crate::{
    auth::holder::Holder,
    domain::pool::{Account, Share},
    mqtt::{link::QoS, router::message::Message, settings::Limits},
};

/// A message on its way to one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// With the QoS and the retain flag that this subscriber is to see.
    pub message: Message,
    pub subscription_ids: Vec<u32>,
}

impl Delivery {
    fn cost(&self) -> usize {
        self.message.cost() + 4 * self.subscription_ids.len()
    }
}

/// How much may wait in one queue.
///
/// Each queue has a part of half the whole that nobody counts, and room for one message, whatever the others hold: so a
/// subscriber that reads loses nothing because somebody absent has filled the rest. What is beyond that part comes from
/// the pool that all share, on the account of the session's owner.
#[derive(Debug, Clone, Copy)]
pub struct QueueRoom {
    messages: usize,
    bytes: usize,
    /// A queue's own part of the whole, in bytes.
    part: usize,
}

impl QueueRoom {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            messages: limits.queue_messages,
            bytes: limits.queue_bytes,
            part: limits.queue_bytes_in_all / 2 / limits.sessions.max(1),
        }
    }
}

/// A message to send, under this packet identifier; 0 at QoS 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundPublish {
    pub id: u16,
    pub delivery: Delivery,
}

/// How far a message above QoS 0 has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundState {
    /// The PUBLISH was sent.
    Published,
    /// QoS 2: PUBREC came, PUBREL was sent.
    Released,
}

#[derive(Debug)]
struct InFlight {
    id: u16,
    state: OutboundState,
    delivery: Delivery,
}

/// What is still to be given to a client.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Delivery>,
    /// Of those that wait.
    bytes: usize,
    /// Of those that were sent and not acknowledged: `inflight` bounds their number, the pool what they have of the
    /// whole.
    bytes_in_flight: usize,
    /// In the order in which they were sent, which is the order in which they are sent again.
    in_flight: VecDeque<InFlight>,
    last_id: u16,
    room: QueueRoom,
    /// What is beyond the queue's own part, as far as the pool had it.
    share: Share<Holder>,
}

impl Queue {
    #[must_use]
    pub fn new(room: QueueRoom, account: &Account<Holder>) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_in_flight: 0,
            in_flight: VecDeque::new(),
            last_id: 0,
            room,
            share: account.hold(0),
        }
    }

    /// Adds a message. Says how many were dropped for it: the oldest first, so that who comes back sees what is new.
    #[must_use = "what is dropped is counted"]
    pub fn push(&mut self, delivery: Delivery) -> u64 {
        self.bytes += delivery.cost();
        self.waiting.push_back(delivery);
        let mut dropped = 0;
        while !self.waiting.is_empty() && self.is_over() {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    fn is_over(&mut self) -> bool {
        let has_room = self.count();
        self.waiting.len() > self.room.messages || self.bytes > self.room.bytes || (!has_room && self.waiting.len() > 1)
    }

    /// Has what is beyond the queue's own part counted; says whether there was room for it.
    fn count(&mut self) -> bool {
        let beyond = (self.bytes + self.bytes_in_flight).saturating_sub(self.room.part);
        self.share.resize(beyond as u64).is_ok()
    }

    /// Whether so much waits that who publishes should slow down: a quarter of what may wait.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.waiting.len() > self.room.messages / 4 || self.bytes > self.room.bytes / 4
    }

    fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.waiting.pop_front()?;
        self.bytes -= delivery.cost();
        Some(delivery)
    }

    /// The next message to send, if fewer than `window` are unacknowledged. Expired ones are left out; `expired` counts
    /// them.
    pub fn take(&mut self, window: usize, now: Instant, expired: &mut u64) -> Option<OutboundPublish> {
        let outbound = self.next(window, now, expired);
        self.count();
        outbound
    }

    fn next(&mut self, window: usize, now: Instant, expired: &mut u64) -> Option<OutboundPublish> {
        loop {
            let above_zero = self.waiting.front()?.message.qos != QoS::AtMostOnce;
            if above_zero && self.in_flight.len() >= window {
                return None;
            }
            let delivery = self.pop()?;
            if delivery.message.is_expired(now) {
                *expired += 1;
                continue;
            }
            if !above_zero {
                return Some(OutboundPublish { id: 0, delivery });
            }
            let id = self.free_id();
            self.bytes_in_flight += delivery.cost();
            self.in_flight.push_back(InFlight { id, state: OutboundState::Published, delivery: delivery.clone() });
            return Some(OutboundPublish { id, delivery });
        }
    }

    /// An identifier that no unacknowledged message has. There is one: the window is smaller than their number.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.position(self.last_id).is_none() {
                return self.last_id;
            }
        }
    }

    fn position(&self, id: u16) -> Option<usize> {
        self.in_flight.iter().position(|one| one.id == id)
    }

    /// PUBACK came, or PUBCOMP, or the message could not be sent after all. Says whether the identifier was known.
    pub fn finish(&mut self, id: u16) -> bool {
        let Some(ended) = self.position(id).and_then(|position| self.in_flight.remove(position)) else { return false };
        self.landed(ended.delivery.cost());
        true
    }

    /// So many bytes are no longer in flight.
    fn landed(&mut self, cost: usize) {
        self.bytes_in_flight -= cost;
        self.count();
    }

    /// PUBREC came. Says whether the identifier was known; a PUBREL answers either way, unless the PUBREC refused.
    pub fn release(&mut self, id: u16) -> bool {
        match self.in_flight.iter_mut().find(|one| one.id == id) {
            Some(one) => {
                one.state = OutboundState::Released;
                true
            }
            None => false,
        }
    }

    /// What was sent on an earlier connection and not acknowledged, in its order.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (u16, OutboundState, &Delivery)> {
        self.in_flight.iter().map(|one| (one.id, one.state, &one.delivery))
    }

    /// Forgets every message that `unwanted` names, also those that were sent and not acknowledged.
    pub fn purge(&mut self, unwanted: impl Fn(&Message) -> bool) {
        let mut bytes = 0;
        self.waiting.retain(|delivery| {
            let keep = !unwanted(&delivery.message);
            bytes += if keep { delivery.cost() } else { 0 };
            keep
        });
        self.waiting.shrink_to_fit();
        self.bytes = bytes;
        let mut purged = 0;
        self.in_flight.retain(|one| {
            let keep = !unwanted(&one.delivery.message);
            purged += if keep { 0 } else { one.delivery.cost() };
            keep
        });
        self.landed(purged);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::pool::{Pool, Standing},
        mqtt::{link, pools::Pools},
    };

    fn device(id: i32) -> Holder {
        Holder::Device(crate::domain::device::DeviceId(id))
    }

    fn beside(limits: &Limits, pool: &Pool<Holder>, id: i32, standing: Standing) -> Queue {
        Queue::new(QueueRoom::new(limits), &pool.account(device(id), standing))
    }

    fn delivery(qos: QoS, mark: u32) -> Delivery {
        let payload = Bytes::copy_from_slice(&mark.to_be_bytes());
        let plain = link::Message { topic: "a".to_owned(), payload, qos, retain: false };
        Delivery { message: Message::plain(plain, 0), subscription_ids: vec![] }
    }

    fn queue(limits: &Limits) -> Queue {
        beside(limits, &Pools::new(limits).bytes, 1, Standing::Common)
    }

    #[test]
    fn the_oldest_is_dropped_from_a_full_queue() {
        let mut queue = queue(&Limits { queue_messages: 2, ..Limits::default() });
        let dropped: u64 = (0..5).map(|mark| queue.push(delivery(QoS::AtLeastOnce, mark))).sum();
        assert_eq!(dropped, 3);
        let first = queue.take(10, Instant::now(), &mut 0).expect("a message");
        assert_eq!(first.delivery, delivery(QoS::AtLeastOnce, 3));
    }

    #[test]
    fn all_queues_share_one_pool() {
        let limits = Limits { queue_bytes_in_all: 500, ..Limits::default() };
        let pool = Pools::new(&limits).bytes;
        let mut queues = [1, 2].map(|id| beside(&limits, &pool, id, Standing::Common));
        let mut push = |index: usize, mark| queues[index].push(delivery(QoS::AtLeastOnce, mark));
        assert_eq!(push(0, 0) + push(0, 1), 0);
        assert_eq!(push(1, 2) + push(1, 3), 1);
        drop(queues);
        assert_eq!(pool.taken(), 0);
    }

    #[test]
    fn nobody_fills_the_queue_of_somebody_else() {
        let limits = Limits { queue_bytes_in_all: 50_000, queue_bytes_per_identity: 20_000, ..Limits::default() };
        let pool = Pools::new(&limits).bytes;
        let fill =
            |queue: &mut Queue| -> u64 { (0..1000).map(|mark| queue.push(delivery(QoS::AtLeastOnce, mark))).sum() };
        let mut parked: Vec<_> = (0..10).map(|_| beside(&limits, &pool, 1, Standing::Common)).collect();
        for queue in &mut parked {
            assert!(fill(queue) > 0, "one holder has its part in all its queues together");
        }
        let mut second = beside(&limits, &pool, 2, Standing::Common);
        for mark in 0..100 {
            assert_eq!(second.push(delivery(QoS::AtLeastOnce, mark)), 0, "somebody else loses nothing");
        }
        let mut others: Vec<_> = (3..9).map(|id| beside(&limits, &pool, id, Standing::Common)).collect();
        for queue in &mut others {
            fill(queue);
        }
        let mut agent = beside(&limits, &pool, 99, Standing::Vital);
        assert_eq!(fill(&mut agent), 0, "they all have filled what they may, and the lock agent loses nothing");
    }

    #[test]
    fn the_window_holds_back_what_is_above_qos_0() {
        let mut queue = queue(&Limits::default());
        for mark in 0..3 {
            assert_eq!(queue.push(delivery(QoS::ExactlyOnce, mark)), 0);
        }
        let now = Instant::now();
        let first = queue.take(1, now, &mut 0).expect("a message");
        assert_eq!(queue.take(1, now, &mut 0), None);
        assert!(queue.release(first.id));
        assert_eq!(queue.take(1, now, &mut 0), None, "released is not yet acknowledged");
        assert!(queue.finish(first.id));
        assert!(!queue.finish(first.id));
        assert!(queue.take(1, now, &mut 0).is_some());
    }

    proptest! {
        /// Whatever the client acknowledges and in whatever order: every message is sent once, in order, under an
        /// identifier that no other unacknowledged one has.
        #[test]
        fn every_message_goes_out_once_and_in_order(
            steps in prop::collection::vec((0u8..4, any::<u16>()), 0..400), window in 1usize..8,
        ) {
            let mut queue = queue(&Limits::default());
            let (mut pushed, mut sent, mut open) = (0, 0, Vec::new());
            for (step, number) in steps {
                match step {
                    0 => {
                        prop_assert_eq!(queue.push(delivery(QoS::ExactlyOnce, pushed)), 0);
                        pushed += 1;
                    }
                    1 => if let Some(next) = queue.take(window, Instant::now(), &mut 0) {
                        prop_assert_eq!(next.delivery, delivery(QoS::ExactlyOnce, sent));
                        prop_assert!(next.id != 0 && !open.contains(&next.id));
                        open.push(next.id);
                        sent += 1;
                    },
                    2 => { queue.release(number % 12); }
                    _ => {
                        let id = number % 12;
                        prop_assert_eq!(queue.finish(id), open.contains(&id));
                        open.retain(|one| *one != id);
                    }
                }
                prop_assert!(queue.in_flight.len() <= window);
                let cost = |deliveries: usize| deliveries * delivery(QoS::ExactlyOnce, 0).cost();
                let beyond = cost(queue.waiting.len() + queue.in_flight.len()).saturating_sub(queue.room.part);
                prop_assert_eq!(queue.share.amount(), beyond as u64);
                prop_assert_eq!(queue.unacknowledged().map(|(id, ..)| id).collect::<Vec<_>>(), open.clone());
            }
        }
    }
}
