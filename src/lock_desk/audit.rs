//! The one writer of the lock's audit, and the one who verifies it.
//!
//! Must not know the lock: it is given entries and puts them into the chain in the order they come.

use std::{collections::VecDeque, path::Path, time::Duration};

use chrono::Utc;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{ledger::Ledger, reports::Reports, state::Subject};
use crate::{
    auth::chain::{ChainKey, Head, Report, Verification},
    store::{
        self, Connection, Database,
        lock_audit::{self, Entry, Kind, Row},
    },
    wire::time::millis,
};

/// How long a request waits for its row. The door stays shut when there is none by then.
pub(super) const RECORD_WITHIN: Duration = Duration::from_secs(1);
/// How many rows may wait. When it is full the asker waits, for no longer than [`RECORD_WITHIN`].
const WAITING: usize = 256;
/// When a database that does not answer is given up on; what became of the row is looked up afterwards.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between tries at a row that has to be written.
const PAUSE: Duration = Duration::from_millis(500);
/// How far back a detection may be to count as the one who stood there.
const WITNESS: chrono::TimeDelta = chrono::TimeDelta::seconds(30);
/// How many attempts of unknown fate are remembered.
const DOUBTFUL: usize = 16;
/// How many rows are read at once.
const PAGE: i64 = 1000;

/// A row to write, and who waits for it.
#[derive(Debug)]
enum Job {
    /// Not written when nobody waits any more. Answered with its number.
    Attempt(Entry, oneshot::Sender<i64>),
    /// Tried until it is written: it says what has happened already.
    Lasting(Entry, oneshot::Sender<()>),
}

/// The way to the writer.
#[derive(Debug, Clone)]
pub(super) struct Audit(mpsc::Sender<Job>);

impl Audit {
    /// Records an attempt: its number, once it is committed. None means that the command must not leave.
    pub(super) async fn attempt(&self, entry: Entry) -> Option<i64> {
        let (recorded, mut number) = oneshot::channel();
        let write = async {
            self.0.send(Job::Attempt(entry, recorded)).await.ok()?;
            (&mut number).await.ok()
        };
        if let Ok(number) = timeout(RECORD_WITHIN, write).await {
            return number;
        }
        // From here on the writer hears that nobody waits; what it said before that counts.
        number.close();
        number.try_recv().ok()
    }

    /// Records what has happened. It will be written, also when this stops waiting.
    pub(super) async fn lasting(&self, entry: Entry) {
        let (recorded, written) = oneshot::channel();
        let write = async {
            self.0.send(Job::Lasting(entry, recorded)).await.ok()?;
            written.await.ok()
        };
        if timeout(RECORD_WITHIN, write).await.ok().flatten().is_none() {
            tracing::warn!("the lock's audit is behind: the database does not take a row");
        }
    }
}

/// Puts entries into the chain.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Receiver<Job>,
    database: Database,
    ledger: Ledger,
    key: ChainKey,
    head: Head,
    /// The head that is noted outside the database.
    noted: Option<Head>,
    /// There was a key but no head at the start.
    headless: bool,
    /// Its own, so that no other work of the hub delays the lock. None before the first use and after a fault: then
    /// the chain is looked up anew.
    connection: Option<Connection>,
    /// Nothing was written since the start: attempts of the run before may lack their outcomes.
    fresh: bool,
    /// Attempts that were answered as not recorded, and may have been committed all the same, or still may be.
    doubtful: VecDeque<(Head, Entry)>,
    reports: Reports,
}

impl Writer {
    /// A writer that goes on with the chain whose key and head are in `folder`.
    pub(super) fn new(database: Database, folder: &Path, reports: Reports) -> anyhow::Result<(Audit, Self)> {
        let ledger = Ledger::new(folder);
        let (key, head) = ledger.open()?;
        let (sender, jobs) = mpsc::channel(WAITING);
        let writer = Self {
            jobs,
            database,
            ledger,
            key,
            head: head.unwrap_or_default(),
            noted: head,
            headless: head.is_none(),
            connection: None,
            fresh: true,
            doubtful: VecDeque::new(),
            reports,
        };
        Ok((Audit(sender), writer))
    }

