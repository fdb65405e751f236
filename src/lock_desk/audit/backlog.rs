//! Rows that say what has happened already, on their way to the writer: outcomes and refusals. Nobody who is refused
//! waits for the database, and nothing of it is forgotten while the database is away: what becomes too much is counted.
//!
//! Must not know who writes the rows, nor how.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{
    super::{flood::Flood, reports::until},
    strangers::Strangers,
};
use crate::{
    events::Announcer,
    store::lock_audit::{Entry, Kind, Witness},
};

/// More refusals of one sender than this in a minute become one row with a count.
const REFUSALS: (u32, Duration) = (10, Duration::from_mins(1));
/// How many rows wait one by one, which the database takes in seconds. When there are more, refusals are only counted,
/// a row for each sender. Outcomes always wait one by one: there are no more than commands under way.
const WAITING: usize = 1024;
/// How far back a detection may be to count as the one who stood there.
pub(super) const WITNESS: Duration = Duration::from_secs(30);
/// How many senders are counted apart. What others are refused beyond that is counted together.
const SENDERS: usize = 1024;
/// Who all of them are, in the row that they share.
const OTHERS: &str = "others";

/// The rows that wait. Clones are the same backlog.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Backlog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Who knows who stood there.
    announcer: Announcer,
    rows: Mutex<Rows>,
    /// There is something new.
    news: Notify,
}

/// A row that waits, and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) entry: Entry,
    written: Option<oneshot::Sender<()>>,
}

impl Waiting {
    /// Nobody waiting is no fault.
    pub(super) fn tell_written(self) {
        if let Some(written) = self.written {
            let _ = written.send(());
        }
    }
}

/// Says when a row is written.
#[derive(Debug)]
pub(in super::super) struct Written(Option<oneshot::Receiver<()>>);

impl Written {
    /// Waits for it, but not for long; it will be written all the same. A row that is only counted is not waited for.
    pub(in super::super) async fn wait(self) {
        let Some(written) = self.0 else { return };
        if !matches!(tokio::time::timeout(super::RECORD_WITHIN, written).await, Ok(Ok(()))) {
            tracing::warn!("the lock's audit is behind: the database does not take a row");
        }
    }
}

impl Backlog {
    pub(super) fn new(announcer: Announcer) -> Self {
        Self(Arc::new(Shared { announcer, ..Shared::default() }))
    }

    /// The same entry with who stood there just now: by what this process has stored, and by the time that has passed since,
    /// whatever the clock says.
    pub(super) fn witnessed(&self, entry: Entry) -> Entry {
        let seen = self.0.announcer.last_seen().filter(|seen| seen.at.elapsed() <= WITNESS);
        let witness =
            seen.map(|seen| Witness { event_id: seen.event.0, camera_id: seen.camera.map(|camera| camera.0) });
        Entry { witness: witness.or(entry.witness), ..entry }
    }

    /// What became of an attempt.
    pub(super) fn outcome(&self, entry: Entry) -> Written {
        self.add(entry, Rows::push)
    }

    /// What was refused; of what comes too often from one sender there is only a count.
    pub(in super::super) fn refusal(&self, entry: Entry) -> Written {
        debug_assert_eq!(entry.kind, Kind::Refusal);
        self.add(self.witnessed(entry), Rows::refuse)
    }

    /// What somebody was refused whom nobody knows. Nobody waits for it, and most of many are only counted.
    pub(in super::super) fn turned_away(&self, entry: Entry) {
        debug_assert_eq!(entry.kind, Kind::Refusal);
        drop(self.add(self.witnessed(entry), Rows::turn_away));
    }

    fn add(&self, entry: Entry, add: impl FnOnce(&mut Rows, Waiting)) -> Written {
        let (written, is_written) = oneshot::channel();
        let mut rows = self.0.rows.lock();
        if rows.closed {
            tracing::error!(?entry, "not in the lock's audit: the hub stops");
        } else {
            add(&mut rows, Waiting { entry, written: Some(written) });
        }
        drop(rows);
        self.0.news.notify_one();
        Written(Some(is_written))
    }

    /// Somebody else than the hub has refused this sender's command, which has its rows. It counts like any refusal.
    pub(super) fn count_refused(&self, sender: &str) {
        self.0.rows.lock().refusals.count(Instant::now(), sender.to_owned());
    }

    /// The next row to write.
    pub(super) async fn next(&self) -> Waiting {
        loop {
            let news = self.0.news.notified();
            let due = {
                let mut rows = self.0.rows.lock();
                if let Some(row) = rows.take(Instant::now()) {
                    return row;
                }
                rows.next_due()
            };
            tokio::select! {
                () = news => {}
                () = until(due), if due.is_some() => {}
            }
        }
    }

    /// What is left when nobody can add anything any more: one row after the other, the counted ones too.
    pub(super) fn rest(&self) -> Option<Waiting> {
        let mut rows = self.0.rows.lock();
        rows.closed = true;
        rows.release(Flood::rest, Strangers::rest);
        rows.take(Instant::now())
    }

    pub(super) fn len(&self) -> usize {
        let rows = self.0.rows.lock();
        rows.waiting.len() + rows.counted.len()
    }
}

#[derive(Debug)]
struct Rows {
    waiting: VecDeque<Waiting>,
    refusals: Flood<String, Entry>,
    strangers: Strangers,
    /// Of those for whom there was no room: one row for each sender.
    counted: HashMap<String, Entry>,
    closed: bool,
}

