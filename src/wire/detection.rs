//! The body of a detection, as AI engines send it by MQTT and by HTTP, read into a [`Detection`].

use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub use super::validation::Faults;
use super::{
    time,
    validation::{self, Unreadable, checked},
};
use crate::domain::{
    camera::CameraId,
    detection::Detection,
    text::{cut_to_characters, is_blank},
};

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
    /// A longer one than 1,024 characters is cut to that, the last of which is then `…`.
    #[schema(max_length = 65_536)]
    snapshot_path: Option<String>,
    /// A longer one than 2,000 characters is cut to that, the last of which is then `…`.
    #[schema(max_length = 65_536)]
    description: Option<String>,
    /// The same id twice for a camera is the same detection sent again. With or without hyphens. The nil and the max UUID
    /// are no id: whoever sends one for want of another sends it with every detection.
    detection_id: Option<Uuid>,
    /// When the engine saw it, by the engine's clock.
    #[serde(default, deserialize_with = "time::deserialize_option")]
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
    #[schema(max_length = 65_536)]
    snapshot_path: Option<String>,
    #[schema(max_length = 65_536)]
    description: Option<String>,
    detection_id: Option<Uuid>,
    #[serde(default, deserialize_with = "time::deserialize_option")]
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
    let of_camera = |message: DetectionMessage| message.of_camera(camera_id.0.into());
    if let Some(detection) = quick(body).map(of_camera).and_then(detection) {
        return Ok(detection);
    }
    let message = validation::read::<DetectionMessage>(body).map_err(faults)?;
    detection(of_camera(message)).ok_or_else(no_detection)
}

/// Reads the body of POST /api/events.
///
/// # Errors
/// What is wrong with the body: no JSON, or all the faults it has.
pub fn decode_with_camera(body: &[u8]) -> Result<Detection, Unreadable> {
    if let Some(detection) = quick(body).and_then(detection) {
        return Ok(detection);
    }
    detection(validation::read(body)?).ok_or_else(|| no_detection().into())
}

/// Reads an ordinary body without asking the schema, which is several times as fast. The rule is [`validation::read`]'s
/// alone: what is taken here it would take too, as the same detection, and whatever is not is left to it.
fn quick<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Option<T> {
    // An array of a structure's fields in their order is one to serde.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    serde_json::from_slice(body).ok().filter(|_| is_object)
}

fn faults(unreadable: Unreadable) -> Faults {
    match unreadable {
        Unreadable::Faults(faults) => faults,
        Unreadable::Malformed(words) => Faults::one(&words),
    }
}

/// For what the schema lets through and a detection cannot be: nothing, as long as both say the same.
fn no_detection() -> Faults {
    Faults::one("the body must be a detection")
}

/// The detection, if the body keeps to every limit that its schema states. Texts that are too long are cut: they are worth
/// less than the detection.
fn detection(body: DetectionBody) -> Option<Detection> {
    let camera_id = i32::try_from(body.camera_id).ok()?;
    let person_count = i32::try_from(body.person_count).ok().and_then(|count| u32::try_from(count).ok())?;
    // Postgres stores no NUL in a text.
    let texts = [&body.snapshot_path, &body.description];
    let has_nul = texts.into_iter().flatten().any(|text| text.contains('\0'));
    let fits = body.confidence.is_none_or(|confidence| (0.0..=1.0).contains(&confidence)) && !has_nul;
    let text = |text: Option<String>, longest| {
        text.filter(|text| !is_blank(text)).map(|text| cut_to_characters(text, longest))
    };
    fits.then(|| Detection {
        camera_id: CameraId(camera_id),
        person_count,
        // -0 is 0.
        confidence: body.confidence.map(|confidence| confidence + 0.0),
        snapshot_path: text(body.snapshot_path, SNAPSHOT_PATH_MAX),
        description: text(body.description, DESCRIPTION_MAX),
        detection_id: body.detection_id.filter(|id| !id.is_nil() && !id.is_max()),
        detected_at: body.detected_at.map(time::millis),
    })
}

#[cfg(test)]
mod tests;
