//! Counts of events that the database keeps as it writes them: answered without counting rows, however many there are.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgExecutor;

use super::{Error, unreadable};
use crate::domain::{camera::CameraId, event::EventType};

/// All events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub total: i64,
    pub unresolved: i64,
    /// Made since the time that was asked for.
    pub since: i64,
}

/// Events of one kind in one stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub start: DateTime<Utc>,
    pub event_type: EventType,
    pub count: i64,
}

/// The counts of all events, and of those made since `since`, which begins a quarter of an hour.
///
/// # Errors
/// When the database is away.
pub async fn all(db: impl PgExecutor<'_>, since: DateTime<Utc>) -> Result<Totals, Error> {
    sqlx::query_as!(
        Totals,
        r#"SELECT total, unresolved,
                  (SELECT coalesce(sum(count), 0)::bigint FROM event_buckets
                   WHERE event_buckets.camera_id = 0 AND start >= $1) AS "since!"
           FROM event_totals WHERE camera_id = 0"#,
        since,
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

/// The stretches of `width` from `from` to before `to` that have events; of one camera or of all together. Both times
/// begin a quarter of an hour, and `width` is made of such quarters.
///
/// # Errors
/// When the database is away.
pub async fn stretches(
    db: impl PgExecutor<'_>,
    camera: Option<CameraId>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    width: TimeDelta,
) -> Result<Vec<Stretch>, Error> {
    let rows = sqlx::query!(
        r#"SELECT date_bin($4, start, $2) AS "start!", event_type::text AS "event_type!", sum(count)::bigint AS "count!"
           FROM event_buckets
           WHERE camera_id = $1 AND start >= $2 AND start < $3 AND count > 0 GROUP BY 1, event_type"#,
        camera.map_or(0, |camera| camera.0),
        from,
        to,
        width as TimeDelta,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let event_type = row.event_type.parse().map_err(unreadable)?;
            Ok(Stretch { start: row.start, event_type, count: row.count })
        })
        .collect()
}
