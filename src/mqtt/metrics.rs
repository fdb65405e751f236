//! What the front counts and measures, for /metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::telemetry::reading::Reading;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
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
pub struct Gauge(AtomicI64);

impl Gauge {
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
struct OneMore<'a>(&'a Gauge);

impl<'a> OneMore<'a> {
    fn of(gauge: &'a Gauge) -> Self {
        gauge.shift(1);
        Self(gauge)
    }
}

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.shift(-1);
    }
}

/// The front's counters since its start, and what there is now.
#[derive(Debug, Default)]
pub struct FrontMetrics {
    /// Connections now, those without a CONNECT among them.
    pub connections: Gauge,
    /// Sessions now, those without a connection among them.
    pub sessions: Gauge,
    /// Detections that wait for room in the recorder's queue.
    pub waiting_detections: Gauge,
    /// PUBLISHes that came in.
    pub received: Counter,
    /// PUBLISHes that went out.
    pub delivered: Counter,
    /// Connections closed at once: too many in all or of an address, or too fast.
    pub turned_away: Counter,
    /// CONNECTs answered with a failure.
    pub refused_connects: Counter,
    /// PUBLISHes that the sender had no right to.
    pub refused_publishes: Counter,
    /// Filters that the subscriber had no right to.
    pub refused_subscriptions: Counter,
    /// What came on lock/command and went nowhere.
    pub refused_lock_commands: Counter,
    /// Detections that could not be read.
    pub malformed_detections: Counter,
    /// Connections ended because of what they sent.
    pub protocol_errors: Counter,
    /// Messages dropped from a full queue of a slow or absent subscriber.
    pub dropped: Counter,
    /// Messages dropped because they expired, or are longer than their subscriber takes.
    pub undeliverable: Counter,
    /// Messages that the router's log had overwritten before their subscriber could be given them.
    pub overwritten: Counter,
    /// Retained messages not kept, because the store is full.
    pub not_retained: Counter,
    /// PUBLISHes at QoS 0 that had come before their connection ended, and for which there was no time.
    pub unread: Counter,
}

impl FrontMetrics {
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
