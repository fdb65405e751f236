//! What the front counts, and how it keeps a flood of refusals from becoming a flood of log lines: a stranger's leave room
//! for those of others.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    auth::holder::Holder,
    domain::pool::{Bounds, Pool, Share, Standing},
    telemetry::reading::Reading,
};

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

    /// Counts one more for as long as the future runs or is there.
    pub async fn during<T>(&self, future: impl Future<Output = T>) -> T {
        let _one_more = OneMore::of(self);
        future.await
    }

    /// At least 0.
    #[must_use]
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// Counts until it is dropped.
struct OneMore<'a>(&'a Level);

impl<'a> OneMore<'a> {
    fn of(level: &'a Level) -> Self {
        level.shift(1);
        Self(level)
    }
}

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.shift(-1);
    }
}

/// The front's counters, since its start.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Connections now, those without a CONNECT among them.
    pub connections: Level,
    /// Sessions now, those without a connection among them.
    pub sessions: Level,
    /// Detections that wait for room in the recorder's queue.
    pub waiting_detections: Level,
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
    /// PUBLISHes at QoS 0 that had come before their connection ended, and for which there was no time.
    pub unread: Count,
}

impl Gauges {
    /// All of them, for the metrics.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        let counter = Reading::counter;
        vec![
            Reading::gauge(
                "portcullis_mqtt_connections",
                "MQTT connections, those without a CONNECT yet among them",
                self.connections.get(),
            ),
            Reading::gauge(
                "portcullis_mqtt_sessions",
                "MQTT sessions, those without a connection among them",
                self.sessions.get(),
            ),
            Reading::gauge(
                "portcullis_mqtt_waiting_detections",
                "Detections that wait for room in the recorder's queue, not received yet",
                self.waiting_detections.get(),
            ),
            counter("portcullis_mqtt_messages_received", "PUBLISHes that came in", self.received.get()),
            counter("portcullis_mqtt_messages_delivered", "PUBLISHes that went out", self.delivered.get()),
            Reading::counters("portcullis_mqtt_refusals", "What MQTT clients were refused, by what it was")
                .with([("what", "connection")], self.turned_away.get())
                .with([("what", "connect")], self.refused_connects.get())
                .with([("what", "publish")], self.refused_publishes.get())
                .with([("what", "subscription")], self.refused_subscriptions.get())
                .with([("what", "lock_command")], self.refused_lock_commands.get()),
            counter(
                "portcullis_mqtt_detections_kept",
                "Refused detections whose text is kept for a person to read",
                self.malformed_detections.get(),
            ),
            counter(
                "portcullis_mqtt_protocol_errors",
                "Connections ended because of what they sent",
                self.protocol_errors.get(),
            ),
            Reading::counters("portcullis_mqtt_drops", "Messages that a subscriber did not get, by why")
                .with([("why", "queue_full")], self.dropped.get())
                .with([("why", "undeliverable")], self.undeliverable.get())
                .with([("why", "overwritten")], self.overwritten.get())
                .with([("why", "not_retained")], self.not_retained.get())
                .with([("why", "unread")], self.unread.get()),
        ]
    }
}

/// Lines of one kind, shared by those whom they are about: so many in a while, and the rest is counted.
#[derive(Debug)]
pub struct Lines {
    pool: Pool<Holder>,
    window: Duration,
    state: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// What has been written since then.
    since: Instant,
    lines: Vec<Share<Holder>>,
    held_back: u64,
}

impl Lines {
    /// Within so long a time.
    #[must_use]
    pub fn new(bounds: Bounds, window: Duration) -> Self {
        let state = Written { since: Instant::now(), lines: Vec::new(), held_back: 0 };
        Self { pool: Pool::new(bounds), window, state: Mutex::new(state) }
    }

    /// Whether one more may be written about this holder now; if so, how many were held back since the last, of anybody's.
    pub fn pass(&self, holder: Holder, standing: Standing, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if now.saturating_duration_since(state.since) >= self.window {
            state.since = now;
            state.lines.clear();
        }
        let Ok(line) = self.pool.take(holder, standing, 1) else {
            state.held_back += 1;
            return None;
        };
        state.lines.push(line);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_uses_up_the_lines_about_others() {
        let window = Duration::from_secs(10);
        let lines = Lines::new(Bounds { in_all: 6, each: 2, reserve: 2 }, window);
        let (now, later) = (Instant::now(), Instant::now() + window);
        let stranger = |host: u8| Holder::at(std::net::IpAddr::from([192, 0, 2, host]));
        let written = |host, times: usize| {
            (0..times).filter(|_| lines.pass(stranger(host), Standing::Common, now).is_some()).count()
        };
        assert_eq!([written(1, 1000), written(2, 1000), written(3, 1000)], [2, 2, 0]);
        assert!(lines.pass(Holder::Hub, Standing::Trusted, now).is_some_and(|held_back| held_back == 1998));
        assert_eq!(lines.pass(stranger(1), Standing::Common, later), Some(0));
    }
}
