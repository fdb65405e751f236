//! How much the log shows, in REST.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::validation::checked;

/// From which level on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// PUT /api/log-level.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLevel {
    pub level: Level,
}
checked!(LogLevel);

/// The answer of /api/log-level.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogFilter {
    /// As in `RUST_LOG`.
    pub filter: String,
}
