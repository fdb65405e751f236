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
    Verdict::Later(Box::pin(async move {
        match submit(&core, item).await {
            None => unknown(),
            Some(Outcome::Stored(_) | Outcome::Duplicate(_)) => {
                Settled::done(Some(Message { retain: false, ..message }))
            }
            Some(Outcome::Ignored) => Settled::done(None),
            Some(Outcome::Rejected(why)) => keep(&core, who, &message, why, Reason::PayloadFormatInvalid).await,
            Some(Outcome::UnknownCamera) => {
                let why = format!("Camera with ID {camera} not found");
                keep(&core, who, &message, why, Reason::PayloadFormatInvalid).await
            }
        }
    }))
}

/// Keeps a detection that its sender had no right to.
pub fn refused(core: &Arc<Core>, sender: &Sender, message: &Message, why: String) -> Verdict {
    malformed(core, sender, message, why, Reason::NotAuthorized)
}

fn malformed(core: &Arc<Core>, sender: &Sender, message: &Message, why: String, reason: Reason) -> Verdict {
    let kept = Message { payload: cut(&message.payload), ..message.clone() };
    let (core, who) = (core.clone(), sender.who.to_string());
    Verdict::Later(Box::pin(async move { keep(&core, who, &kept, why, reason).await }))
}

/// Has the message kept for a person to read; then its sender is told.
async fn keep(core: &Core, source: String, message: &Message, why: String, reason: Reason) -> Settled {
    core.gauges.malformed_detections.one();
    let topic = message.topic.to_string();
    let item = Item::Malformed(Malformed { topic, payload: cut(&message.payload), reason: why.clone(), source });
    match submit(core, item).await {
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

/// Waits for room and then for the answer; none if there is no recorder any more.
async fn submit(core: &Core, item: Item) -> Option<Outcome> {
    let (reply, answer) = oneshot::channel();
    core.hooks.submissions.send(Submission { channel: Channel::Mqtt, item, reply }).await.ok()?;
    answer.await.ok()
}
