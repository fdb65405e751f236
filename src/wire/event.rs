//! An event as JSON: the same object in REST, on MQTT and on Socket.io.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;
use crate::domain::event::{Details, Event, EventType, Kind};

/// The contract's event object.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventJson<'a> {
    pub id: i64,
    #[schema(required)]
    pub camera_id: Option<i32>,
    pub event_type: EventType,
    pub person_count: u32,
    #[schema(required)]
    pub confidence: Option<f64>,
    #[schema(required)]
    pub snapshot_path: Option<&'a str>,
    #[schema(required)]
    pub description: Option<&'a str>,
    pub is_resolved: bool,
    #[serde(serialize_with = "time::serialize")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub resolved_at: Option<DateTime<Utc>>,
    pub camera: CameraLabelJson<'a>,
    #[schema(required)]
    pub detection_id: Option<Uuid>,
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub detected_at: Option<DateTime<Utc>>,
    /// What an event of the hub's own is about; null of a detection, and of one from before the hub noted it.
    #[schema(required)]
    pub kind: Option<Kind>,
    /// The camera that an alert is about, which may be deleted since.
    #[schema(required)]
    pub subject_camera_id: Option<i32>,
    /// At whose command the door moved: `user:ID` or `device:NAME`.
    #[schema(required)]
    pub requested_by: Option<&'a str>,
    /// Under which the lock's history has that command.
    #[schema(required)]
    pub command_id: Option<Uuid>,
}

/// What an event says of its camera; the hub's own name where no camera is concerned.
#[derive(Debug, Serialize, ToSchema)]
pub struct CameraLabelJson<'a> {
    #[schema(required)]
    pub id: Option<i32>,
    pub name: &'a str,
    #[schema(required)]
    pub location: Option<&'a str>,
}

impl<'a> From<&'a Event> for EventJson<'a> {
    fn from(event: &'a Event) -> Self {
        let camera = event.camera.as_ref();
        let Details { kind, subject_camera, ref requested_by, command_id } = event.details;
        Self {
            id: event.id.0,
            camera_id: camera.map(|camera| camera.id.0),
            event_type: event.event_type,
            person_count: event.person_count,
            confidence: event.confidence,
            snapshot_path: event.snapshot_path.as_deref(),
            description: event.description.as_deref(),
            is_resolved: event.is_resolved,
            created_at: event.created_at,
            resolved_at: event.resolved_at,
            camera: CameraLabelJson {
                id: camera.map(|camera| camera.id.0),
                name: camera.map_or("Portcullis", |camera| &camera.name),
                location: camera.and_then(|camera| camera.location.as_deref()),
            },
            detection_id: event.detection_id,
            detected_at: event.detected_at,
            kind,
            subject_camera_id: subject_camera.map(|id| id.0),
            requested_by: requested_by.as_deref(),
            command_id,
        }
    }
}

/// The event's JSON, made once for every reader.
///
/// # Errors
/// None that an event can cause: its numbers are finite and its keys are strings.
pub fn encode(event: &Event) -> serde_json::Result<Box<RawValue>> {
    serde_json::value::to_raw_value(&EventJson::from(event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventId;

    #[test]
    fn an_event_without_a_camera_bears_the_hubs_name() {
        let event = Event {
            id: EventId(7),
            camera: None,
            event_type: EventType::DoorOpened,
            person_count: 0,
            confidence: None,
            snapshot_path: None,
            description: Some("opened by user:1".to_owned()),
            is_resolved: true,
            resolved_at: None,
            detection_id: None,
            detected_at: None,
            created_at: DateTime::UNIX_EPOCH,
            details: Details {
                kind: Some(Kind::DoorForced),
                requested_by: Some("user:1".to_owned()),
                ..Details::default()
            },
        };
        let expected = concat!(
            r#"{"id":7,"cameraId":null,"eventType":"DOOR_OPENED","personCount":0,"confidence":null,"snapshotPath":null,"#,
            r#""description":"opened by user:1","isResolved":true,"createdAt":"1970-01-01T00:00:00.000Z","resolvedAt":null,"#,
            r#""camera":{"id":null,"name":"Portcullis","location":null},"detectionId":null,"detectedAt":null,"#,
            r#""kind":"DOOR_FORCED","subjectCameraId":null,"requestedBy":"user:1","commandId":null}"#,
        );
        assert_eq!(encode(&event).expect("json").get(), expected);
    }
}
