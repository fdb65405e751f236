//! A detection: what an AI engine reports, and what the hub makes of it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{camera::CameraId, event::EventType};

/// A report of an AI engine about one picture of one camera, already checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    pub camera_id: CameraId,
    pub person_count: u32,
    /// From 0 to 1.
    pub confidence: Option<f64>,
    pub snapshot_path: Option<String>,
    pub description: Option<String>,
    /// The same id twice for a camera is the same detection sent again.
    pub detection_id: Option<Uuid>,
    /// When the engine saw it, by the engine's clock.
    pub detected_at: Option<DateTime<Utc>>,
}

/// Says what kind of event so many persons are; none is no event, only a sign that the camera lives.
#[must_use]
pub fn classify(person_count: u32) -> Option<EventType> {
    match person_count {
        0 => None,
        1 => Some(EventType::PersonDetected),
        _ => Some(EventType::MultiplePersons),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_are_counted_into_kinds() {
        assert_eq!(classify(0), None);
        assert_eq!(classify(1), Some(EventType::PersonDetected));
        assert_eq!(classify(2), Some(EventType::MultiplePersons));
        assert_eq!(classify(u32::MAX), Some(EventType::MultiplePersons));
    }
}
