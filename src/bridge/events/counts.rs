//! Events counted: of today, and by hours and days in the hub's time zone.

use std::{collections::BTreeMap, iter, sync::Arc};

use axum::{Json, extract::State};
use chrono::{DateTime, Days, NaiveDate, Offset as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

use super::super::{Settings, error::ApiError, input::Query, who::SignedIn};
use crate::{
    domain::{camera::CameraId, event::EventType},
    store::{self, Database, totals::Stretch},
    wire::rest::{AnalyticsLine, EventStats},
};

/// The most hours or days in one answer.
const BUCKETS: i32 = 10_000;

/// How many events there are.
#[utoipa::path(get, path = "/api/events/stats", tag = "events", security(("bearer" = [])),
    responses((status = 200, body = EventStats)))]
pub async fn stats(
    _: SignedIn,
    State(database): State<Database>,
    State(settings): State<Arc<Settings>>,
) -> Result<Json<EventStats>, ApiError> {
    let today = Bucket::Day.start(Utc::now(), settings.time_zone);
    let totals = store::totals::all(&database, today).await?;
    Ok(Json(EventStats {
        total: totals.total,
        unresolved: totals.unresolved,
        today_events: totals.since,
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
    let width = bucket.summed_by(from, to, zone);
    let stretches = store::totals::stretches(&database, known(camera), from, to, width).await?;
    Ok(Json(lines(&stretches, bucket, zone)))
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

    /// The widest stretch that the database can add up by itself: none reaches from one of these buckets into another,
    /// whatever the zone's clocks do meanwhile.
    fn summed_by(self, from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> TimeDelta {
        let offset = |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix().local_minus_utc();
        let days = iter::successors(Some(from), |day| Some(*day + TimeDelta::days(1))).take_while(|day| *day < to);
        let (mut same, mut whole_hours) = (true, true);
        for change in days.chain([to]).map(|day| offset(day) - offset(from)) {
            same &= change == 0;
            whole_hours &= change % 3600 == 0;
        }
        match self {
            Self::Day if same => TimeDelta::days(1),
            _ if whole_hours => TimeDelta::hours(1),
            _ => TimeDelta::minutes(15),
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
}

/// When the day begins in the zone: at midnight, or where clocks are put forward at midnight, at the first time there is.
fn midnight(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let local = day.and_time(chrono::NaiveTime::MIN);
    (0..=8)
        .find_map(|quarters| zone.from_local_datetime(&(local + TimeDelta::minutes(15 * quarters))).earliest())
        .map_or_else(|| local.and_utc(), |begin| begin.to_utc())
}

fn lines(stretches: &[Stretch], bucket: Bucket, zone: Tz) -> Vec<AnalyticsLine> {
    let mut counts = BTreeMap::<(DateTime<Utc>, &str), (EventType, i64)>::new();
    for stretch in stretches {
        let key = (bucket.start(stretch.start, zone), stretch.event_type.as_str());
        counts.entry(key).or_insert((stretch.event_type, 0)).1 += stretch.count;
    }
    counts.into_iter().map(|((bucket, _), (event_type, count))| AnalyticsLine { bucket, event_type, count }).collect()
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
    fn the_database_adds_up_what_lies_in_one_bucket_whatever_the_clocks_do() {
        let year = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        let width = |bucket: Bucket, zone: Tz| {
            let (from, to) = (bucket.start(year.0, zone), bucket.after(year.1, zone));
            let width = bucket.summed_by(from, to, zone);
            // Each stretch begins and ends in one bucket.
            let mut start = from;
            while start < to {
                let last = (start + width - TimeDelta::minutes(15)).min(to - TimeDelta::minutes(15));
                assert_eq!(bucket.start(start, zone), bucket.start(last, zone), "{zone} {start}");
                start += width;
            }
            width.num_minutes()
        };
        let zones =
            [chrono_tz::UTC, chrono_tz::Asia::Kathmandu, chrono_tz::Europe::Berlin, chrono_tz::Australia::Lord_Howe];
        assert_eq!(zones.map(|zone| width(Bucket::Day, zone)), [1440, 1440, 60, 15]);
        assert_eq!(zones.map(|zone| width(Bucket::Hour, zone)), [60, 60, 60, 15]);
    }

    #[test]
    fn quarters_are_added_up() {
        let quarter = |start, count| Stretch { start: at(start), event_type: EventType::PersonDetected, count };
        let quarters = [
            quarter("2026-05-01T10:00:00Z", 2),
            quarter("2026-05-01T10:45:00Z", 3),
            quarter("2026-05-01T11:00:00Z", 1),
        ];
        let lines = lines(&quarters, Bucket::Hour, chrono_tz::UTC);
        assert_eq!(lines.iter().map(|line| line.count).collect::<Vec<_>>(), [5, 1]);
    }
}
