//! What happens with a message that somebody publishes: rights, then the recorder for detections, the lock desk for the
//! lock's commands, and the router for all else.
//!
//! Must not know how the message came in, so that a client's PUBLISH, a will and a worker in the process go one way.

use std::{pin::Pin, sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;

use super::{
    detection,
    front::Core,
    lock,
    message::{Message, SessionNumber},
    packet::Reason,
};
use crate::{
    auth::{holder::Holder, identity::Identity, origin::Origin},
    domain::{
        pool::Account,
        topic::{self, Topic},
    },
};

/// Who publishes, and from where.
#[derive(Debug, Clone)]
pub struct Sender {
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

impl Sender {
    #[must_use]
    pub fn new(core: &Core, who: Identity, origin: Origin) -> Self {
        let (holder, standing) = (Holder::of(&who, origin.address()), who.standing());
        Self {
            who,
            origin,
            number: core.sessions.new_number(),
            abandoned: CancellationToken::new(),
            bytes: core.pools.bytes.account(holder, standing),
            uncommitted: core.pools.uncommitted.account(holder, standing),
        }
    }
}

/// A message as it was published.
#[derive(Debug, Clone)]
pub struct Offered {
    pub message: Message,
    pub dup: bool,
    pub is_will: bool,
}

/// What became of a message.
#[derive(Debug)]
pub struct Settled {
    /// What its acknowledgement says.
    pub answer: Answer,
    /// What goes on to subscribers now.
    pub route: Option<Message>,
}

/// What an acknowledgement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    Refused(Reason, String),
    /// Nobody can say what became of it: there is no acknowledgement, and the client sends it again.
    Unknown,
}

impl Settled {
    #[must_use]
    pub fn done(route: Option<Message>) -> Self {
        Self { answer: Answer::Done, route }
    }

    #[must_use]
    pub fn refused(reason: Reason, why: impl Into<String>) -> Self {
        Self { answer: Answer::Refused(reason, why.into()), route: None }
    }
}

/// Settled at once, or later.
pub enum Verdict {
    Now(Settled),
    Later(Pin<Box<dyn Future<Output = Settled> + Send>>),
}

impl std::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(settled) => settled.fmt(f),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Decides on a message with a valid topic.
#[must_use]
pub fn judge(core: &Arc<Core>, sender: &Sender, offered: Offered) -> Verdict {
    let known = Topic::parse(&offered.message.topic);
    if known == Some(Topic::LockCommand) && sender.who != Identity::Hub {
        return lock::judge(core, sender, &offered);
    }
    let Offered { mut message, is_will, .. } = offered;
    if !core.rights.may_publish(&sender.who, &message.topic) {
        let right = core.rights.publish(&sender.who, &message.topic);
        core.refused_publish(sender, &message.topic, &right.rule);
        let reason = format!("not authorized: {}", right.rule);
        return match known {
            Some(Topic::Detections(_)) => detection::refused(core, sender, &message, &reason),
            _ => Verdict::Now(Settled::refused(Reason::NotAuthorized, reason)),
        };
    }
    if let (Some(Topic::Detections(camera)), true) = (known, sender.who != Identity::Hub) {
        return detection::judge(core, sender, camera, message);
    }
    if known == Some(Topic::LockStatus) && sender.who != Identity::Hub {
        if !is_will {
            core.worker.tells(sender.number);
        } else if core.worker.has_moved_on(sender.number) {
            tracing::info!(who = %sender.who, "the lock worker is back by another session: its old will is void");
            return Verdict::Now(Settled::done(None));
        }
    }
    message.retain &= may_be_retained(&message.topic);
    if message.retain {
        message.owner = Some((*sender.bytes.holder(), sender.bytes.standing()));
    }
    if message.retain && !core.router.retained().lock().has_room(&message) {
        let answer = Answer::Refused(Reason::QuotaExceeded, "delivered, but there is no room to retain it".to_owned());
        return Verdict::Now(Settled { answer, route: Some(message) });
    }
    Verdict::Now(Settled::done(Some(message)))
}

/// Whether the topic's last message is kept: the users' own topics', and those of the hub's that say how things are.
fn may_be_retained(name: &str) -> bool {
    match Topic::parse(name) {
        Some(Topic::CameraStatus(_) | Topic::CameraOccupancy(_) | Topic::LockStatus | Topic::HubStatus) => true,
        Some(_) => false,
        None => !topic::is_reserved(name),
    }
}

/// Publishes on behalf of somebody who does not wait for an acknowledgement: a will, a worker in the process.
pub async fn publish(core: &Arc<Core>, sender: &Sender, offered: Offered) {
    if !topic::valid_topic(&offered.message.topic) {
        tracing::warn!(who = %sender.who, topic = %offered.message.topic, "no topic to publish to");
        return;
    }
    let settled = match judge(core, sender, offered) {
        Verdict::Now(settled) => settled,
        Verdict::Later(future) => future.await,
    };
    if let Some(message) = settled.route {
        // A dead router stops the hub by itself.
        let _ = core.router.publish(message).await;
    }
}

/// When a message with this expiry in seconds is wanted no more.
#[must_use]
pub fn expires_at(seconds: Option<u32>) -> Option<Instant> {
    Instant::now().checked_add(std::time::Duration::from_secs(seconds?.into()))
}
