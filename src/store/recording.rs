//! Storing a whole group of what has come in, in one commit: events, and what could not become one.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use crate::domain::{
    camera::{CameraId, CameraLabel},
    event::{Event, EventId, EventType},
};

/// An event that has no id yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub camera_id: Option<CameraId>,
    pub event_type: EventType,
    pub person_count: u32,
    pub confidence: Option<f64>,
    pub snapshot_path: Option<String>,
    pub description: Option<String>,
    pub is_resolved: bool,
    pub detection_id: Option<Uuid>,
    pub detected_at: Option<DateTime<Utc>>,
}

/// A message that is kept for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub reason: &'a str,
    pub source: &'a str,
}

/// What became of one event of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    Stored(Event),
    /// Its detection id was there already, from before or from the same group.
    Duplicate,
    UnknownCamera,
}

/// The columns of a group, side by side, as `UNNEST` takes them.
#[derive(Default)]
struct Columns<'a> {
    camera_id: Vec<Option<i32>>,
    event_type: Vec<&'static str>,
    person_count: Vec<i32>,
    confidence: Vec<Option<f64>>,
    snapshot_path: Vec<Option<&'a str>>,
    description: Vec<Option<&'a str>>,
    is_resolved: Vec<bool>,
    detection_id: Vec<Option<Uuid>>,
    detected_at: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Columns<'a> {
    fn of(events: &'a [NewEvent]) -> Self {
        let mut columns = Self::default();
        for event in events {
            columns.camera_id.push(event.camera_id.map(|id| id.0));
            columns.event_type.push(event.event_type.as_str());
            // Checked where it was read: at most what an `integer` holds.
            columns.person_count.push(i32::try_from(event.person_count).unwrap_or(i32::MAX));
            columns.confidence.push(event.confidence);
            columns.snapshot_path.push(event.snapshot_path.as_deref());
            columns.description.push(event.description.as_deref());
            columns.is_resolved.push(event.is_resolved);
            columns.detection_id.push(event.detection_id);
            columns.detected_at.push(event.detected_at);
        }
        columns
    }
}

/// Stores a group of events in one statement, in the group's order, and says of each what became of it.
///
/// # Errors
/// When the database is away or refuses a row; then nothing of the group is stored.
pub async fn insert(db: &mut PgConnection, events: &[NewEvent], at: DateTime<Utc>) -> Result<Vec<Row>, Error> {
    let columns = Columns::of(events);
    let found = sqlx::query!(
        r#"
        WITH input AS MATERIALIZED (
            SELECT nextval(pg_get_serial_sequence('events', 'id')) AS id, sent.*
            FROM UNNEST($1::int4[], $2::text[], $3::int4[], $4::float8[], $5::text[], $6::text[], $7::bool[], $8::uuid[], $9::timestamptz[])
                WITH ORDINALITY AS sent (camera_id, event_type, person_count, confidence, snapshot_path, description,
                                         is_resolved, detection_id, detected_at, place)
        ), known AS (
            SELECT input.*, cameras.name, cameras.location
            FROM input LEFT JOIN cameras ON cameras.id = input.camera_id
            WHERE input.camera_id IS NULL OR cameras.id IS NOT NULL
        ), stored AS (
            INSERT INTO events (id, camera_id, event_type, person_count, confidence, snapshot_path, description,
                                is_resolved, resolved_at, detection_id, detected_at, created_at)
            SELECT id, camera_id, event_type::event_type, person_count, confidence, snapshot_path, description,
                   is_resolved, CASE WHEN is_resolved THEN $10::timestamptz END, detection_id, detected_at, $10
            FROM known ORDER BY place
            ON CONFLICT (camera_id, detection_id) WHERE detection_id IS NOT NULL DO NOTHING
            RETURNING id
        )
        SELECT known.place AS "place!", known.id AS "id!", known.name AS "name?", known.location AS "location?",
               stored.id IS NOT NULL AS "is_new!"
        FROM known LEFT JOIN stored ON stored.id = known.id
        "#,
        &columns.camera_id as &[Option<i32>],
        &columns.event_type as &[&str],
        &columns.person_count,
        &columns.confidence as &[Option<f64>],
        &columns.snapshot_path as &[Option<&str>],
        &columns.description as &[Option<&str>],
        &columns.is_resolved,
        &columns.detection_id as &[Option<Uuid>],
        &columns.detected_at as &[Option<DateTime<Utc>>],
        at,
    )
    .fetch_all(db)
    .await?;
    let mut rows = vec![Row::UnknownCamera; events.len()];
    for row in found {
        let index = usize::try_from(row.place - 1).unwrap_or(usize::MAX);
        let (Some(slot), Some(new)) = (rows.get_mut(index), events.get(index)) else { continue };
        *slot = if row.is_new {
            let label = |(id, name)| CameraLabel { id, name, location: row.location };
            Row::Stored(stored(EventId(row.id), new, new.camera_id.zip(row.name).map(label), at))
        } else {
            Row::Duplicate
        };
    }
    Ok(rows)
}

