//! The hub's metrics for Prometheus: what is counted and measured as it happens, and what parts show when they are
//! asked. `docs/metrics.md` has them all, and a test compares the two.
//!
//! No label has a value that a client chooses, so that nobody can make the list of series grow.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

pub use super::exposition::CONTENT_TYPE;
use super::{
    exposition::{self, Asking},
    process::Process,
    reading::Reading,
};
use crate::domain::event::EventType;

/// From a fast commit to the end of patience, in seconds.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0];
/// Up to the recorder's largest group.
const SIZES: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    action: &'static str,
    outcome: &'static str,
}

/// A request's place among the routes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: Cow<'static, str>,
    status: u16,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of one hub. A handle: all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: RwLock<Registry>,
    commits: Histogram,
    group_sizes: Histogram,
    retries: Counter,
    events: Family<TypeLabel, Counter>,
    stored: Histograms<SourceLabel>,
    shown: Histograms<SourceLabel>,
    lock_commands: Family<CommandLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    latencies: Histograms<RouteLabels>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let inner = Inner {
            registry: RwLock::default(),
            commits: seconds(),
            group_sizes: Histogram::new(SIZES),
            retries: Counter::default(),
            events: Family::default(),
            stored: Family::new_with_constructor(seconds),
            shown: Family::new_with_constructor(seconds),
            lock_commands: Family::default(),
            requests: Family::default(),
            latencies: Family::new_with_constructor(seconds),
        };
        inner.register();
        inner.begin();
        let metrics = Self(Arc::new(inner));
        let process = Process::now();
        metrics.ask(move || process.readings());
        metrics
    }
}

impl Inner {
    /// Shows what there is none of yet as 0, so that its first growth is seen.
    fn begin(&self) {
        for source in ["mqtt", "http"] {
            for histograms in [&self.stored, &self.shown] {
                drop(histograms.get_or_create(&SourceLabel { source }));
            }
        }
        for event_type in EventType::ALL {
            drop(self.events.get_or_create(&TypeLabel { r#type: event_type.as_str() }));
        }
    }

    fn register(&self) {
        let mut registry = self.registry.write();
        let help = "How long the recorder's commits took, one for each group";
        registry.register("portcullis_commit_duration_seconds", help, self.commits.clone());
        let help = "How many submissions each of the recorder's groups had";
        registry.register("portcullis_group_size", help, self.group_sizes.clone());
        let help = "Commits that failed because the database was away, and were tried again";
        registry.register("portcullis_commit_retries", help, self.retries.clone());
        let help = "Events that were committed, by their type";
        registry.register("portcullis_events_stored", help, self.events.clone());
        let help = "From a detection's arrival to its commit, which is when it is acknowledged";
        registry.register("portcullis_detection_commit_seconds", help, self.stored.clone());
        let help = "From a detection's arrival until it was handed to every dashboard's socket";
        registry.register("portcullis_detection_screen_seconds", help, self.shown.clone());
        let help = "What was asked of the lock, by what became of it";
        registry.register("portcullis_lock_commands", help, self.lock_commands.clone());
        let help = "HTTP requests, by route and status";
        registry.register("portcullis_http_requests", help, self.requests.clone());
        let help = "How long HTTP requests took to be answered";
        registry.register("portcullis_http_request_duration_seconds", help, self.latencies.clone());
    }
}

impl Metrics {
    /// Shows a part's readings at each scrape.
    pub fn ask(&self, part: impl Fn() -> Vec<Reading> + Send + Sync + 'static) {
        self.0.registry.write().register_collector(Box::new(Asking(part)));
    }

    /// Everything, in Prometheus' text format.
    ///
    /// # Errors
    /// When a value cannot be written, which would be a fault of ours.
    pub fn text(&self) -> Result<String, fmt::Error> {
        exposition::text(&self.0.registry.read())
    }

    /// A group was committed.
    pub fn committed(&self, submissions: usize, took: Duration) {
        self.0.commits.observe(took.as_secs_f64());
        // Exact: a group has at most a few thousand.
        self.0.group_sizes.observe(f64::from(u32::try_from(submissions).unwrap_or(u32::MAX)));
    }

    /// A commit failed because the database is away, and will be tried again.
    pub fn retried(&self) {
        self.0.retries.inc();
    }

    /// An event of this type was committed.
    pub fn stored(&self, event_type: &'static str) {
        self.0.events.get_or_create(&TypeLabel { r#type: event_type }).inc();
    }

    /// A detection was committed, this long after it had come in.
    pub fn acknowledged(&self, source: &'static str, after: Duration) {
        self.0.stored.get_or_create(&SourceLabel { source }).observe(after.as_secs_f64());
    }

    /// A detection's event was handed to the dashboards' sockets, this long after it had come in.
    pub fn shown(&self, source: &'static str, after: Duration) {
        self.0.shown.get_or_create(&SourceLabel { source }).observe(after.as_secs_f64());
    }

    /// Something was asked of the lock, and this became of it.
    pub fn lock_command(&self, action: &'static str, outcome: &'static str) {
        self.0.lock_commands.get_or_create(&CommandLabels { action, outcome }).inc();
    }

    /// A request was answered. `route` is the pattern that it matched, never the path that was asked for.
    pub fn answered(&self, method: &'static str, route: impl Into<Cow<'static, str>>, status: u16, took: Duration) {
        let route = route.into();
        self.0.requests.get_or_create(&RequestLabels { method, route: route.clone(), status }).inc();
        self.0.latencies.get_or_create(&RouteLabels { method, route }).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_stands_in_the_text() {
        let metrics = Metrics::default();
        metrics.committed(3, Duration::from_millis(4));
        metrics.answered("GET", "/api/events/{id}", 404, Duration::from_millis(1));
        metrics.lock_command("open", "done");
        metrics.ask(|| vec![Reading::counters("a_b", "Some\\thing").with([("kind", "x\"y")], 7)]);
        let text = metrics.text().expect("a text");
        for line in [
            "# TYPE portcullis_http_requests_total counter",
            "portcullis_http_requests_total{method=\"GET\",route=\"/api/events/{id}\",status=\"404\"} 1",
            "portcullis_group_size_bucket{le=\"5.0\"} 1",
            "portcullis_group_size_bucket{le=\"2.0\"} 0",
            "portcullis_group_size_count 1",
            "# TYPE portcullis_group_size histogram",
            "portcullis_lock_commands_total{action=\"open\",outcome=\"done\"} 1",
            "# HELP a_b_total Some\\thing",
            "# TYPE a_b_total counter",
            "a_b_total{kind=\"x\\\"y\"} 7",
        ] {
            assert!(text.lines().any(|found| found.trim_end_matches('.') == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("EOF"));
    }
}
