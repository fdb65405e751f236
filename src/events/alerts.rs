//! Alerts on their way to the recorder. They wait here while it has no time or no database, so that none is lost for a
//! crowd of detections; each says when it happened, however late it is stored. Those that wait when the hub stops are kept
//! in a file until its next start.

mod kept;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Channel, Item, intake::Intake};
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
    /// What was raised before the hub's last start.
    Before,
}

/// A handle by which alerts are raised. Clones are the same queue.
#[derive(Debug, Clone, Default)]
pub struct Alerts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<VecDeque<(Subject, Occurrence)>>,
    news: Notify,
    /// Where those that wait are kept when the hub stops.
    file: OnceLock<PathBuf>,
}

impl Alerts {
    /// With those that were kept in this file when the hub stopped; and they will be kept there again. The file stays until
    /// they are stored: each is stored once, however often that is tried.
    #[must_use]
    pub fn kept_in(file: PathBuf) -> Self {
        let alerts = Self::default();
        match kept::read(&file) {
            Ok(found) => {
                let found: VecDeque<_> =
                    found.into_iter().take(WAITING).map(|alert| (Subject::Before, alert)).collect();
                if !found.is_empty() {
                    tracing::info!(alerts = found.len(), "alerts from before the last stop are stored now");
                }
                *alerts.0.waiting.lock() = found;
                alerts.0.news.notify_one();
            }
            Err(error) => {
                tracing::error!(
                    "the alerts in {} cannot be read; the log from before has them: {error}",
                    file.display()
                );
            }
        }
        let _ = alerts.0.file.set(file);
        alerts
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.lock().len()
    }

    /// Writes down those that wait; with none there is no file.
    fn keep(&self) {
        let Some(file) = self.0.file.get() else { return };
        let waiting: Vec<_> = self.0.waiting.lock().iter().map(|(_, alert)| alert.clone()).collect();
        if let Err(error) = kept::write(file, &waiting) {
            tracing::error!("alerts cannot be kept in {}: {error}", file.display());
        }
    }

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
        // A key of its own: one that is kept over a restart, and was stored after all, is not stored again.
        waiting.push_back((subject, Occurrence { key: Some(Uuid::now_v7()), ..Occurrence::alert(description, at) }));
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
    /// soon. Those that it does not are kept until the next start.
    ///
    /// # Errors
    /// None.
    pub async fn deliver(self, recorder: Intake, stop: CancellationToken) -> anyhow::Result<()> {
        self.deliver_until(recorder, stop).await;
        self.keep();
        Ok(())
    }

    async fn deliver_until(&self, recorder: Intake, stop: CancellationToken) {
        let delivering = async {
            loop {
                if self.deliver_all(&recorder).await {
                    // What was kept is stored, all of it.
                    self.keep();
                }
                tokio::select! {
                    () = self.0.news.notified() => {}
                    () = stop.cancelled() => {
                        self.deliver_all(&recorder).await;
                        return;
                    }
                }
            }
        };
        tokio::pin!(delivering);
        tokio::select! {
            () = &mut delivering => return,
            () = stop.cancelled() => {}
        }
        if tokio::time::timeout(FAREWELL, delivering).await.is_err() {
            tracing::warn!(
                alerts = self.waiting(),
                "ended with alerts that are not stored; they are kept until the next start"
            );
        }
    }

    /// Whether all are stored.
    async fn deliver_all(&self, recorder: &Intake) -> bool {
        while let Some(alert) = self.oldest() {
            if recorder.submit(Channel::Internal, Item::Occurrence(alert.1.clone())).outcome().await.is_none() {
                return false;
            }
            self.stored(&alert);
        }
        true
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
    use tokio::sync::mpsc;

    use super::*;
    use crate::events::{Outcome, Submission};

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
        let (recorder, mut queue) = Intake::with_room(1);
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
        let (recorder, mut queue) = Intake::with_room(8);
        let delivering = tokio::spawn(alerts.clone().deliver(recorder, stop.clone()));
        raise(&alerts, 1, "camera 1 is lost");
        let kept = queue.recv().await.expect("a submission");
        stop.cancel();
        tokio::time::timeout(FAREWELL * 10, delivering).await.expect("in time").expect("ends").expect("well");
        drop(kept);
        assert_eq!(alerts.oldest().map(|(_, alert)| alert.description).as_deref(), Some("camera 1 is lost"));
    }

    #[tokio::test]
    async fn those_that_wait_at_the_stop_are_told_at_the_next_start_with_their_time_and_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("alerts");
        let (alerts, stop) = (Alerts::kept_in(file.clone()), CancellationToken::new());
        let (recorder, mut queue) = Intake::with_room(8);
        raise(&alerts, 1, "camera 1 is lost");
        raise(&alerts, 2, "camera 2 is lost");
        let delivering = tokio::spawn(alerts.deliver(recorder, stop.clone()));
        let unheard = queue.recv().await.expect("a submission");
        stop.cancel();
        delivering.await.expect("ends").expect("well");
        drop(unheard);
        assert!(file.exists());

        // The first was stored after all, which its key tells.
        let again = Alerts::kept_in(file.clone());
        let told = again.0.waiting.lock().clone();
        assert_eq!(again.waiting(), 2);
        assert!(told.iter().all(|(_, alert)| alert.key.is_some() && alert.at == DateTime::UNIX_EPOCH));
        let (recorder, mut queue) = Intake::with_room(8);
        let stop = CancellationToken::new();
        let delivering = tokio::spawn(again.clone().deliver(recorder, stop.clone()));
        for (_, alert) in &told {
            assert_eq!(store(&mut queue).await, *alert);
        }
        stop.cancel();
        delivering.await.expect("ends").expect("well");
        assert!(!file.exists(), "all are stored");
        assert_eq!(Alerts::kept_in(file).waiting(), 0);
    }
}
