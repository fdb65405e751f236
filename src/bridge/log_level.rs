//! How much the log shows, looked at and changed while the hub runs.

use axum::{Json, extract::State};

use super::{error::ApiError, input::Checked, who::Admin};
use crate::{
    telemetry::log::{LevelFilter, Log},
    wire::log_level::{Level, LogFilter, LogLevel},
};

/// By which filter the log shows now.
#[utoipa::path(get, path = "/api/log-level", tag = "health", security(("bearer" = [])),
    responses((status = 200, body = LogFilter)))]
pub async fn show(_: Admin, State(log): State<Log>) -> Json<LogFilter> {
    Json(LogFilter { filter: log.filter() })
}

/// Has the log show the hub's own lines from a level on, until the next start. Libraries' lines are shown from `info` on
/// at most: some show what they are given, tokens among it.
#[utoipa::path(put, path = "/api/log-level", tag = "health", security(("bearer" = [])), request_body = LogLevel,
    responses((status = 200, body = LogFilter)))]
pub async fn change(
    _: Admin,
    State(log): State<Log>,
    Checked(body): Checked<LogLevel>,
) -> Result<Json<LogFilter>, ApiError> {
    log.set_level(level(body.level)).map_err(ApiError::internal)?;
    Ok(Json(LogFilter { filter: log.filter() }))
}

fn level(level: Level) -> LevelFilter {
    match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
