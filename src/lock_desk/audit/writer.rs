//! The one writer of the lock's audit: puts entries into the chain in the order they come.

use std::{path::Path, time::Duration};

use chrono::{TimeDelta, Utc};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{ledger::Ledger, reports::Reports, state::Subject},
    Attempt, Audit, PAGE,
    backlog::{Backlog, WITNESS},
};
use crate::{
    auth::chain::{ChainKey, Head},
    domain::event,
    events::Announcer,
    store::{
        self, Connection, Database,
        lock_audit::{self, Entry, Kind, Row},
    },
    wire::time::millis,
};

/// How many attempts may wait. There is one at a time; more are those that waited in vain while the database was away.
/// When it is full the next one waits in vain as well.
const WAITING: usize = 16;
/// When a database that does not answer is given up on; what became of the row is looked up afterwards.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between tries at a row that has to be written.
const PAUSE: Duration = Duration::from_millis(500);
/// How many attempts of unknown fate are remembered.
const DOUBTFUL: usize = 16;

/// Puts entries into the chain.
#[derive(Debug)]
pub(in super::super) struct Writer {
    attempts: mpsc::Receiver<Attempt>,
    backlog: Backlog,
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
    /// When this process began to know who stands before the door.
    began: Instant,
    /// Attempts that were answered as not recorded, and may have been committed all the same, or still may be.
    doubtful: Vec<(Head, Entry)>,
    reports: Reports,
}

impl Writer {
    /// A writer that goes on with the chain whose key and head are in `folder`.
    pub(in super::super) fn new(
        database: Database,
        announcer: Announcer,
        folder: &Path,
        reports: Reports,
    ) -> anyhow::Result<(Audit, Self)> {
        let ledger = Ledger::new(folder);
        let (key, head) = ledger.open()?;
        let (sender, attempts) = mpsc::channel(WAITING);
        let backlog = Backlog::new(announcer);
        let audit = Audit { attempts: sender, backlog: backlog.clone() };
        let writer = Self {
            attempts,
            backlog,
            database,
            ledger,
            key,
            head: head.unwrap_or_default(),
            noted: head,
            headless: head.is_none(),
            connection: None,
            fresh: true,
            began: Instant::now(),
            doubtful: Vec::new(),
            reports,
        };
        Ok((audit, writer))
    }

    /// Writes until nobody can ask for more, or until `give_up`.
    pub(in super::super) async fn run(mut self, give_up: CancellationToken) -> anyhow::Result<()> {
        let left = self.backlog.clone();
        tokio::select! {
            () = self.work() => {}
            () = give_up.cancelled() => tracing::warn!(rows = left.len(), "gave up with audit rows unwritten"),
        }
        Ok(())
    }

    async fn work(&mut self) {
        let (backlog, database) = (self.backlog.clone(), self.database.clone());
        let mut looked = false;
        loop {
            tokio::select! {
                biased;
                // Somebody stands before the door.
                attempt = self.attempts.recv() => match attempt {
                    Some(attempt) => self.attempt(attempt).await,
                    None => break,
                },
                row = backlog.next() => {
                    self.insist(row.entry.clone()).await;
                    row.tell_written();
                }
                // As soon as there is a database, so that a chain that was tampered with is told of at the start and not at
                // the first command.
                () = database.available(), if !looked => {
                    looked = true;
                    self.look().await;
                }
            }
            self.keep_head().await;
        }
        // Nothing comes any more whose place in the chain would show that they were never committed.
        for (_, entry) in std::mem::take(&mut self.doubtful) {
            backlog.refusal(never_given(entry));
        }
        while let Some(row) = backlog.rest() {
            self.insist(row.entry.clone()).await;
            row.tell_written();
        }
        self.keep_head().await;
    }

    async fn look(&mut self) {
        match timeout(PATIENCE, self.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.disconnect(&error),
            Err(_) => self.disconnect(&"no answer"),
        }
    }

    async fn attempt(&mut self, attempt: Attempt) {
        let Attempt { entry, recorded } = attempt;
        if recorded.is_closed() {
            self.backlog.refusal(never_given(entry));
            return;
        }
        let mut tried = None;
        let mut result = self.write(&entry, &mut tried).await;
        if result.is_none() && !recorded.is_closed() {
            // A connection that broke while nobody used it shows only now; the next one may be good.
            result = self.write(&entry, &mut tried).await;
        }
        match (result, tried) {
            (Some(number), _) if recorded.send(number).is_err() => self.insist(not_given(number, &entry)).await,
            (Some(_), _) => {}
            (None, None) => drop(self.backlog.refusal(never_given(entry))),
            (None, Some(head)) => {
                self.doubtful.push((head, entry));
                // The server undoes what takes it longer than a connection lasts, so the oldest are settled.
                while self.doubtful.len() > DOUBTFUL {
                    let (_, entry) = self.doubtful.remove(0);
                    self.backlog.refusal(never_given(entry));
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
        // Who was seen before this process began is known by the stored times alone.
        let is_looked_for = entry.witness.is_none() && !matches!(entry.kind, Kind::Outcome(_));
        if is_looked_for && self.began.elapsed() <= WITNESS {
            let (since, until) = (entry.at - TimeDelta::from_std(WITNESS).unwrap_or_default(), entry.at);
            entry.witness = lock_audit::witness(self.connection().await?, since, until).await?;
        }
        let row = Row::seal(&self.key, &self.head, entry);
        *tried = Some(row.head());
        self.append(row).await
    }

    async fn append(&mut self, row: Row) -> Result<i64, store::Error> {
        lock_audit::append(self.connection().await?, &row).await?;
        self.head = row.head();
        // Whatever was to have this number before will never be.
        for (_, entry) in self.doubtful.extract_if(.., |(head, _)| head.number == row.number && *head != row.head()) {
            self.backlog.refusal(never_given(entry));
        }
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
            let Some((head, entry)) = self.doubtful.first().cloned() else { break };
            let found = lock_audit::head_at(self.connection().await?, head.number).await?;
            if found == Some(head) {
                let row = Row::seal(&self.key, &self.head, not_given(head.number, &entry));
                self.append(row).await?;
            }
            self.doubtful.remove(0);
            match found {
                Some(found) if found == head => {}
                Some(_) => drop(self.backlog.refusal(never_given(entry))),
                None => self.doubtful.push((head, entry)),
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
            let description = format!("The lock's audit is not intact: {fault}; run `portcullis lock audit verify`");
            self.reports.alert(Subject::Audit, event::Kind::AuditBroken, description);
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

/// Why no command of this left.
const NOT_RECORDED: &str = "It could not be recorded in time, so it was not given";

/// The single row of an attempt that has none.
pub(super) fn never_given(attempt: Entry) -> Entry {
    Entry { kind: Kind::Refusal, outcome: Some("not-given".into()), message: Some(NOT_RECORDED.to_owned()), ..attempt }
}

fn not_given(number: i64, attempt: &Entry) -> Entry {
    Entry {
        kind: Kind::Outcome(number),
        at: millis(Utc::now()),
        outcome: Some("not-given".into()),
        message: Some(NOT_RECORDED.to_owned()),
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