impl Default for Rows {
    fn default() -> Self {
        let refusals = Flood::new(REFUSALS.0, REFUSALS.1);
        Self {
            waiting: VecDeque::new(),
            refusals,
            strangers: Strangers::default(),
            counted: HashMap::new(),
            closed: false,
        }
    }
}

impl Rows {
    fn refuse(&mut self, row: Waiting) {
        let now = Instant::now();
        self.release_due(now);
        let Waiting { entry, written } = row;
        if let Some(entry) = self.refusals.offer(now, entry.requested_by.clone(), entry) {
            self.push(Waiting { entry, written });
        } else if let Some(written) = written {
            // It is counted; its row comes when the minute ends.
            let _ = written.send(());
        }
    }

    fn turn_away(&mut self, Waiting { entry, written }: Waiting) {
        let now = Instant::now();
        self.release_due(now);
        if let Some(entry) = self.strangers.offer(now, entry) {
            self.push(Waiting { entry, written });
        }
    }

    fn push(&mut self, row: Waiting) {
        if self.waiting.len() < WAITING || row.entry.kind != Kind::Refusal {
            return self.waiting.push_back(row);
        }
        let mut entry = row.entry;
        if self.counted.len() >= SENDERS && !self.counted.contains_key(&entry.requested_by) {
            OTHERS.clone_into(&mut entry.requested_by);
        }
        entry.times += self.counted.get(&entry.requested_by).map_or(0, |counted| counted.times);
        self.counted.insert(entry.requested_by.clone(), entry);
    }

    fn next_due(&self) -> Option<Instant> {
        self.refusals.next_due().into_iter().chain(self.strangers.next_due()).min()
    }

    fn release_due(&mut self, now: Instant) {
        self.release(|refusals| refusals.due(now), |strangers| strangers.due(now));
    }

    fn release(
        &mut self,
        of_known: impl FnOnce(&mut Flood<String, Entry>) -> Vec<(Entry, i64)>,
        of_strangers: impl FnOnce(&mut Strangers) -> Vec<(Entry, i64)>,
    ) {
        let rows = of_known(&mut self.refusals).into_iter().chain(of_strangers(&mut self.strangers));
        for (entry, times) in rows {
            self.push(Waiting { entry: Entry { times, ..entry }, written: None });
        }
    }

    fn take(&mut self, now: Instant) -> Option<Waiting> {
        self.release_due(now);
        self.waiting.pop_front().or_else(|| {
            let sender = self.counted.keys().next()?.clone();
            self.counted.remove(&sender).map(|entry| Waiting { entry, written: None })
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::DateTime;

    use super::*;

    pub fn refusal(sender: usize) -> Entry {
        Entry {
            kind: Kind::Refusal,
            command_id: None,
            action: "open".to_owned(),
            detail: None,
            requested_by: format!("device:{sender}"),
            channel: "mqtt".into(),
            address: None,
            at: DateTime::UNIX_EPOCH,
            outcome: Some("refused".into()),
            message: None,
            duration_ms: None,
            times: 1,
            witness: None,
        }
    }

    /// How many rows are left, and for how many refusals they stand.
    fn rest(backlog: &Backlog) -> (usize, i64) {
        std::iter::from_fn(|| backlog.rest()).fold((0, 0), |(rows, times), row| (rows + 1, times + row.entry.times))
    }

    #[test]
    fn however_many_are_refused_each_is_counted_and_the_rows_are_bounded() {
        let backlog = Backlog::default();
        for n in 0..50_000 {
            backlog.refusal(refusal(n % 3000));
        }
        assert!(backlog.len() <= WAITING + SENDERS + 1, "{}", backlog.len());
        let (rows, times) = rest(&backlog);
        assert_eq!(times, 50_000);
        assert!(rows <= WAITING + SENDERS + 1, "{rows}");
    }

    #[test]
    fn strangers_have_few_rows_and_take_no_room_of_others() {
        let backlog = Backlog::default();
        for n in 0..50_000 {
            let address = Some(format!("192.0.2.{}", n % 200));
            backlog.turned_away(Entry { requested_by: "unknown".to_owned(), address, ..refusal(0) });
        }
        backlog.refusal(refusal(1));
        assert!(backlog.len() <= 52, "{}", backlog.len());
        let (rows, times) = rest(&backlog);
        assert!(rows <= 52, "{rows}");
        assert_eq!(times, 50_001);
    }

    #[test]
    fn outcomes_wait_one_by_one_and_in_order() {
        let backlog = Backlog::default();
        let wanted: Vec<_> = (0..WAITING + 50).map(|n| Kind::Outcome(i64::try_from(n).expect("small"))).collect();
        for (sender, kind) in wanted.iter().enumerate() {
            backlog.refusal(refusal(sender));
            backlog.outcome(Entry { kind: *kind, ..refusal(sender) });
        }
        let kinds = std::iter::from_fn(|| backlog.rest()).map(|row| row.entry.kind);
        let outcomes: Vec<_> = kinds.filter(|kind| *kind != Kind::Refusal).collect();
        assert_eq!(outcomes, wanted);
    }

    #[test]
    fn what_others_refused_counts_too() {
        let backlog = Backlog::default();
        for _ in 0..10 {
            backlog.count_refused("device:1");
        }
        for _ in 0..5 {
            backlog.refusal(refusal(1));
        }
        assert_eq!(rest(&backlog), (1, 5));
    }
}
