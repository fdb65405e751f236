//! The log: text for people or JSON for machines, filtered by `RUST_LOG`, which can be changed while it runs.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, filter::LevelFilter, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use super::errors::Errors;
use super::reading::Reading;

/// A handle on the log that was started.
#[derive(Debug, Clone)]
pub struct Log {
    errors: Errors,
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

impl Log {
    /// Starts the log, on standard error.
    ///
    /// # Errors
    /// When the filter cannot be read, or a log was started before.
    pub fn start(filter: &str, json: bool) -> anyhow::Result<Self> {
        let (filter, handle) = reload::Layer::new(parse(filter)?);
        let errors = Errors::default();
        let counting = errors.clone().with_filter(LevelFilter::WARN);
        let writing =
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
        let writing = if json {
            writing.json().flatten_event(true).with_filter(filter).boxed()
        } else {
            writing.with_target(false).with_filter(filter).boxed()
        };
        tracing_subscriber::registry().with(writing).with(counting).try_init()?;
        Ok(Self { errors, filter: Some(handle) })
    }

    /// For a process that has no log of ours, such as a test.
    #[must_use]
    pub fn none() -> Self {
        Self { errors: Errors::default(), filter: None }
    }

    /// Shows by this filter from now on.
    ///
    /// # Errors
    /// When the filter cannot be read; then the log stays as it is.
    pub fn set(&self, filter: &str) -> anyhow::Result<()> {
        let parsed = parse(filter)?;
        self.filter.as_ref().map_or(Ok(()), |handle| handle.reload(parsed)).context("the log has ended")
    }

    /// The counts of warnings and errors.
    #[must_use]
    pub fn errors(&self) -> Reading {
        self.errors.reading()
    }
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let filter = quiet(filter);
    EnvFilter::try_new(&filter)
        .with_context(|| format!("RUST_LOG={filter:?} is no filter; try info, or portcullis=debug,info"))
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
