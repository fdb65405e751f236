//! The events table, for those who read, resolve and delete. Written by [`super::recording`] only.
//!
//! A page is ordered by id. It is asked for by windows of runs (see [`super::months`]), each with a plan of its own, made
//! for the filters that are given: what is not asked for costs nothing, and what is has an index.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{
    Database, Error,
    event_row::{events, select_events},
    months::{Among, Order, Runs, Window},
    unreadable,
};
use crate::domain::{
    camera::CameraId,
    event::{Event, EventId, EventType, Kind},
};

/// Which events are asked for; `None` does not narrow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    pub camera_id: Option<CameraId>,
    pub event_type: Option<EventType>,
    pub is_resolved: Option<bool>,
    /// Of the hub's own events.
    pub kind: Option<Kind>,
    pub subject_camera: Option<CameraId>,
    /// Made at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Made at this time or earlier.
    pub to: Option<DateTime<Utc>>,
    /// Only ids below this one, whether or not it exists.
    pub before: Option<EventId>,
}

impl Filter {
    /// The type that all have which are asked for. Alerts alone have a kind and a subject, and the index of types finds
    /// them among millions of detections.
    #[must_use]
    pub fn event_type(&self) -> Option<EventType> {
        let is_of_alerts = self.kind.is_some() || self.subject_camera.is_some();
        self.event_type.or(is_of_alerts.then_some(EventType::SystemAlert))
    }
}

/// The newest events that the filter lets through, after `offset` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(db: &Database, filter: &Filter, limit: i64, offset: i64) -> Result<Vec<Event>, Error> {
    let among = Among { from: filter.from, to: filter.to, before: filter.before, after: None };
    let windows = Runs::read(db).await?.windows(&among, Order::NewestFirst);
    if offset > 0 {
        // What is passed over has to be walked through anyway, and a part of it tells nothing of its length.
        let Some((all, sorted)) = all_of(&windows) else { return Ok(Vec::new()) };
        return page(db, filter, all, sorted, limit, offset).await;
    }
    let mut found = Vec::new();
    for window in windows {
        let wanted = limit - i64::try_from(found.len()).unwrap_or(limit);
        if wanted <= 0 {
            break;
        }
        found.extend(page(db, filter, window, true, wanted, 0).await?);
    }
    Ok(found)
}

/// All that lies in any of the windows, or between; and whether its times rise with its ids.
fn all_of(windows: &[Window]) -> Option<(Window, bool)> {
    let (newest, rest) = windows.split_first()?;
    if let Some(joined) = rest.iter().try_fold(*newest, |all, window| all.joined(*window)) {
        return Some((joined, true));
    }
    let all = rest.iter().fold(*newest, |all, window| Window {
        from: all.from.min(window.from),
        to: all.to.max(window.to),
        earliest: all.earliest.min(window.earliest),
        latest: all.latest.max(window.latest),
        first: all.first.min(window.first),
        end: all.end.max(window.end),
    });
    Some((all, false))
}

/// The newest events of a window that the filter lets through. Where times rise with ids (`sorted`) they are found by both.
async fn page(
    db: &Database,
    filter: &Filter,
    window: Window,
    sorted: bool,
    limit: i64,
    offset: i64,
) -> Result<Vec<Event>, Error> {
    let event_type = filter.event_type();
    // Times as ids: a page that begins or ends in the midst of a run finds its place by the index of times, and walks
    // by the index of ids from there. `IS TRUE` keeps the planner from sorting all that lies between the times.
    let rows = select_events!(
        "",
        "FROM events LEFT JOIN cameras ON cameras.id = events.camera_id
         WHERE ($1::int4 IS NULL OR events.camera_id = $1)
           AND ($2::text IS NULL OR event_type = $2::text::event_type)
           AND ($11 OR event_type <> 'PERSON_DETECTED')
           AND ($3::bool IS NULL OR is_resolved = $3)
           AND ($14::text IS NULL OR events.kind = $14)
           AND ($15::int4 IS NULL OR subject_camera_id = $15)
           AND events.created_at >= $4 AND events.created_at < $5
           AND ($6::timestamptz IS NULL OR (events.created_at >= $6) IS TRUE)
           AND ($7::timestamptz IS NULL OR (events.created_at <= $7) IS TRUE)
           AND ($6::timestamptz IS NULL OR NOT $13 OR events.id >= (
               SELECT id FROM events
               WHERE created_at >= $6 AND created_at >= $4 AND created_at < $5 AND id >= $12 AND id < $8
               ORDER BY created_at, id LIMIT 1))
           AND ($7::timestamptz IS NULL OR NOT $13 OR events.id <= (
               SELECT id FROM events
               WHERE created_at <= $7 AND created_at >= $4 AND created_at < $5 AND id >= $12 AND id < $8
               ORDER BY created_at DESC, id DESC LIMIT 1))
           AND events.id >= $12 AND events.id < $8
         ORDER BY events.id DESC LIMIT $9 OFFSET $10",
        filter.camera_id.map(|id| id.0),
        event_type.map(EventType::as_str),
        filter.is_resolved,
        window.from,
        window.to,
        filter.from.filter(|from| *from > window.earliest),
        filter.to.filter(|to| *to < window.latest),
        filter.before.map_or(window.end, |before| before.min(window.end)).0,
        limit,
        offset,
        // Says what is plain, for the planner, which takes an index of some types for no more than it can prove.
        event_type.is_none_or(|kind| kind == EventType::PersonDetected),
        window.first.0,
        sorted,
        filter.kind.map(Kind::as_str),
        filter.subject_camera.map(|id| id.0),
    );
    events(rows.fetch_all(db).await?)
}

