//! Counts what the log says of faults, by level and by the module that says it, whether or not the log shows it.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::reading::{Kind, Label, Reading, Sample};

/// How many warnings and errors there were of each module. A handle: all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Errors(Arc<Mutex<HashMap<(Level, &'static str), u64>>>);

impl Errors {
    /// The counts now. Modules are as many as the program has, so there is an end to them.
    pub fn reading(&self) -> Reading {
        let counts = self.0.lock();
        let mut samples: Vec<_> =
            counts.iter().map(|((level, module), count)| sample(*level, module, *count)).collect();
        samples.sort_by(|one, other| one.labels.cmp(&other.labels));
        Reading {
            name: "portcullis_errors",
            help: "Warnings and errors in the log, also those that RUST_LOG hides, by the module that says them",
            kind: Kind::Counter,
            samples,
        }
    }
}

fn sample(level: Level, module: &'static str, value: u64) -> Sample {
    let level = if level == Level::ERROR { "error" } else { "warning" };
    let labels: [Label; 2] = [("level", level), ("module", module)];
    Sample { labels: labels.into(), value }
}

impl<S: Subscriber> Layer<S> for Errors {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() <= Level::WARN {
            let module = metadata.target();
            let module = module.strip_prefix("portcullis::").unwrap_or(module);
            *self.0.lock().entry((*metadata.level(), module)).or_default() += 1;
        }
    }
}
