//! The one way into the recorder: a place in its queue, the counters of what was taken in, and the answer.
//!
//! A detection is counted as received in the moment in which it gets its place, and as what became of it in the moment in
//! which it is answered, so that nobody else has to count. Who waits for a place (MQTT, which reads no further meanwhile)
//! uses [`Intake::submit`]; who would rather be told at once that there is none (HTTP) uses [`Intake::try_submit`].
//!
//! Must not know what the recorder does with it.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use super::{
    Channel, Item, Outcome, Reply, Submission,
    counters::{ChannelCounters, DetectionCounters},
};

/// How many submissions may wait. When it is full, MQTT clients feel it as later PUBACKs and HTTP as 503.
pub const WAITING: usize = 4096;
/// How long a submission that does not wait for room waits for its commit.
const PATIENCE: Duration = Duration::from_secs(5);

/// The recorder cannot take it now; to be tried again soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the recorder is busy or the database is away")]
pub struct Busy;

/// A handle by which detections and occurrences are submitted. All clones have one queue and count together.
#[derive(Debug, Clone)]
pub struct Intake {
    queue: mpsc::Sender<Submission>,
    counters: DetectionCounters,
}

impl Intake {
    /// The handle, and the queue behind it, for the recorder.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Submission>) {
        Self::with_room(WAITING)
    }

    /// The same, with a queue of so many places.
    #[must_use]
    pub fn with_room(places: usize) -> (Self, mpsc::Receiver<Submission>) {
        let (queue, submissions) = mpsc::channel(places);
        (Self { queue, counters: DetectionCounters::default() }, submissions)
    }

    /// The counters of the detections that got a place here, or were refused before.
    #[must_use]
    pub fn counters(&self) -> &DetectionCounters {
        &self.counters
    }

    /// For those who ask how full the queue is, and must not keep it open.
    #[must_use]
    pub fn queue(&self) -> Queue {
        Queue { places: self.queue.max_capacity(), queue: self.queue.downgrade() }
    }

    /// Takes the next place in the queue at once, if there is one: so what one sender submits keeps its order. Else the
    /// place is waited for with the answer.
    pub fn submit(&self, channel: Channel, item: Item) -> Submitted {
        let counters = self.counters_of(channel, &item).cloned();
        self.place(channel, item, counters)
    }

    /// The same for something that is counted already, as the text of a detection that was refused.
    pub fn submit_uncounted(&self, channel: Channel, item: Item) -> Submitted {
        self.place(channel, item, None)
    }

    /// Has an item recorded and says what became of it, after the commit.
    ///
    /// # Errors
    /// [`Busy`] at once when the queue is full, or when there is no commit within 5 s. Then it may still be stored
    /// later: who tries again with the same detection id stores it once.
    pub async fn try_submit(&self, channel: Channel, item: Item) -> Result<Outcome, Busy> {
        let counters = self.counters_of(channel, &item);
        let room = self.queue.try_reserve().map_err(|_| {
            if let Some(counters) = counters {
                counters.turn_away();
            }
            Busy
        })?;
        let (submission, answer) = Submission::new(channel, item);
        tracing::debug!(parent: &submission.arrival.span, "submitted");
        send(room, submission, counters);
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| Busy)?.map_err(|_| Busy)
    }

    fn place(&self, channel: Channel, item: Item, counters: Option<ChannelCounters>) -> Submitted {
        let (submission, answer) = Submission::new(channel, item);
        let span = submission.arrival.span.clone();
        let waiting = match self.queue.try_reserve() {
            Ok(room) => {
                send(room, submission, counters.as_ref());
                None
            }
            Err(_) => Some(Waiting { queue: self.queue.clone(), submission, counters }),
        };
        Submitted { waiting, answer, span }
    }

    /// Where an item counts: what the hub itself has to say is no detection.
    fn counters_of(&self, channel: Channel, item: &Item) -> Option<&ChannelCounters> {
        match (channel, item) {
            (Channel::Internal, _) | (_, Item::Occurrence(_)) => None,
            (Channel::Mqtt, Item::Detection(_) | Item::Malformed(_)) => Some(&self.counters.mqtt),
            (Channel::Http, Item::Detection(_) | Item::Malformed(_)) => Some(&self.counters.http),
        }
    }
}

/// In flight from here on, whether or not somebody waits for the answer.
fn send(room: mpsc::Permit<'_, Submission>, submission: Submission, counters: Option<&ChannelCounters>) {
    let reply = Reply { in_flight: counters.map(ChannelCounters::receive), ..submission.reply };
    room.send(Submission { reply, ..submission });
}

/// Something on its way to the recorder. Dropped before it has a place, it was never received; dropped after that, it is
/// stored all the same.
#[derive(Debug)]
#[must_use = "what is waited for by nobody may not be recorded"]
pub struct Submitted {
    waiting: Option<Waiting>,
    answer: oneshot::Receiver<Outcome>,
    span: Span,
}

