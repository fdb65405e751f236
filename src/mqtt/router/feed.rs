//! The two threads beside the router: one feeds it, since sending may block and keeps the order; the other takes out
//! what it has carried and gives it to the subscriptions.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use rumqttd::{
    Notification,
    local::{LinkRx, LinkTx},
    protocol,
};
use tokio::sync::mpsc;

use super::{
    Command, Dead, FENCE_TIME,
    message::{self, Message},
    retained::Retained,
    subscribers::Subscribers,
};
use crate::mqtt::metrics::FrontMetrics;

/// Messages, and bytes of them, between two fences.
const FENCE_MESSAGES: usize = 400;
const FENCE_BYTES: usize = 512 * 1024;
/// How long a session that is behind may take to take in what waits for it, while everything waits for it, and in which
/// steps. One that takes longer misses messages: nobody holds up the others.
const PATIENCE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(1);
/// The one name under which everything goes through the router.
const NAME: &str = "hub/all";
/// What a packet begins with.
const MESSAGE: u8 = 0;
const FENCE: u8 = 1;
/// The last of all.
const END: u8 = 2;

/// What the threads share with the rest of the front.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) subscribers: Arc<Subscribers>,
    pub(super) retained: Arc<Mutex<Retained>>,
    pub(super) metrics: Arc<FrontMetrics>,
    pub(super) epoch: Instant,
}

/// The thread that feeds the router.
pub(super) struct Feed {
    publisher: LinkTx,
    /// Fences that have come out.
    passed: Receiver<u64>,
    fences: u64,
    /// Messages and bytes since the last fence.
    unfenced: (usize, usize),
    /// The sequence number of the last message.
    sequence: u64,
    parts: Parts,
}

/// The thread behind the router.
pub(super) struct Outlet {
    link: LinkRx,
    passed: Sender<u64>,
    /// The sequence number of the last message.
    sequence: u64,
    /// Since when some session is behind.
    crowded_since: Option<Instant>,
    parts: Parts,
}

/// Both, for a router of which these are the ends of two links.
pub(super) fn pair(publisher: LinkTx, subscriber: (LinkTx, LinkRx), parts: Parts) -> anyhow::Result<(Feed, Outlet)> {
    let (mut sender, link) = subscriber;
    sender.subscribe(NAME).map_err(|error| anyhow::anyhow!("the MQTT router takes no subscription: {error}"))?;
    let (passing, passed) = std::sync::mpsc::channel();
    let outlet = Outlet { link, passed: passing, sequence: 0, crowded_since: None, parts: parts.clone() };
    Ok((Feed { publisher, passed, fences: 0, unfenced: (0, 0), sequence: 0, parts }, outlet))
}

