//! The persistence worker: the one way into the events table.
//!
//! Whatever arrives while a commit runs goes into the next one: no timer, so that an idle hub is quick and a busy one
//! stores large groups. One commit at a time, so that ids become visible in order and a replay by id skips none.
//! A submission is answered, and its event announced, only after its commit. While Postgres is away the group waits
//! and is tried again; what cannot wait fills the queue, and the front stops reading.
//!
//! Must not know MQTT, HTTP or Socket.io.

mod group;
mod progress;

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::{
    group::{Answer, Group, is_about_data},
    progress::Progress,
};
use crate::{
    events::{Announcer, Submission},
    lifecycle::Backoff,
    store::{
        self, Database, Kept,
        recording::{self, ATTEMPT},
    },
    telemetry::metrics::Metrics,
};

/// The largest group for one commit: larger ones no longer raise throughput, but delay the first of the group.
const GROUP: usize = 1000;
/// Pauses between tries while Postgres is away.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What the recorder works with.
#[derive(Debug)]
pub struct Recorder {
    connection: Kept,
    announcer: Announcer,
    /// Why a group cannot be stored, while it cannot: the database is away, or its disk is full.
    stalled: watch::Sender<Option<String>>,
    metrics: Metrics,
    progress: Progress,
}

impl Recorder {
    #[must_use]
    pub fn new(database: &Database, announcer: Announcer, stalled: watch::Sender<Option<String>>) -> Self {
        Self {
            connection: recording::connection(database),
            announcer,
            stalled,
            metrics: Metrics::default(),
            progress: Progress::default(),
        }
    }

    /// Counts in these metrics.
    #[must_use]
    pub fn measured(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Stores what comes through the queue until `stop`, then what is left in it, unless the database is away when
    /// `give_up` is cancelled: then the rest stays unacknowledged. What is stored is told of while the next group is being
    /// committed: Postgres and the hub work at the same time.
    ///
    /// # Errors
    /// None: a database that is away is waited for.
    pub async fn run(
        self,
        queue: mpsc::Receiver<Submission>,
        stop: CancellationToken,
        give_up: CancellationToken,
    ) -> anyhow::Result<()> {
        let (committed, to_tell) = mpsc::channel(1);
        let telling = tell(to_tell, self.announcer.clone(), self.metrics.clone());
        let ((), ()) = tokio::join!(self.store_all(queue, stop, give_up, committed), telling);
        Ok(())
    }

    async fn store_all(
        mut self,
        mut queue: mpsc::Receiver<Submission>,
        stop: CancellationToken,
        give_up: CancellationToken,
        committed: mpsc::Sender<Committed>,
    ) {
        let mut waiting = Vec::with_capacity(GROUP);
        loop {
            let count = tokio::select! {
                biased;
                count = queue.recv_many(&mut waiting, GROUP) => count,
                () = stop.cancelled(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
            };
            if count == 0 {
                // Nobody is left who could submit anything.
                return stop.cancelled().await;
            }
            let group = Group::new(waiting.drain(..));
            if give_up.run_until_cancelled(self.record(group, &committed)).await.is_none() {
                tracing::warn!(
                    submissions = count + queue.len(),
                    "ended with submissions unrecorded and unacknowledged"
                );
                return;
            }
        }
    }

    /// Stores one group. One bad row must not sink it: then each submission gets a commit of its own, and the bad one is
    /// rejected.
    async fn record(&mut self, group: Group, committed: &mpsc::Sender<Committed>) {
        match self.store(&group).await {
            // Whoever tells lives until this sender is gone.
            Ok(answers) => drop(committed.send((group, answers)).await),
            Err(error) => {
                tracing::warn!("the database refuses a row of a group, each is tried alone: {error}");
                for single in group.split() {
                    match self.store(&single).await {
                        Ok(answers) => drop(committed.send((single, answers)).await),
                        Err(error) => {
                            tracing::warn!("the database refuses a row: {error}");
                            single.refuse("the database refuses it; the hub's log says why");
                        }
                    }
                }
            }
        }
    }

    /// Commits a group, waiting for the database as long as it takes.
    ///
    /// # Errors
    /// Only what would come again: a row that the database refuses.
    async fn store(&mut self, group: &Group) -> Result<Vec<Answer>, store::Error> {
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        loop {
            let begun = Instant::now();
            let error = match self.attempt(group).await {
                Err(error) if !is_about_data(&error) => error,
                done => {
                    if done.is_ok() {
                        self.metrics.committed(group.len(), begun.elapsed());
                    }
                    self.stalled.send_if_modified(|why| why.take().is_some());
                    return done;
                }
            };
            if self.stalled.send_replace(Some(error.to_string())).is_none() {
                tracing::warn!(submissions = group.len(), "the database is away, detections wait: {error}");
            }
            self.metrics.retried();
            // It may have been stored without our hearing of it.
            self.progress.be_wary();
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// One try, which ends: a connection that the network has lost without a word would never answer.
    async fn attempt(&mut self, group: &Group) -> Result<Vec<Answer>, store::Error> {
        let Self { connection, progress, .. } = self;
        connection.within(ATTEMPT, async |connection| progress.commit(connection, group).await).await
    }
}

/// A group whose commit is done, and what became of each of its submissions.
type Committed = (Group, Vec<Answer>);

/// Tells senders and listeners what became of each group, in the order of the commits.
async fn tell(mut committed: mpsc::Receiver<Committed>, announcer: Announcer, metrics: Metrics) {
    while let Some((group, answers)) = committed.recv().await {
        group.answer(answers, &announcer, &metrics).await;
    }
}
