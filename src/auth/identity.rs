//! Who is at the other end: settled once, when a session or a request begins.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};

use crate::domain::{
    camera::CameraId,
    device::{Device, DeviceId, DeviceName, DeviceRole},
    user::{Role, UserId},
};

/// A device that has shown its secret or its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceIdentity {
    pub id: DeviceId,
    pub name: DeviceName,
    pub role: DeviceRole,
    pub camera_id: Option<CameraId>,
}

impl From<Device> for DeviceIdentity {
    fn from(Device { id, name, role, camera_id, .. }: Device) -> Self {
        Self { id, name, role, camera_id }
    }
}

/// A user that has shown a valid token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserIdentity {
    pub id: UserId,
    pub username: String,
    pub email: String,
    pub role: Role,
    /// When the token ends, and every session with it.
    pub expires_at: DateTime<Utc>,
}

/// Whoever is at the other end of a session or a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The hub itself, inside the process only: no credential leads here.
    Hub,
    Device(DeviceIdentity),
    User(UserIdentity),
    /// Somebody without a name; refused unless a `[[rights]]` entry names `anonymous`.
    Anonymous,
}

impl Identity {
    /// How long it is still good for, if it ends at all.
    #[must_use]
    pub fn remaining(&self, now: DateTime<Utc>) -> Option<Duration> {
        match self {
            Self::User(user) => Some((user.expires_at - now).to_std().unwrap_or(Duration::ZERO)),
            _ => None,
        }
    }
}

impl fmt::Display for Identity {
    /// As it stands in `requestedBy`, in the log and in the audit: `device:NAME`, `user:ID`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Device(device) => write!(f, "device:{}", device.name),
            Self::User(user) => write!(f, "user:{}", user.id),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}
