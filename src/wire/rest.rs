//! What REST alone says: errors, counts of events, rejected messages, the lock's answers.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    lock::Status,
    time,
    validation::{Faults, checked},
};
use crate::domain::{bolt::door::Alarm, event::EventType, lock::LockStatus};

/// The body of every 4xx and 5xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    pub status_code: u16,
    pub message: Message,
    /// The status in words. A 401 without a token has none, as it never had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One sentence, or for a body that is not as it should be, one for each fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Message {
    One(String),
    Faults(Vec<String>),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(sentence) => f.write_str(sentence),
            Self::Faults(faults) => f.write_str(&faults.join("; ")),
        }
    }
}

impl From<Faults> for Message {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults.into_sentences())
    }
}

impl From<String> for Message {
    fn from(sentence: String) -> Self {
        Self::One(sentence)
    }
}

impl From<&str> for Message {
    fn from(sentence: &str) -> Self {
        Self::One(sentence.to_owned())
    }
}

/// GET /api/events/stats.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventStats {
    pub total: i64,
    pub unresolved: i64,
    /// Since midnight in the hub's time zone.
    pub today_events: i64,
    pub resolved: i64,
}

/// One line of GET /api/events/analytics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalyticsLine {
    /// When the hour or the day begins in the hub's time zone.
    #[serde(serialize_with = "time::serialize")]
    pub bucket: DateTime<Utc>,
    pub event_type: EventType,
    pub count: i64,
}

/// The answer to a report that shows no person.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ignored {
    pub ignored: &'static str,
}

/// An element of GET /api/events/rejected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedJson {
    pub id: i64,
    pub topic: String,
    /// As text, with U+FFFD for what is no UTF-8.
    pub payload: String,
    pub reason: String,
    pub source: String,
    #[serde(serialize_with = "time::serialize")]
    pub received_at: DateTime<Utc>,
}

/// The answer to a confirmed open or close.
#[derive(Debug, Serialize, ToSchema)]
pub struct LockAnswer {
    /// Always `SUCCESS`.
    pub status: &'static str,
    pub message: &'static str,
    /// The relay's GPIO line.
    pub pin: u32,
}

/// The answer to a confirmed toggle.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToggleAnswer {
    pub previous_status: LockStatus,
    pub current_status: LockStatus,
    pub pin: u32,
}

/// GET /api/lock/status.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockStatusJson {
    pub status: LockStatus,
    pub pin: u32,
    pub simulated: bool,
    /// Whether a lock worker is there to say so.
    pub online: bool,
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub changed_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub reason: Option<String>,
    /// At whose command the door was opened last, `user:ID` or `device:NAME`; null if it never was, or by nobody's.
    #[schema(required)]
    pub opened_by: Option<String>,
    /// When the door closes by itself; null while it is closed, or where the lock worker does not say.
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub opens_until: Option<DateTime<Utc>>,
    /// Whether the door is held open on purpose.
    pub held: bool,
    /// What the door's contact says; null without one.
    #[schema(required)]
    pub door: Option<LockStatus>,
    /// What is wrong with the door, by its contact.
    #[schema(required)]
    pub alarm: Option<Alarm>,
    /// When that began.
    #[serde(serialize_with = "time::serialize_option")]
    #[schema(required)]
    pub alarm_since: Option<DateTime<Utc>>,
}

impl LockStatusJson {
    #[must_use]
    pub fn of(status: &Status, changed_at: Option<DateTime<Utc>>, opened_by: Option<String>) -> Self {
        Self {
            status: status.status,
            pin: status.pin,
            simulated: status.simulated,
            online: status.online,
            changed_at,
            reason: status.reason.clone(),
            opened_by,
            opens_until: status.opens_until,
            held: status.held,
            door: status.door,
            alarm: status.alarm,
            alarm_since: status.alarm_since,
        }
    }
}

/// POST /api/lock/hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    #[serde(deserialize_with = "time::deserialize")]
    pub until: DateTime<Utc>,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}
checked!(Hold);
