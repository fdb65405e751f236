//! rumqttd's router behind four methods: open, publish, subscribe, receive.
//!
//! Every message goes through the router, and nothing else of the front knows it. One thread of its own feeds it,
//! because rumqttd's sending side blocks; sessions hold the receiving side only. The rules that keep the router alive
//! are all here: names get a prefix (its matcher cuts the first byte off a name), it is given nothing that it could
//! answer with a disconnect, a link ends by a Disconnect packet and in no other way, and a link that ended is never
//! woken. After every few messages a fence goes through the router and is waited for, so that its log is never more
//! than a little ahead of its readers, and so that a dead router is noticed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;
use rumqttd::{
    Forward, Notification,
    local::{LinkBuilder, LinkRx, LinkTx},
    protocol,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    gauges::Gauges,
    message::{self, Message},
    retained::Retained,
    settings::Limits,
};

/// Commands that wait for the feeding thread. When it is full the senders wait, which slows publishers to what the
/// router can take.
const WAITING: usize = 2048;
/// Messages, and bytes of them, between two fences.
const FENCE_MESSAGES: usize = 400;
const FENCE_BYTES: usize = 1024 * 1024;
/// How long the router may take for a fence before it counts as dead.
const FENCE_TIME: Duration = Duration::from_secs(10);
/// How often a fence goes through an idle router.
const BEAT: Duration = Duration::from_secs(1);
/// The router's log for each filter: what its readers may be behind. It keeps delivered messages until then.
const SEGMENT_BYTES: usize = 1024 * 1024;
const SEGMENTS: usize = 8;
/// Before each name and filter, so that a name's first byte is always a whole letter.
const PREFIX: &str = "t/";
/// The name of fences; without the prefix, so that no filter reaches it.
const FENCE: &str = "fence";

/// The router is gone; the hub has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the MQTT router has died")]
pub struct Dead;

/// Why a subscription could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSubscribed {
    #[error(transparent)]
    Dead(#[from] Dead),
    #[error("more different filters than limits.filters")]
    TooManyFilters,
}

type LinkNumber = u64;

/// The way into the router.
#[derive(Debug, Clone)]
pub struct Router(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    /// Links whose session is gone; the feeding thread ends them. As many as there were links at most.
    ended: Arc<Mutex<Vec<Ended>>>,
    retained: Arc<Mutex<Retained>>,
    gauges: Arc<Gauges>,
    epoch: Instant,
}

enum Command {
    Open(oneshot::Sender<(LinkNumber, LinkRx)>),
    Publish(Message),
    Subscribe {
        link: LinkNumber,
        number: usize,
        filter: String,
        reply: oneshot::Sender<Result<u64, NotSubscribed>>,
    },
    Unsubscribe {
        link: LinkNumber,
        filter: String,
    },
    /// Does nothing but wake the thread, which then sends a fence.
    Beat(oneshot::Sender<()>),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Publish(_) => "Publish",
            Self::Subscribe { .. } => "Subscribe",
            Self::Unsubscribe { .. } => "Unsubscribe",
            Self::Beat(_) => "Beat",
        })
    }
}

/// A link whose receiving side may only be dropped after its Disconnect was sent.
#[derive(Debug)]
struct Ended {
    number: LinkNumber,
    _receiver: Option<LinkRx>,
}

impl Router {
    /// Starts the router's thread and the one that feeds it.
    ///
    /// # Errors
    /// When a thread cannot be started, or the router does not answer.
    pub fn start(limits: &Limits, gauges: Arc<Gauges>) -> anyhow::Result<Self> {
        let config = rumqttd::RouterConfig {
            max_connections: limits.sessions + 1024,
            max_outgoing_packet_count: 100,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..rumqttd::RouterConfig::default()
        };
        let events = rumqttd::Router::new(0, config).spawn();
        // rumqttd keeps the type of its events to itself, so the sender can be kept in a closure only.
        let build: Build = Box::new(move |name| {
            LinkBuilder::new(name, events.clone())
                .clean_session(true)
                .build()
                .map(|(sender, receiver, _)| (sender, receiver))
                .map_err(|error| anyhow::anyhow!("the MQTT router opens no link: {error}"))
        });
        let (commands, inbox) = mpsc::channel(WAITING);
        let ended = Arc::new(Mutex::new(Vec::new()));
        let retained = Arc::new(Mutex::new(Retained::new(limits)));
        let epoch = Instant::now();
        let feed = Feed::new(build, limits.filters, ended.clone(), retained.clone(), gauges.clone(), epoch)?;
        thread::Builder::new()
            .name("mqtt-feed".to_owned())
            .spawn(move || feed.run(inbox))
            .context("cannot start a thread for the MQTT router")?;
        Ok(Self(Arc::new(Shared { commands, ended, retained, gauges, epoch })))
    }

