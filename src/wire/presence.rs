//! Who is there: `camera/<id>/status` and `hub/status`, both retained.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::time;

/// `camera/<id>/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CameraStatus {
    pub online: bool,
    /// When the hub last heard of the camera.
    #[serde(serialize_with = "time::serialize_option")]
    pub last_seen: Option<DateTime<Utc>>,
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