    /// Writes until nobody can ask for more, or until `give_up`.
    pub(super) async fn run(mut self, give_up: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = self.work() => {}
            () = give_up.cancelled() => tracing::warn!(rows = self.jobs.len(), "gave up with audit rows unwritten"),
        }
        Ok(())
    }

    async fn work(&mut self) {
        // Early, so that a chain that was tampered with is told of at the start and not at the first command.
        match timeout(PATIENCE, self.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.disconnect(&error),
            Err(_) => self.disconnect(&"no answer"),
        }
        while let Some(job) = self.jobs.recv().await {
            match job {
                Job::Attempt(_, recorded) if recorded.is_closed() => {}
                Job::Attempt(entry, recorded) => self.attempt(entry, recorded).await,
                Job::Lasting(entry, recorded) => {
                    self.insist(entry).await;
                    // Nobody waiting is no fault: it is written.
                    let _ = recorded.send(());
                }
            }
            self.keep_head().await;
        }
    }

    async fn attempt(&mut self, entry: Entry, recorded: oneshot::Sender<i64>) {
        let mut tried = None;
        let mut result = self.write(&entry, &mut tried).await;
        if result.is_none() && !recorded.is_closed() {
            // A connection that broke while nobody used it shows only now; the next one may be good.
            result = self.write(&entry, &mut tried).await;
        }
        match result {
            Some(number) if recorded.send(number).is_err() => self.insist(not_given(number, &entry)).await,
            Some(_) => {}
            None => {
                self.doubtful.extend(tried.map(|head| (head, entry)));
                // The server undoes what takes it longer than a connection lasts, so the oldest are settled.
                while self.doubtful.len() > DOUBTFUL {
                    self.doubtful.pop_front();
                }
            }
        }
    }

    /// Writes a row for as long as it takes, unless it is one that the database never takes.
    async fn insist(&mut self, entry: Entry) {
        let mut tried = None;
        while self.write(&entry, &mut tried).await.is_none() {
            if self.connection.is_some() {
                tracing::error!(?entry, "the database does not take this row of the lock's audit; it is lost");
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// One try: the row's number. None leaves no connection when the next try may succeed. `tried` remembers the row
    /// between tries, so that one whose commit was not heard of is not written twice.
    async fn write(&mut self, entry: &Entry, tried: &mut Option<Head>) -> Option<i64> {
        match timeout(PATIENCE, self.try_write(entry, tried)).await {
            Ok(Ok(number)) => Some(number),
            Ok(Err(error)) if lock_audit::is_about_content(&error) => {
                tracing::error!("the lock's audit: {error}");
                None
            }
            Ok(Err(error)) => {
                self.disconnect(&error);
                None
            }
            Err(_) => {
                self.disconnect(&"no answer");
                None
            }
        }
    }

    async fn try_write(&mut self, entry: &Entry, tried: &mut Option<Head>) -> Result<i64, store::Error> {
        self.ready().await?;
        if let Some(head) = *tried
            && lock_audit::head_at(self.connection().await?, head.number).await? == Some(head)
        {
            return Ok(head.number);
        }
        let mut entry = entry.clone();
        if !matches!(entry.kind, Kind::Outcome(_)) {
            let (since, until) = (entry.at - WITNESS, entry.at);
            entry.witness = lock_audit::witness(self.connection().await?, since, until).await?;
        }
        let row = Row::seal(&self.key, &self.head, entry);
        *tried = Some(row.head());
        self.append(row).await
    }

    async fn append(&mut self, row: Row) -> Result<i64, store::Error> {
        lock_audit::append(self.connection().await?, &row).await?;
        self.head = row.head();
        let Entry { kind, action, requested_by, outcome, .. } = row.entry;
        let outcome = outcome.as_deref();
        tracing::info!(audit.head = %self.head, ?kind, action, requested_by, outcome, "recorded in the lock's audit");
        Ok(self.head.number)
    }

    async fn connection(&mut self) -> Result<&mut Connection, store::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => lock_audit::connect(&self.database).await?,
        };
        Ok(self.connection.insert(connection))
    }

    fn disconnect(&mut self, error: &dyn std::fmt::Display) {
        tracing::warn!("the lock's audit: {error}");
        self.connection = None;
    }

    /// After a fault and at the start: finds where the chain ends, and gives those attempts their outcomes that will
    /// never get one otherwise.
    async fn ready(&mut self) -> Result<(), store::Error> {
        if self.connection.is_some() {
            return Ok(());
        }
        self.connection().await?;
        if let Err(error) = self.mend().await {
            self.connection = None;
            return Err(error);
        }
        self.keep_head().await;
        Ok(())
    }

    async fn mend(&mut self) -> Result<(), store::Error> {
        self.catch_up().await?;
        for _ in 0..self.doubtful.len() {
            let Some((head, entry)) = self.doubtful.front().cloned() else { break };
            let found = lock_audit::head_at(self.connection().await?, head.number).await?;
            if found == Some(head) {
                let row = Row::seal(&self.key, &self.head, not_given(head.number, &entry));
                self.append(row).await?;
            }
            self.doubtful.pop_front();
            if found.is_none() {
                self.doubtful.push_back((head, entry));
            }
        }
        if self.fresh {
            let number = self.head.number;
            for attempt in lock_audit::open_attempts(self.connection().await?, number).await? {
                let row = Row::seal(&self.key, &self.head, interrupted(attempt));
                self.append(row).await?;
            }
            self.fresh = false;
        }
        Ok(())
    }

    /// Accepts the rows after the head that verify and follow it: the process died between a commit and the note of
    /// it. Anything else is told of; the chain then goes on from the newest row, and the break stays in it for good.
    async fn catch_up(&mut self) -> Result<(), store::Error> {
        let known = self.head;
        let mut fault = None;
        if known.number > 0 {
            fault = match lock_audit::head_at(self.connection().await?, known.number).await? {
                Some(found) if found == known => None,
                Some(_) => Some(format!("row {} is not the one that was written last", known.number)),
                None => Some(format!("row {}, which was written last, is missing", known.number)),
            };
        } else if self.headless && lock_audit::newest(self.connection().await?).await?.is_some() {
            fault = Some("the note of its newest row was taken away".to_owned());
        }
        'pages: loop {
            let key = self.key.clone();
            let number = self.head.number;
            let page = lock_audit::chain_after(self.connection().await?, &key, number, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for row in page {
                if !row.follows(&self.head) {
                    fault = Some(format!("from row {} on it was not written by this hub", row.number));
                    self.head = lock_audit::newest(self.connection().await?).await?.unwrap_or(self.head);
                    break 'pages;
                }
                self.head = row.head();
            }
        }
        self.headless = false;
        tracing::info!(audit.head = %self.head, "the lock's audit goes on from here");
        if let Some(fault) = fault {
            tracing::error!("the lock's audit is not intact: {fault}");
            let advice = "run `portcullis lock audit verify`";
            self.reports.alert(Subject::Audit, format!("The lock's audit is not intact: {fault}; {advice}"));
        }
        Ok(())
    }

    /// Notes the newest row outside the database. When that fails the rows after the note are accepted at the next
    /// start because they verify.
    async fn keep_head(&mut self) {
        let (ledger, head) = (self.ledger.clone(), self.head);
        if self.noted == Some(head) {
            return;
        }
        let kept = tokio::task::spawn_blocking(move || ledger.keep(&head)).await;
        if let Err(error) = kept.map_err(std::io::Error::other).flatten() {
            tracing::error!("the newest row of the lock's audit cannot be noted in DATA_DIR: {error}");
        } else {
            self.noted = Some(head);
        }
    }
}

