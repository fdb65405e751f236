//! The log: text for people or JSON for machines, filtered by `RUST_LOG`.
//!
//! Must not know what is logged. The log's subscriber is the one static state of the process.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts the log, on standard error.
///
/// # Errors
/// When the filter cannot be read, or a log was started before.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    use anyhow::Context as _;
    // PostgreSQL's notices ("relation exists, skipping") are news to nobody, unless somebody asks for them.
    let quiet = if filter.contains("sqlx") { String::new() } else { "sqlx::postgres::notice=warn,".to_owned() };
    let filter = EnvFilter::try_new(quiet + filter)
        .with_context(|| format!("RUST_LOG={filter:?} is no filter; try info, or portcullis=debug,info"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}
