//! rumqttd's router behind four methods: open, publish, subscribe, receive.
//!
//! Every message goes through the router, and nothing else of the front knows it. One thread of its own feeds it,
//! because rumqttd's sending side blocks, and one takes out what it has carried and gives it to the sessions. The
//! router knows one name and two links, whatever clients do: it keeps 9 kB for each filter, 40 kB for each link and 100
//! bytes for each name of a topic for ever, so who is subscribed to what is known here (`router/subscribers.rs`). After
//! every few messages a fence goes through the router and is waited for, so that its log is never more than a little
//! ahead of its reader, and so that a dead router is noticed.
//!
//! Must not know packets, sessions or rights: what is given to it has been judged.

mod feed;
pub mod message;
pub mod retained;
mod subscribers;

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use parking_lot::Mutex;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use tokio::sync::{mpsc, oneshot};

use self::{
    message::Message,
    retained::Retained,
    subscribers::{Inbox, Mailbox, Subscribers},
};
use super::{metrics::FrontMetrics, settings::Limits};
use crate::{
    auth::holder::Holder,
    domain::pool::{Account, Standing},
};

/// Commands that wait for the feeding thread. When it is full the senders wait, which slows publishers to what the
/// router can take.
const WAITING: usize = 2048;
/// How long the router may take for a fence before it counts as dead.
const FENCE_TIME: Duration = Duration::from_secs(10);
/// How often a fence goes through an idle router.
const BEAT: Duration = Duration::from_secs(1);
/// The router's log: what its reader may be behind, which is more than lies between two fences. It keeps delivered
/// messages until then.
const SEGMENT_BYTES: usize = 256 * 1024;
const SEGMENTS: usize = 8;
/// The router is gone; the hub has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the MQTT router has died")]
pub struct Dead;

/// Why a subscription could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSubscribed {
    #[error(transparent)]
    Dead(#[from] Dead),
    #[error("more different filters than limits.filters or limits.filters_per_identity")]
    TooManyFilters,
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
    retained: Arc<Mutex<Retained>>,
    subscribers: Arc<Subscribers>,
    heartbeat: Mutex<RouterHeartbeat>,
}

/// The router's signs of life, as it is asked for them over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterHeartbeat {
    /// When it answered last.
    pub answered: Instant,
    /// How long it took for that.
    pub took: Duration,
    /// When it was asked for the sign that it owes; none while it owes none.
    pub asked: Option<Instant>,
}

enum Command {
    Publish(Message),
    Subscribe {
        /// The link, and its number for the subscription.
        link: (LinkNumber, usize),
        filter: Arc<str>,
        account: Account<Holder>,
        mailbox: Mailbox,
        reply: oneshot::Sender<Result<u64, NotSubscribed>>,
    },
    /// Does nothing but wake the thread, which then sends a fence.
    Beat(oneshot::Sender<()>),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Publish(_) => "Publish",
            Self::Subscribe { .. } => "Subscribe",
            Self::Beat(_) => "Beat",
        })
    }
}

impl Router {
    /// Starts the router's thread and those beside it.
    ///
    /// # Errors
    /// When a thread cannot be started, or the router does not answer.
    pub fn start(limits: &Limits, metrics: Arc<FrontMetrics>) -> anyhow::Result<Self> {
        let config = rumqttd::RouterConfig {
            max_connections: 4,
            max_outgoing_packet_count: 100,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..rumqttd::RouterConfig::default()
        };
        let events = rumqttd::Router::new(0, config).spawn();
        Self::between(
            |name| {
                let link = LinkBuilder::new(name, events.clone()).clean_session(true).build();
                let (sender, receiver, _) =
                    link.map_err(|error| anyhow::anyhow!("the MQTT router opens no link: {error}"))?;
                Ok((sender, receiver))
            },
            limits,
            metrics,
        )
    }

    /// Starts the threads beside a router whose links `open` opens by name.
    fn between(
        open: impl Fn(&str) -> anyhow::Result<(LinkTx, LinkRx)>,
        limits: &Limits,
        metrics: Arc<FrontMetrics>,
    ) -> anyhow::Result<Self> {
        let (commands, inbox) = mpsc::channel(WAITING);
        let (retained, subscribers) = (Arc::new(Mutex::new(Retained::new(limits))), Arc::new(Subscribers::new(limits)));
        let epoch = Instant::now();
        let parts = feed::Parts { subscribers: subscribers.clone(), retained: retained.clone(), metrics, epoch };
        let (feed, outlet) = feed::pair(open("publisher")?.0, open("subscriber")?, parts)?;
        thread::Builder::new()
            .name("mqtt-feed".to_owned())
            .spawn(move || feed.run(inbox))
            .and_then(|_| thread::Builder::new().name("mqtt-outlet".to_owned()).spawn(move || outlet.run()))
            .context("cannot start a thread for the MQTT router")?;
        let heartbeat = Mutex::new(RouterHeartbeat { answered: epoch, took: Duration::ZERO, asked: None });
        Ok(Self(Arc::new(Shared { commands, retained, subscribers, heartbeat })))
    }