fn not_given(number: i64, attempt: &Entry) -> Entry {
    Entry {
        kind: Kind::Outcome(number),
        at: millis(Utc::now()),
        outcome: Some("not-given".into()),
        message: Some("It could not be recorded in time, so it was not given".to_owned()),
        witness: None,
        ..attempt.clone()
    }
}

fn interrupted(attempt: lock_audit::OpenAttempt) -> Entry {
    Entry {
        kind: Kind::Outcome(attempt.number),
        command_id: attempt.command_id,
        action: attempt.action,
        detail: None,
        requested_by: attempt.requested_by,
        channel: attempt.channel.into(),
        address: attempt.address,
        at: millis(Utc::now()),
        outcome: Some("interrupted".into()),
        message: Some("The hub stopped before the outcome was known".to_owned()),
        duration_ms: None,
        times: 1,
        witness: None,
    }
}

/// Goes through the whole audit: a changed, missing or cut-off row is found and named. `heads` are more rows that must
/// be there, from the hub's log; the newest one is in `folder`. May run beside the hub.
///
/// # Errors
/// When the key or the head can't be read, or the database is away.
pub async fn verify(database: &Database, folder: &Path, heads: &[Head]) -> anyhow::Result<Report> {
    // The head before the rows: those that come meanwhile follow it, and no row can seem cut off.
    let (key, head) = Ledger::new(folder).consult()?;
    let mut verification = Verification::new(heads.iter().copied().chain([head]));
    let mut number = 0;
    loop {
        let page = lock_audit::chain_after(database, &key, number, PAGE).await?;
        let Some(last) = page.last() else { return Ok(verification.finish()) };
        number = last.number;
        for row in &page {
            verification.see(row);
        }
    }
}
