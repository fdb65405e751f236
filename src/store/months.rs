//! The events table by months, a partition each, and by runs: which ids lie in which month.
//!
//! Events are ordered by id. Their times rise with it, until somebody sets the clock back: there a new run begins. So a
//! reader who knows what he wants asks one run after the other and stops when he has enough: the answer takes as long with
//! ten years of events as with one month, and is right whatever the clock did.

use chrono::{DateTime, Datelike as _, Months as Span, Utc};

use super::{Connection, Database, Error};
use crate::domain::event::EventId;

/// A stretch of ids whose times rise and lie in one month, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// None of its ids is lower; they end where those of the next run begin.
    pub first: EventId,
    /// None of its events is earlier.
    pub at: DateTime<Utc>,
    /// None of the events of the run before is later; none if nothing was there before.
    pub before: Option<DateTime<Utc>>,
}

/// Whole months from `from` to before `to`, and ids from `first` to before `end`. All events with these ids are of these
/// months, and their times rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// The time of the earliest of them at the earliest, and of the latest at the latest.
    pub earliest: DateTime<Utc>,
    pub latest: DateTime<Utc>,
    pub first: EventId,
    pub end: EventId,
}

impl Run {
    fn month(self) -> DateTime<Utc> {
        let day = self.at.date_naive().with_day(1).unwrap_or_else(|| self.at.date_naive());
        day.and_time(chrono::NaiveTime::MIN).and_utc()
    }

    /// The window of this run, which is followed by that one.
    fn window(self, next: Option<Self>) -> Window {
        let from = self.month();
        let to = from.checked_add_months(Span::new(1)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let latest = next.and_then(|next| next.before).unwrap_or(to).min(to);
        let end = next.map_or(EventId(i64::MAX), |next| next.first);
        Window { from, to, earliest: self.at, latest, first: self.first, end }
    }
}

/// The runs, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// # Errors
    /// When the database is away.
    pub async fn read(db: &Database) -> Result<Self, Error> {
        let runs =
            sqlx::query_as!(RunRow, "SELECT first_id, first_at, ended_at FROM event_runs ORDER BY first_id DESC");
        Ok(Self(runs.fetch_all(db).await?.into_iter().map(Run::from).collect()))
    }

    /// Windows over all runs that can hold an event with an id below `before`, made from `from` to `to`; the newest
    /// first, or, for a reader who goes forward, the oldest first. One run at first, then two more, then four: the first
    /// has what is wanted almost always, and who seeks something rare asks few times. Runs whose months do not follow
    /// each other as their ids do are never put together.
    #[must_use]
    pub fn windows(&self, among: &Among, order: Order) -> Vec<Window> {
        let nexts = std::iter::once(None).chain(self.0.iter().copied().map(Some));
        let windows = self.0.iter().zip(nexts).map(|(run, next)| run.window(next));
        let mut windows: Vec<_> = windows
            .filter(|window| {
                among.before.is_none_or(|before| window.first < before)
                    && among.after.is_none_or(|after| window.end.0 > after.0.saturating_add(1))
                    && among.from.is_none_or(|from| window.latest >= from && window.to > from)
                    && among.to.is_none_or(|to| window.earliest <= to)
            })
            .collect();
        if order == Order::OldestFirst {
            windows.reverse();
        }
        let mut groups: Vec<Window> = Vec::new();
        let (mut size, mut room) = (1_u32, 0_u32);
        for window in windows {
            let joined = groups.last().filter(|_| room > 0).and_then(|group| group.joined(window));
            if let Some(joined) = joined {
                groups.pop();
                groups.push(joined);
                room -= 1;
            } else {
                groups.push(window);
                (room, size) = (size - 1, size.saturating_mul(2));
            }
        }
        groups
    }

    /// The run in which an event of this id lies, if there is one.
    #[must_use]
    pub fn of(&self, id: EventId) -> Option<Window> {
        self.0.iter().find(|run| run.first <= id).map(|run| run.window(None))
    }
}

impl Window {
    /// Both together, if one lies before the other by times as it does by ids.
    #[must_use]
    pub fn joined(&self, other: Self) -> Option<Self> {
        let (early, late) = if self.first < other.first { (self, &other) } else { (&other, self) };
        (early.to <= late.from).then_some(Self {
            from: early.from,
            to: late.to,
            earliest: early.earliest,
            latest: late.latest,
            first: early.first,
            end: late.end,
        })
    }
}

/// Which events a reader looks for, as far as it tells the months.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Among {
    /// Made at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Made at this time or earlier.
    pub to: Option<DateTime<Utc>>,
    pub before: Option<EventId>,
    pub after: Option<EventId>,
}

/// Which way a reader goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    NewestFirst,
    OldestFirst,
}

