//! The body of a detection, as AI engines send it by MQTT and by HTTP, read into a [`Detection`].

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::{camera::CameraId, detection::Detection};

/// The longest `snapshotPath`, in characters.
pub const SNAPSHOT_PATH_MAX: usize = 1024;
/// The longest `description`, in characters.
pub const DESCRIPTION_MAX: usize = 2000;
/// The largest `personCount`: what an `integer` of Postgres holds.
pub const PERSON_COUNT_MAX: i64 = i32::MAX as i64;

/// What is wrong with a body, one sentence for each fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Faults(pub Vec<String>);

/// The body as it stands in JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    camera_id: Option<i64>,
    person_count: i64,
    confidence: Option<f64>,
    snapshot_path: Option<String>,
    description: Option<String>,
    detection_id: Option<Uuid>,
    detected_at: Option<DateTime<Utc>>,
}

/// Reads a detection that came by MQTT: the camera is in the topic and not in the body.
///
/// # Errors
/// All that is wrong with the body.
pub fn decode(camera_id: CameraId, body: &[u8]) -> Result<Detection, Faults> {
    let body = parse(body)?;
    if body.camera_id.is_some() {
        return Err(Faults(vec!["property cameraId should not exist".to_owned()]));
    }
    check(camera_id, body)
}

/// Reads the body of POST /api/events.
///
/// # Errors
/// All that is wrong with the body.
pub fn decode_with_camera(body: &[u8]) -> Result<Detection, Faults> {
    let body = parse(body)?;
    let id = body.camera_id.and_then(|id| i32::try_from(id).ok());
    match id {
        Some(id) => check(CameraId(id), body),
        None => Err(Faults(vec!["cameraId must be an integer number".to_owned()])),
    }
}

fn parse(body: &[u8]) -> Result<Body, Faults> {
    serde_json::from_slice(body).map_err(|error| Faults(vec![error.to_string()]))
}

fn check(camera_id: CameraId, body: Body) -> Result<Detection, Faults> {
    let mut faults = Vec::new();
    let person_count = u32::try_from(body.person_count).unwrap_or_else(|_| {
        faults.push("personCount must not be less than 0".to_owned());
        0
    });
    if body.person_count > PERSON_COUNT_MAX {
        faults.push(format!("personCount must not be greater than {PERSON_COUNT_MAX}"));
    }
    if body.confidence.is_some_and(|confidence| confidence < 0.0) {
        faults.push("confidence must not be less than 0".to_owned());
    }
    if body.confidence.is_some_and(|confidence| confidence > 1.0) {
        faults.push("confidence must not be greater than 1".to_owned());
    }
    check_text("snapshotPath", body.snapshot_path.as_deref(), SNAPSHOT_PATH_MAX, &mut faults);
    check_text("description", body.description.as_deref(), DESCRIPTION_MAX, &mut faults);
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    Ok(Detection {
        camera_id,
        person_count,
        confidence: body.confidence,
        snapshot_path: body.snapshot_path,
        description: body.description,
        detection_id: body.detection_id,
        detected_at: body.detected_at.map(super::time::millis),
    })
}

/// Postgres stores no NUL in a text.
fn check_text(name: &str, text: Option<&str>, longest: usize, faults: &mut Vec<String>) {
    let Some(text) = text else { return };
    if text.chars().count() > longest {
        faults.push(format!("{name} must be shorter than or equal to {longest} characters"));
    }
    if text.contains('\0') {
        faults.push(format!("{name} must not contain NUL"));
    }
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
