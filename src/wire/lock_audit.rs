//! The lock's history as JSON: GET /api/lock/history.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;

/// What was asked of the lock once, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockAttempt {
    /// Its row in the audit; `before` takes it.
    pub id: i64,
    #[schema(required)]
    pub command_id: Option<Uuid>,
    /// `open`, `close`, `toggle`, `hold`, or what was sent instead.
    pub action: String,
    /// `user:ID`, `device:NAME` or `rule:NAME`.
    pub requested_by: String,
    /// `http`, `mqtt` or `internal`.
    pub channel: String,
    #[schema(required)]
    pub address: Option<String>,
    #[serde(serialize_with = "time::serialize")]
    pub requested_at: DateTime<Utc>,
    /// `done`, `refused`, `no-worker`, `no-confirmation`, `not-given` or `interrupted`; null while it is under way.
    #[schema(required)]
    pub outcome: Option<String>,
    #[schema(required)]
    pub message: Option<String>,
    /// From the request's arrival at the hub to its answer, in milliseconds.
    #[schema(required)]
    pub duration_ms: Option<f64>,
    /// The newest detection of the 30 s before.
    #[schema(required)]
    pub event_id: Option<i64>,
    #[schema(required)]
    pub camera_id: Option<i32>,
    /// What else was asked, such as how long to hold the door open.
    #[schema(required)]
    pub detail: Option<String>,
    /// How many refusals of one sender this stands for.
    pub times: i64,
}
