//! The log: text for people or JSON for machines, filtered by `RUST_LOG`.
//!
//! Must not know what is logged. The log's subscriber is the one static state of the process.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Starts the log, on standard error.
///
/// # Errors
/// When the filter cannot be read, or a log was started before.
pub fn start(filter: &str, json: bool) -> anyhow::Result<()> {
    use anyhow::Context as _;
    // PostgreSQL's notices ("relation exists, skipping") are news to nobody, unless somebody asks for them.
    let quiet = if filter.contains("sqlx") { String::new() } else { "sqlx=warn,".to_owned() };
    let filter = EnvFilter::try_new(quiet + filter)
        .with_context(|| format!("RUST_LOG={filter:?} is no filter; try info, or portcullis=debug,info"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    if json {
        registry.with(layer.json().flatten_event(true)).try_init()?;
    } else {
        registry.with(layer.with_target(false)).try_init()?;
    }
    Ok(())
}
