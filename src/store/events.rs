//! The events table, for those who read, resolve and delete. Written by [`super::recording`] only.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Error, unreadable};
use crate::domain::{
    camera::{CameraId, CameraLabel},
    event::{Event, EventId, EventType},
};

/// Which events are asked for; `None` does not narrow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    pub camera_id: Option<CameraId>,
    pub event_type: Option<EventType>,
    pub is_resolved: Option<bool>,
    /// Made at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Made at this time or earlier.
    pub to: Option<DateTime<Utc>>,
    /// Only ids below this one, whether or not it exists.
    pub before: Option<EventId>,
}

struct Row {
    id: i64,
    event_type: String,
    person_count: i32,
    confidence: Option<f64>,
    snapshot_path: Option<String>,
    description: Option<String>,
    is_resolved: bool,
    resolved_at: Option<DateTime<Utc>>,
    detection_id: Option<Uuid>,
    detected_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    camera_id: Option<i32>,
    camera_name: Option<String>,
    camera_location: Option<String>,
}

impl TryFrom<Row> for Event {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let label = |(id, name)| CameraLabel { id: CameraId(id), name, location: row.camera_location };
        Ok(Self {
            id: EventId(row.id),
            camera: row.camera_id.zip(row.camera_name).map(label),
            event_type: row.event_type.parse().map_err(unreadable)?,
            person_count: u32::try_from(row.person_count).unwrap_or_default(),
            confidence: row.confidence,
            snapshot_path: row.snapshot_path,
            description: row.description,
            is_resolved: row.is_resolved,
            resolved_at: row.resolved_at,
            detection_id: row.detection_id,
            detected_at: row.detected_at,
            created_at: row.created_at,
        })
    }
}

/// A query for events with their cameras: the columns stand here once, between what goes before and after them.
macro_rules! select_events {
    ($before:literal, $($rest:literal)+ $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            $before
                + r#" SELECT events.id AS "id!", event_type::text AS "event_type!", person_count AS "person_count!",
                             confidence, snapshot_path, events.description, is_resolved AS "is_resolved!", resolved_at,
                             detection_id, detected_at, events.created_at AS "created_at!",
                             events.camera_id AS "camera_id?", cameras.name AS "camera_name?",
                             cameras.location AS "camera_location?" "#
                $(+ $rest)+
            $(, $argument)*
        )
    };
}

/// The newest events of a filter. What narrows by an index stands in `$narrow` as a condition of its own, so that even a
/// plan made for any arguments uses the index.
macro_rules! newest_events {
    ($narrow:literal, $camera:expr, $filter:expr, $limit:expr, $offset:expr) => {
        select_events!(
            "",
            "FROM events LEFT JOIN cameras ON cameras.id = events.camera_id WHERE "
            $narrow
            " AND ($2::text IS NULL OR event_type = $2::text::event_type)
                    AND ($3::bool IS NULL OR is_resolved = $3)
                    AND events.created_at BETWEEN coalesce($4, '-infinity'::timestamptz) AND coalesce($5, 'infinity'::timestamptz)
                    AND events.id < coalesce($6, 9223372036854775807)
                    ORDER BY events.id DESC LIMIT $7 OFFSET $8",
            $camera,
            $filter.event_type.map(EventType::as_str),
            $filter.is_resolved,
            $filter.from,
            $filter.to,
            $filter.before.map(|id| id.0),
            $limit,
            $offset,
        )
    };
}

fn events(rows: Vec<Row>) -> Result<Vec<Event>, Error> {
    rows.into_iter().map(Event::try_from).collect()
}