impl Feed {
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        const BATCH: usize = 100;
        let mut batch = Vec::with_capacity(BATCH);
        while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
            if let Err(error) = self.work(&mut batch) {
                tracing::error!("{error:#}");
                return;
            }
        }
        // Nobody is left who could mind if the router is dead already.
        let _ = send(&mut self.publisher, packet(Bytes::from_static(&[END])));
    }

    fn work(&mut self, batch: &mut Vec<Command>) -> anyhow::Result<()> {
        let mut packets = Vec::new();
        for command in batch.drain(..) {
            match command {
                Command::Publish(message) => {
                    packets.push(self.packet(message));
                    if self.wants_fence() {
                        self.publish(&mut packets)?;
                    }
                }
                Command::Subscribe { link, filter, account, mailbox, reply } => {
                    let subscribed = self.parts.subscribers.add(link, &filter, self.sequence, &account, mailbox);
                    // Whoever asked may be gone.
                    let _ = reply.send(subscribed.map(|()| self.sequence));
                }
                Command::Beat(reply) => {
                    self.publish(&mut packets)?;
                    self.fence()?;
                    let _ = reply.send(());
                }
            }
        }
        self.publish(&mut packets)
    }

    fn packet(&mut self, mut message: Message) -> protocol::Packet {
        self.sequence += 1;
        message.sequence = self.sequence;
        if message.retain && !self.parts.retained.lock().put(&message) {
            self.parts.metrics.not_retained.one();
        }
        self.unfenced.0 += 1;
        self.unfenced.1 += message.cost();
        let mut bytes = BytesMut::with_capacity(1 + message::packed_len(&message));
        bytes.put_u8(MESSAGE);
        message::pack(&message, self.parts.epoch, &mut bytes);
        packet(bytes.freeze())
    }

    fn wants_fence(&self) -> bool {
        self.unfenced.0 >= FENCE_MESSAGES || self.unfenced.1 >= FENCE_BYTES
    }

    fn publish(&mut self, packets: &mut Vec<protocol::Packet>) -> anyhow::Result<()> {
        if let Some(last) = packets.pop() {
            self.publisher.buffer().extend(packets.drain(..));
            send(&mut self.publisher, last)?;
        }
        if self.wants_fence() { self.fence() } else { Ok(()) }
    }

    /// Sends a mark through the router behind all that was published, and waits until it has come out.
    fn fence(&mut self) -> anyhow::Result<()> {
        self.fences += 1;
        let mut mark = BytesMut::with_capacity(9);
        mark.put_u8(FENCE);
        mark.put_u64(self.fences);
        send(&mut self.publisher, packet(mark.freeze()))?;
        let deadline = Instant::now() + FENCE_TIME;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.passed.recv_timeout(left).context(Dead)? == self.fences {
                self.unfenced = (0, 0);
                return Ok(());
            }
        }
    }
}

impl Outlet {
    /// Until the last packet, or the router's death, of which the next fence tells.
    pub(super) fn run(mut self) {
        loop {
            let bytes = match self.link.recv() {
                Ok(Some(Notification::Forward(forward))) => forward.publish.payload,
                Ok(Some(Notification::Unschedule)) if self.link.ready().is_ok() => continue,
                Ok(Some(Notification::Unschedule | Notification::Disconnect(..))) | Err(_) => return,
                Ok(_) => continue,
            };
            if !self.take(bytes) {
                return;
            }
        }
    }

    /// Says whether there is more to come.
    fn take(&mut self, mut bytes: Bytes) -> bool {
        match bytes.try_get_u8() {
            Ok(MESSAGE) => {
                if let Some(message) = message::unpack(bytes, self.parts.epoch) {
                    self.deliver(&message);
                }
            }
            Ok(FENCE) => return bytes.try_get_u64().is_ok_and(|fence| self.passed.send(fence).is_ok()),
            Ok(END) => return false,
            _ => {}
        }
        true
    }

    fn deliver(&mut self, message: &Message) {
        let missed = message.sequence.saturating_sub(self.sequence + 1);
        if missed > 0 {
            self.parts.metrics.overwritten.add(missed);
            tracing::warn!(missed, "the router's log was overwritten before it was read");
        }
        self.sequence = message.sequence;
        if self.parts.subscribers.deliver(message, &self.parts.metrics.overwritten) {
            // Whoever publishes waits for the fences, and so for this.
            if self.crowded_since.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
                thread::sleep(PAUSE);
            }
        } else {
            self.crowded_since = None;
        }
    }
}

fn packet(bytes: Bytes) -> protocol::Packet {
    protocol::Packet::Publish(protocol::Publish::new(Bytes::from_static(NAME.as_bytes()), bytes, false), None)
}

/// Gives a packet to the router; waits while the router's own channel is full.
fn send(sender: &mut LinkTx, packet: protocol::Packet) -> anyhow::Result<()> {
    use futures_util::FutureExt as _;
    // Called async, it blocks in truth and is done at its first poll.
    sender.send(packet).now_or_never().context("the MQTT router's link was not ready")?.context(Dead)?;
    Ok(())
}
