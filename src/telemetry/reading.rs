//! Values that a part keeps for itself and shows when it is asked: how long a queue is, how many sockets there are.

/// Whether a value only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name is shown with `_total`.
    Counter,
    Gauge,
}

/// A label's name and its value, which is one of a few and never a client's words.
pub type Label = (&'static str, &'static str);

/// One value of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub labels: Vec<Label>,
    pub value: u64,
}

/// A metric as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Without `_total`.
    pub name: &'static str,
    /// A sentence without its full stop.
    pub help: &'static str,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

impl Reading {
    /// A value that goes up and down.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: Vec::new() }.with([], value)
    }

    /// A value that only grows.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: Kind::Counter, samples: Vec::new() }.with([], value)
    }

    /// Values that go up and down, each with labels; to be added by [`Reading::with`].
    #[must_use]
    pub fn gauges(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    /// Values that only grow, each with labels; to be added by [`Reading::with`].
    #[must_use]
    pub fn counters(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    /// One value more.
    #[must_use]
    pub fn with<const N: usize>(mut self, labels: [Label; N], value: u64) -> Self {
        self.samples.push(Sample { labels: labels.into(), value });
        self
    }
}