/// The newest events that the filter lets through, after `offset` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(db: impl PgExecutor<'_>, filter: &Filter, limit: i64, offset: i64) -> Result<Vec<Event>, Error> {
    let camera = filter.camera_id.map(|id| id.0);
    let unresolved = filter.is_resolved == Some(false);
    let rows = match camera {
        Some(camera) if unresolved => {
            newest_events!("events.camera_id = $1 AND NOT is_resolved", camera, filter, limit, offset)
                .fetch_all(db)
                .await
        }
        Some(camera) => newest_events!("events.camera_id = $1", camera, filter, limit, offset).fetch_all(db).await,
        None if unresolved => {
            newest_events!("$1::int4 IS NULL AND NOT is_resolved", camera, filter, limit, offset).fetch_all(db).await
        }
        None => newest_events!("$1::int4 IS NULL", camera, filter, limit, offset).fetch_all(db).await,
    };
    events(rows?)
}

/// The oldest events after this id, for a reader that closes a gap.
///
/// # Errors
/// When the database is away.
pub async fn since(db: impl PgExecutor<'_>, after: EventId, limit: i64) -> Result<Vec<Event>, Error> {
    let rows = select_events!(
        "",
        "FROM events LEFT JOIN cameras ON cameras.id = events.camera_id
         WHERE events.id > $1 ORDER BY events.id LIMIT $2",
        after.0,
        limit,
    );
    events(rows.fetch_all(db).await?)
}

/// # Errors
/// When the database is away.
pub async fn by_id(db: impl PgExecutor<'_>, id: EventId) -> Result<Option<Event>, Error> {
    let row = select_events!(
        "",
        "FROM events LEFT JOIN cameras ON cameras.id = events.camera_id WHERE events.id = $1",
        id.0,
    );
    row.fetch_optional(db).await?.map(Event::try_from).transpose()
}

/// The newest `limit` events of each camera, newest first.
///
/// # Errors
/// When the database is away.
pub async fn newest_of_each_camera(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Event>, Error> {
    let rows = select_events!(
        "",
        "FROM cameras CROSS JOIN LATERAL
             (SELECT * FROM events WHERE events.camera_id = cameras.id ORDER BY id DESC LIMIT $1) AS events
         ORDER BY events.id DESC",
        limit,
    );
    events(rows.fetch_all(db).await?)
}

/// Whether the newest stored movement of the lock is an opening or a closing; none if there is none.
///
/// # Errors
/// When the database is away.
pub async fn newest_movement(db: impl PgExecutor<'_>) -> Result<Option<EventType>, Error> {
    // Of no camera, as all of these are, so that the index finds it among millions of detections.
    let newest = sqlx::query_scalar!(
        r#"SELECT event_type::text AS "event_type!" FROM events
           WHERE camera_id IS NULL AND event_type IN ('DOOR_OPENED', 'DOOR_CLOSED') ORDER BY id DESC LIMIT 1"#
    );
    newest.fetch_optional(db).await?.map(|kind| kind.parse().map_err(unreadable)).transpose()
}

/// Marks an event as resolved; one that is resolved already stays as it is.
///
/// # Errors
/// When the database is away.
pub async fn resolve(db: impl PgExecutor<'_>, id: EventId, at: DateTime<Utc>) -> Result<Option<Event>, Error> {
    // The row as it is after the update, or, where there was nothing to update, as it was all along.
    let row = select_events!(
        "WITH resolved AS (
             UPDATE events SET is_resolved = true, resolved_at = $2 WHERE id = $1 AND NOT is_resolved RETURNING *
         ), found AS (
             SELECT * FROM resolved
             UNION ALL
             SELECT * FROM events WHERE id = $1 AND NOT EXISTS (SELECT FROM resolved)
         )",
        "FROM found AS events LEFT JOIN cameras ON cameras.id = events.camera_id",
        id.0,
        at,
    );
    row.fetch_optional(db).await?.map(Event::try_from).transpose()
}

/// # Errors
/// When the database is away.
pub async fn delete(db: impl PgExecutor<'_>, id: EventId) -> Result<Option<Event>, Error> {
    let row = select_events!(
        "WITH deleted AS (DELETE FROM events WHERE id = $1 RETURNING *)",
        "FROM deleted AS events LEFT JOIN cameras ON cameras.id = events.camera_id",
        id.0,
    );
    row.fetch_optional(db).await?.map(Event::try_from).transpose()
}
