//! The body of a detection, as AI engines send it by MQTT and by HTTP, read into a [`Detection`].

use chrono::{DateTime, Datelike as _, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub use super::validation::Faults;
use super::validation::{self, Unreadable, checked};
use crate::domain::{camera::CameraId, detection::Detection};

/// The longest `snapshotPath`, in characters.
pub const SNAPSHOT_PATH_MAX: usize = 1024;
/// The longest `description`, in characters.
pub const DESCRIPTION_MAX: usize = 2000;

/// The body of POST /api/events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DetectionBody {
    #[schema(minimum = -2_147_483_648, maximum = 2_147_483_647)]
    camera_id: i64,
    /// 0 is no event, only a sign that the camera lives.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    person_count: i64,
    #[schema(minimum = 0, maximum = 1)]
    confidence: Option<f64>,
    #[schema(max_length = 1024)]
    snapshot_path: Option<String>,
    #[schema(max_length = 2000)]
    description: Option<String>,
    /// The same id twice for a camera is the same detection sent again.
    detection_id: Option<Uuid>,
    /// When the engine saw it, by the engine's clock.
    detected_at: Option<DateTime<Utc>>,
}

/// A message on `camera/<id>/detections`: the camera is in the topic.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DetectionMessage {
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    person_count: i64,
    #[schema(minimum = 0, maximum = 1)]
    confidence: Option<f64>,
    #[schema(max_length = 1024)]
    snapshot_path: Option<String>,
    #[schema(max_length = 2000)]
    description: Option<String>,
    detection_id: Option<Uuid>,
    detected_at: Option<DateTime<Utc>>,
}
checked!(DetectionBody, DetectionMessage);

impl DetectionMessage {
    fn of_camera(self, camera_id: i64) -> DetectionBody {
        DetectionBody {
            camera_id,
            person_count: self.person_count,
            confidence: self.confidence,
            snapshot_path: self.snapshot_path,
            description: self.description,
            detection_id: self.detection_id,
            detected_at: self.detected_at,
        }
    }
}

/// Reads a detection that came by MQTT: the camera is in the topic and not in the body.
///
/// # Errors
/// All that is wrong with the body.
pub fn decode(camera_id: CameraId, body: &[u8]) -> Result<Detection, Faults> {
    // The schema would find the same, but slower: it is asked only to say what is wrong.
    let quick = serde_json::from_slice::<DetectionMessage>(body).ok();
    if let Some(detection) = quick.and_then(|message| check(message.of_camera(camera_id.0.into()))) {
        return Ok(detection);
    }
    let message = validation::read::<DetectionMessage>(body).map_err(faults)?;
    check(message.of_camera(camera_id.0.into())).ok_or_else(no_time)
}

/// Reads the body of POST /api/events.
///
/// # Errors
/// What is wrong with the body: no JSON, or all the faults it has.
pub fn decode_with_camera(body: &[u8]) -> Result<Detection, Unreadable> {
    if let Some(detection) = serde_json::from_slice::<DetectionBody>(body).ok().and_then(check) {
        return Ok(detection);
    }
    check(validation::read::<DetectionBody>(body)?).ok_or_else(|| no_time().into())
}

fn faults(unreadable: Unreadable) -> Faults {
    match unreadable {
        Unreadable::Faults(faults) => faults,
        Unreadable::Malformed(words) => Faults(vec![words]),
    }
}

/// The one fault that the schema lets through: a year that RFC 3339 cannot write.
fn no_time() -> Faults {
    Faults(vec!["detectedAt must be a valid ISO 8601 date string".to_owned()])
}

/// The detection, if the body keeps to every limit that its schema states.
fn check(body: DetectionBody) -> Option<Detection> {
    let camera_id = i32::try_from(body.camera_id).ok()?;
    let person_count = i32::try_from(body.person_count).ok().and_then(|count| u32::try_from(count).ok())?;
    let fits = body.confidence.is_none_or(|confidence| (0.0..=1.0).contains(&confidence))
        && is_text(body.snapshot_path.as_deref(), SNAPSHOT_PATH_MAX)
        && is_text(body.description.as_deref(), DESCRIPTION_MAX)
        && body.detected_at.is_none_or(|at| (0..=9999).contains(&at.year()));
    fits.then(|| Detection {
        camera_id: CameraId(camera_id),
        person_count,
        confidence: body.confidence,
        snapshot_path: body.snapshot_path,
        description: body.description,
        detection_id: body.detection_id,
        detected_at: body.detected_at.map(super::time::millis),
    })
}

/// Postgres stores no NUL in a text.
fn is_text(text: Option<&str>, longest: usize) -> bool {
    text.is_none_or(|text| text.chars().count() <= longest && !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str) -> Vec<String> {
        decode(CameraId(1), body.as_bytes()).expect_err("a fault").0
    }

    #[test]
    fn a_body_becomes_a_detection() {
        let body = r#"{"personCount":2,"confidence":0.5,"detectedAt":"2026-01-02T03:04:05.678901+01:00"}"#;
        let detection = decode(CameraId(3), body.as_bytes()).expect("a detection");
        assert_eq!(detection.camera_id, CameraId(3));
        assert_eq!(detection.person_count, 2);
        assert_eq!(detection.detected_at.map(crate::wire::time::text).as_deref(), Some("2026-01-02T02:04:05.678Z"));
    }

    #[test]
    fn each_fault_is_told() {
        assert_eq!(faults(r#"{"personCount":-1}"#), ["personCount must not be less than 0"]);
        assert_eq!(faults(r#"{"personCount":1,"confidence":1.5}"#), ["confidence must not be greater than 1"]);
        assert_eq!(faults(r#"{"personCount":1,"description":"a\u0000b"}"#), ["description must not contain NUL"]);
        assert_eq!(faults(r#"{"personCount":1,"cameraId":1}"#), ["property cameraId should not exist"]);
        assert!(faults("{").first().is_some_and(|fault| fault.contains("EOF")));
    }
}