fn stored(id: EventId, new: &NewEvent, camera: Option<CameraLabel>, at: DateTime<Utc>) -> Event {
    Event {
        id,
        camera,
        event_type: new.event_type,
        person_count: new.person_count,
        confidence: new.confidence,
        snapshot_path: new.snapshot_path.clone(),
        description: new.description.clone(),
        is_resolved: new.is_resolved,
        resolved_at: new.is_resolved.then_some(at),
        detection_id: new.detection_id,
        detected_at: new.detected_at,
        created_at: at,
    }
}

/// Keeps messages that could not become events.
///
/// # Errors
/// When the database is away.
pub async fn reject(db: &mut PgConnection, messages: &[Rejected<'_>], at: DateTime<Utc>) -> Result<(), Error> {
    let (mut topics, mut payloads, mut reasons, mut sources) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Postgres stores no NUL in a text, and a reason may quote what was sent.
    let printable = |text: &str| text.replace('\0', "\u{fffd}");
    for message in messages {
        topics.push(printable(message.topic));
        payloads.push(message.payload);
        reasons.push(printable(message.reason));
        sources.push(printable(message.source));
    }
    sqlx::query!(
        "INSERT INTO rejected_messages (topic, payload, reason, source, received_at)
         SELECT sent.*, $5 FROM UNNEST($1::text[], $2::bytea[], $3::text[], $4::text[]) AS sent",
        &topics,
        &payloads as &[&[u8]],
        &reasons,
        &sources,
        at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Events and rejected messages of one group, in one transaction.
///
/// # Errors
/// When the database is away or refuses a row; then nothing of the group is stored.
pub async fn insert_and_reject(
    connection: &mut PgConnection,
    events: &[NewEvent],
    rejected: &[Rejected<'_>],
    at: DateTime<Utc>,
) -> Result<Vec<Row>, Error> {
    let mut transaction = sqlx::Connection::begin(connection).await?;
    reject(&mut transaction, rejected, at).await?;
    let rows = if events.is_empty() { Vec::new() } else { insert(&mut transaction, events, at).await? };
    transaction.commit().await?;
    Ok(rows)
}

/// The events that were stored before under these detection ids.
///
/// # Errors
/// When the database is away.
pub async fn by_detection_ids(db: &mut PgConnection, keys: &[(CameraId, Uuid)]) -> Result<Vec<Event>, Error> {
    let (cameras, detections): (Vec<i32>, Vec<Uuid>) = keys.iter().map(|(camera, id)| (camera.0, *id)).unzip();
    let rows = sqlx::query!(
        r#"
        SELECT events.id, event_type::text AS "event_type!", person_count, confidence, snapshot_path, events.description,
               is_resolved, resolved_at, detection_id, detected_at, events.created_at,
               cameras.id AS camera_id, cameras.name, cameras.location
        FROM events
        JOIN UNNEST($1::int4[], $2::uuid[]) AS wanted (camera, detection)
            ON wanted.camera = events.camera_id AND wanted.detection = events.detection_id
        JOIN cameras ON cameras.id = events.camera_id
        "#,
        &cameras,
        &detections,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Event {
                id: EventId(row.id),
                camera: Some(CameraLabel { id: CameraId(row.camera_id), name: row.name, location: row.location }),
                event_type: row.event_type.parse().map_err(|error| Error::Decode(Box::new(error)))?,
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
        })
        .collect()
}

/// When the newest event was made, so that the next one is not made before it.
///
/// # Errors
/// When the database is away.
pub async fn newest_time(db: &mut PgConnection) -> Result<Option<DateTime<Utc>>, Error> {
    sqlx::query_scalar!("SELECT created_at FROM events ORDER BY id DESC LIMIT 1").fetch_optional(db).await
}
