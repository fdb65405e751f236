//! Alerts on their way to the recorder. They wait here while it has no time or no database, so that none is lost for a
//! crowd of detections; each says when it happened, however late it is stored.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Channel, Item, Submission};
use crate::domain::{camera::CameraId, event::Occurrence};

/// How many may wait. When it is full the oldest of the subject that fills it most goes, so that the newest word on each
/// part is kept; what goes is in the log.
const WAITING: usize = 256;
/// How long the recorder may take for those that wait when the hub stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    Camera(CameraId),
    /// A part of the hub, by its name in /readyz.
    Part(&'static str),
    /// Somebody does what they must not.
    Intruder,
}

/// A handle by which alerts are raised. Clones are the same queue.
#[derive(Debug, Clone, Default)]
pub struct Alerts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<VecDeque<(Subject, Occurrence)>>,
    news: Notify,
}

impl Alerts {
    /// Has it logged now, and stored as soon as that can be done. Never waits.
    pub fn raise(&self, subject: Subject, description: String, at: DateTime<Utc>) {
        tracing::warn!("{description}");
        let mut waiting = self.0.waiting.lock();
        if waiting.len() >= WAITING {
            let fullest = fullest(&waiting);
            if let Some((_, lost)) = waiting.remove(fullest) {
                tracing::error!("an alert is not stored, too many wait: {}", lost.description);
            }
        }
        waiting.push_back((subject, Occurrence::alert(description, at)));
        drop(waiting);
        self.0.news.notify_one();
    }

    /// The next one; it stays until it is [`stored`](Self::stored).
    fn oldest(&self) -> Option<(Subject, Occurrence)> {
        self.0.waiting.lock().front().cloned()
    }

    /// Forgets the oldest, unless it went already for want of room.
    fn stored(&self, alert: &(Subject, Occurrence)) {
        let mut waiting = self.0.waiting.lock();
        if waiting.front() == Some(alert) {
            waiting.pop_front();
        }
    }

    /// Hands alerts to the recorder, one after the other, until `stop`; then those that wait, as far as it takes them
    /// soon. Those that it does not are in the log alone.
    ///
    /// # Errors
    /// None.
    pub async fn deliver(self, recorder: mpsc::Sender<Submission>, stop: CancellationToken) -> anyhow::Result<()> {
        let delivering = async {
            loop {
                self.deliver_all(&recorder).await;
                tokio::select! {
                    () = self.0.news.notified() => {}
                    () = stop.cancelled() => return self.deliver_all(&recorder).await,
                }
            }
        };
        tokio::pin!(delivering);
        tokio::select! {
            () = &mut delivering => return Ok(()),
            () = stop.cancelled() => {}
        }
        if tokio::time::timeout(FAREWELL, delivering).await.is_err() {
            let alerts = self.0.waiting.lock().len();
            tracing::warn!(alerts, "ended with alerts that are not stored; they are in this log");
        }
        Ok(())
    }

    async fn deliver_all(&self, recorder: &mpsc::Sender<Submission>) {
        while let Some(alert) = self.oldest() {
            let (submission, outcome) = Submission::new(Channel::Internal, Item::Occurrence(alert.1.clone()));
            if recorder.send(submission).await.is_err() || outcome.await.is_err() {
                return;
            }
            self.stored(&alert);
        }
    }
}

/// Where the oldest alert of the subject with the most of them stands. The very first may be with the recorder already.
fn fullest(waiting: &VecDeque<(Subject, Occurrence)>) -> usize {
    let mut counts = HashMap::new();
    for (subject, _) in waiting.iter().skip(1) {
        *counts.entry(subject).or_insert(0_usize) += 1;
    }
    let most = counts.values().max();
    waiting.iter().skip(1).position(|(subject, _)| counts.get(subject) == most).map_or(0, |place| place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Outcome;

    fn raise(alerts: &Alerts, camera: i32, text: &str) {
        alerts.raise(Subject::Camera(CameraId(camera)), text.to_owned(), DateTime::UNIX_EPOCH);
    }

    /// What the recorder is given next, which it stores.
    async fn store(queue: &mut mpsc::Receiver<Submission>) -> Occurrence {
        let submission = queue.recv().await.expect("a submission");
        let _ = submission.reply.send(Outcome::Ignored);
        let Item::Occurrence(occurrence) = submission.item else { panic!("no occurrence") };
        occurrence
    }

    #[tokio::test]
    async fn while_nobody_stores_the_newest_word_on_each_part_is_kept() {
        let (alerts, stop) = (Alerts::default(), CancellationToken::new());
        raise(&alerts, 1, "camera 1 is lost");
        for number in 0..WAITING * 2 {
            raise(&alerts, 2, &format!("camera 2, {number}"));
        }
        raise(&alerts, 3, "camera 3 is lost");
        let (recorder, mut queue) = mpsc::channel(1);
        let delivering = tokio::spawn(alerts.clone().deliver(recorder, stop.clone()));
        let mut told = Vec::new();
        for _ in 0..WAITING {
            told.push(store(&mut queue).await.description);
        }
        assert_eq!(told[0], "camera 1 is lost");
        assert_eq!(told[1], format!("camera 2, {}", WAITING + 2));
        assert_eq!(told[WAITING - 1], "camera 3 is lost");
        raise(&alerts, 4, "the newest");
        assert_eq!(store(&mut queue).await.description, "the newest");
        stop.cancel();
        delivering.await.expect("ends").expect("well");
        assert!(queue.recv().await.is_none());
    }

    #[tokio::test]
    async fn one_that_the_recorder_did_not_store_stays_and_the_stop_does_not_wait_for_it() {
        let (alerts, stop) = (Alerts::default(), CancellationToken::new());
        let (recorder, mut queue) = mpsc::channel(8);
        let delivering = tokio::spawn(alerts.clone().deliver(recorder, stop.clone()));
        raise(&alerts, 1, "camera 1 is lost");
        let kept = queue.recv().await.expect("a submission");
        stop.cancel();
        tokio::time::timeout(FAREWELL * 10, delivering).await.expect("in time").expect("ends").expect("well");
        drop(kept);
        assert_eq!(alerts.oldest().map(|(_, alert)| alert.description).as_deref(), Some("camera 1 is lost"));
    }
}
