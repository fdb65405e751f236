//! The lock's messages: `lock/command`, `lock/status` and `lock/response`. Unknown keys are ignored on reading.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time;
use crate::domain::{
    bolt::door::Alarm,
    lock::{Action, LockStatus},
};

/// The longest `lock/command` that is read, in bytes.
pub const LONGEST_COMMAND: usize = 4096;

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
    /// Hold the door open until then: only with the action `open`, only where `LOCK_HOLD_OPEN=true`, for at most 24
    /// hours, and only with a `reason`. Only the hub puts it in, for an ADMIN.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "time::serialize_option")]
    pub hold_until: Option<DateTime<Utc>>,
    /// Why the door is held open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A `lock/command` that can't be read, with as much of it as is needed to say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unreadable {
    /// The nil id if it has none that can be read.
    pub command_id: Uuid,
    pub reason: String,
}

impl Command {
    /// Reads a `lock/command`. A bare word is not one here: the hub, which alone knows when it came and from whom,
    /// puts it into this form.
    ///
    /// # Errors
    /// Says what can't be read about it.
    pub fn read(payload: &[u8]) -> Result<Self, Unreadable> {
        let unreadable = |command_id, reason| Unreadable { command_id, reason };
        if payload.len() > LONGEST_COMMAND {
            return Err(unreadable(Uuid::nil(), format!("The command is longer than {LONGEST_COMMAND} bytes")));
        }
        let value: serde_json::Value = serde_json::from_slice(payload)
            .map_err(|error| unreadable(Uuid::nil(), format!("The command is not JSON: {error}")))?;
        let text = |key| value.get(key).and_then(serde_json::Value::as_str);
        let command_id = text("commandId").and_then(|id| id.parse().ok()).unwrap_or_default();
        if let Some(action) = text("action").filter(|action| action.parse::<Action>().is_err()) {
            let action: String = action.chars().take(40).collect();
            return Err(unreadable(command_id, format!("Unknown action {action:?}: open, close or toggle")));
        }
        serde_json::from_value(value)
            .map_err(|error| unreadable(command_id, format!("The command can't be read: {error}")))
    }
}

/// `lock/status`, retained, as the lock worker says it of the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own, none excludes another")]
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
    /// The worker's clock less the hub's, in milliseconds, as last measured; none until then.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
    /// Whether the clocks differ by more than a second. Above two, commands are refused.
    #[serde(default)]
    pub clock_alert: bool,
    /// When the door closes by itself, by the worker's clock; none while it is closed.
    #[serde(default, serialize_with = "time::serialize_option")]
    pub opens_until: Option<DateTime<Utc>>,
    /// Whether the door is held open on purpose, by an ADMIN.
    #[serde(default)]
    pub held: bool,
    /// What the door's contact says, which is not what the relay says: UNKNOWN if it can't be read, none without one.
    #[serde(default)]
    pub door: Option<LockStatus>,
    /// What is wrong with the door, by its contact; or was, while the hub could not hear of it.
    #[serde(default)]
    pub alarm: Option<Alarm>,
    /// When that began, by the worker's clock.
    #[serde(default, serialize_with = "time::serialize_option")]
    pub alarm_since: Option<DateTime<Utc>>,
}

impl Status {
    /// No lock worker is there to say what the relay is.
    #[must_use]
    pub fn offline(pin: u32, simulated: bool, reason: &str, timestamp: DateTime<Utc>) -> Self {
        Self {
            status: LockStatus::Unknown,
            online: false,
            pin,
            simulated,
            reason: Some(reason.to_owned()),
            command_id: None,
            requested_by: None,
            timestamp,
            clock_offset_ms: None,
            clock_alert: false,
            opens_until: None,
            held: false,
            door: None,
            alarm: None,
            alarm_since: None,
        }
    }
}

/// `lock/response`: what became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The nil id where a command had none that could be read.
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0191a1de-0000-7000-8000-000000000001";

    #[test]
    fn an_unknown_action_keeps_the_commands_id() {
        let unreadable = Command::read(format!(r#"{{"action":"explode","commandId":"{ID}"}}"#).as_bytes()).unwrap_err();
        assert_eq!(unreadable.command_id.to_string(), ID);
        assert_eq!(unreadable.reason, r#"Unknown action "explode": open, close or toggle"#);
    }

    #[test]
    fn what_is_no_command_is_refused_with_words_and_never_panics() {
        for payload in [&b""[..], b"OPEN", b"[]", b"1", b"{}", b"\xff\xfe", br#"{"action":"open"}"#, &[b'x'; 5000]] {
            assert!(!Command::read(payload).unwrap_err().reason.is_empty());
        }
    }

    #[test]
    fn a_command_without_the_newer_keys_and_with_unknown_ones_is_read() {
        let payload = format!(
            r#"{{"action":"open","commandId":"{ID}","issuedAt":"2026-11-22T09:00:00Z",
                "expiresAt":"2026-11-22T10:00:02.5+01:00","requestedBy":"user:1","more":{{}}}}"#
        );
        let command = Command::read(payload.as_bytes()).expect("a command");
        assert_eq!((command.hold_until, command.reason.as_deref()), (None, None));
        assert_eq!((command.expires_at - command.issued_at).num_milliseconds(), 2500);
        assert!(!serde_json::to_string(&command).expect("JSON").contains("holdUntil"));
    }
}
