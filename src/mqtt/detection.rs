//! A detection that came by MQTT: to the recorder, and on to subscribers once it is committed.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    decode,
    front::Core,
    message::Message,
    packet::Reason,
    publish::{Answer, Sender, Settled, Verdict},
};
use crate::{
    domain::{camera::CameraId, text::cut_to_bytes},
    events::{Channel, Item, Malformed, Outcome, intake::Submitted},
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

/// Gives a detection to the recorder; settled when it answers, however long that takes.
pub fn judge(core: &Arc<Core>, sender: &Sender, camera: CameraId, message: Message) -> Verdict {
    if message.payload.len() > LONGEST {
        let why = format!("a detection longer than {LONGEST} bytes");
        return malformed(core, sender, &message, &why, Reason::PayloadFormatInvalid);
    }
    let detection = match wire::detection::decode(camera, &message.payload) {
        Ok(detection) => detection,
        Err(faults) => return malformed(core, sender, &message, &faults.to_string(), Reason::PayloadFormatInvalid),
    };
    let texts = [&detection.snapshot_path, &detection.description].into_iter().flatten().map(String::capacity);
    let texts: usize = texts.sum();
    // Where nobody hears it the payload goes no further, and waits only for the case that it is refused.
    let is_heard = core.router.is_heard(&message.topic);
    let payload = if is_heard { message.payload } else { head(&message.payload) };
    let message = Message { retain: false, payload, ..message };
    let held = sender.uncommitted.hold((OVERHEAD + texts + message.cost()) as u64);
    // Takes its place in the recorder's queue at once, if there is one: so detections keep their order.
    let submitted = core.hooks.recorder.submit(Channel::Mqtt, Item::Detection(detection));
    tracing::debug!(parent: submitted.span(), who = %sender.who, "a detection came");
    let (core, sender) = (core.clone(), sender.clone());
    Verdict::Later(Box::pin(async move {
        let _held = held;
        let why = match outcome(&core, &sender.abandoned, submitted).await {
            None => return unknown(),
            Some(Outcome::Stored(_) | Outcome::Duplicate(_)) => return Settled::done(is_heard.then_some(message)),
            Some(Outcome::Ignored) => return Settled::done(None),
            Some(Outcome::Rejected(why)) => why,
            Some(Outcome::UnknownCamera) => format!("Camera with ID {camera} not found"),
        };
        // It is counted as rejected; keeping its text is no second detection.
        let malformed = excerpt(&message, &sender, &why);
        let submitted = core.hooks.recorder.submit_uncounted(Channel::Mqtt, Item::Malformed(malformed));
        kept(&core, &sender, submitted, why, Reason::PayloadFormatInvalid).await
    }))
}

/// Keeps a detection that its sender had no right to.
pub fn refused(core: &Arc<Core>, sender: &Sender, message: &Message, why: &str) -> Verdict {
    malformed(core, sender, message, why, Reason::NotAuthorized)
}

fn malformed(core: &Arc<Core>, sender: &Sender, message: &Message, why: &str, reason: Reason) -> Verdict {
    let held = sender.uncommitted.hold((OVERHEAD + why.len() + message.payload.len().min(KEPT)) as u64);
    let malformed = excerpt(message, sender, why);
    let (core, sender) = (core.clone(), sender.clone());
    Verdict::Later(Box::pin(async move {
        let _held = held;
        let why = malformed.reason.clone();
        let submitted = core.hooks.recorder.submit(Channel::Mqtt, Item::Malformed(malformed));
        kept(&core, &sender, submitted, why, reason).await
    }))
}

/// What is kept of a message: no more of its payload than a person needs.
fn excerpt(message: &Message, sender: &Sender, reason: &str) -> Malformed {
    let (topic, payload) = (message.topic.to_string(), head(&message.payload));
    let reason = cut_to_bytes(reason, REASON_MAX).into_owned();
    Malformed { topic, payload, reason, source: sender.who.to_string() }
}

fn head(payload: &Bytes) -> Bytes {
    decode::compact(&payload.slice(..payload.len().min(KEPT)))
}

/// Waits until it is kept for a person to read; then its sender is told.
async fn kept(core: &Core, sender: &Sender, submitted: Submitted, why: String, reason: Reason) -> Settled {
    core.gauges.malformed_detections.one();
    match outcome(core, &sender.abandoned, submitted).await {
        None => unknown(),
        Some(_) => Settled::refused(reason, why),
    }
}

fn unknown() -> Settled {
    Settled { answer: Answer::Unknown, route: None }
}

/// Waits for room and then for the answer; none if there is no recorder any more, or if the session has ended before
/// there was room.
async fn outcome(core: &Core, abandoned: &CancellationToken, submitted: Submitted) -> Option<Outcome> {
    if !submitted.is_waiting() {
        return submitted.outcome().await;
    }
    let answer = tokio::select! {
        answer = core.gauges.waiting_detections.during(submitted.placed()) => answer?,
        () = abandoned.cancelled() => return None,
    };
    answer.await.ok()
}