struct RunRow {
    first_id: i64,
    first_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl From<RunRow> for Run {
    fn from(row: RunRow) -> Self {
        Self { first: EventId(row.first_id), at: row.first_at, before: row.ended_at }
    }
}

/// After the newest event a run begins, at this time. For the one who writes events, before the first of it.
///
/// # Errors
/// When the database is away.
pub async fn note_run(db: &mut Connection, at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO event_runs (first_id, first_at, ended_at)
         SELECT coalesce(max(id), 0) + 1, $1, max(created_at)
         FROM (SELECT id, created_at FROM events ORDER BY id DESC LIMIT 1) AS newest
         ON CONFLICT (first_id) DO UPDATE SET first_at = excluded.first_at, ended_at = excluded.ended_at",
        at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes the partition of the month of `at`, and says whether it was not there yet.
///
/// # Errors
/// When the database is away, or others work on the table for too long: then events of this month are stored all the
/// same, and moved when it is made later.
pub async fn make(db: &mut Connection, at: DateTime<Utc>) -> Result<bool, Error> {
    sqlx::query_scalar!(r#"SELECT make_event_month($1) AS "made!""#, at).fetch_one(db).await
}

/// Whether both times are in one month.
#[must_use]
pub fn is_in(at: DateTime<Utc>, month: DateTime<Utc>) -> bool {
    (at.year(), at.month()) == (month.year(), month.month())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn runs(runs: &[(&str, i64)]) -> Runs {
        Runs(runs.iter().map(|(start, first)| Run { at: at(start), first: EventId(*first), before: None }).collect())
    }

    fn some() -> Runs {
        runs(&[
            ("2026-12-01T00:00:00Z", 400),
            ("2026-11-01T00:00:00Z", 300),
            ("2026-10-01T00:00:00Z", 200),
            ("2026-08-01T00:00:00Z", 100),
        ])
    }

    /// The clock was ahead by more than a year for some events, and set back by days later.
    fn jumbled() -> Runs {
        runs(&[
            ("2026-12-01T00:00:00Z", 500),
            ("2026-11-02T00:00:00Z", 400),
            ("2026-11-01T00:00:00Z", 300),
            ("2028-01-09T00:00:00Z", 200),
            ("2026-10-01T00:00:00Z", 100),
        ])
    }

    fn begins(windows: &[Window]) -> Vec<(String, String)> {
        let day = |at: DateTime<Utc>| at.format("%m-%d").to_string();
        windows.iter().map(|window| (day(window.from), day(window.to))).collect()
    }

    fn ids(windows: &[Window]) -> Vec<(i64, i64)> {
        windows.iter().map(|window| (window.first.0, window.end.0)).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn windows_grow_and_leave_no_run_out() {
        let all = some().windows(&Among::default(), Order::NewestFirst);
        assert_eq!(begins(&all), pairs(&[("12-01", "01-01"), ("10-01", "12-01"), ("08-01", "09-01")]));
        assert_eq!(ids(&all), [(400, i64::MAX), (200, 400), (100, 200)]);
        let all = some().windows(&Among::default(), Order::OldestFirst);
        assert_eq!(begins(&all), pairs(&[("08-01", "09-01"), ("10-01", "12-01"), ("12-01", "01-01")]));
        assert_eq!(ids(&all), [(100, 200), (200, 400), (400, i64::MAX)]);
        assert_eq!(runs(&[]).windows(&Among::default(), Order::NewestFirst), []);
    }

    #[test]
    fn windows_of_a_clock_that_jumped_follow_each_other_by_id() {
        let all = jumbled().windows(&Among::default(), Order::NewestFirst);
        assert_eq!(ids(&all), [(500, i64::MAX), (400, 500), (300, 400), (100, 300)]);
        let among = Among { from: Some(at("2027-01-01T00:00:00Z")), ..Among::default() };
        assert_eq!(ids(&jumbled().windows(&among, Order::NewestFirst)), [(200, 300)]);
        let among = Among { to: Some(at("2026-11-01T12:00:00Z")), ..Among::default() };
        assert_eq!(ids(&jumbled().windows(&among, Order::NewestFirst)), [(300, 400), (100, 200)]);
        // Where it is known when the run before ended, it is not asked for later times.
        let mut ended = jumbled();
        ended.0[0].before = Some(at("2026-11-05T00:00:00Z"));
        let among =
            Among { from: Some(at("2026-11-05T00:00:01Z")), to: Some(at("2026-11-30T00:00:00Z")), ..Among::default() };
        assert_eq!(ids(&ended.windows(&among, Order::NewestFirst)), [(300, 400)]);
        let among = Among { from: Some(at("2026-11-05T00:00:00Z")), ..among };
        assert_eq!(ids(&ended.windows(&among, Order::NewestFirst)), [(400, 500), (300, 400)]);
        let among = Among { after: Some(EventId(250)), ..Among::default() };
        assert_eq!(ids(&jumbled().windows(&among, Order::OldestFirst)), [(200, 300), (300, 400), (400, i64::MAX)]);
    }

    #[test]
    fn ids_and_times_tell_the_runs() {
        let windows = |among| begins(&some().windows(&among, Order::NewestFirst));
        let none = Among::default();
        assert_eq!(windows(Among { before: Some(EventId(200)), ..none }), pairs(&[("08-01", "09-01")]));
        assert_eq!(windows(Among { before: Some(EventId(201)), ..none }).len(), 2);
        assert_eq!(windows(Among { before: Some(EventId(100)), ..none }), []);
        let (from, to) = (Some(at("2026-10-31T23:59:59Z")), Some(at("2026-11-01T00:00:00Z")));
        assert_eq!(windows(Among { from, to, ..none }), pairs(&[("11-01", "12-01"), ("10-01", "11-01")]));
        assert_eq!(windows(Among { from: Some(at("2026-09-05T00:00:00Z")), to: from, ..none }).len(), 1);
        assert_eq!(windows(Among { from: Some(at("2027-01-01T00:00:00Z")), ..none }), []);
    }

    #[test]
    fn an_id_tells_its_run() {
        let run = |id| some().of(EventId(id)).map(|run| run.from);
        assert_eq!(run(250), Some(at("2026-10-01T00:00:00Z")));
        assert_eq!(run(300), Some(at("2026-11-01T00:00:00Z")));
        assert_eq!(run(99), None);
        assert_eq!(run(i64::MAX), Some(at("2026-12-01T00:00:00Z")));
    }
}