    /// Opens a link for a session: what it subscribes to arrives there. Dropping the link ends it.
    ///
    /// # Errors
    /// When the router is dead.
    pub async fn open(&self) -> Result<RouterLink, Dead> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Open(reply)).await?;
        let (number, receiver) = answer.await.map_err(|_| Dead)?;
        Ok(RouterLink {
            router: self.clone(),
            number,
            receiver: Some(receiver),
            paused: false,
            cursors: HashMap::new(),
        })
    }

    /// Gives a message to the router, and waits while the router has too much to do. A retained one is kept as well.
    ///
    /// # Errors
    /// When the router is dead.
    pub async fn publish(&self, message: Message) -> Result<(), Dead> {
        self.command(Command::Publish(message)).await
    }

    /// The retained messages.
    #[must_use]
    pub fn retained(&self) -> &Mutex<Retained> {
        &self.0.retained
    }

    /// Watches over the router until it is dead; for ever, if all is well.
    ///
    /// # Errors
    /// When the router is dead.
    pub async fn watch(&self) -> anyhow::Result<()> {
        loop {
            let (reply, answer) = oneshot::channel();
            let beat = async {
                self.command(Command::Beat(reply)).await?;
                answer.await.map_err(|_| Dead)
            };
            tokio::time::timeout(FENCE_TIME + BEAT, beat).await.context("the MQTT router does not answer")??;
            self.0.retained.lock().expire(Instant::now());
            tokio::time::sleep(BEAT).await;
        }
    }

    async fn command(&self, command: Command) -> Result<(), Dead> {
        self.0.commands.send(command).await.map_err(|_| Dead)
    }
}

/// A session's end of the router.
#[derive(Debug)]
pub struct RouterLink {
    router: Router,
    number: LinkNumber,
    receiver: Option<LinkRx>,
    /// The router has stopped delivering until it is woken.
    paused: bool,
    /// Where each subscription's log was read last.
    cursors: HashMap<usize, u64>,
}

/// A message that one of the link's subscriptions brought.
#[derive(Debug)]
pub struct Arrival {
    /// As given to [`RouterLink::subscribe`].
    pub subscription: usize,
    pub message: Message,
}

impl RouterLink {
    /// Subscribes under a number that comes with each message. Answers the place of the last message before the
    /// subscription.
    ///
    /// # Errors
    /// When there are too many different filters, or the router is dead.
    pub async fn subscribe(&self, number: usize, filter: &str) -> Result<u64, NotSubscribed> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Subscribe { link: self.number, number, filter: filter.to_owned(), reply };
        self.router.command(command).await?;
        answer.await.map_err(|_| Dead)?
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// When the router is dead.
    pub async fn unsubscribe(&mut self, number: usize, filter: &str) -> Result<(), Dead> {
        self.cursors.remove(&number);
        self.router.command(Command::Unsubscribe { link: self.number, filter: filter.to_owned() }).await
    }

    /// The next message. May be cancelled at any time.
    ///
    /// # Errors
    /// When the router is dead.
    pub async fn receive(&mut self) -> Result<Arrival, Dead> {
        loop {
            let receiver = self.receiver.as_mut().ok_or(Dead)?;
            if self.paused {
                receiver.wake().await.map_err(|_| Dead)?;
                self.paused = false;
            }
            match receiver.next().await {
                Ok(Some(Notification::Forward(forward))) => {
                    if let Some(arrival) = self.arrival(forward) {
                        return Ok(arrival);
                    }
                }
                Ok(Some(Notification::Unschedule)) => self.paused = true,
                Ok(Some(Notification::Disconnect(..))) | Err(_) => return Err(Dead),
                Ok(_) => {}
            }
        }
    }

    fn arrival(&mut self, forward: Forward) -> Option<Arrival> {
        let properties = forward.properties?;
        let subscription = *properties.subscription_identifiers.last()?;
        if let Some((_, offset)) = forward.cursor {
            let missed = self.cursors.insert(subscription, offset).map_or(0, |last| offset.saturating_sub(last + 1));
            if missed > 0 {
                self.router.0.gauges.overwritten.add(missed);
                tracing::warn!(missed, "the router's log was overwritten before a subscriber had read it");
            }
        }
        let topic = std::str::from_utf8(&forward.publish.topic).ok()?.strip_prefix(PREFIX)?;
        let packed = properties.correlation_data?;
        let message = message::unpack(topic, forward.publish.payload, packed, self.router.0.epoch)?;
        Some(Arrival { subscription, message })
    }
}

impl Drop for RouterLink {
    fn drop(&mut self) {
        self.router.0.ended.lock().push(Ended { number: self.number, _receiver: self.receiver.take() });
    }
}

type Build = Box<dyn Fn(&str) -> anyhow::Result<(LinkTx, LinkRx)> + Send>;

/// The thread that feeds the router.
struct Feed {
    build: Build,
    links: HashMap<LinkNumber, LinkTx>,
    next_link: LinkNumber,
    /// Every filter that was ever subscribed to: the router keeps about 6 kB for each, for ever.
    filters: HashSet<String>,
    most_filters: usize,
    publisher: LinkTx,
    fence: LinkRx,
    fences: u64,
    /// Messages and bytes since the last fence.
    unfenced: (usize, usize),
    place: AtomicU64,
    ended: Arc<Mutex<Vec<Ended>>>,
    retained: Arc<Mutex<Retained>>,
    gauges: Arc<Gauges>,
    epoch: Instant,
}

