//! Events counted: of today, and by hours and days in the hub's time zone.

use std::{iter, sync::Arc};

use axum::{Json, extract::State};
use chrono::{DateTime, Days, NaiveDate, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

use super::super::{Settings, error::ApiError, input::Query, who::SignedIn};
use crate::{
    domain::{camera::CameraId, event::EventType},
    store::{self, Database, totals::Quarters},
    wire::rest::{AnalyticsLine, EventStats},
};

/// The most hours or days in one answer.
const BUCKETS: i32 = 10_000;
/// What events are counted by, in seconds.
const QUARTER: i64 = 15 * 60;

/// How many events there are.
#[utoipa::path(get, path = "/api/events/stats", tag = "events", security(("bearer" = [])),
    responses((status = 200, body = EventStats)))]
pub async fn stats(
    _: SignedIn,
    State(database): State<Database>,
    State(settings): State<Arc<Settings>>,
) -> Result<Json<EventStats>, ApiError> {
    // To its end, so that what a clock that was ahead has stored is not of each day until then.
    let (now, zone) = (Utc::now(), settings.time_zone);
    let totals = store::totals::all(&database, Bucket::Day.start(now, zone), Bucket::Day.after(now, zone)).await?;
    Ok(Json(EventStats {
        total: totals.total,
        unresolved: totals.unresolved,
        today_events: totals.between,
        resolved: totals.total - totals.unresolved,
    }))
}

/// How many events of each kind there were in each hour or day.
///
/// The hours or days that `from` and `to` lie in are counted as a whole. Without `from`, the last 24 hours or 30 days.
#[utoipa::path(get, path = "/api/events/analytics", tag = "events", security(("bearer" = [])),
    params(super::super::document::AnalyticsQuery), responses((status = 200, body = Vec<AnalyticsLine>)))]
pub async fn analytics(
    _: SignedIn,
    State(database): State<Database>,
    State(settings): State<Arc<Settings>>,
    mut query: Query,
) -> Result<Json<Vec<AnalyticsLine>>, ApiError> {
    let bucket = match query.one_of::<String>("bucket", &["hour", "day"]).as_deref() {
        Some("day") => Bucket::Day,
        _ => Bucket::Hour,
    };
    let camera = query.integer("cameraId", i32::MIN.into(), i32::MAX.into()).map(super::narrowed);
    let to = query.time("to").unwrap_or_else(Utc::now);
    let from = query.time("from").unwrap_or_else(|| to.checked_sub_signed(bucket.usual()).unwrap_or(to));
    query.finish()?;
    if to - from > bucket.width() * BUCKETS {
        let words = format!("from and to must not be further apart than {BUCKETS} buckets");
        return Err(ApiError::bad_request(vec_of(words)));
    }
    if from > to {
        return Ok(Json(Vec::new()));
    }
    let zone = settings.time_zone;
    let (from, to) = (bucket.start(from, zone), bucket.after(to, zone));
    let quarters = store::totals::quarters(&database, known(camera), from, to).await?;
    Ok(Json(lines(&quarters, &bucket.beginnings(from, to, zone), to)))
}

fn vec_of(words: String) -> crate::wire::rest::Message {
    crate::wire::rest::Message::Faults(vec![words])
}

/// Ids below 1 are no camera's; in the table of sums, 0 means all of them.
fn known(camera: Option<CameraId>) -> Option<CameraId> {
    camera.map(|id| if id.0 < 1 { CameraId(-1) } else { id })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bucket {
    Hour,
    Day,
}

impl Bucket {
    fn width(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
        }
    }

    /// How far back an answer goes when nobody says.
    fn usual(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::days(1),
            Self::Day => TimeDelta::days(30),
        }
    }

    /// When the hour or day of this time begins in the zone.
    fn start(self, at: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        let local = at.with_timezone(&zone);
        match self {
            Self::Hour => {
                let into = TimeDelta::minutes(local.minute().into()) + TimeDelta::seconds(local.second().into());
                at - into - TimeDelta::nanoseconds(local.nanosecond().into())
            }
            Self::Day => midnight(local.date_naive(), zone),
        }
    }

    /// When the next hour or day begins.
    fn after(self, at: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        match self {
            Self::Hour => self.start(at, zone) + TimeDelta::hours(1),
            Self::Day => {
                let day = at.with_timezone(&zone).date_naive();
                midnight(day.checked_add_days(Days::new(1)).unwrap_or(day), zone)
            }
        }
    }

    /// When each hour or day from `from`, which begins one, to before `to` begins.
    fn beginnings(self, from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> Vec<DateTime<Utc>> {
        let next = |begin: &DateTime<Utc>| Some(self.after(*begin, zone)).filter(|next| next > begin);
        iter::successors(Some(from), next).take_while(|begin| *begin < to).collect()
    }
}

