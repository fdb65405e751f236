//! The thread that feeds the router: it alone sends, since sending may block, and it keeps the order.

use std::{collections::HashMap, sync::Arc, time::Instant};

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;
use rumqttd::{
    Notification,
    local::{LinkRx, LinkTx},
    protocol,
};
use tokio::sync::{mpsc, oneshot};

use super::{Command, Dead, Ended, FENCE_TIME, LinkNumber, NotSubscribed, PREFIX, interest::Interest};
use crate::{
    domain::topic::Topic,
    mqtt::{
        gauges::Gauges,
        message::{self, Message},
        retained::Retained,
    },
};

/// Messages, and bytes of them, between two fences.
const FENCE_MESSAGES: usize = 400;
const FENCE_BYTES: usize = 512 * 1024;
/// The name of fences; without the prefix, so that no filter reaches it.
const FENCE: &str = "fence";

/// Opens a link of the router by its name.
pub(super) type Build = Box<dyn Fn(&str) -> anyhow::Result<(LinkTx, LinkRx)> + Send>;

/// Where the answer to a subscription goes: the place of the last message before it.
type SubscribeReply = oneshot::Sender<Result<u64, NotSubscribed>>;

/// The thread that feeds the router.
pub(super) struct Feed {
    build: Build,
    links: HashMap<LinkNumber, LinkTx>,
    next_link: LinkNumber,
    /// Numbers of links whose end the router has seen. They are used again, because the router keeps a few hundred bytes
    /// for each name that a link ever had.
    free: Vec<LinkNumber>,
    /// Those to which a Disconnect was sent; the next mark that comes out says that the router has seen it.
    leaving: Vec<LinkNumber>,
    publisher: LinkTx,
    /// Publishes marks only, one at a time: see [`Feed::confirm_subscriptions`].
    marker: LinkTx,
    fence: LinkRx,
    fences: u64,
    /// Messages and bytes since the last fence.
    unfenced: (usize, usize),
    /// The place of the last message.
    place: u64,
    /// Subscriptions that were sent to the router and not yet confirmed, each with its answer. Empty between batches.
    unconfirmed: Vec<(SubscribeReply, u64)>,
    parts: Parts,
}

/// What the thread shares with the rest of the front.
pub(super) struct Parts {
    pub(super) most_filters: usize,
    pub(super) interest: Arc<Interest>,
    pub(super) ended: Arc<Mutex<Vec<Ended>>>,
    pub(super) retained: Arc<Mutex<Retained>>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) epoch: Instant,
}

