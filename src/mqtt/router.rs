//! rumqttd's router behind four methods: open, publish, subscribe, receive.
//!
//! Every message goes through the router, and nothing else of the front knows it. One thread of its own feeds it,
//! because rumqttd's sending side blocks; sessions hold the receiving side only. The rules that keep the router alive
//! are all here: names get a prefix (its matcher cuts the first byte off a name), it is given nothing that it could
//! answer with a disconnect, a link ends by a Disconnect packet and in no other way, and a link that ended is never
//! woken. After every few messages a fence goes through the router and is waited for, so that its log is never more
//! than a little ahead of its readers, and so that a dead router is noticed.

mod feed;
mod interest;

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use parking_lot::Mutex;
use rumqttd::{
    Forward, Notification,
    local::{LinkBuilder, LinkRx},
};
use tokio::sync::{mpsc, oneshot};

use self::{
    feed::{Build, Feed},
    interest::Interest,
};
use super::{
    gauges::Gauges,
    message::{self, Message},
    retained::Retained,
    settings::Limits,
};

/// Commands that wait for the feeding thread. When it is full the senders wait, which slows publishers to what the
/// router can take.
const WAITING: usize = 2048;
/// How long the router may take for a fence before it counts as dead.
const FENCE_TIME: Duration = Duration::from_secs(10);
/// How often a fence goes through an idle router.
const BEAT: Duration = Duration::from_secs(1);
/// The router's log for each filter: what its readers may be behind. It keeps delivered messages until then.
const SEGMENT_BYTES: usize = 256 * 1024;
const SEGMENTS: usize = 8;
/// Before each name and filter, so that a name's first byte is always a whole letter.
const PREFIX: &str = "t/";
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
    #[error("the router opens no link")]
    NoLink,
    #[error("more groups of shared subscriptions than the hub keeps")]
    TooManyGroups,
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
    interest: Arc<Interest>,
    gauges: Arc<Gauges>,
    epoch: Instant,
    pulse: Mutex<Pulse>,
}

/// The router's signs of life, as it is asked for them over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// When it answered last.
    pub answered: Instant,
    /// How long it took for that.
    pub took: Duration,
    /// When it was asked for the sign that it owes; none while it owes none.
    pub asked: Option<Instant>,
}

enum Command {
    /// Answered by nothing when the router opens no link.
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
        Self::fed_by(build, limits, gauges)
    }

    /// Starts the thread that feeds a router which opens links by `build`.
    fn fed_by(build: Build, limits: &Limits, gauges: Arc<Gauges>) -> anyhow::Result<Self> {
        let (commands, inbox) = mpsc::channel(WAITING);
        let ended = Arc::new(Mutex::new(Vec::new()));
        let retained = Arc::new(Mutex::new(Retained::new(limits)));
        let epoch = Instant::now();
        let interest = Arc::new(Interest::default());
        let parts = feed::Parts {
            most_filters: limits.filters,
            interest: interest.clone(),
            ended: ended.clone(),
            retained: retained.clone(),
            gauges: gauges.clone(),
            epoch,
        };
        let feed = Feed::new(build, parts)?;
        thread::Builder::new()
            .name("mqtt-feed".to_owned())
            .spawn(move || feed.run(inbox))
            .context("cannot start a thread for the MQTT router")?;
        let pulse = Mutex::new(Pulse { answered: epoch, took: Duration::ZERO, asked: None });
        Ok(Self(Arc::new(Shared { commands, ended, retained, interest, gauges, epoch, pulse })))
    }

    /// Opens a link for a session: what it subscribes to arrives there. Dropping the link ends it.
    ///
    /// # Errors
    /// When the router opens none, or is dead.
    pub async fn open(&self) -> Result<RouterLink, NotSubscribed> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Open(reply)).await?;
        let (number, receiver) = answer.await.map_err(|_| NotSubscribed::NoLink)?;
        Ok(RouterLink {
            router: self.clone(),
            number,
            receiver: Some(receiver),
            paused: false,
            cursors: HashMap::new(),
        })
    }

    /// Whether anybody has ever subscribed to a filter that this topic matches.
    #[must_use]
    pub fn is_heard(&self, topic: &Arc<str>) -> bool {
        self.0.interest.has(topic)
    }

    /// Gives a message to the router, and waits while the router has too much to do. A retained one is kept as well. One
    /// that nobody has ever subscribed to goes no further.
    ///
    /// # Errors
    /// When the router is dead.
    pub async fn publish(&self, message: Message) -> Result<(), Dead> {
        if !message.retain && !self.is_heard(&message.topic) {
            return Ok(());
        }
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
            let asked = Instant::now();
            self.0.pulse.lock().asked = Some(asked);
            tokio::time::timeout(FENCE_TIME + BEAT, beat).await.context("the MQTT router does not answer")??;
            *self.0.pulse.lock() = Pulse { answered: Instant::now(), took: asked.elapsed(), asked: None };
            self.0.retained.lock().expire(Instant::now());
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Its signs of life, while somebody watches over it.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        *self.0.pulse.lock()
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
    /// Subscribes under a number, at least 1, that comes with each message. Answers the place of the last message before the
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
                Ok(Some(Notification::Disconnect(reason, _))) => {
                    tracing::error!(?reason, "the MQTT router has ended a session by itself");
                    return Err(Dead);
                }
                Err(_) => return Err(Dead),
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

#[cfg(test)]
mod tests;
