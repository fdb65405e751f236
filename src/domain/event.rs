//! An event: what is stored, shown and replayed.

mod kind;

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::kind::Kind;
use super::{
    Invalid,
    camera::{CameraId, CameraLabel},
};

/// The id of an event. Events are ordered by it everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub i64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kinds of events, in the order that Postgres gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventType {
    PersonDetected,
    MultiplePersons,
    DoorOpened,
    DoorClosed,
    SystemAlert,
}

impl EventType {
    pub const ALL: [Self; 5] =
        [Self::PersonDetected, Self::MultiplePersons, Self::DoorOpened, Self::DoorClosed, Self::SystemAlert];

    /// Its name in JSON and in Postgres.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PersonDetected => "PERSON_DETECTED",
            Self::MultiplePersons => "MULTIPLE_PERSONS",
            Self::DoorOpened => "DOOR_OPENED",
            Self::DoorClosed => "DOOR_CLOSED",
            Self::SystemAlert => "SYSTEM_ALERT",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let allowed =
                "a kind of event: PERSON_DETECTED, MULTIPLE_PERSONS, DOOR_OPENED, DOOR_CLOSED or SYSTEM_ALERT";
            Invalid(text.to_owned(), allowed)
        })
    }
}

/// What the hub knows of an event of its own, for programs. A detection has none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    pub kind: Option<Kind>,
    /// The camera that an alert is about. It may be deleted since: an alert keeps no camera.
    pub subject_camera: Option<CameraId>,
    /// At whose command the door moved: `user:ID` or `device:NAME`.
    pub requested_by: Option<String>,
    /// Under which the lock's history has that command.
    pub command_id: Option<Uuid>,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    /// `None` where no camera is concerned (door, system).
    pub camera: Option<CameraLabel>,
    pub event_type: EventType,
    pub person_count: u32,
    /// From 0 to 1.
    pub confidence: Option<f64>,
    pub snapshot_path: Option<String>,
    pub description: Option<String>,
    pub is_resolved: bool,
    pub resolved_at: Option<DateTime<Utc>>,
    pub detection_id: Option<Uuid>,
    /// When it happened, by whoever saw it: the camera's engine, or the hub where it is the hub's own.
    pub detected_at: Option<DateTime<Utc>>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    pub details: Details,
}

/// What the hub itself has to say: the door moved, or something was lost or has returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    pub event_type: EventType,
    pub description: String,
    /// When it happened. It may be stored much later, since the database may be away.
    pub at: DateTime<Utc>,
    /// Under which it is stored once, however often it is told; none for what is told once.
    pub key: Option<Uuid>,
    pub details: Details,
}

impl Occurrence {
    /// Something that is told once.
    #[must_use]
    pub fn new(event_type: EventType, description: String, at: DateTime<Utc>) -> Self {
        Self { event_type, description, at, key: None, details: Details::default() }
    }

    /// Something that somebody should look at, told once.
    #[must_use]
    pub fn alert(kind: Kind, description: String, at: DateTime<Utc>) -> Self {
        let details = Details { kind: Some(kind), ..Details::default() };
        Self { details, ..Self::new(EventType::SystemAlert, description, at) }
    }

    /// The hub's own events need nobody to resolve them, but for alerts.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.event_type != EventType::SystemAlert
    }
}
