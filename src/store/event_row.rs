//! A row of the events table with its camera, read once for whoever asks: the columns stand here and nowhere else.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, unreadable};
use crate::domain::{
    camera::{CameraId, CameraLabel},
    event::{Details, Event, EventId},
};

/// As `query_as!` fills it.
pub struct Row {
    pub id: i64,
    pub event_type: String,
    pub person_count: i32,
    pub confidence: Option<f64>,
    pub snapshot_path: Option<String>,
    pub description: Option<String>,
    pub is_resolved: bool,
    pub resolved_at: Option<DateTime<Utc>>,
    pub detection_id: Option<Uuid>,
    pub detected_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub camera_id: Option<i32>,
    pub camera_name: Option<String>,
    pub camera_location: Option<String>,
    pub kind: Option<String>,
    pub subject_camera_id: Option<i32>,
    pub requested_by: Option<String>,
    pub command_id: Option<Uuid>,
}

impl TryFrom<Row> for Event {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let details = Details {
            kind: row.kind.map(|kind| kind.parse().map_err(unreadable)).transpose()?,
            subject_camera: row.subject_camera_id.map(CameraId),
            requested_by: row.requested_by,
            command_id: row.command_id,
        };
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
            details,
        })
    }
}

/// A query for events with their cameras: the columns stand here once, between what goes before and after them.
macro_rules! select_events {
    ($before:literal, $($rest:literal)+ $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            crate::store::event_row::Row,
            $before
                + r#" SELECT events.id AS "id!", event_type::text AS "event_type!", person_count AS "person_count!",
                             confidence, snapshot_path, events.description, is_resolved AS "is_resolved!", resolved_at,
                             detection_id, detected_at, events.created_at AS "created_at!",
                             events.camera_id AS "camera_id?", cameras.name AS "camera_name?",
                             cameras.location AS "camera_location?", events.kind, subject_camera_id, requested_by,
                             command_id "#
                $(+ $rest)+
            $(, $argument)*
        )
    };
}
pub(super) use select_events;

/// The rows as events.
///
/// # Errors
/// When a row is none that this version of the hub writes.
pub fn events(rows: Vec<Row>) -> Result<Vec<Event>, Error> {
    rows.into_iter().map(Event::try_from).collect()
}
