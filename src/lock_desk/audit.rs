//! The lock's audit: the way to its one writer, and the one who verifies it.
//!
//! Must not know the lock: it is given entries and puts them into the chain in the order they come.

mod backlog;
mod strangers;
mod writer;

use std::{path::Path, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

pub(super) use self::{
    backlog::{Backlog, Written},
    writer::Writer,
};
use super::ledger::Ledger;
use crate::{
    auth::chain::{Head, Report, Verification},
    store::{
        Database,
        lock_audit::{self, Entry},
    },
};

/// How long a request waits for its row. The door stays shut when there is none by then.
pub(super) const RECORD_WITHIN: Duration = Duration::from_secs(1);
/// How many rows are read at once.
const PAGE: i64 = 1000;

/// An attempt to record, and who waits for its number. When nobody waits any more, or it can't be written, it becomes
/// a refusal that says so.
#[derive(Debug)]
struct Attempt {
    entry: Entry,
    recorded: oneshot::Sender<i64>,
}

/// The way to the writer, who writes until the last of these is dropped.
#[derive(Debug, Clone)]
pub(super) struct Audit {
    attempts: mpsc::Sender<Attempt>,
    backlog: Backlog,
}

impl Audit {
    /// Records an attempt: its number, once it is committed. None means that the command must not leave; that it was
    /// asked for is recorded as soon as it can be.
    pub(super) async fn attempt(&self, entry: Entry) -> Option<i64> {
        let deadline = Instant::now() + RECORD_WITHIN;
        let entry = self.backlog.witnessed(entry);
        let (recorded, mut number) = oneshot::channel();
        let Ok(Ok(room)) = timeout_at(deadline, self.attempts.reserve()).await else {
            self.backlog.refusal(writer::never_given(entry));
            return None;
        };
        room.send(Attempt { entry, recorded });
        if let Ok(number) = timeout_at(deadline, &mut number).await {
            return number.ok();
        }
        // From here on the writer hears that nobody waits; what it said before that counts.
        number.close();
        number.try_recv().ok()
    }

    /// Records what became of an attempt. It will be written, also when this stops waiting.
    pub(super) async fn outcome(&self, entry: Entry) {
        self.backlog.outcome(entry).wait().await;
    }

    /// Records that something was refused; what comes too often from one sender is only counted.
    pub(super) fn refusal(&self, entry: Entry) -> Written {
        self.backlog.refusal(entry)
    }

    /// The worker has refused this sender's command, which counts like a refusal of the hub's own.
    pub(super) fn count_refused(&self, sender: &str) {
        self.backlog.count_refused(sender);
    }

    /// For those who only record refusals, and whom the writer need not wait for.
    pub(super) fn backlog(&self) -> Backlog {
        self.backlog.clone()
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
