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
}
