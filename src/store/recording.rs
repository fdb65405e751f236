//! Storing a whole group of what has come in, in one commit: events, and what could not become one.

mod all_new;

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use self::all_new::{Cameras, insert_new};
use super::{
    Error,
    database::{Database, Kept},
    event_row::{events as read, select_events},
};
use crate::domain::{
    camera::{CameraId, CameraLabel},
    event::{Details, Event, EventId, EventType, Kind},
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
    pub details: Details,
    /// Under which it is stored once for its camera, however often it is tried: the detection id, or, where there is
    /// none, one of the hub's own.
    pub key: Uuid,
}

/// A message that is kept for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub reason: &'a str,
    pub source: &'a str,
    /// Under which it is kept once, however often it is tried.
    pub key: Uuid,
}

/// What became of one event of a group.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are stored")]
pub enum Row {
    Stored(Event),
    /// Its key was there already, from before or from the same group.
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
    key: Vec<Uuid>,
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
            columns.key.push(event.key);
        }
        columns
    }
}

/// What the hub's own events have beyond the columns of all.
#[derive(Default)]
struct DetailColumns<'a> {
    kind: Vec<Option<&'static str>>,
    subject_camera_id: Vec<Option<i32>>,
    requested_by: Vec<Option<&'a str>>,
    command_id: Vec<Option<Uuid>>,
}

impl<'a> DetailColumns<'a> {
    fn of(events: &'a [NewEvent]) -> Self {
        let mut columns = Self::default();
        for NewEvent { details, .. } in events {
            columns.kind.push(details.kind.map(Kind::as_str));
            columns.subject_camera_id.push(details.subject_camera.map(|id| id.0));
            columns.requested_by.push(details.requested_by.as_deref());
            columns.command_id.push(details.command_id);
        }
        columns
    }
}

/// How long one try to commit a group may take, which on a small machine under load takes a tenth of a second.
pub const ATTEMPT: Duration = Duration::from_secs(15);

/// The recorder's own connection: its statements are planned once, with no regard to pages. Everybody else's are planned
/// for their arguments, see [`Database::gated`]. A try that was given up ends on the server, too: its transaction would
/// keep the next one, which stores the same keys, waiting.
#[must_use]
pub fn connection(database: &Database) -> Kept {
    let settings = [
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_sort", "on"),
        ("statement_timeout", "15s"),
        ("idle_in_transaction_session_timeout", "15s"),
        // It notes by itself where its times do not follow each other.
        ("portcullis.keeps_runs", "yes"),
    ];
    database.kept(settings)
}

/// Stores what is new of a group of events in one statement, in the group's order, and says of each what became of it.
///
/// # Errors
/// When the database is away or refuses a row; then nothing of the group is stored.
pub async fn insert(db: &mut PgConnection, events: &[NewEvent], at: DateTime<Utc>) -> Result<Vec<Row>, Error> {
    let (columns, details) = (Columns::of(events), DetailColumns::of(events));
    // `IN (SELECT …)` where it stands is answered from a hash table whatever the planner thinks of the group's size; a join
    // might be a loop of a million rounds. That no camera goes meanwhile is seen to by the trigger of its deletion.
    let found = sqlx::query!(
        r#"
        WITH input AS MATERIALIZED (
            SELECT nextval('events_id_seq') AS id, sent.*
            FROM UNNEST($1::int4[], $2::text[], $3::int4[], $4::float8[], $5::text[], $6::text[], $7::bool[], $8::uuid[],
                        $9::timestamptz[], $10::uuid[], $12::text[], $13::int4[], $14::text[], $15::uuid[])
                WITH ORDINALITY AS sent (camera_id, event_type, person_count, confidence, snapshot_path, description,
                                         is_resolved, detection_id, detected_at, key, kind, subject_camera_id,
                                         requested_by, command_id, place)
        ), known AS MATERIALIZED (
            SELECT id, name, location FROM cameras
            WHERE id IN (SELECT camera_id FROM input)
        ), keyed AS (
            INSERT INTO event_keys (camera_id, key, event_id, created_at)
            SELECT coalesce(camera_id, 0), key, id, $11 FROM input
            WHERE camera_id IS NULL OR camera_id IN (SELECT id FROM known)
            ON CONFLICT DO NOTHING
            RETURNING event_id
        ), stored AS (
            INSERT INTO events (id, camera_id, event_type, person_count, confidence, snapshot_path, description,
                                is_resolved, resolved_at, detection_id, detected_at, created_at, kind, subject_camera_id,
                                requested_by, command_id)
            SELECT id, camera_id, event_type::event_type, person_count, confidence, snapshot_path, description,
                   is_resolved, CASE WHEN is_resolved THEN $11::timestamptz END, detection_id, detected_at, $11, kind,
                   subject_camera_id, requested_by, command_id
            FROM input WHERE (id IN (SELECT event_id FROM keyed)) IS TRUE
        )
        SELECT place AS "place!", input.id AS "id!", known.name AS "name?", known.location AS "location?",
               input.id IN (SELECT event_id FROM keyed) AS "is_new!"
        FROM input LEFT JOIN known ON known.id = camera_id
        WHERE camera_id IS NULL OR known.id IS NOT NULL
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
        &columns.key,
        at,
        &details.kind as &[Option<&str>],
        &details.subject_camera_id as &[Option<i32>],
        &details.requested_by as &[Option<&str>],
        &details.command_id as &[Option<Uuid>],
    )
    .fetch_all(db)
    .await?;
    let mut rows = vec![Row::UnknownCamera; events.len()];
    for row in found {
        let index = usize::try_from(row.place - 1).unwrap_or(usize::MAX);
        let (Some(slot), Some(new)) = (rows.get_mut(index), events.get(index)) else { continue };
        *slot = if row.is_new {
            let label = |(id, name)| CameraLabel { id, name, location: row.location };
            Row::Stored(stored_event(EventId(row.id), new, new.camera_id.zip(row.name).map(label), at))
        } else {
            Row::Duplicate
        };
    }
    Ok(rows)
}