/// When the day begins in the zone: at midnight, or where clocks are put forward at midnight, at the first time there is.
fn midnight(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let local = day.and_time(chrono::NaiveTime::MIN);
    (0..=8)
        .find_map(|quarters| zone.from_local_datetime(&(local + TimeDelta::minutes(15 * quarters))).earliest())
        .map_or_else(|| local.and_utc(), |begin| begin.to_utc())
}

/// Adds the quarters up to the buckets that begin at these times, the last of which ends at `to`. Buckets in their order,
/// types in that of their names; what did not happen has no line.
fn lines(runs: &[Quarters], beginnings: &[DateTime<Utc>], to: DateTime<Utc>) -> Vec<AnalyticsLine> {
    let mut kinds = EventType::ALL;
    kinds.sort_unstable_by_key(|kind| kind.as_str());
    // A year has 35,000 quarters of each type: seconds are added and compared faster than times.
    let (seconds, to): (Vec<_>, _) = (beginnings.iter().map(DateTime::timestamp).collect(), to.timestamp());
    let mut counts = vec![[0_i64; EventType::ALL.len()]; beginnings.len()];
    for run in runs {
        let Some(kind) = kinds.iter().position(|kind| *kind == run.event_type) else { continue };
        let mut buckets = Among { beginnings: &seconds, to, at: 0 };
        let starts = iter::successors(Some(run.start.timestamp()), |start| Some(start + QUARTER));
        for (start, count) in starts.zip(&run.counts).filter(|(_, count)| **count != 0) {
            if let Some(bucket) = buckets.find(start) {
                counts[bucket][kind] += i64::from(*count);
            }
        }
    }
    let buckets = beginnings.iter().zip(counts);
    let of_kinds = buckets.flat_map(|(bucket, counts)| kinds.iter().zip(counts).map(|line| (*bucket, line)));
    of_kinds
        .filter(|(_, (_, count))| *count > 0)
        .map(|(bucket, (kind, count))| AnalyticsLine { bucket, event_type: *kind, count })
        .collect()
}

/// Finds buckets for times that rise, in seconds: each search goes on where the last one ended.
struct Among<'a> {
    beginnings: &'a [i64],
    to: i64,
    at: usize,
}

