//! A device: a program with a name, a secret and a role, such as an AI engine or a lock worker.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Invalid, camera::CameraId};

/// The id of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub i32);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A device's name: 1 to 64 letters, digits, `_`, `.` or `-`, so that it can stand in a topic as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct DeviceName(String);

impl DeviceName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DeviceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(text.to_owned(), "a device's name: 1 to 64 letters, digits, _, . or -"))
        }
    }
}

/// What a device is for, which decides its rights on topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceRole {
    /// Reports detections of its own camera.
    Camera,
    /// Reports detections of any camera and hears of events.
    AiEngine,
    /// Drives the door's relay.
    LockAgent,
    /// Nothing until broker.toml opens topics to it.
    Sensor,
    /// Works the lock and hears of events.
    Controller,
}

impl DeviceRole {
    pub const ALL: [Self; 5] = [Self::Camera, Self::AiEngine, Self::LockAgent, Self::Sensor, Self::Controller];
}

impl fmt::Display for DeviceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Camera => "camera",
            Self::AiEngine => "ai-engine",
            Self::LockAgent => "lock-agent",
            Self::Sensor => "sensor",
            Self::Controller => "controller",
        })
    }
}

impl FromStr for DeviceRole {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|role| role.to_string() == text).ok_or_else(|| {
            Invalid(text.to_owned(), "a device's role: camera, ai-engine, lock-agent, sensor or controller")
        })
    }
}

/// A device as it is stored, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub id: DeviceId,
    pub name: DeviceName,
    pub role: DeviceRole,
    /// The camera that a device of role camera reports for; no other role has one.
    pub camera_id: Option<CameraId>,
    pub created_at: DateTime<Utc>,
    pub last_seen: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_a_topic() {
        assert!("cam-1.front_door".parse::<DeviceName>().is_ok());
        for wrong in ["", "a/b", "+", "#", "é", "a b", &"x".repeat(65)] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_role_reads_back() {
        for role in DeviceRole::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
    }
}