fn stored_event(id: EventId, new: &NewEvent, camera: Option<CameraLabel>, at: DateTime<Utc>) -> Event {
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
        details: new.details.clone(),
    }
}

/// Keeps messages that could not become events.
///
/// # Errors
/// When the database is away.
pub async fn reject(db: &mut PgConnection, messages: &[Rejected<'_>], at: DateTime<Utc>) -> Result<(), Error> {
    let (mut topics, mut payloads, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    let (mut sources, mut keys) = (Vec::new(), Vec::new());
    // Postgres stores no NUL in a text, and a reason may quote what was sent.
    let printable = |text: &str| text.replace('\0', "\u{fffd}");
    for message in messages {
        topics.push(printable(message.topic));
        payloads.push(message.payload);
        reasons.push(printable(message.reason));
        sources.push(printable(message.source));
        keys.push(message.key);
    }
    sqlx::query!(
        "INSERT INTO rejected_messages (topic, payload, reason, source, key, received_at)
         SELECT sent.*, $6 FROM UNNEST($1::text[], $2::bytea[], $3::text[], $4::text[], $5::uuid[]) AS sent
         ON CONFLICT (key) DO NOTHING",
        &topics,
        &payloads as &[&[u8]],
        &reasons,
        &sources,
        &keys,
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

/// The events that were stored before under these keys, of the cameras that they belong to.
///
/// # Errors
/// When the database is away.
pub async fn by_keys(
    db: &mut PgConnection,
    wanted: &[(Option<CameraId>, Uuid)],
) -> Result<HashMap<(Option<CameraId>, Uuid), Event>, Error> {
    let (cameras, keys): (Vec<i32>, Vec<Uuid>) =
        wanted.iter().map(|(camera, key)| (camera.map_or(0, |camera| camera.0), *key)).unzip();
    let found = sqlx::query!(
        "SELECT camera_id, key, event_id, created_at FROM event_keys
         WHERE (camera_id, key) IN (SELECT * FROM UNNEST($1::int4[], $2::uuid[]))",
        &cameras,
        &keys,
    )
    .fetch_all(&mut *db)
    .await?;
    let (ids, times): (Vec<i64>, Vec<_>) = found.iter().map(|row| (row.event_id, row.created_at)).unzip();
    // By the time as well, which tells the month.
    let rows = select_events!(
        "",
        "FROM UNNEST($1::int8[], $2::timestamptz[]) AS wanted (id, at)
         JOIN events ON events.id = wanted.id AND events.created_at = wanted.at
         LEFT JOIN cameras ON cameras.id = events.camera_id",
        &ids,
        &times,
    );
    let events: HashMap<_, _> = read(rows.fetch_all(db).await?)?.into_iter().map(|event| (event.id.0, event)).collect();
    let camera = |id| (id > 0).then_some(CameraId(id));
    let pairs = found.iter().filter_map(|row| {
        let event = events.get(&row.event_id)?;
        Some(((camera(row.camera_id), row.key), event.clone()))
    });
    Ok(pairs.collect())
}

/// The id and the time of the newest event, by id.
///
/// # Errors
/// When the database is away.
pub async fn newest(db: &mut PgConnection) -> Result<Option<(EventId, DateTime<Utc>)>, Error> {
    let newest = sqlx::query!("SELECT id, created_at FROM events ORDER BY id DESC LIMIT 1");
    Ok(newest.fetch_optional(db).await?.map(|row| (EventId(row.id), row.created_at)))
}