/// What has found no room yet.
#[derive(Debug)]
struct Waiting {
    queue: mpsc::Sender<Submission>,
    submission: Submission,
    counters: Option<ChannelCounters>,
}

impl Submitted {
    /// Whether it has no place in the queue yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The span of its way, for the log.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Waits for a place; then for where the answer will come. None if there is no recorder any more.
    pub async fn placed(self) -> Option<oneshot::Receiver<Outcome>> {
        if let Some(Waiting { queue, submission, counters }) = self.waiting {
            send(queue.reserve().await.ok()?, submission, counters.as_ref());
        }
        Some(self.answer)
    }

    /// What became of it, after the commit, however long that takes. None if there is no recorder any more.
    pub async fn outcome(self) -> Option<Outcome> {
        self.placed().await?.await.ok()
    }
}

/// How full the recorder's queue is.
#[derive(Debug, Clone)]
pub struct Queue {
    places: usize,
    queue: mpsc::WeakSender<Submission>,
}

impl Queue {
    /// How many submissions it has room for in all.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places
    }

    /// How many wait in it now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.queue.upgrade().map_or(0, |queue| self.places - queue.capacity())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        domain::{camera::CameraId, detection::Detection},
        events::{Malformed, counters::Counts},
    };

    fn detection() -> Item {
        Item::Detection(Detection {
            camera_id: CameraId(1),
            person_count: 1,
            confidence: None,
            snapshot_path: None,
            description: None,
            detection_id: None,
            detected_at: None,
        })
    }

    fn malformed() -> Item {
        let (topic, reason, source) = ("camera/1/detections".to_owned(), "no JSON".to_owned(), "device:x".to_owned());
        Item::Malformed(Malformed { topic, payload: Bytes::new(), reason, source })
    }

    #[tokio::test]
    async fn what_has_a_place_is_in_flight_until_it_is_answered() {
        let (intake, mut queue) = Intake::with_room(2);
        let submitted = intake.submit(Channel::Mqtt, detection());
        assert!(!submitted.is_waiting());
        let counts = || intake.counters().mqtt.counts();
        assert_eq!(counts(), Counts { received: 1, in_flight: 1, ..Counts::default() });
        let submission = queue.recv().await.expect("a submission");
        submission.reply.send(Outcome::UnknownCamera).expect("somebody waits");
        assert_eq!(counts(), Counts { received: 1, rejected: 1, ..Counts::default() });
        assert!(matches!(submitted.outcome().await, Some(Outcome::UnknownCamera)));
        assert_eq!(intake.counters().http.counts(), Counts::default());
    }

    #[tokio::test]
    async fn a_full_queue_is_waited_for_or_turns_away_and_neither_is_received() {
        let (intake, mut queue) = Intake::with_room(1);
        let _first = intake.submit(Channel::Mqtt, detection());
        assert_eq!((intake.queue().taken(), intake.queue().places()), (1, 1));
        let (second, third) = (intake.submit(Channel::Mqtt, detection()), intake.submit(Channel::Mqtt, detection()));
        assert!(second.is_waiting() && third.is_waiting());
        assert!(matches!(intake.try_submit(Channel::Http, detection()).await, Err(Busy)));
        assert_eq!(intake.counters().http.counts(), Counts { turned_away: 1, ..Counts::default() });
        assert_eq!(intake.counters().mqtt.counts().received, 1);
        drop(third);
        let waiting = tokio::spawn(second.outcome());
        for outcome in [Outcome::Ignored, Outcome::Ignored] {
            let _ = queue.recv().await.expect("a submission").reply.send(outcome);
        }
        assert!(matches!(waiting.await.expect("ends"), Some(Outcome::Ignored)));
        assert_eq!(intake.counters().mqtt.counts(), Counts { received: 2, ignored: 2, ..Counts::default() });
        assert!(queue.try_recv().is_err(), "nothing of who is gone");
    }

    #[tokio::test]
    async fn each_detection_counts_once_and_the_hubs_own_words_never() {
        let (intake, _queue) = Intake::with_room(8);
        let occurrence = crate::domain::event::Occurrence::alert("x".to_owned(), chrono::DateTime::UNIX_EPOCH);
        let _alert = intake.submit(Channel::Internal, Item::Occurrence(occurrence));
        let _own = intake.submit(Channel::Internal, detection());
        let _kept = intake.submit_uncounted(Channel::Mqtt, malformed());
        assert_eq!(intake.counters().mqtt.counts(), Counts::default());
        let _malformed = intake.submit(Channel::Mqtt, malformed());
        assert_eq!(intake.counters().mqtt.counts().received, 1);
    }

    #[tokio::test]
    async fn without_a_recorder_nothing_is_received_and_nobody_waits() {
        let (intake, queue) = Intake::with_room(1);
        drop(queue);
        assert!(intake.submit(Channel::Mqtt, detection()).outcome().await.is_none());
        assert!(matches!(intake.try_submit(Channel::Http, detection()).await, Err(Busy)));
        assert_eq!(intake.counters().mqtt.counts().received, 0);
        assert_eq!(intake.queue().taken(), 0);
    }
}
