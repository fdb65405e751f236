//! A detection that came by MQTT: to the recorder, and on to subscribers once it is committed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    decode,
    front::Core,
    message::Message,
    packet::Reason,
    publish::{Answer, Sender, Settled, Verdict},
};
use crate::{
    domain::camera::CameraId,
    events::{Channel, Item, Malformed, Outcome, Submission},
    wire,
};

/// How much of a refused payload is kept, in bytes: enough for a person to see what was meant.
const KEPT: usize = 4096;

/// Gives a detection to the recorder; settled when it answers, however long that takes.
pub fn judge(core: &Arc<Core>, sender: &Sender, camera: CameraId, message: Message) -> Verdict {
    let item = match wire::detection::decode(camera, &message.payload) {
        Ok(detection) => Item::Detection(detection),
        Err(faults) => return malformed(core, sender, &message, faults.to_string(), Reason::PayloadFormatInvalid),
    };
    let (core, who) = (core.clone(), sender.who.to_string());
    let submission = Submission::new(Channel::Mqtt, item);
    tracing::debug!(parent: &submission.0.arrival.span, %who, "a detection came");
    Verdict::Later(Box::pin(async move {
        let why = match submit(&core, submission, Counts::Yes).await {
            None => return unknown(),
            Some(Outcome::Stored(_) | Outcome::Duplicate(_)) => {
                return Settled::done(Some(Message { retain: false, ..message }));
            }
            Some(Outcome::Ignored) => return Settled::done(None),
            Some(Outcome::Rejected(why)) => why,
            Some(Outcome::UnknownCamera) => format!("Camera with ID {camera} not found"),
        };
        // It is in the accounts as rejected; keeping its text is no second detection.
        keep(&core, who, &message, why, Reason::PayloadFormatInvalid, Counts::No).await
    }))
}

/// Keeps a detection that its sender had no right to.
pub fn refused(core: &Arc<Core>, sender: &Sender, message: &Message, why: String) -> Verdict {
    malformed(core, sender, message, why, Reason::NotAuthorized)
}

fn malformed(core: &Arc<Core>, sender: &Sender, message: &Message, why: String, reason: Reason) -> Verdict {
    let kept = Message { payload: cut(&message.payload), ..message.clone() };
    let (core, who) = (core.clone(), sender.who.to_string());
    Verdict::Later(Box::pin(async move { keep(&core, who, &kept, why, reason, Counts::Yes).await }))
}

/// Has the message kept for a person to read; then its sender is told.
async fn keep(core: &Core, source: String, message: &Message, why: String, reason: Reason, counts: Counts) -> Settled {
    core.gauges.malformed_detections.one();
    let topic = message.topic.to_string();
    let item = Item::Malformed(Malformed { topic, payload: cut(&message.payload), reason: why.clone(), source });
    match submit(core, Submission::new(Channel::Mqtt, item), counts).await {
        None => unknown(),
        Some(_) => Settled::refused(reason, why),
    }
}

fn cut(payload: &Bytes) -> Bytes {
    decode::compact(&payload.slice(..payload.len().min(KEPT)))
}

fn unknown() -> Settled {
    Settled { answer: Answer::Unknown, route: None }
}

/// Whether a submission is a detection in the accounts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Yes,
    No,
}

/// Waits for room and then for the answer; none if there is no recorder any more.
async fn submit(
    core: &Core,
    (submission, answer): (Submission, oneshot::Receiver<Outcome>),
    counts: Counts,
) -> Option<Outcome> {
    let queue = &core.hooks.submissions;
    let room = match queue.try_reserve() {
        Ok(room) => room,
        Err(_) => core.gauges.waiting_detections.during(queue.reserve()).await.ok()?,
    };
    // In flight from here on, whether or not somebody waits for the answer.
    let ticket = (counts == Counts::Yes).then(|| core.hooks.accounts.mqtt.receive());
    room.send(Submission { ticket, ..submission });
    answer.await.ok()
}
