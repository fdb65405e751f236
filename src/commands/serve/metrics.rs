//! What the parts show at each scrape of `/metrics`, beside what they count as it happens.

use crate::{
    commands::data::Data,
    domain::lock::LockStatus,
    events::{
        alerts::Alerts,
        counters::{Counts, DetectionCounters},
        intake::Intake,
    },
    lock_desk::LockDesk,
    mqtt::Front,
    store::Database,
    telemetry::{log::Log, metrics::Metrics, reading::Reading},
};

/// Has every part that can be asked shown from now on.
pub fn ask(
    metrics: &Metrics,
    log: &Log,
    data: &Data,
    recorder: &Intake,
    alerts: &Alerts,
    front: &Front,
    lock: &LockDesk,
) {
    metrics.ask(build);
    let log = log.clone();
    metrics.ask(move || vec![log.errors()]);
    let database = data.database.clone();
    metrics.ask(move || vec![pool(&database)]);
    let (counters, queue) = (recorder.counters().clone(), recorder.queue());
    metrics.ask(move || {
        let waiting = u64::try_from(queue.taken()).unwrap_or(u64::MAX);
        let mut readings = detections(&counters);
        readings.push(Reading::gauge("portcullis_queue_length", "Submissions that wait for the recorder", waiting));
        readings
    });
    let alerts = alerts.clone();
    metrics.ask(move || {
        let waiting = u64::try_from(alerts.waiting()).unwrap_or(u64::MAX);
        vec![Reading::gauge("portcullis_alerts_waiting", "Alerts that wait for the recorder or the database", waiting)]
    });
    let front = front.clone();
    metrics.ask(move || {
        let mut readings = front.metrics().readings();
        readings.push(Reading::counter(
            "portcullis_mqtt_connections_sent_away",
            "MQTT connections without a CONNECT that had to go for newer ones",
            front.places().sent_away(),
        ));
        readings
    });
    let lock = lock.clone();
    metrics.ask(move || state(&lock));
}

fn build() -> Vec<Reading> {
    let version = ("version", env!("CARGO_PKG_VERSION"));
    vec![Reading::gauges("portcullis_build_info", "The version that runs").with([version], 1)]
}

fn pool(database: &Database) -> Reading {
    let (idle, all) =
        (u64::try_from(database.pool().num_idle()).unwrap_or_default(), u64::from(database.pool().size()));
    Reading::gauges("portcullis_database_connections", "Connections to the database, by what they do")
        .with([("state", "idle")], idle)
        .with([("state", "used")], all.saturating_sub(idle))
}

fn detections(counters: &DetectionCounters) -> Vec<Reading> {
    let mut readings = [
        Reading::counters(
            "portcullis_detections_received",
            "Detections that were taken in, or refused for what they are",
        ),
        Reading::counters("portcullis_detections", "Detections by what became of them"),
        Reading::gauges("portcullis_detections_in_flight", "Detections received of which nothing became yet"),
        Reading::counters(
            "portcullis_detections_turned_away",
            "Detections not received for want of room, to be sent again",
        ),
    ];
    for (channel, name) in [(&counters.mqtt, "mqtt"), (&counters.http, "http")] {
        let Counts { received, stored, duplicate, rejected, ignored, in_flight, turned_away } = channel.counts();
        let source = ("source", name);
        let [all, outcomes, flying, away] = readings;
        readings = [
            all.with([source], received),
            outcomes
                .with([source, ("outcome", "stored")], stored)
                .with([source, ("outcome", "duplicate")], duplicate)
                .with([source, ("outcome", "rejected")], rejected)
                .with([source, ("outcome", "ignored")], ignored),
            flying.with([source], in_flight),
            away.with([source], turned_away),
        ];
    }
    readings.into()
}

fn state(lock: &LockDesk) -> Vec<Reading> {
    let status = lock.state().status;
    let is = |wanted| u64::from(status.status == wanted);
    vec![
        Reading::gauges("portcullis_lock_state", "1 for the state that the lock is in, 0 for the others")
            .with([("state", "open")], is(LockStatus::Open))
            .with([("state", "closed")], is(LockStatus::Closed))
            .with([("state", "unknown")], is(LockStatus::Unknown)),
        Reading::gauge("portcullis_lock_worker_online", "1 while a lock worker is there", u64::from(status.online)),
    ]
}
