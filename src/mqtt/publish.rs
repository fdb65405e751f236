//! What happens with a message that somebody publishes: rights, then the recorder for detections, the lock desk for the
//! lock's commands, and the router for all else.
//!
//! Must not know how the message came in, so that a client's PUBLISH, a will and a worker in the process go one way;
//! nor sessions beyond the publisher, nor how an outcome is acknowledged.

pub mod detection;
pub mod lock_command;
pub mod will;

use std::sync::Arc;

use self::{detection::DetectionIntake, lock_command::LockCommandIntake};
use super::{
    codec::packet::Reason,
    log_throttle::LogThrottle,
    metrics::FrontMetrics,
    router::{Dead, Router},
    session::{
        agent_slot::LockAgentSlot,
        publication::{AckResult, Publication, PublishDecision, PublishOutcome, Publisher},
    },
};
use crate::{
    auth::{identity::Identity, rights::Rights},
    domain::topic::{self, Topic},
};

/// All that publishing may touch.
#[derive(Debug)]
pub struct Publishing {
    pub rights: Rights,
    pub router: Router,
    pub agent_slot: LockAgentSlot,
    pub detections: Arc<DetectionIntake>,
    pub lock_commands: Arc<LockCommandIntake>,
    pub metrics: Arc<FrontMetrics>,
    /// How often refusals are logged.
    pub refusals: Arc<LogThrottle>,
}

impl Publishing {
    /// Decides on a message with a valid topic.
    #[must_use]
    pub fn decide(&self, publisher: &Publisher, publication: Publication) -> PublishDecision {
        let known = Topic::parse(&publication.message.topic);
        if known == Some(Topic::LockCommand) && publisher.who != Identity::Hub {
            return self.lock_commands.submit(publisher, &publication);
        }
        let Publication { mut message, is_will, .. } = publication;
        if !self.rights.may_publish(&publisher.who, &message.topic) {
            let right = self.rights.publish(&publisher.who, &message.topic);
            self.count_refusal(publisher, &message.topic, &right.rule);
            let reason = format!("not authorized: {}", right.rule);
            return match known {
                Some(Topic::Detections(_)) => self.detections.refuse(publisher, &message, &reason),
                _ => PublishDecision::Immediate(PublishOutcome::refused(Reason::NotAuthorized, reason)),
            };
        }
        if let (Some(Topic::Detections(camera)), true) = (known, publisher.who != Identity::Hub) {
            return self.detections.submit(publisher, camera, message);
        }
        if known == Some(Topic::LockStatus) && publisher.who != Identity::Hub {
            if !is_will {
                self.agent_slot.tells(publisher.number);
            } else if self.agent_slot.has_moved_on(publisher.number) {
                tracing::info!(who = %publisher.who, "the lock agent is back by another session: its old will is void");
                return PublishDecision::Immediate(PublishOutcome::done(None));
            }
        }
        message.retain &= may_be_retained(&message.topic);
        if message.retain {
            message.owner = Some((*publisher.bytes.holder(), publisher.bytes.standing()));
        }
        if message.retain && !self.router.retained().lock().has_room(&message) {
            let why = "delivered, but there is no room to retain it".to_owned();
            let ack = AckResult::Refused(Reason::QuotaExceeded, why);
            return PublishDecision::Immediate(PublishOutcome { ack, route: Some(message) });
        }
        PublishDecision::Immediate(PublishOutcome::done(Some(message)))
    }

    /// Gives subscribers what goes on to them, and answers what the acknowledgement says: the one way from an outcome
    /// to the router.
    ///
    /// # Errors
    /// When the router is dead. It stops the hub by itself, so who has nothing to end passes over this.
    pub async fn route(&self, outcome: PublishOutcome) -> Result<AckResult, Dead> {
        if let Some(message) = outcome.route {
            self.router.publish(message).await?;
        }
        Ok(outcome.ack)
    }

    /// Publishes on behalf of somebody who does not wait for an acknowledgement: a will, a worker in the process.
    pub async fn publish(&self, publisher: &Publisher, publication: Publication) {
        if !topic::valid_topic(&publication.message.topic) {
            tracing::warn!(who = %publisher.who, topic = %publication.message.topic, "no topic to publish to");
            return;
        }
        let outcome = match self.decide(publisher, publication) {
            PublishDecision::Immediate(outcome) => outcome,
            PublishDecision::Deferred(future) => future.await,
        };
        let _ = self.route(outcome).await;
    }

    /// Whether nobody subscribes to what goes on, not even somebody who is away. Never for the hub's own topics: the
    /// hub itself hears them.
    #[must_use]
    pub fn has_no_subscribers(&self, outcome: &PublishOutcome) -> bool {
        let message = outcome.route.as_ref();
        message.is_some_and(|one| !topic::is_reserved(&one.topic) && !self.router.has_subscribers(&one.topic))
    }

    /// Counts and logs a PUBLISH that somebody had no right to.
    pub fn count_refusal(&self, publisher: &Publisher, topic: &str, rule: &str) {
        self.metrics.refused_publishes.one();
        if let Some(held_back) = self.refusals.may_log(&publisher.who, publisher.origin.address()) {
            tracing::warn!(who = %publisher.who, topic, rule, held_back, "refused a PUBLISH");
        }
    }
}

/// Whether the topic's last message is kept: the users' own topics', and those of the hub's that say how things are.
fn may_be_retained(name: &str) -> bool {
    match Topic::parse(name) {
        Some(Topic::CameraStatus(_) | Topic::CameraOccupancy(_) | Topic::LockStatus | Topic::HubStatus) => true,
        Some(_) => false,
        None => !topic::is_reserved(name),
    }
}