/// The oldest events after this id, for a reader that closes a gap.
///
/// # Errors
/// When the database is away.
pub async fn since(db: &Database, after: EventId, limit: i64) -> Result<Vec<Event>, Error> {
    let among = Among { after: Some(after), ..Among::default() };
    let mut found = Vec::new();
    for window in Runs::read(db).await?.windows(&among, Order::OldestFirst) {
        let wanted = limit - i64::try_from(found.len()).unwrap_or(limit);
        if wanted <= 0 {
            break;
        }
        let rows = select_events!(
            "",
            "FROM events LEFT JOIN cameras ON cameras.id = events.camera_id
             WHERE events.id > $1 AND events.id >= $5 AND events.id < $6
               AND events.created_at >= $2 AND events.created_at < $3
             ORDER BY events.id LIMIT $4",
            after.0,
            window.from,
            window.to,
            wanted,
            window.first.0,
            window.end.0,
        );
        found.extend(events(rows.fetch_all(db).await?)?);
    }
    Ok(found)
}

/// # Errors
/// When the database is away.
pub async fn by_id(db: &Database, id: EventId) -> Result<Option<Event>, Error> {
    let run = Runs::read(db).await?.of(id);
    if let Some(run) = run
        && let Some(event) = within(db, id, Some(run)).await?
    {
        return Ok(Some(event));
    }
    // It is not there, or somebody has written events past the recorder while it wrote, too.
    within(db, id, None).await
}

async fn within(db: &Database, id: EventId, window: Option<Window>) -> Result<Option<Event>, Error> {
    let row = select_events!(
        "",
        "FROM events LEFT JOIN cameras ON cameras.id = events.camera_id
         WHERE events.id = $1 AND ($2::timestamptz IS NULL OR events.created_at >= $2)
           AND ($3::timestamptz IS NULL OR events.created_at < $3)",
        id.0,
        window.map(|window| window.from),
        window.map(|window| window.to),
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

/// At whose command the door was opened last; none if it never was, by nobody's, or before the hub noted it.
///
/// # Errors
/// When the database is away.
pub async fn newest_opener(db: impl PgExecutor<'_>) -> Result<Option<String>, Error> {
    let newest = sqlx::query_scalar!(
        "SELECT requested_by FROM events WHERE camera_id IS NULL AND event_type = 'DOOR_OPENED' ORDER BY id DESC LIMIT 1"
    );
    Ok(newest.fetch_optional(db).await?.flatten())
}

/// Marks an event as resolved; one that is resolved already stays as it is.
///
/// # Errors
/// When the database is away.
pub async fn resolve(db: &Database, id: EventId, at: DateTime<Utc>) -> Result<Option<Event>, Error> {
    let Some(event) = by_id(db, id).await? else { return Ok(None) };
    let done = sqlx::query!(
        "UPDATE events SET is_resolved = true, resolved_at = $3 WHERE id = $1 AND created_at = $2 AND NOT is_resolved",
        id.0,
        event.created_at,
        at,
    )
    .execute(db)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(Some(Event { is_resolved: true, resolved_at: Some(at), ..event }));
    }
    // Somebody else was quicker, or has deleted it.
    if event.is_resolved { Ok(Some(event)) } else { by_id(db, id).await }
}

/// # Errors
/// When the database is away.
pub async fn delete(db: &Database, id: EventId) -> Result<Option<Event>, Error> {
    let Some(event) = by_id(db, id).await? else { return Ok(None) };
    let created_at = event.created_at;
    let row = select_events!(
        "WITH deleted AS (DELETE FROM events WHERE id = $1 AND created_at = $2 RETURNING *)",
        "FROM deleted AS events LEFT JOIN cameras ON cameras.id = events.camera_id",
        id.0,
        created_at,
    );
    row.fetch_optional(db).await?.map(Event::try_from).transpose()
}
