//! Counts of events that the database keeps as it writes them: answered without counting rows, however many there are.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgExecutor;

use super::{Database, Error, unreadable};
use crate::domain::{camera::CameraId, event::EventType};

/// Where the sums of all events together are kept, among those of cameras.
const ALL: i32 = 0;

/// All events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub total: i64,
    pub unresolved: i64,
    /// Made in the time that was asked for.
    pub between: i64,
}

/// How many events of one kind there were in each of some quarters of an hour that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarters {
    /// When the first of them begins.
    pub start: DateTime<Utc>,
    pub event_type: EventType,
    /// Below zero in a run that takes back what another one tells.
    pub counts: Vec<i32>,
}

/// The counts of all events, and of those made from `from` to before `to`, both of which begin a quarter of an hour.
///
/// # Errors
/// When the database is away.
pub async fn all(db: impl PgExecutor<'_>, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Totals, Error> {
    sqlx::query_as!(
        Totals,
        r#"SELECT total, unresolved,
                  (SELECT coalesce(sum(count), 0)::bigint FROM event_buckets
                   WHERE event_buckets.camera_id = 0 AND start >= $1 AND start < $2)
                  -- No day is packed that soon, but where a clock was wrong.
                  + (SELECT coalesce(sum(count), 0)::bigint
                     FROM event_days CROSS JOIN unnest(counts) WITH ORDINALITY AS quarters (count, place)
                     WHERE event_days.camera_id = 0
                         AND day BETWEEN ($1 AT TIME ZONE 'UTC')::date AND ($2 AT TIME ZONE 'UTC')::date
                         AND day::timestamp AT TIME ZONE 'UTC' + (place - 1) * interval '15 minutes' >= $1
                         AND day::timestamp AT TIME ZONE 'UTC' + (place - 1) * interval '15 minutes' < $2) AS "between!"
           FROM event_totals WHERE camera_id = 0"#,
        from,
        to,
    )
    .fetch_one(db)
    .await
}

/// How many events a camera has.
///
/// # Errors
/// When the database is away.
pub async fn of_camera(db: impl PgExecutor<'_>, camera: CameraId) -> Result<i64, Error> {
    let total = sqlx::query_scalar!("SELECT total FROM event_totals WHERE camera_id = $1", camera.0);
    Ok(total.fetch_optional(db).await?.unwrap_or(0))
}

/// The sums of one camera, or of all together, from `from` to `to`, in no order; the day of each of these as a whole, if
/// it is packed. What several runs tell of a quarter is to be added up.
///
/// # Errors
/// When the database is away.
pub async fn quarters(
    db: impl PgExecutor<'_>,
    camera: Option<CameraId>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Quarters>, Error> {
    let rows = sqlx::query!(
        r#"SELECT day::timestamp AT TIME ZONE 'UTC' AS "start!", event_type::text AS "event_type!", counts AS "counts!"
           FROM event_days
           WHERE camera_id = $1 AND day BETWEEN ($2 AT TIME ZONE 'UTC')::date AND ($3 AT TIME ZONE 'UTC')::date
           UNION ALL
           SELECT start, event_type::text, ARRAY[count::integer]
           FROM event_buckets WHERE camera_id = $1 AND start >= $2 AND start < $3"#,
        camera.map_or(ALL, |camera| camera.0),
        from,
        to,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let event_type = row.event_type.parse().map_err(unreadable)?;
            Ok(Quarters { start: row.start, event_type, counts: row.counts })
        })
        .collect()
}

/// Packs the sums of the days before this one (UTC), one camera after the other, and says how many rows they were. What
/// is counted now goes on meanwhile.
///
/// # Errors
/// When the database is away; what was packed stays packed.
pub async fn pack(db: &Database, before: NaiveDate) -> Result<i64, Error> {
    let places = sqlx::query_scalar!("SELECT camera_id FROM event_totals ORDER BY camera_id").fetch_all(db).await?;
    let mut packed = 0;
    for place in places {
        let done = sqlx::query_scalar!(r#"SELECT pack_event_buckets($1, $2) AS "packed!""#, place, before);
        packed += done.fetch_one(db).await?;
    }
    Ok(packed)
}
