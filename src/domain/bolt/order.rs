//! A command as the bolt judges it, and why it may be refused.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::lock::Action;

/// A command, with what was seen of its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: Uuid,
    pub action: Action,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// `user:ID` or `device:NAME`, put in by the hub.
    pub requested_by: String,
    /// It was kept by the broker, so it is not news.
    pub retained: bool,
    /// Only with [`Action::Open`].
    pub hold: Option<Hold>,
}

/// A wish to hold the door open for longer than it would stay open by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub until: DateTime<Utc>,
    pub reason: String,
}

/// Why a command is refused, in words for the one who gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("The command was retained; a command to a lock is never kept")]
    Retained,
    #[error("The lock worker's clock is not set, so it can't tell whether the command is fresh")]
    ClockNotSet,
    #[error("The command must expire after it was issued, and within 10 seconds")]
    Lifetime,
    #[error("The command was given before under the same commandId")]
    Replayed,
    #[error("The command has expired")]
    Expired,
    #[error("The command was issued in the future; the clocks of sender and lock worker differ by more than 2 seconds")]
    Ahead,
    #[error("The command was issued before the lock worker started")]
    BeforeStart,
    #[error("Too many commands from this sender: at most 10 in 10 seconds")]
    TooMany,
    #[error("Only a command to open can hold the door")]
    HoldWithoutOpen,
    #[error("Holding the door open is not allowed here (LOCK_HOLD_OPEN)")]
    HoldNotAllowed,
    #[error("Holding the door open needs a reason")]
    HoldWithoutReason,
    #[error("A hold must end in the future, and within 24 hours")]
    HoldLength,
}
