//! Devices as JSON.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{time, validation::checked};
use crate::domain::device::{Device, DeviceRole};

/// POST /api/devices.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddDevice {
    /// Also its username on MQTT.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]{1,64}$")]
    pub name: String,
    pub role: DeviceRole,
    /// The camera that a device of role camera reports for; no other role has one.
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    pub camera_id: Option<i32>,
}
checked!(AddDevice);

/// A device, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceJson {
    pub id: i32,
    pub name: String,
    pub role: DeviceRole,
    #[schema(required)]
    pub camera_id: Option<i32>,
    #[serde(serialize_with = "time::serialize")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub last_seen: Option<DateTime<Utc>>,
    /// Whether it has a session now.
    pub online: bool,
}

impl DeviceJson {
    #[must_use]
    pub fn of(device: &Device, online: bool) -> Self {
        Self {
            id: device.id.0,
            name: device.name.as_str().to_owned(),
            role: device.role,
            camera_id: device.camera_id.map(|id| id.0),
            created_at: device.created_at,
            last_seen: device.last_seen,
            online,
        }
    }
}

/// What a device signs in with. Shown once; the hub keeps only a hash.
#[derive(Debug, Serialize, ToSchema)]
pub struct Credentials {
    pub name: String,
    /// For MQTT: the device's name.
    pub username: String,
    /// For MQTT.
    pub password: String,
    /// For HTTP, as `Authorization: Bearer`; good for POST /api/events and nothing else.
    pub token: String,
}

/// A device with what it signs in with.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceWithSecret {
    #[serde(flatten)]
    pub device: DeviceJson,
    pub username: String,
    pub password: String,
    pub token: String,
}

/// GET /api/devices/:id/explain.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    pub allowed: bool,
    /// The rule that decides, for people.
    pub rule: String,
}
