//! A detection that came by MQTT: to the recorder, and on to subscribers once it is committed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Answer, Sender, Settled, Verdict};
use crate::{
    domain::{camera::CameraId, text::cut_to_bytes},
    events::{Channel, Item, Malformed, Outcome, Submission},
    mqtt::{
        codec::packet::Reason,
        front::Core,
        router::message::{Message, compact},
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
    let submission = Submission::new(Channel::Mqtt, Item::Detection(detection));
    tracing::debug!(parent: &submission.0.arrival.span, who = %sender.who, "a detection came");
    let submitted = Submitted::begin(core, sender, submission, Counts::Yes);
    let (core, sender) = (core.clone(), sender.clone());
    Verdict::Later(Box::pin(async move {
        let _held = held;
        let why = match submitted.outcome(&core).await {
            None => return unknown(),
            Some(Outcome::Stored(_) | Outcome::Duplicate(_)) => return Settled::done(is_heard.then_some(message)),
            Some(Outcome::Ignored) => return Settled::done(None),
            Some(Outcome::Rejected(why)) => why,
            Some(Outcome::UnknownCamera) => format!("Camera with ID {camera} not found"),
        };
        // It is in the accounts as rejected; keeping its text is no second detection.
        keep(&core, &sender, excerpt(&message, &sender, &why), Reason::PayloadFormatInvalid, Counts::No).await
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
        keep(&core, &sender, malformed, reason, Counts::Yes).await
    }))
}

/// What is kept of a message: no more of its payload than a person needs.
fn excerpt(message: &Message, sender: &Sender, reason: &str) -> Malformed {
    let (topic, payload) = (message.topic.to_string(), head(&message.payload));
    let reason = cut_to_bytes(reason, REASON_MAX).into_owned();
    Malformed { topic, payload, reason, source: sender.who.to_string() }
}

fn head(payload: &Bytes) -> Bytes {
    compact(&payload.slice(..payload.len().min(KEPT)))
}

/// Has it kept for a person to read; then its sender is told.
async fn keep(core: &Core, sender: &Sender, malformed: Malformed, reason: Reason, counts: Counts) -> Settled {
    core.gauges.malformed_detections.one();
    let why = malformed.reason.clone();
    let submission = Submission::new(Channel::Mqtt, Item::Malformed(malformed));
    match Submitted::begin(core, sender, submission, counts).outcome(core).await {
        None => unknown(),
        Some(_) => Settled::refused(reason, why),
    }
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

/// Something on its way to the recorder.
struct Submitted {
    /// What has found no room yet.
    waiting: Option<Submission>,
    answer: oneshot::Receiver<Outcome>,
    abandoned: CancellationToken,
    counts: Counts,
}

impl Submitted {
    /// Takes its place in the recorder's queue at once, if there is one: so detections keep their order.
    fn begin(
        core: &Core,
        sender: &Sender,
        (submission, answer): (Submission, oneshot::Receiver<Outcome>),
        counts: Counts,
    ) -> Self {
        let waiting = match core.hooks.submissions.try_reserve() {
            Ok(room) => {
                place(core, room, submission, counts);
                None
            }
            Err(_) => Some(submission),
        };
        Self { waiting, answer, abandoned: sender.abandoned.clone(), counts }
    }

    /// Waits for room and then for the answer; none if there is no recorder any more, or if the session has ended before
    /// there was room.
    async fn outcome(self, core: &Core) -> Option<Outcome> {
        if let Some(submission) = self.waiting {
            let room = tokio::select! {
                room = core.gauges.waiting_detections.during(core.hooks.submissions.reserve()) => room.ok()?,
                () = self.abandoned.cancelled() => return None,
            };
            place(core, room, submission, self.counts);
        }
        self.answer.await.ok()
    }
}

/// In flight from here on, whether or not somebody waits for the answer.
fn place(core: &Core, room: mpsc::Permit<'_, Submission>, submission: Submission, counts: Counts) {
    let ticket = (counts == Counts::Yes).then(|| core.hooks.accounts.mqtt.receive());
    room.send(Submission { ticket, ..submission });
}
