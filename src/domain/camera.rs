//! A camera: what a detection belongs to.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Invalid;

/// The id of a camera: a positive number, as Postgres gives it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CameraId(pub i32);

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CameraId {
    type Err = Invalid;

    /// Takes digits without a sign or leading zeros, so that each camera has one spelling in a topic.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let canonical = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = canonical.then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or_else(|| Invalid(text.to_owned(), "a camera's id, such as 1"))
    }
}

/// A camera as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    pub id: CameraId,
    pub name: String,
    pub location: Option<String>,
    /// May hold secrets anywhere: see [`stream_url::harmless`](super::stream_url::harmless).
    pub stream_url: Option<String>,
    /// May hold secrets anywhere: see [`stream_url::harmless`](super::stream_url::harmless).
    pub webrtc_url: Option<String>,
    pub description: Option<String>,
    pub is_active: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What an event says of its camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraLabel {
    pub id: CameraId,
    pub name: String,
    pub location: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!("7".parse(), Ok(CameraId(7)));
        for wrong in ["", "0", "-1", "+1", "01", "1.0", "a", "99999999999"] {
            assert!(wrong.parse::<CameraId>().is_err(), "{wrong}");
        }
    }
}
