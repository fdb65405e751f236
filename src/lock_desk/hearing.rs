//! What the lock worker says, as it comes through the hub's own link.

use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    hubs_word,
    pending::Pending,
    reports::{Reports, until},
    state::{Follower, LockState, News, clean},
};
use crate::{
    domain::{event::EventType, lock::LockStatus, topic::Topic},
    mqtt::link::{Incoming, Message},
    wire::lock::{Response, Status},
};

/// How long the worker's last words are waited for when the hub stops: that the door was closed is one of them. A
/// worker on another machine goes on, so this is all the time that it costs.
const FAREWELL: Duration = Duration::from_millis(300);

/// How long the words of a worker whose session has ended may still be under way: what the relay did last, and why it
/// went.
const UNDER_WAY: Duration = Duration::from_millis(200);

/// What the stored events tell of the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    /// What the newest movement left the relay as.
    pub(super) relay: LockStatus,
    /// Who opened the door last.
    pub(super) opened_by: Option<String>,
}

/// Listens to the worker.
#[derive(Debug)]
pub(super) struct Hearing {
    pub(super) incoming: mpsc::Receiver<Incoming>,
    pub(super) outgoing: mpsc::Sender<Message>,
    /// A session that ends tells of the worker's end even if the worker left no will, or an odd one.
    pub(super) worker_is_there: watch::Receiver<bool>,
    /// When the worker counts as gone, since its session has ended.
    pub(super) gone_at: Option<Instant>,
    /// It counts as gone.
    pub(super) is_gone: bool,
    pub(super) follower: Follower,
    /// What the newest stored movement left the relay as, once that is known.
    pub(super) remembered: Option<oneshot::Receiver<Remembered>>,
    pub(super) state: watch::Sender<LockState>,
    pub(super) pending: Pending,
    pub(super) reports: Reports,
    /// The hub stops: that the worker goes too is no news.
    pub(super) stopping: CancellationToken,
    /// No command is under way any more.
    pub(super) settled: CancellationToken,
}

