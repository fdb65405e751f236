//! The log: text for people or JSON for machines, filtered by `RUST_LOG`, which can be changed while it runs.
//!
//! An event is one line, whatever others' words are in it (`text`).
//!
//! Libraries say no more than `info` and above, whatever the filter: some show what they are given, tokens among it.

mod text;

use std::{
    io::{IsTerminal as _, stderr},
    sync::Arc,
};

use anyhow::Context as _;
use parking_lot::Mutex;
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::{DynFilterFn, FilterExt as _},
    layer::{Filter, SubscriberExt as _},
    reload,
    util::SubscriberInitExt as _,
};

pub use self::text::excerpt;
pub use tracing_subscriber::filter::LevelFilter;

use super::{errors::Errors, reading::Reading};

/// The crate's own lines, which a level alone is about.
const OWN: &str = "portcullis";

/// A handle on the log that was started.
#[derive(Debug, Clone)]
pub struct Log {
    errors: Errors,
    reload: Option<reload::Handle<EnvFilter, Registry>>,
    shown: Arc<Mutex<Shown>>,
}

/// By which filters the log shows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    at_start: String,
    now: String,
}

impl Log {
    /// Starts the log, on standard error.
    ///
    /// # Errors
    /// When the filter cannot be read, or a log was started before.
    pub fn start(filter: &str, json: bool) -> anyhow::Result<Self> {
        let (parsed, handle) = reload::Layer::new(parse(filter)?);
        let log = Self { reload: Some(handle), ..Self::none(filter) };
        let counting = log.errors.clone().with_filter(LevelFilter::WARN);
        let shown = shown(parsed);
        let writing = tracing_subscriber::fmt::layer();
        let writing = if json {
            let writing = writing.with_writer(|| text::JsonLines(stderr()));
            writing.json().flatten_event(true).with_filter(shown).boxed()
        } else {
            let writing = writing.with_writer(stderr).with_ansi(stderr().is_terminal());
            writing.fmt_fields(text::fields()).with_target(false).with_filter(shown).boxed()
        };
        tracing_subscriber::registry().with(writing).with(counting).try_init()?;
        // What broke may be somebody's words.
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        Ok(log)
    }

    /// For a process whose log is not ours, such as a test: it remembers filters, and shows nothing by them.
    #[must_use]
    pub fn none(filter: &str) -> Self {
        let shown = Shown { at_start: filter.to_owned(), now: filter.to_owned() };
        Self { errors: Errors::default(), reload: None, shown: Arc::new(Mutex::new(shown)) }
    }

    /// By which filter it shows now.
    #[must_use]
    pub fn filter(&self) -> String {
        self.shown.lock().now.clone()
    }

    /// Shows by this filter from now on.
    ///
    /// # Errors
    /// When the filter cannot be read; then the log stays as it is.
    pub fn set(&self, filter: &str) -> anyhow::Result<()> {
        let parsed = parse(filter)?;
        // Before it may be too quiet to be heard.
        tracing::info!(filter, "the log shows by another filter from here on");
        let mut shown = self.shown.lock();
        if let Some(handle) = &self.reload {
            handle.reload(parsed).context("the log has ended")?;
        }
        filter.clone_into(&mut shown.now);
        Ok(())
    }

    /// Shows the hub's own lines from this level on, and libraries' from `info` on.
    ///
    /// # Errors
    /// When the log has ended.
    pub fn set_level(&self, level: LevelFilter) -> anyhow::Result<()> {
        let libraries = level.min(LevelFilter::INFO);
        self.set(&if libraries == level { level.to_string() } else { format!("{libraries},{OWN}={level}") })
    }

    /// Between the filter of the start and the hub's own debug lines.
    ///
    /// # Errors
    /// When the log has ended.
    pub fn toggle(&self) -> anyhow::Result<()> {
        let Shown { at_start, now } = self.shown.lock().clone();
        if now == at_start { self.set_level(LevelFilter::DEBUG) } else { self.set(&at_start) }
    }

    /// The counts of warnings and errors.
    #[must_use]
    pub fn errors(&self) -> Reading {
        self.errors.reading()
    }
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(quiet(filter))
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

/// Libraries' lines from `info` up, and of the rest what `parsed` lets through.
fn shown<S: Subscriber>(parsed: impl Filter<S>) -> impl Filter<S> {
    // Asked anew for each line: where a filter's answer is kept, a line is lost after a library has asked whether it may
    // say something, and was told no. The hint leaves the level to the other filter.
    let own = DynFilterFn::new(|line, _| *line.level() <= Level::INFO || line.target().starts_with(OWN));
    parsed.and(own.with_max_level_hint(LevelFilter::TRACE))
}

#[cfg(test)]
mod tests {
    use tracing::{callsite::Callsite as _, metadata::Kind};

    use super::*;

    #[test]
    fn no_line_is_lost_because_a_library_asked_whether_it_may_say_something() {
        let errors = Errors::default();
        let log = Registry::default()
            .with(
                tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(shown(EnvFilter::new("debug"))),
            )
            .with(errors.clone().with_filter(shown(EnvFilter::new("debug"))));
        tracing::subscriber::with_default(log, || {
            // As the bridge from the crate `log` asks for those that write to it.
            let library = tracing::callsite! {
                name: "asks", kind: Kind::EVENT, target: "library", level: Level::DEBUG, fields: message
            };
            for _ in 0..3 {
                tracing::dispatcher::get_default(|log| log.enabled(library.metadata()));
                tracing::warn!(target: OWN, "the database is away");
            }
        });
        let counted = format!("{:?}", errors.reading());
        assert!(counted.contains('3'), "{counted}");
    }

    #[test]
    fn a_level_is_about_the_hubs_own_lines() {
        let log = Log::none("info");
        for (level, filter) in [
            (LevelFilter::TRACE, "info,portcullis=trace"),
            (LevelFilter::DEBUG, "info,portcullis=debug"),
            (LevelFilter::INFO, "info"),
            (LevelFilter::ERROR, "error"),
            (LevelFilter::OFF, "off"),
        ] {
            log.set_level(level).expect("a level");
            assert_eq!(log.filter(), filter);
        }
    }

    #[test]
    fn toggling_goes_forth_and_back() {
        let log = Log::none("warn");
        log.toggle().expect("debug");
        assert_eq!(log.filter(), "info,portcullis=debug");
        log.toggle().expect("as at the start");
        assert_eq!(log.filter(), "warn");
    }

    #[test]
    fn what_is_no_filter_changes_nothing() {
        let log = Log::none("info");
        assert!(log.set("portcullis=loud").is_err());
        assert_eq!(log.filter(), "info");
    }
}