    /// Opens a link for a session of this holder: what it subscribes to arrives there. Dropping the link ends it.
    #[must_use]
    pub fn open(&self, holder: Holder, standing: Standing) -> RouterLink {
        let (mailbox, inbox) = self::subscribers::mailbox();
        RouterLink {
            router: self.clone(),
            number: self.0.subscribers.new_link(),
            account: self.0.subscribers.account(holder, standing),
            mailbox,
            inbox,
            filters: HashMap::new(),
        }
    }

    /// Whether anybody is subscribed to a filter that this topic matches.
    #[must_use]
    pub fn has_subscribers(&self, topic: &Arc<str>) -> bool {
        self.0.subscribers.has(topic)
    }

    /// Gives a message to the router, and waits while the router has too much to do. A retained one is kept as well.
    /// One that nobody is subscribed to goes no further.
    ///
    /// # Errors
    /// When the router is dead.
    pub async fn publish(&self, message: Message) -> Result<(), Dead> {
        if !message.retain && !self.has_subscribers(&message.topic) {
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
            self.0.heartbeat.lock().asked = Some(asked);
            tokio::time::timeout(FENCE_TIME + BEAT, beat).await.context("the MQTT router does not answer")??;
            *self.0.heartbeat.lock() = RouterHeartbeat { answered: Instant::now(), took: asked.elapsed(), asked: None };
            self.0.retained.lock().expire(Instant::now());
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Its signs of life, while somebody watches over it.
    #[must_use]
    pub fn heartbeat(&self) -> RouterHeartbeat {
        *self.0.heartbeat.lock()
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
    /// Of the different filters of the session's owner.
    account: Account<Holder>,
    mailbox: Mailbox,
    inbox: Inbox,
    /// Of its subscriptions.
    filters: HashMap<usize, Arc<str>>,
}

/// A message that one of the link's subscriptions brought.
#[derive(Debug)]
pub struct Arrival {
    /// As given to [`RouterLink::subscribe`].
    pub subscription: usize,
    pub message: Message,
}

impl RouterLink {
    /// Subscribes under a number that comes with each message. Answers the sequence number of the last message
    /// before the subscription.
    ///
    /// # Errors
    /// When there are too many different filters, or the router is dead.
    pub async fn subscribe(&mut self, number: usize, filter: &str) -> Result<u64, NotSubscribed> {
        let filter: Arc<str> = filter.into();
        // First, so that it is taken out however this ends.
        self.filters.insert(number, filter.clone());
        let (reply, answer) = oneshot::channel();
        let (link, account, mailbox) = ((self.number, number), self.account.clone(), self.mailbox.clone());
        self.router.command(Command::Subscribe { link, filter, account, mailbox, reply }).await?;
        let answer = answer.await.map_err(|_| Dead)?;
        if answer.is_err() {
            self.filters.remove(&number);
        }
        answer
    }

    /// Ends a subscription. What it has brought may still arrive.
    pub fn unsubscribe(&mut self, number: usize) {
        if let Some(filter) = self.filters.remove(&number) {
            self.router.0.subscribers.remove(self.number, [(number, &filter)].into_iter());
        }
    }

    /// A second way to end a subscription, for somebody who has not the link.
    #[must_use]
    pub fn guard(&self, number: usize) -> Option<SubscriptionGuard> {
        let filter = self.filters.get(&number)?.clone();
        Some(SubscriptionGuard { router: self.router.clone(), link: self.number, number, filter })
    }

    /// The next message; for ever none when the router is dead, which ends the hub. May be cancelled at any time.
    pub async fn receive(&mut self) -> Arrival {
        self.inbox.next().await
    }

    /// The next message, if it is there already.
    pub fn arrived(&mut self) -> Option<Arrival> {
        self.inbox.try_next()
    }
}

/// A subscription of a link that ends when this is dropped, whoever has the link then.
#[derive(Debug)]
pub struct SubscriptionGuard {
    router: Router,
    link: LinkNumber,
    number: usize,
    filter: Arc<str>,
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        self.router.0.subscribers.remove(self.link, [(self.number, &self.filter)].into_iter());
    }
}

impl Drop for RouterLink {
    fn drop(&mut self) {
        // Closed first, so that a subscription that is on its way is not made any more.
        self.inbox.close();
        self.router.0.subscribers.remove(self.number, self.filters.iter().map(|(number, filter)| (*number, filter)));
    }
}

#[cfg(test)]
mod tests;