impl Feed {
    fn new(
        build: Build,
        most_filters: usize,
        ended: Arc<Mutex<Vec<Ended>>>,
        retained: Arc<Mutex<Retained>>,
        gauges: Arc<Gauges>,
        epoch: Instant,
    ) -> anyhow::Result<Self> {
        let (publisher, _) = build("publisher")?;
        let (mut sender, fence) = build("fence")?;
        sender.subscribe(FENCE).map_err(|error| anyhow::anyhow!("the MQTT router takes no subscription: {error}"))?;
        let links = HashMap::from([(0, sender)]);
        Ok(Self {
            build,
            links,
            next_link: 1,
            filters: HashSet::new(),
            most_filters,
            publisher,
            fence,
            fences: 0,
            unfenced: (0, 0),
            place: AtomicU64::new(0),
            ended,
            retained,
            gauges,
            epoch,
        })
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
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
        self.end_links()
    }

    fn change(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Publish(_) => {}
            Command::Open(reply) => {
                let number = self.next_link;
                self.next_link += 1;
                let (sender, receiver) = (self.build)(&format!("s{number}"))?;
                self.links.insert(number, sender);
                if let Err((number, receiver)) = reply.send((number, receiver)) {
                    self.ended.lock().push(Ended { number, _receiver: Some(receiver) });
                }
            }
            Command::Subscribe { link, number, filter, reply } => {
                // Whoever asked may be gone.
                let _ = reply.send(self.subscribe(link, number, filter)?);
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
        filter: String,
    ) -> anyhow::Result<Result<u64, NotSubscribed>> {
        if !self.filters.contains(&filter) && self.filters.len() >= self.most_filters {
            return Ok(Err(NotSubscribed::TooManyFilters));
        }
        let wanted = protocol::Filter {
            path: format!("{PREFIX}{filter}"),
            qos: protocol::QoS::AtMostOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: protocol::RetainForwardRule::Never,
        };
        self.filters.insert(filter);
        let properties = protocol::SubscribeProperties { id: Some(number), user_properties: Vec::new() };
        let packet = protocol::Subscribe { pkid: 1, filters: vec![wanted] };
        self.send(link, protocol::Packet::Subscribe(packet, Some(properties)))?;
        Ok(Ok(self.place.load(Relaxed)))
    }

    fn packet(&mut self, mut message: Message) -> protocol::Packet {
        message.place = self.place.fetch_add(1, Relaxed) + 1;
        if message.retain && !self.retained.lock().put(&message) {
            self.gauges.not_retained.one();
        }
        self.unfenced.0 += 1;
        self.unfenced.1 += message.cost();
        let packed = message::pack(&message, self.epoch);
        let topic = Bytes::from([PREFIX, &message.topic].concat());
        let properties = protocol::PublishProperties { correlation_data: Some(packed), ..Default::default() };
        protocol::Packet::Publish(protocol::Publish::new(topic, message.payload, false), Some(properties))
    }

    fn publish(&mut self, packets: &mut Vec<protocol::Packet>) -> anyhow::Result<()> {
        if let Some(last) = packets.pop() {
            self.publisher.buffer().extend(packets.drain(..));
            send(&mut self.publisher, last)?;
        }
        if self.unfenced.0 >= FENCE_MESSAGES || self.unfenced.1 >= FENCE_BYTES { self.fence() } else { Ok(()) }
    }

    /// Sends a mark through the router and waits until it has come out.
    fn fence(&mut self) -> anyhow::Result<()> {
        self.fences += 1;
        let mark = Bytes::copy_from_slice(&self.fences.to_be_bytes());
        let packet = protocol::Publish::new(Bytes::from_static(FENCE.as_bytes()), mark.clone(), false);
        send(&mut self.publisher, protocol::Packet::Publish(packet, None))?;
        let deadline = Instant::now() + FENCE_TIME;
        loop {
            match self.fence.recv_deadline(deadline).context(Dead)? {
                Some(Notification::Forward(forward)) if forward.publish.payload == mark => break,
                Some(Notification::Unschedule) => self.fence.ready().context(Dead)?,
                _ => {}
            }
        }
        self.unfenced = (0, 0);
        Ok(())
    }

    fn send(&mut self, link: LinkNumber, packet: protocol::Packet) -> anyhow::Result<()> {
        match self.links.get_mut(&link) {
            Some(sender) => send(sender, packet),
            None => Ok(()),
        }
    }

    fn end_links(&mut self) -> anyhow::Result<()> {
        let ended = std::mem::take(&mut *self.ended.lock());
        for link in ended {
            if let Some(mut sender) = self.links.remove(&link.number) {
                let reason = protocol::DisconnectReasonCode::NormalDisconnection;
                let packet = protocol::Packet::Disconnect(protocol::Disconnect { reason_code: reason }, None);
                send(&mut sender, packet)?;
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
