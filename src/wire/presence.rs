//! Who is there: `camera/<id>/status`, `camera/<id>/occupancy` and `hub/status`, all retained; and `camera:status`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::time;
use crate::domain::camera::CameraId;

/// `camera/<id>/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CameraStatus {
    pub online: bool,
    /// When the hub last heard of the camera.
    #[serde(serialize_with = "time::serialize_option")]
    pub last_seen: Option<DateTime<Utc>>,
}

/// `camera/<id>/occupancy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CameraOccupancy {
    pub occupied: bool,
    /// How many persons the newest report shows; 0 while it is not occupied.
    pub person_count: u32,
    /// When the hub last heard of a person there; none if it never did.
    #[serde(serialize_with = "time::serialize_option")]
    pub last_person: Option<DateTime<Utc>>,
}

/// `camera:status` on Socket.io.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CameraStatusNotice {
    pub camera_id: CameraId,
    pub online: bool,
    #[serde(serialize_with = "time::serialize_option")]
    pub last_seen: Option<DateTime<Utc>>,
    pub occupied: bool,
    pub person_count: u32,
}

/// `hub/status`, with the hub's own will: offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubStatus {
    pub online: bool,
    /// The hub's version.
    pub version: String,
    /// When the hub sent it, by its clock: what a lock worker measures its own clock by. None in the hub's will.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "time::serialize_option")]
    pub timestamp: Option<DateTime<Utc>>,
}
