//! A publication: who publishes what, and what came of it, up to its acknowledgement.
//!
//! Values only. Must not know who decides (`publish`), nor how an acknowledgement is written (`connection`).

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    auth::{holder::Holder, identity::Identity, origin::Origin},
    domain::pool::Account,
    mqtt::{
        codec::packet::Reason,
        pools::Pools,
        router::message::{Message, SessionNumber},
    },
};

/// Who publishes, and from where.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub who: Identity,
    pub origin: Origin,
    pub number: SessionNumber,
    /// Cancelled when the session is over: what has found no room with the recorder by then is given up. It was never
    /// acknowledged, so its client sends it again.
    pub abandoned: CancellationToken,
    /// What waits for them, and their will.
    pub bytes: Account<Holder>,
    /// Their detections that wait for the commit.
    pub uncommitted: Account<Holder>,
}

impl Publisher {
    /// Whoever publishes by the session of this number.
    #[must_use]
    pub fn new(who: Identity, origin: Origin, number: SessionNumber, pools: &Pools) -> Self {
        let (holder, standing) = (Holder::of(&who, origin.address()), who.standing());
        Self {
            who,
            origin,
            number,
            abandoned: CancellationToken::new(),
            bytes: pools.bytes.account(holder, standing),
            uncommitted: pools.uncommitted.account(holder, standing),
        }
    }
}

/// A message as it was published.
#[derive(Debug, Clone)]
pub struct Publication {
    pub message: Message,
    pub dup: bool,
    pub is_will: bool,
}

/// What became of a publication.
#[derive(Debug)]
pub struct PublishOutcome {
    /// What its acknowledgement says.
    pub ack: AckResult,
    /// What goes on to subscribers now.
    pub route: Option<Message>,
}

/// What an acknowledgement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckResult {
    Done,
    Refused(Reason, String),
    /// Nobody can say what became of it: there is no acknowledgement, and the client sends it again.
    Unknown,
}

impl PublishOutcome {
    #[must_use]
    pub fn done(route: Option<Message>) -> Self {
        Self { ack: AckResult::Done, route }
    }

    #[must_use]
    pub fn refused(reason: Reason, why: impl Into<String>) -> Self {
        Self { ack: AckResult::Refused(reason, why.into()), route: None }
    }
}

/// What is decided about a publication: at once, or later.
pub enum PublishDecision {
    Immediate(PublishOutcome),
    Deferred(Pin<Box<dyn Future<Output = PublishOutcome> + Send>>),
}

impl std::fmt::Debug for PublishDecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Immediate(outcome) => outcome.fmt(f),
            Self::Deferred(_) => f.write_str("Deferred"),
        }
    }
}

/// When a message with this expiry in seconds is wanted no more.
#[must_use]
pub fn expires_at(seconds: Option<u32>) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_secs(seconds?.into()))
}
