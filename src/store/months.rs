//! The months of the events table: a partition each, and which ids lie in which.
//!
//! Ids rise with time, so a reader who knows what he wants asks one month after the other and stops when he has enough:
//! the answer takes as long with ten years of events as with one month.

use chrono::{DateTime, Datelike as _, Months as Span, Utc};

use super::{Connection, Database, Error};
use crate::domain::event::EventId;

/// A month that has events, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    pub start: DateTime<Utc>,
    /// The lowest id in it.
    pub first: EventId,
}

/// A time from `from` to before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

impl Month {
    fn window(self) -> Window {
        Window { from: self.start, to: self.start.checked_add_months(Span::new(1)).unwrap_or(DateTime::<Utc>::MAX_UTC) }
    }
}

/// The months that have events, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Months(Vec<Month>);

impl Months {
    /// # Errors
    /// When the database is away.
    pub async fn read(db: &Database) -> Result<Self, Error> {
        let months = sqlx::query_as!(
            MonthRow,
            r#"SELECT start, first_id AS "first!" FROM event_months WHERE first_id IS NOT NULL ORDER BY start DESC"#
        );
        Ok(Self(months.fetch_all(db).await?.into_iter().map(Month::from).collect()))
    }

    /// Windows over all months that can hold an event with an id below `before`, made from `from` to `to`; the newest
    /// first, or, for a reader who goes forward, the oldest first. One month at first, then two more, then four: the
    /// first has what is wanted almost always, and who seeks something rare asks few times.
    #[must_use]
    pub fn windows(&self, among: &Among, order: Order) -> Vec<Window> {
        let months = self.0.iter().enumerate();
        let mut months: Vec<_> = months
            .filter(|(index, month)| {
                // The ids of a month end where those of the next one begin.
                let next = index.checked_sub(1).and_then(|next| self.0.get(next));
                among.before.is_none_or(|before| month.first < before)
                    && among.after.is_none_or(|after| next.is_none_or(|next| next.first.0 > after.0.saturating_add(1)))
                    && among.from.is_none_or(|from| month.window().to > from)
                    && among.to.is_none_or(|to| month.start <= to)
            })
            .map(|(_, month)| month.window())
            .collect();
        if order == Order::OldestFirst {
            months.reverse();
        }
        let mut windows = Vec::new();
        let (mut rest, mut size) = (months.as_slice(), 1);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            windows.extend(
                now.first()
                    .zip(now.last())
                    .map(|(first, last)| Window { from: first.from.min(last.from), to: first.to.max(last.to) }),
            );
            (rest, size) = (later, size * 2);
        }
        windows
    }

    /// The month in which an event of this id lies, if there is one.
    #[must_use]
    pub fn of(&self, id: EventId) -> Option<Window> {
        self.0.iter().find(|month| month.first <= id).map(|month| month.window())
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

struct MonthRow {
    start: DateTime<Utc>,
    first: i64,
}

impl From<MonthRow> for Month {
    fn from(row: MonthRow) -> Self {
        Self { start: row.start, first: EventId(row.first) }
    }
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

    fn months(months: &[(&str, i64)]) -> Months {
        let month = |(start, first): &(&str, i64)| Month { start: at(start), first: EventId(*first) };
        Months(months.iter().map(month).collect())
    }

    fn some() -> Months {
        months(&[
            ("2026-12-01T00:00:00Z", 400),
            ("2026-11-01T00:00:00Z", 300),
            ("2026-10-01T00:00:00Z", 200),
            ("2026-08-01T00:00:00Z", 100),
        ])
    }

    fn begins(windows: &[Window]) -> Vec<(String, String)> {
        let day = |at: DateTime<Utc>| at.format("%m-%d").to_string();
        windows.iter().map(|window| (day(window.from), day(window.to))).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn windows_grow_and_leave_no_month_out() {
        let all = some().windows(&Among::default(), Order::NewestFirst);
        assert_eq!(begins(&all), pairs(&[("12-01", "01-01"), ("10-01", "12-01"), ("08-01", "09-01")]));
        let all = some().windows(&Among::default(), Order::OldestFirst);
        assert_eq!(begins(&all), pairs(&[("08-01", "09-01"), ("10-01", "12-01"), ("12-01", "01-01")]));
        assert_eq!(months(&[]).windows(&Among::default(), Order::NewestFirst), []);
    }

    #[test]
    fn ids_and_times_tell_the_months() {
        let windows = |among| begins(&some().windows(&among, Order::NewestFirst));
        let among = Among::default();
        let before = |id| windows(Among { before: Some(EventId(id)), ..among });
        assert_eq!(before(301)[0], pairs(&[("11-01", "12-01")])[0]);
        assert_eq!(before(300)[0], pairs(&[("10-01", "11-01")])[0]);
        assert_eq!(before(100), []);
        let after = |id| windows(Among { after: Some(EventId(id)), ..among });
        assert_eq!(after(398), pairs(&[("12-01", "01-01"), ("11-01", "12-01")]));
        assert_eq!(after(399), pairs(&[("12-01", "01-01")]));
        assert_eq!(after(i64::MAX), pairs(&[("12-01", "01-01")]));
        let to = Some(at("2026-11-01T00:00:00Z"));
        assert_eq!(windows(Among { to, from: to, ..among }), pairs(&[("11-01", "12-01")]));
    }

    #[test]
    fn an_id_lies_in_one_month() {
        let of = |id| some().of(EventId(id)).map(|window| begins(&[window]).remove(0).0);
        assert_eq!(
            [of(99), of(100), of(299), of(300), of(999)].map(Option::unwrap_or_default),
            ["", "08-01", "10-01", "11-01", "12-01"]
        );
    }
}
