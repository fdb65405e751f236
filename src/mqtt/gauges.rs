//! What the front counts, and how it keeps a flood of refusals from becoming a flood of log lines.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub fn one(&self) {
        self.add(1);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    pub fn shift(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// At least 0.
    #[must_use]
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// The front's counters, since its start.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Connections now, those without a CONNECT among them.
    pub connections: Level,
    /// Sessions now, those without a connection among them.
    pub sessions: Level,
    /// PUBLISHes that came in.
    pub received: Count,
    /// PUBLISHes that went out.
    pub delivered: Count,
    /// Connections closed at once: too many in all or of an address, or too fast.
    pub turned_away: Count,
    /// CONNECTs answered with a failure.
    pub refused_connects: Count,
    /// PUBLISHes that the sender had no right to.
    pub refused_publishes: Count,
    /// Filters that the subscriber had no right to.
    pub refused_subscriptions: Count,
    /// What came on lock/command and went nowhere.
    pub refused_lock_commands: Count,
    /// Detections that could not be read.
    pub malformed_detections: Count,
    /// Connections ended because of what they sent.
    pub protocol_errors: Count,
    /// Messages dropped from a full queue of a slow or absent subscriber.
    pub dropped: Count,
    /// Messages dropped because they expired, or are longer than their subscriber takes.
    pub undeliverable: Count,
    /// Messages that the router's log had overwritten before their subscriber could be given them.
    pub overwritten: Count,
    /// Retained messages not kept, because the store is full.
    pub not_retained: Count,
}

impl Gauges {
    /// Every counter with its name.
    #[must_use]
    pub fn read(&self) -> [(&'static str, u64); 15] {
        [
            ("connections", self.connections.get()),
            ("sessions", self.sessions.get()),
            ("received", self.received.get()),
            ("delivered", self.delivered.get()),
            ("turned_away", self.turned_away.get()),
            ("refused_connects", self.refused_connects.get()),
            ("refused_publishes", self.refused_publishes.get()),
            ("refused_subscriptions", self.refused_subscriptions.get()),
            ("refused_lock_commands", self.refused_lock_commands.get()),
            ("malformed_detections", self.malformed_detections.get()),
            ("protocol_errors", self.protocol_errors.get()),
            ("dropped", self.dropped.get()),
            ("undeliverable", self.undeliverable.get()),
            ("overwritten", self.overwritten.get()),
            ("not_retained", self.not_retained.get()),
        ]
    }
}

/// Lets a few through at once and then one in a while, and says how many it held back.
#[derive(Debug)]
pub struct Rate {
    burst: f64,
    per_second: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    at: Instant,
    held_back: u64,
}

impl Rate {
    #[must_use]
    pub fn new(burst: u32, every: Duration) -> Self {
        let burst = f64::from(burst.max(1));
        let state = State { tokens: burst, at: Instant::now(), held_back: 0 };
        Self { burst, per_second: 1.0 / every.as_secs_f64().max(1e-9), state: Mutex::new(state) }
    }

    /// Whether one more may pass now; if so, how many were held back since the last that did.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let grown = now.saturating_duration_since(state.at).as_secs_f64() * self.per_second;
        state.tokens = (state.tokens + grown).min(self.burst);
        state.at = now;
        if state.tokens < 1.0 {
            state.held_back += 1;
            return None;
        }
        state.tokens -= 1.0;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_a_burst_through_and_counts_the_rest() {
        let rate = Rate::new(2, Duration::from_secs(1));
        let now = Instant::now();
        assert_eq!([rate.pass(now), rate.pass(now), rate.pass(now), rate.pass(now)], [Some(0), Some(0), None, None]);
        assert_eq!(rate.pass(now + Duration::from_secs(1)), Some(2));
        assert_eq!(rate.pass(now + Duration::from_secs(1)), None);
    }
}
