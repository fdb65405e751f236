//! A session: what outlives a connection. It is owned by one task at a time, which hands it over whole.
//!
//! Must not know connections, nor what a message may do: it keeps what is waiting, subscribed to and not acknowledged.

pub mod agent_slot;
pub mod filter;
pub mod publication;
pub mod queue;
pub mod registry;
pub mod shared_groups;
pub mod subscriptions;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    publication::PublishOutcome,
    queue::{Queue, QueueRoom},
    subscriptions::Subscriptions,
};
use super::router::{
    RouterLink,
    message::{Message, SessionNumber},
};
use crate::{
    auth::{holder::Holder, identity::Identity, origin::Address},
    domain::pool::{Account, Share},
};

/// Messages of shared subscriptions on their way to a session, which takes them at once into its queue. When it is full
/// another member of the group gets the next one.
const MAILBOX: usize = 256;

/// A PUBLISH whose outcome is open.
pub type Pending = Pin<Box<dyn Future<Output = CompletedPublish> + Send>>;

/// A PUBLISH whose outcome is known, and how to acknowledge it.
#[derive(Debug)]
pub struct CompletedPublish {
    /// Its packet identifier; 0 at QoS 0.
    pub id: u16,
    /// Whether it came at QoS 2.
    pub is_qos2: bool,
    /// On which of the session's connections it came: only that one hears of it.
    pub connection: u64,
    pub outcome: PublishOutcome,
}

/// How far a QoS 2 PUBLISH of the client has come, until its PUBREL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundQos2 {
    /// Its outcome is open. Sent again meanwhile on this connection, it is answered there.
    Open { answer_on: u64 },
    /// PUBREC was sent, or is due as soon as it comes again.
    Received,
}

/// A message for a member of a group that shares a subscription.
#[derive(Debug)]
pub struct SharedDelivery {
    /// The member's number for the subscription.
    pub subscription: usize,
    pub message: Message,
}

/// Where a session takes messages of its shared subscriptions from.
#[derive(Debug)]
pub struct Mailbox {
    /// Boxed: a channel has room for 32 from the start, and sessions that are away are many.
    pub sender: mpsc::Sender<Box<SharedDelivery>>,
    pub receiver: mpsc::Receiver<Box<SharedDelivery>>,
    /// Whether the client is connected: groups prefer members that are.
    pub online: Arc<AtomicBool>,
}

/// What outlives a connection.
pub struct Session {
    pub number: SessionNumber,
    pub who: Identity,
    /// Where it began: whose it is, if it has no name.
    pub address: Address,
    pub queue: Queue,
    /// On which its queue and its subscriptions are.
    pub account: Account<Holder>,
    /// QoS 2 PUBLISHes of the client, by their packet identifier.
    pub received: HashMap<u16, InboundQos2>,
    /// What they take of what all may have waiting, roughly.
    pub received_share: Share<Holder>,
    pub subscriptions: Subscriptions,
    /// Opened with the first subscription: who only publishes needs none.
    pub link: Option<RouterLink>,
    pub mailbox: Mailbox,
    /// In the order of arrival, which is the order of the acknowledgements.
    pub pending: FuturesOrdered<Pending>,
    /// As in [`publication::Publisher`].
    pub abandoned: CancellationToken,
    /// How many connections it has had.
    pub connections: u64,
    /// How long it lives without a connection.
    pub expiry: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("number", &self.number).field("who", &self.who).finish_non_exhaustive()
    }
}

impl Session {
    /// On whose account it is.
    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder::of(&self.who, self.address)
    }

    #[must_use]
    pub fn new(
        number: SessionNumber,
        who: Identity,
        address: Address,
        room: QueueRoom,
        account: Account<Holder>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(MAILBOX);
        Self {
            number,
            who,
            address,
            queue: Queue::new(room, &account),
            received: HashMap::new(),
            received_share: account.hold(0),
            account,
            subscriptions: Subscriptions::default(),
            link: None,
            mailbox: Mailbox { sender, receiver, online: Arc::default() },
            pending: FuturesOrdered::new(),
            abandoned: CancellationToken::new(),
            connections: 0,
            expiry: Duration::ZERO,
        }
    }
}

/// The next message from the router; for ever none where nothing is subscribed.
pub async fn arrival(link: &mut Option<RouterLink>) -> super::router::Arrival {
    match link {
        Some(link) => link.receive().await,
        None => std::future::pending().await,
    }
}

/// What the router has for the session now.
pub fn arrived(link: &mut Option<RouterLink>) -> Option<super::router::Arrival> {
    link.as_mut()?.arrived()
}