impl Among<'_> {
    /// In which bucket the time lies, if in any.
    fn find(&mut self, time: i64) -> Option<usize> {
        let ahead = &self.beginnings[self.at..];
        self.at += match ahead {
            [_, next, ..] if *next > time => 0,
            [_, _, later, ..] if *later > time => 1,
            // A jump, at most once for each run.
            _ => ahead.partition_point(|begin| *begin <= time).saturating_sub(1),
        };
        (time < self.to && self.beginnings.get(self.at).is_some_and(|begin| *begin <= time)).then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn buckets_begin_by_the_clock_on_the_wall() {
        let (kathmandu, utc) = (chrono_tz::Asia::Kathmandu, chrono_tz::UTC);
        assert_eq!(Bucket::Hour.start(at("2026-05-01T10:59:59.9Z"), utc), at("2026-05-01T10:00:00Z"));
        // UTC+05:45: it is 16:20 there.
        assert_eq!(Bucket::Hour.start(at("2026-05-01T10:35:00Z"), kathmandu), at("2026-05-01T10:15:00Z"));
        assert_eq!(Bucket::Day.start(at("2026-05-01T18:14:59Z"), kathmandu), at("2026-04-30T18:15:00Z"));
        assert_eq!(Bucket::Day.start(at("2026-05-01T18:15:00Z"), kathmandu), at("2026-05-01T18:15:00Z"));
    }

    #[test]
    fn a_day_has_23_or_25_hours_when_clocks_are_changed() {
        let berlin = chrono_tz::Europe::Berlin;
        let spring = Bucket::Day.start(at("2026-03-29T12:00:00Z"), berlin);
        assert_eq!(
            (spring, Bucket::Day.after(spring, berlin)),
            (at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z"))
        );
        let autumn = Bucket::Day.start(at("2026-10-25T12:00:00Z"), berlin);
        assert_eq!(
            (autumn, Bucket::Day.after(autumn, berlin)),
            (at("2026-10-24T22:00:00Z"), at("2026-10-25T23:00:00Z"))
        );
        // In Beirut there was no midnight on 2026-03-29.
        let beirut = chrono_tz::Asia::Beirut;
        assert_eq!(Bucket::Day.start(at("2026-03-29T12:00:00Z"), beirut), at("2026-03-28T22:00:00Z"));
    }

    #[test]
    fn buckets_follow_each_other_whatever_the_clocks_do() {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-12-31T23:59:59Z"));
        let count = |bucket: Bucket, zone: Tz| {
            let beginnings = bucket.beginnings(bucket.start(from, zone), bucket.after(to, zone), zone);
            for pair in beginnings.windows(2) {
                // All of a bucket is of one hour or day, and what follows it is not.
                let mut quarters = iter::successors(Some(pair[0]), |at| Some(*at + TimeDelta::seconds(QUARTER)));
                let quarters = quarters.by_ref().take_while(|at| *at < pair[1]);
                assert!(quarters.map(|at| bucket.start(at, zone)).all(|start| start == bucket.start(pair[0], zone)));
                assert_ne!(bucket.start(pair[0], zone), bucket.start(pair[1], zone), "{zone} {pair:?}");
            }
            beginnings.len()
        };
        let zones = [chrono_tz::UTC, chrono_tz::Asia::Kathmandu, chrono_tz::Europe::Berlin, chrono_tz::Asia::Beirut];
        // Where the year is not UTC's, the bucket before it is there, too.
        assert_eq!(zones.map(|zone| count(Bucket::Day, zone)), [365, 366, 366, 366]);
        assert_eq!(zones.map(|zone| count(Bucket::Hour, zone)), [8760, 8761, 8760, 8760]);
        // Half an hour is put forward and back there.
        count(Bucket::Day, chrono_tz::Australia::Lord_Howe);
        assert_eq!(count(Bucket::Hour, chrono_tz::Australia::Lord_Howe), 8761);
    }

    #[test]
    fn quarters_are_added_up() {
        use EventType::{DoorOpened, PersonDetected};
        let run =
            |start, event_type, counts: &[i32]| Quarters { start: at(start), event_type, counts: counts.to_vec() };
        let runs = [
            // A packed day, which begins before what is asked for, and what was taken from it later.
            run("2026-05-01T09:30:00Z", PersonDetected, &[100, 100, 2, 0, 0, 3, 1, 0, 0, 1, 100]),
            run("2026-05-01T11:00:00Z", PersonDetected, &[-1]),
            run("2026-05-01T10:45:00Z", PersonDetected, &[5]),
            run("2026-05-01T11:45:00Z", DoorOpened, &[1]),
            run("2026-05-01T08:00:00Z", DoorOpened, &[1]),
        ];
        let (from, to) = (at("2026-05-01T10:00:00Z"), at("2026-05-01T12:00:00Z"));
        let lines = lines(&runs, &Bucket::Hour.beginnings(from, to, chrono_tz::UTC), to);
        let line = |bucket, event_type, count| AnalyticsLine { bucket, event_type, count };
        let later = at("2026-05-01T11:00:00Z");
        assert_eq!(lines, [line(from, PersonDetected, 10), line(later, DoorOpened, 1), line(later, PersonDetected, 1)]);
    }
}
