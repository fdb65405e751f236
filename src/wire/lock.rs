//! The lock's messages: `lock/command`, `lock/status` and `lock/response`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time;
use crate::domain::lock::{Action, LockStatus};

/// `lock/command`, as the hub gives it to the lock worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    pub action: Action,
    pub command_id: Uuid,
    #[serde(serialize_with = "time::serialize")]
    pub issued_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize")]
    pub expires_at: DateTime<Utc>,
    /// `user:ID` or `device:NAME`, put in by the hub.
    pub requested_by: String,
}

/// `lock/status`, retained, as the lock worker says it of the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub status: LockStatus,
    /// Whether a lock worker is there to say so.
    pub online: bool,
    /// The relay's GPIO line.
    pub pin: u32,
    pub simulated: bool,
    /// Why it changed last, for people.
    pub reason: Option<String>,
    /// The command that changed it last, if one did.
    pub command_id: Option<Uuid>,
    pub requested_by: Option<String>,
    #[serde(serialize_with = "time::serialize")]
    pub timestamp: DateTime<Utc>,
}

/// `lock/response`: what became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    pub command_id: Uuid,
    pub outcome: Outcome,
    pub message: String,
    /// From the command's arrival at the worker to the relay's read-back, in milliseconds.
    pub duration_ms: f64,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Done,
    Refused,
}
