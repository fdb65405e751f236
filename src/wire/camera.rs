//! Cameras as JSON.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

use super::{
    time,
    validation::{checked, given},
};
use crate::domain::{
    camera::Camera,
    event::{Details, Event, EventType, Kind},
    stream_url,
    user::Role,
};

/// Large and small letters, a host, and no blank or control character.
const URL: &str = "^([Rr][Tt][Ss][Pp][Ss]?|[Rr][Tt][Mm][Pp][Ss]?|[Ss][Rr][Tt]|[Rr][Tt][Pp]|[Uu][Dd][Pp]|[Hh][Tt][Tt][Pp][Ss]?|[Ww][Ss][Ss]?|[Ww][Ee][Bb][Rr][Tt][Cc])://[^/?#\\s\\u0000-\\u001f\\u007f][^\\s\\u0000-\\u001f\\u007f]*$";
/// The longest URL, in characters.
const URL_MAX: usize = 2048;

/// The schema of a stream's URL, which is stored as it is given. It is wider than a URI: what stands in a password is the
/// camera's business, and many a one has `%`, `^`, `#` or `ä` in it as it is. The schemes are a list of those that cannot
/// run in a page, as `javascript:` and `data:` do.
#[derive(Debug)]
struct StreamUrl;

impl PartialSchema for StreamUrl {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(URL)).max_length(Some(URL_MAX));
        let text = text.format(Some(SchemaFormat::Custom("url".to_owned())));
        text.description(Some("rtsp, rtmp, srt, rtp, udp, http, ws or webrtc; stored as it is given")).into()
    }
}

impl ToSchema for StreamUrl {}

/// POST /api/cameras.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateCamera {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    #[schema(max_length = 200)]
    pub location: Option<String>,
    #[schema(value_type = Option<StreamUrl>)]
    pub stream_url: Option<String>,
    #[schema(value_type = Option<StreamUrl>)]
    pub webrtc_url: Option<String>,
    #[schema(max_length = 2000)]
    pub description: Option<String>,
}

/// PUT /api/cameras/:id. What is left out stays as it is; `null` clears what can be empty.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateCamera {
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 200)]
    pub location: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<StreamUrl>)]
    pub stream_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<StreamUrl>)]
    pub webrtc_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 2000)]
    pub description: Option<Option<String>>,
    pub is_active: Option<bool>,
}
checked!(CreateCamera, UpdateCamera);

/// A camera. Of its URLs a USER gets scheme, host, port and a plain path, and `null` where it is in doubt which part is
/// which: no user, no password, no query, no fragment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CameraJson {
    pub id: i32,
    pub name: String,
    #[schema(required)]
    pub location: Option<String>,
    #[schema(required)]
    pub stream_url: Option<String>,
    #[schema(required)]
    pub webrtc_url: Option<String>,
    #[schema(required)]
    pub description: Option<String>,
    pub is_active: bool,
    #[serde(serialize_with = "time::serialize")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize")]
    pub updated_at: DateTime<Utc>,
    /// As far as can be told.
    pub online: bool,
    /// When the hub last heard of it; to within half a minute what `camera/<id>/status` says.
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub last_seen: Option<DateTime<Utc>>,
    /// Whether somebody is before it.
    pub occupied: bool,
    /// How many persons its engine's newest report shows; 0 while it is not occupied.
    pub person_count: u32,
    /// The engine that its detections come from; null until one has named itself.
    #[schema(required)]
    pub source: Option<String>,
}

/// How a camera is now, as its JSON says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    pub online: bool,
    pub last_seen: Option<DateTime<Utc>>,
    pub persons: u32,
}

impl CameraJson {
    /// The camera as a user of this role may see it.
    #[must_use]
    pub fn of(camera: Camera, now: Now, reader: Role) -> Self {
        let shown = |url: String| if reader > Role::User { Some(url) } else { stream_url::harmless(&url) };
        Self {
            id: camera.id.0,
            name: camera.name,
            location: camera.location,
            stream_url: camera.stream_url.and_then(shown),
            webrtc_url: camera.webrtc_url.and_then(shown),
            description: camera.description,
            is_active: camera.is_active,
            created_at: camera.created_at,
            updated_at: camera.updated_at,
            online: now.online,
            last_seen: now.last_seen,
            occupied: now.persons > 0,
            person_count: now.persons,
            source: None,
        }
    }
}

/// A camera with its newest events.
#[derive(Debug, Serialize, ToSchema)]
pub struct CameraWithEvents {
    #[serde(flatten)]
    pub camera: CameraJson,
    pub events: Vec<EventOfCamera>,
}

/// An event where its camera is plain: without `camera`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventOfCamera {
    pub id: i64,
    #[schema(required)]
    pub camera_id: Option<i32>,
    pub event_type: EventType,
    pub person_count: u32,
    #[schema(required)]
    pub confidence: Option<f64>,
    #[schema(required)]
    pub snapshot_path: Option<String>,
    #[schema(required)]
    pub description: Option<String>,
    pub is_resolved: bool,
    #[serde(serialize_with = "time::serialize")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub resolved_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub detection_id: Option<uuid::Uuid>,
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub detected_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub kind: Option<Kind>,
    #[schema(required)]
    pub subject_camera_id: Option<i32>,
    #[schema(required)]
    pub requested_by: Option<String>,
    #[schema(required)]
    pub command_id: Option<uuid::Uuid>,
}

impl From<Event> for EventOfCamera {
    fn from(event: Event) -> Self {
        let Details { kind, subject_camera, requested_by, command_id } = event.details;
        Self {
            id: event.id.0,
            camera_id: event.camera.map(|camera| camera.id.0),
            event_type: event.event_type,
            person_count: event.person_count,
            confidence: event.confidence,
            snapshot_path: event.snapshot_path,
            description: event.description,
            is_resolved: event.is_resolved,
            created_at: event.created_at,
            resolved_at: event.resolved_at,
            detection_id: event.detection_id,
            detected_at: event.detected_at,
            kind,
            subject_camera_id: subject_camera.map(|id| id.0),
            requested_by,
            command_id,
        }
    }
}

/// GET /api/cameras/stats.
#[derive(Debug, Serialize, ToSchema)]
pub struct CameraStats {
    pub total: i64,
    pub active: i64,
    pub inactive: i64,
}