impl Hearing {
    /// Listens until every command is settled after the hub began to stop.
    ///
    /// # Errors
    /// When the link's carrier is gone before: without it nobody can work the lock.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let settled = self.settled.clone();
        loop {
            let worker_may_speak = self.follower.state().status.online;
            let incoming = tokio::select! {
                incoming = self.incoming.recv() => incoming,
                is_there = next(&mut self.worker_is_there) => {
                    self.gone_at = (!is_there).then(|| Instant::now() + UNDER_WAY);
                    self.is_gone = false;
                    continue;
                }
                stored = stored(&mut self.remembered) => {
                    self.remembered = None;
                    self.remember(stored);
                    continue;
                }
                () = until(self.gone_at), if self.gone_at.is_some() => {
                    self.gone();
                    continue;
                }
                () = last_words(&settled, worker_may_speak) => return Ok(()),
            };
            match incoming {
                Some(Incoming::Message(message)) => self.hear(&message),
                Some(Incoming::Connected) => tracing::debug!("the lock desk listens"),
                Some(Incoming::Disconnected(reason)) => self.go_deaf(&reason),
                None if self.stopping.is_cancelled() => return Ok(()),
                None => anyhow::bail!("the lock desk's link to the broker ended"),
            }
        }
    }

    fn remember(&mut self, Remembered { relay, opened_by }: Remembered) {
        self.follower.remember_opener(opened_by);
        let state = self.follower.state();
        self.state.send_if_modified(|shown| {
            let is_news = shown.opened_by != state.opened_by;
            shown.opened_by.clone_from(&state.opened_by);
            is_news
        });
        if let Some(news) = self.follower.remember(relay) {
            self.reports.tell(news);
        }
    }

    fn hear(&mut self, message: &Message) {
        let read = match Topic::parse(&message.topic) {
            Some(Topic::LockStatus) => self.hear_status(message),
            Some(Topic::LockResponse) => serde_json::from_slice(&message.payload).map(|response| self.answer(response)),
            _ => return,
        };
        if let Err(error) = read {
            tracing::warn!(topic = message.topic, "the lock worker says what cannot be read: {error}");
        }
    }

    fn hear_status(&mut self, message: &Message) -> serde_json::Result<()> {
        let nobody_is_there = self.is_gone && !*self.worker_is_there.borrow();
        match serde_json::from_slice::<Status>(&message.payload) {
            Ok(status) if status.online && nobody_is_there => {
                tracing::warn!("lock/status says that a lock worker is online, and none has a session");
                self.contradict("no lock worker has a session");
            }
            Ok(status) => self.take(status),
            Err(error) => {
                if nobody_is_there {
                    self.contradict("the lock worker left words that cannot be read");
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The worker's session has ended, and its own last words, if any, have been heard.
    fn gone(&mut self) {
        (self.gone_at, self.is_gone) = (None, true);
        if self.follower.state().status.online {
            self.contradict("its session ended without its word");
        }
    }

    /// Says in the worker's place that it is not there.
    fn contradict(&mut self, reason: &str) {
        let Status { pin, simulated, .. } = self.follower.state().status;
        let status = Status::offline(pin, simulated, reason, Utc::now());
        if let Err(error) = self.outgoing.try_send(hubs_word(&status)) {
            tracing::error!("lock/status is not corrected on MQTT: {error}");
        }
        self.take(status);
    }

    fn take(&mut self, status: Status) {
        let before = self.follower.state().status.status;
        let command = status.command_id;
        let news = self.follower.take(status, Utc::now());
        let state = self.follower.state().clone();
        let after = state.status.status;
        // The state first: who hears of the command's end finds the state after it.
        self.state.send_replace(state);
        if let Some(command) = command {
            self.pending.moved(command, before, after);
        }
        self.tell(news);
    }

    fn go_deaf(&mut self, reason: &str) {
        let news = self.follower.deaf(&clean(reason), Utc::now());
        self.state.send_replace(self.follower.state().clone());
        self.tell(news);
    }

    fn answer(&self, response: Response) {
        let (command, outcome) = (response.command_id, response.outcome);
        if !self.pending.responded(response) {
            tracing::warn!(%command, ?outcome, "the lock worker answers a command that nobody waits for");
        }
    }

    fn tell(&self, news: Vec<News>) {
        for news in news {
            if news.occurrence.event_type != EventType::SystemAlert || !self.stopping.is_cancelled() {
                self.reports.tell(news);
            }
        }
    }
}

/// Comes true at most once.
async fn stored(remembered: &mut Option<oneshot::Receiver<Remembered>>) -> Remembered {
    if let Some(stored) = remembered {
        if let Ok(stored) = stored.await {
            return stored;
        }
        // The hub stops before it was known. Whoever asks a second time what has been answered would fail.
        *remembered = None;
    }
    std::future::pending().await
}

/// The next change.
async fn next(is_there: &mut watch::Receiver<bool>) -> bool {
    match is_there.changed().await {
        Ok(()) => *is_there.borrow_and_update(),
        // The front is gone, and the link with it, which says more.
        Err(_) => std::future::pending().await,
    }
}

/// Until there is nothing more to hear: no command is under way, and the worker has said that it goes, or has had the
/// time to.
async fn last_words(settled: &CancellationToken, worker_may_speak: bool) {
    settled.cancelled().await;
    if worker_may_speak {
        tokio::time::sleep(FAREWELL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_ever_stored_is_asked_for_in_vain_and_again() {
        let (sender, receiver) = oneshot::channel();
        let mut remembered = Some(receiver);
        drop(sender);
        for _ in 0..3 {
            let asked = tokio::time::timeout(Duration::from_millis(1), stored(&mut remembered));
            assert!(asked.await.is_err());
        }
        let (sender, receiver) = oneshot::channel();
        let mut remembered = Some(receiver);
        let found = Remembered { relay: LockStatus::Open, opened_by: None };
        sender.send(found.clone()).expect("somebody waits");
        assert_eq!(stored(&mut remembered).await, found);
    }
}
