//! A detection that came by MQTT: to the recorder, and on to subscribers once it is committed.
//!
//! Must not know how a detection is stored, nor how its outcome is acknowledged.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{camera::CameraId, text::cut_to_bytes},
    events::{
        Channel, Item, Malformed, Outcome,
        intake::{Intake, Submitted},
    },
    mqtt::{
        codec::packet::Reason,
        metrics::FrontMetrics,
        router::{
            Router,
            message::{Message, compact},
        },
        session::publication::{AckResult, PublishDecision, PublishOutcome, Publisher},
    },
    wire,
};

/// The longest body of a detection, in bytes: as much as HTTP takes, and more than any that keeps to its limits.
const LONGEST: usize = 64 * 1024;
/// How much of a refused payload is kept, in bytes: enough for a person to see what was meant.
const KEPT: usize = 4096;
/// The longest reason that is kept and told, in bytes.
const REASON_MAX: usize = 4096;
/// What a waiting detection holds besides what it brought, in bytes, roughly.
const OVERHEAD: usize = 600;

/// The way to the recorder for detections that come by MQTT, and all that it may touch.
#[derive(Debug)]
pub struct DetectionIntake {
    /// Detections, read or malformed, to the recorder. Their acknowledgement waits for the reply.
    pub recorder: Intake,
    pub router: Router,
    pub metrics: Arc<FrontMetrics>,
}

impl DetectionIntake {
    /// Gives a detection to the recorder; settled when it answers, however long that takes.
    #[must_use]
    pub fn submit(self: &Arc<Self>, publisher: &Publisher, camera: CameraId, message: Message) -> PublishDecision {
        if message.payload.len() > LONGEST {
            let why = format!("a detection longer than {LONGEST} bytes");
            return malformed(self, publisher, &message, &why, Reason::PayloadFormatInvalid);
        }
        let detection = match wire::detection::decode(camera, &message.payload) {
            Ok(detection) => detection,
            Err(faults) => {
                return malformed(self, publisher, &message, &faults.to_string(), Reason::PayloadFormatInvalid);
            }
        };
        let texts = [&detection.snapshot_path, &detection.description].into_iter().flatten().map(String::capacity);
        let texts: usize = texts.sum();
        // Where nobody hears it the payload goes no further, and waits only for the case that it is refused.
        let has_subscribers = self.router.has_subscribers(&message.topic);
        let payload = if has_subscribers { message.payload } else { head(&message.payload) };
        let message = Message { retain: false, payload, ..message };
        let held = publisher.uncommitted.hold((OVERHEAD + texts + message.cost()) as u64);
        // Takes its place in the recorder's queue at once, if there is one: so detections keep their order.
        let submitted = self.recorder.submit(Channel::Mqtt, Item::Detection(detection));
        tracing::debug!(parent: submitted.span(), who = %publisher.who, "a detection came");
        let (intake, publisher) = (self.clone(), publisher.clone());
        PublishDecision::Deferred(Box::pin(async move {
            let _held = held;
            let why = match outcome(&intake, &publisher.abandoned, submitted).await {
                None => return unknown(),
                Some(Outcome::Stored(_) | Outcome::Duplicate(_)) => {
                    return PublishOutcome::done(has_subscribers.then_some(message));
                }
                Some(Outcome::Ignored) => return PublishOutcome::done(None),
                Some(Outcome::Rejected(why)) => why,
                Some(Outcome::UnknownCamera) => format!("Camera with ID {camera} not found"),
            };
            // It is counted as rejected; keeping its text is no second detection.
            let malformed = excerpt(&message, &publisher, &why);
            let submitted = intake.recorder.submit_uncounted(Channel::Mqtt, Item::Malformed(malformed));
            kept(&intake, &publisher, submitted, why, Reason::PayloadFormatInvalid).await
        }))
    }

    /// Keeps a detection that its sender had no right to.
    #[must_use]
    pub fn refuse(self: &Arc<Self>, publisher: &Publisher, message: &Message, why: &str) -> PublishDecision {
        malformed(self, publisher, message, why, Reason::NotAuthorized)
    }
}

fn malformed(
    intake: &Arc<DetectionIntake>,
    publisher: &Publisher,
    message: &Message,
    why: &str,
    reason: Reason,
) -> PublishDecision {
    let held = publisher.uncommitted.hold((OVERHEAD + why.len() + message.payload.len().min(KEPT)) as u64);
    let malformed = excerpt(message, publisher, why);
    let (intake, publisher) = (intake.clone(), publisher.clone());
    PublishDecision::Deferred(Box::pin(async move {
        let _held = held;
        let why = malformed.reason.clone();
        let submitted = intake.recorder.submit(Channel::Mqtt, Item::Malformed(malformed));
        kept(&intake, &publisher, submitted, why, reason).await
    }))
}

/// What is kept of a message: no more of its payload than a person needs.
fn excerpt(message: &Message, publisher: &Publisher, reason: &str) -> Malformed {
    let (topic, payload) = (message.topic.to_string(), head(&message.payload));
    let reason = cut_to_bytes(reason, REASON_MAX).into_owned();
    Malformed { topic, payload, reason, source: publisher.who.to_string() }
}

fn head(payload: &Bytes) -> Bytes {
    compact(&payload.slice(..payload.len().min(KEPT)))
}

/// Waits until it is kept for a person to read; then its sender is told.
async fn kept(
    intake: &DetectionIntake,
    publisher: &Publisher,
    submitted: Submitted,
    why: String,
    reason: Reason,
) -> PublishOutcome {
    intake.metrics.malformed_detections.one();
    match outcome(intake, &publisher.abandoned, submitted).await {
        None => unknown(),
        Some(_) => PublishOutcome::refused(reason, why),
    }
}

fn unknown() -> PublishOutcome {
    PublishOutcome { ack: AckResult::Unknown, route: None }
}

/// Waits for room and then for the answer; none if there is no recorder any more, or if the session has ended before
/// there was room.
async fn outcome(intake: &DetectionIntake, abandoned: &CancellationToken, submitted: Submitted) -> Option<Outcome> {
    if !submitted.is_waiting() {
        return submitted.outcome().await;
    }
    let answer = tokio::select! {
        answer = intake.metrics.waiting_detections.during(submitted.placed()) => answer?,
        () = abandoned.cancelled() => return None,
    };
    answer.await.ok()
}
