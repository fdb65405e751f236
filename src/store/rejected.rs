//! The messages that should have been detections and were not: read for a person.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Error;

/// A message that could not be taken, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedMessage {
    pub id: i64,
    pub topic: String,
    pub payload: Vec<u8>,
    pub reason: String,
    /// `user:ID` or `device:NAME`.
    pub source: String,
    pub received_at: DateTime<Utc>,
}

/// The newest first, those before the id `before`.
///
/// # Errors
/// When the database is away.
pub async fn list(db: impl PgExecutor<'_>, before: Option<i64>, limit: i64) -> Result<Vec<RejectedMessage>, Error> {
    sqlx::query_as!(
        RejectedMessage,
        "SELECT id, topic, payload, reason, source, received_at FROM rejected_messages
         WHERE id < coalesce($1, 9223372036854775807) ORDER BY id DESC LIMIT $2",
        before,
        limit,
    )
    .fetch_all(db)
    .await
}