impl Feed {
    pub(super) fn new(build: Build, parts: Parts) -> anyhow::Result<Self> {
        let (publisher, _) = build("publisher")?;
        let (marker, _) = build("marker")?;
        let (mut sender, fence) = build("fence")?;
        sender.subscribe(FENCE).map_err(|error| anyhow::anyhow!("the MQTT router takes no subscription: {error}"))?;
        let links = HashMap::from([(0, sender)]);
        Ok(Self {
            build,
            links,
            next_link: 1,
            free: Vec::new(),
            leaving: Vec::new(),
            publisher,
            marker,
            fence,
            fences: 0,
            unfenced: (0, 0),
            place: 0,
            unconfirmed: Vec::new(),
            parts,
        })
    }

    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        const BATCH: usize = 100;
        let mut batch = Vec::with_capacity(BATCH);
        while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
            if let Err(error) = self.work(&mut batch) {
                tracing::error!("{error:#}");
                return;
            }
        }
    }

    fn work(&mut self, batch: &mut Vec<Command>) -> anyhow::Result<()> {
        let mut packets = Vec::new();
        for command in batch.drain(..) {
            match command {
                Command::Publish(message) => packets.push(self.packet(message)),
                other => {
                    // What was published before comes before.
                    self.publish(&mut packets)?;
                    self.change(other)?;
                }
            }
        }
        self.publish(&mut packets)?;
        self.confirm_subscriptions()?;
        self.end_links()
    }

    fn change(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Publish(_) => {}
            Command::Open(reply) => {
                let number = self.free.pop().unwrap_or_else(|| {
                    self.next_link += 1;
                    self.next_link - 1
                });
                let (sender, receiver) = match (self.build)(&format!("s{number}")) {
                    Ok(link) => link,
                    // Whoever asked hears of it by the reply's end; if the router is dead, the next fence finds out.
                    Err(error) => {
                        tracing::warn!("{error:#}");
                        self.free.push(number);
                        return Ok(());
                    }
                };
                self.links.insert(number, sender);
                if let Err((number, receiver)) = reply.send((number, receiver)) {
                    self.parts.ended.lock().push(Ended { number, _receiver: Some(receiver) });
                }
            }
            Command::Subscribe { link, number, filter, reply } => {
                match self.subscribe(link, number, &filter)? {
                    Ok(place) => self.unconfirmed.push((reply, place)),
                    // Whoever asked may be gone.
                    refused => drop(reply.send(refused)),
                }
            }
            Command::Unsubscribe { link, filter } => {
                let packet = protocol::Unsubscribe { pkid: 1, filters: vec![format!("{PREFIX}{filter}")] };
                self.send(link, protocol::Packet::Unsubscribe(packet, None))?;
            }
            Command::Beat(reply) => {
                self.fence()?;
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        link: LinkNumber,
        number: usize,
        filter: &str,
    ) -> anyhow::Result<Result<u64, NotSubscribed>> {
        // Nobody's many filters keep a lock worker from its own.
        let is_workers = matches!(Topic::parse(filter), Some(Topic::LockCommand | Topic::HubStatus));
        let most = if is_workers { usize::MAX } else { self.parts.most_filters };
        if !self.parts.interest.add(filter, most) {
            return Ok(Err(NotSubscribed::TooManyFilters));
        }
        let wanted = protocol::Filter {
            path: format!("{PREFIX}{filter}"),
            qos: protocol::QoS::AtMostOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: protocol::RetainForwardRule::Never,
        };
        let properties = protocol::SubscribeProperties { id: Some(number), user_properties: Vec::new() };
        let packet = protocol::Subscribe { pkid: 1, filters: vec![wanted] };
        self.send(link, protocol::Packet::Subscribe(packet, Some(properties)))?;
        Ok(Ok(self.place))
    }

    fn packet(&mut self, mut message: Message) -> protocol::Packet {
        self.place += 1;
        message.place = self.place;
        if message.retain && !self.parts.retained.lock().put(&message) {
            self.parts.gauges.not_retained.one();
        }
        self.unfenced.0 += 1;
        self.unfenced.1 += message.cost();
        let packed = message::pack(&message, self.parts.epoch);
        let topic = Bytes::from([PREFIX, &message.topic].concat());
        let properties = protocol::PublishProperties { correlation_data: Some(packed), ..Default::default() };
        protocol::Packet::Publish(protocol::Publish::new(topic, message.payload, false), Some(properties))
    }

    fn publish(&mut self, packets: &mut Vec<protocol::Packet>) -> anyhow::Result<()> {
        if let Some(last) = packets.pop() {
            self.confirm_subscriptions()?;
            self.publisher.buffer().extend(packets.drain(..));
            send(&mut self.publisher, last)?;
        }
        if self.unfenced.0 >= FENCE_MESSAGES || self.unfenced.1 >= FENCE_BYTES { self.fence() } else { Ok(()) }
    }

    /// Sends a mark through the router behind all that was published, and waits until it has come out.
    fn fence(&mut self) -> anyhow::Result<()> {
        let (mark, packet) = self.mark();
        send(&mut self.publisher, packet)?;
        self.wait_for(&mark)?;
        self.unfenced = (0, 0);
        Ok(())
    }

    /// Waits until the router has taken all subscriptions that it was sent, and only then lets anybody count on them.
    ///
    /// The router takes all that waits in a link's buffer at the first notice for that link. So what is published now
    /// may be taken at an earlier notice of the publisher's, before a subscription that was sent before it, and be
    /// missed by it. The marker has no earlier notice: when its mark comes out, all notices before are done with.
    fn confirm_subscriptions(&mut self) -> anyhow::Result<()> {
        if self.unconfirmed.is_empty() {
            return Ok(());
        }
        let (mark, packet) = self.mark();
        send(&mut self.marker, packet)?;
        self.wait_for(&mark)?;
        for (reply, place) in self.unconfirmed.drain(..) {
            // Whoever asked may be gone.
            let _ = reply.send(Ok(place));
        }
        Ok(())
    }

    fn mark(&mut self) -> (Bytes, protocol::Packet) {
        self.fences += 1;
        let mark = Bytes::copy_from_slice(&self.fences.to_be_bytes());
        let publish = protocol::Publish::new(Bytes::from_static(FENCE.as_bytes()), mark.clone(), false);
        (mark, protocol::Packet::Publish(publish, None))
    }

    /// Waits until this mark has come out of the router.
    fn wait_for(&mut self, mark: &Bytes) -> anyhow::Result<()> {
        let deadline = Instant::now() + FENCE_TIME;
        loop {
            match self.fence.recv_deadline(deadline).context(Dead)? {
                Some(Notification::Forward(forward)) if forward.publish.payload == mark => return Ok(()),
                Some(Notification::Unschedule) => self.fence.ready().context(Dead)?,
                _ => {}
            }
        }
    }

    fn send(&mut self, link: LinkNumber, packet: protocol::Packet) -> anyhow::Result<()> {
        match self.links.get_mut(&link) {
            Some(sender) => send(sender, packet),
            None => Ok(()),
        }
    }

    /// Ends the links whose sessions are gone.
    ///
    /// A link may have been woken just before, and a wake that the router finds after the Disconnect kills it. The
    /// Disconnect could be taken at an earlier notice of its link, so a mark goes first: then no notice is left.
    fn end_links(&mut self) -> anyhow::Result<()> {
        let ended = std::mem::take(&mut *self.parts.ended.lock());
        if ended.is_empty() {
            return Ok(());
        }
        let (mark, packet) = self.mark();
        send(&mut self.marker, packet)?;
        self.wait_for(&mark)?;
        self.free.append(&mut self.leaving);
        for link in ended {
            if let Some(mut sender) = self.links.remove(&link.number) {
                let reason = protocol::DisconnectReasonCode::NormalDisconnection;
                let packet = protocol::Packet::Disconnect(protocol::Disconnect { reason_code: reason }, None);
                send(&mut sender, packet)?;
                self.leaving.push(link.number);
            }
        }
        Ok(())
    }
}

/// Gives a packet to the router; waits while the router's own channel is full.
fn send(sender: &mut LinkTx, packet: protocol::Packet) -> anyhow::Result<()> {
    use futures_util::FutureExt as _;
    // Called async, it blocks in truth and is done at its first poll.
    sender.send(packet).now_or_never().context("the MQTT router's link was not ready")?.context(Dead)?;
    Ok(())
}
