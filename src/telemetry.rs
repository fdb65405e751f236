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
    let filter = quiet(filter);
    let filter = EnvFilter::try_new(&filter)
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

/// The filter, less what libraries say that tells people nothing: PostgreSQL's notices ("relation exists, skipping") and
/// each step of the router. Whoever names them in the filter hears them all the same.
fn quiet(filter: &str) -> String {
    let talkers = [("sqlx", "sqlx=warn"), ("rumqttd", "rumqttd=error")];
    let mut directives: Vec<_> =
        talkers.iter().filter(|(name, _)| !filter.contains(name)).map(|(_, directive)| *directive).collect();
    directives.push(filter);
    directives.join(",")
}
