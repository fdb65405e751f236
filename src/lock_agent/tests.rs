use chrono::{DateTime, TimeDelta};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::{
    domain::{
        bolt::{Position, door::Alarm},
        lock::{Action, LockStatus},
    },
    gpio::simulated::{Fault, SimulatedRelay},
    mqtt::link::{self, Incoming, LinkPeer},
    wire::{
        self,
        lock::{Command, Outcome, Response},
    },
};

/// A worker on a simulated relay, with the test at the link's other end.
struct Bench {
    relay: SimulatedRelay,
    carrier: LinkPeer,
    stop: CancellationToken,
    worker: JoinHandle<anyhow::Result<()>>,
}

fn message(topic: &str, payload: impl Into<Vec<u8>>, retain: bool) -> Incoming {
    let topic = topic.to_owned();
    Incoming::Message(Message { topic, payload: payload.into().into(), qos: QoS::AtLeastOnce, retain })
}

fn command(action: Action) -> Command {
    let now = Utc::now();
    Command {
        action,
        command_id: Uuid::new_v4(),
        issued_at: now,
        expires_at: now + TimeDelta::milliseconds(2500),
        requested_by: "user:1".to_owned(),
        hold_until: None,
        reason: None,
    }
}

impl Bench {
    /// With the clock stopped: it moves only when every task waits, and then to the next thing that is due.
    async fn new(settings: AgentSettings) -> Self {
        let relay = SimulatedRelay::default();
        let mut bench = Self::on(relay, settings);
        // The wall clock goes on while this one is stopped: let the start be long enough ago for what a test takes.
        tokio::time::sleep(Duration::from_secs(2)).await;
        bench.connect().await;
        assert_eq!(bench.status().await.status, LockStatus::Closed);
        bench
    }

    fn on(relay: SimulatedRelay, settings: AgentSettings) -> Self {
        let (link, carrier) = link::pair();
        let stop = CancellationToken::new();
        let worker = tokio::spawn(run(link, Relay::simulated(17, relay.clone()), settings, stop.clone()));
        Self { relay, carrier, stop, worker }
    }

    async fn connect(&mut self) {
        self.carrier.incoming.send(Incoming::Connected).await.expect("a worker");
    }

    async fn hear(&mut self) -> Message {
        let waited = tokio::time::timeout(Duration::from_hours(1), self.carrier.outgoing.recv());
        waited.await.expect("a message within an hour").expect("a worker")
    }

    async fn status(&mut self) -> Status {
        let message = self.hear().await;
        assert_eq!((message.topic.as_str(), message.retain, message.qos), ("lock/status", true, QoS::AtLeastOnce));
        serde_json::from_slice(&message.payload).expect("a status")
    }

    async fn response(&mut self) -> Response {
        let message = self.hear().await;
        assert_eq!((message.topic.as_str(), message.retain, message.qos), ("lock/response", false, QoS::AtLeastOnce));
        serde_json::from_slice(&message.payload).expect("a response")
    }

    async fn send(&mut self, command: &Command) {
        let payload = serde_json::to_vec(command).expect("JSON");
        self.carrier.incoming.send(message("lock/command", payload, false)).await.expect("a worker");
    }

    /// Gives a command that must be obeyed: a status that names it, then its response.
    async fn obeyed(&mut self, command: &Command) -> Status {
        self.send(command).await;
        let status = self.status().await;
        let response = self.response().await;
        assert_eq!(
            (response.command_id, response.outcome),
            (command.command_id, Outcome::Done),
            "{}",
            response.message
        );
        assert_eq!(status.command_id, Some(command.command_id));
        status
    }

    async fn refused(&mut self, incoming: Incoming) -> Response {
        self.carrier.incoming.send(incoming).await.expect("a worker");
        let response = self.response().await;
        assert_eq!(response.outcome, Outcome::Refused);
        response
    }

    fn reads(&self) -> Position {
        self.relay.read().expect("a relay that lives")
    }
}

#[tokio::test(start_paused = true)]
async fn open_then_by_itself_closed_and_each_step_told() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    let begun = Instant::now();
    let status = bench.obeyed(&command(Action::Open)).await;
    assert_eq!(
        (status.status, status.online, status.requested_by.as_deref()),
        (LockStatus::Open, true, Some("user:1"))
    );
    assert_eq!(bench.reads(), Position::Open);
    let status = bench.status().await;
    assert_eq!((status.status, status.command_id), (LockStatus::Closed, None));
    assert_eq!(status.reason.as_deref(), Some("closed by itself"));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(bench.reads(), Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_worker_decides_what_a_toggle_is() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    assert_eq!(bench.obeyed(&command(Action::Toggle)).await.status, LockStatus::Open);
    assert_eq!(bench.obeyed(&command(Action::Toggle)).await.status, LockStatus::Closed);
    assert_eq!(bench.obeyed(&command(Action::Close)).await.status, LockStatus::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_status_comes_every_minute_and_at_each_connection() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    let begun = Instant::now();
    bench.status().await;
    assert_eq!(begun.elapsed().as_secs(), 60);
    bench.carrier.incoming.send(Incoming::Disconnected("cut".to_owned())).await.expect("a worker");
    bench.connect().await;
    assert_eq!(bench.status().await.status, LockStatus::Closed);
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_moves_nothing_and_says_why() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    let json = |command: &Command| serde_json::to_vec(command).expect("JSON");
    let fresh = command(Action::Open);
    let long = Command { expires_at: fresh.issued_at + TimeDelta::seconds(11), ..command(Action::Open) };
    let past = |issued: i64| {
        let issued_at = fresh.issued_at + TimeDelta::seconds(issued);
        Command { issued_at, expires_at: issued_at + TimeDelta::seconds(9), ..command(Action::Open) }
    };
    for (payload, retain, word) in [
        (json(&fresh), true, "retained"),
        (json(&fresh), false, "before under the same"),
        (json(&long), false, "within 10 seconds"),
        (json(&past(-10)), false, "expired"),
        (json(&past(-3)), false, "before the lock worker started"),
        (json(&past(5)), false, "in the future"),
        (b"OPEN".to_vec(), false, "not JSON"),
        (br#"{"action":"explode"}"#.to_vec(), false, "Unknown action"),
    ] {
        let response = bench.refused(message("lock/command", payload, retain)).await;
        assert!(response.message.contains(word), "{word}: {}", response.message);
        assert_eq!(bench.reads(), Position::Closed, "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_gives_too_many_commands_is_refused() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    for _ in 0..10 {
        bench.obeyed(&command(Action::Close)).await;
    }
    let payload = serde_json::to_vec(&command(Action::Open)).expect("JSON");
    let response = bench.refused(message("lock/command", payload, false)).await;
    assert!(response.message.contains("Too many"), "{}", response.message);
}

#[tokio::test(start_paused = true)]
async fn an_open_door_closes_without_a_hub_and_the_status_follows_the_next_connection() {
    let settings = AgentSettings { open_seconds: Duration::from_secs(100), ..AgentSettings::default() };
    let mut bench = Bench::new(settings).await;
    bench.obeyed(&command(Action::Open)).await;
    bench.carrier.incoming.send(Incoming::Disconnected("cut".to_owned())).await.expect("a worker");
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(bench.reads(), Position::Open);
    tokio::time::sleep(Duration::from_millis(1001)).await;
    assert_eq!(bench.reads(), Position::Closed);
    assert!(bench.carrier.outgoing.try_recv().is_err(), "nothing is told while there is no hub");
    bench.connect().await;
    let status = bench.status().await;
    assert_eq!((status.status, status.reason.as_deref()), (LockStatus::Closed, Some("closed: the hub is lost")));
}

#[tokio::test(start_paused = true)]
async fn a_full_link_keeps_no_door_open_and_loses_no_status() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    bench.obeyed(&command(Action::Open)).await;
    // Nobody reads the link from here on. Rubbish is refused with a response each, until the link is full.
    for _ in 0..2 * link::WAITING {
        bench.carrier.incoming.send(message("lock/command", "rubbish", false)).await.expect("a worker");
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.reads(), Position::Closed);
    let closed = loop {
        let message = bench.hear().await;
        if message.topic == "lock/status" {
            break serde_json::from_slice::<Status>(&message.payload).expect("a status");
        }
    };
    assert_eq!(closed.status, LockStatus::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_does_not_follow_is_no_open_door() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    bench.relay.fail(Some(Fault::Stuck));
    bench.send(&command(Action::Open)).await;
    assert_eq!(bench.status().await.status, LockStatus::Closed);
    let response = bench.response().await;
    assert_eq!(response.outcome, Outcome::Refused);
    assert!(response.message.contains("did not follow"), "{}", response.message);

    bench.relay.fail(Some(Fault::Dead));
    let status = bench.status().await;
    assert_eq!((status.status, status.online), (LockStatus::Unknown, true));
    assert!(status.reason.is_some());
    bench.relay.fail(None);
    assert_eq!(bench.status().await.status, LockStatus::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_cannot_close_is_told_as_open_and_closed_as_soon_as_it_can_be() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    bench.obeyed(&command(Action::Open)).await;
    bench.relay.fail(Some(Fault::Stuck));
    bench.send(&command(Action::Close)).await;
    assert_eq!(bench.status().await.status, LockStatus::Open);
    assert_eq!(bench.response().await.outcome, Outcome::Refused);
    bench.relay.fail(None);
    assert_eq!(bench.status().await.status, LockStatus::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_relay_moved_by_something_else_is_closed_within_a_second() {
    let bench = Bench::new(AgentSettings::default()).await;
    bench.relay.force(Position::Open);
    tokio::time::sleep(Duration::from_millis(1001)).await;
    assert_eq!(bench.reads(), Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hold_outlasts_the_longest_open_only_where_it_is_allowed() {
    let hold = |seconds: i64| Command {
        hold_until: Some(Utc::now() + TimeDelta::seconds(seconds)),
        reason: Some("moving in".to_owned()),
        ..command(Action::Open)
    };
    let mut bench = Bench::new(AgentSettings::default()).await;
    let payload = serde_json::to_vec(&hold(3600)).expect("JSON");
    assert!(bench.refused(message("lock/command", payload, false)).await.message.contains("LOCK_HOLD_OPEN"));

    let settings = AgentSettings { hold_open: true, ..AgentSettings::default() };
    let mut bench = Bench::new(settings).await;
    let begun = Instant::now();
    let status = bench.obeyed(&hold(1800)).await;
    assert_eq!((status.status, status.reason.as_deref()), (LockStatus::Open, Some("moving in")));
    let left = status.opens_until.expect("an end") - status.timestamp;
    assert!(status.held && (1799..=1800).contains(&left.num_seconds()), "{left}");
    let closed = loop {
        let status = bench.status().await;
        if status.status == LockStatus::Closed {
            break status;
        }
    };
    assert_eq!(closed.reason.as_deref(), Some("closed: the hold ended"));
    assert_eq!((closed.opens_until, closed.held), (None, false));
    assert!((1799..=1800).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_measured_by_the_hubs_fresh_status_only() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    let hub = |time: DateTime<Utc>| format!(r#"{{"online":true,"version":"1","timestamp":"{}"}}"#, time.to_rfc3339());
    let old = hub(Utc::now() - TimeDelta::seconds(5));
    bench.carrier.incoming.send(message("hub/status", old.clone(), true)).await.expect("a worker");
    bench.carrier.incoming.send(message("hub/status", old, false)).await.expect("a worker");
    let status = bench.status().await;
    let offset = status.clock_offset_ms.expect("an offset");
    assert!((5000..6000).contains(&offset), "{offset}");
    assert!(status.clock_alert);
    bench.carrier.incoming.send(message("hub/status", hub(Utc::now()), false)).await.expect("a worker");
    assert!(!bench.status().await.clock_alert);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_stays_one_alert_over_reconnections() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    let hub = || {
        let time = (Utc::now() - TimeDelta::seconds(5)).to_rfc3339();
        message("hub/status", format!(r#"{{"online":true,"version":"1","timestamp":"{time}"}}"#), false)
    };
    bench.carrier.incoming.send(hub()).await.expect("a worker");
    assert!(bench.status().await.clock_alert);
    for _ in 0..3 {
        bench.carrier.incoming.send(Incoming::Disconnected("cut".to_owned())).await.expect("a worker");
        bench.connect().await;
        assert!(bench.status().await.clock_alert, "what was measured last still counts");
        bench.carrier.incoming.send(hub()).await.expect("a worker");
        let status = bench.status().await;
        assert!(status.clock_alert && status.clock_offset_ms.is_some_and(|offset| offset > 4000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_clock_is_behind_obeys_no_longer_than_the_hub_waits() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    bench.status().await;
    let hub = (Utc::now() + TimeDelta::milliseconds(1500)).to_rfc3339();
    let status = format!(r#"{{"online":true,"version":"1","timestamp":"{hub}"}}"#);
    bench.carrier.incoming.send(message("hub/status", status, false)).await.expect("a worker");
    assert!(bench.status().await.clock_alert);
    // By the worker's own clock it would be good for another second.
    let now = Utc::now();
    let old = Command {
        issued_at: now - TimeDelta::milliseconds(1500),
        expires_at: now + TimeDelta::milliseconds(1000),
        ..command(Action::Open)
    };
    let payload = serde_json::to_vec(&old).expect("JSON");
    let incoming = message("lock/command", payload, false);
    let response = bench.refused(incoming).await;
    assert!(response.message.contains("expired"), "{}", response.message);
    assert_eq!(bench.reads(), Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_forced_door_is_told_of() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    bench.relay.move_door(Position::Closed);
    assert_eq!(bench.status().await.door, Some(LockStatus::Closed));
    bench.relay.move_door(Position::Open);
    let status = bench.status().await;
    assert_eq!((status.status, status.door), (LockStatus::Closed, Some(LockStatus::Open)));
    assert_eq!(status.alarm, Some(Alarm::DoorForced));
    bench.relay.move_door(Position::Closed);
    assert_eq!(bench.status().await.alarm, None);
}

/// A bench whose door has a contact, and is shut.
async fn bench_with_contact() -> Bench {
    let mut bench = Bench::new(AgentSettings::default()).await;
    bench.relay.move_door(Position::Closed);
    assert_eq!(bench.status().await.door, Some(LockStatus::Closed));
    bench
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_the_door_while_there_is_no_hub_is_told_afterwards() {
    let mut bench = bench_with_contact().await;
    bench.carrier.incoming.send(Incoming::Disconnected("cut".to_owned())).await.expect("a worker");
    let begun = Utc::now();
    for position in [Position::Open, Position::Closed] {
        bench.relay.move_door(position);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(bench.carrier.outgoing.try_recv().is_err(), "nothing is told while there is no hub");
    bench.connect().await;
    let status = bench.status().await;
    assert_eq!((status.alarm, status.door), (Some(Alarm::DoorForced), Some(LockStatus::Closed)));
    let since = status.alarm_since.expect("a time");
    assert!((since - begun).abs() < TimeDelta::seconds(5), "{since}");
    let status = bench.status().await;
    assert_eq!((status.alarm, status.alarm_since), (None, None), "it is over");
    // Lost again before the hub can have had it for sure: told once more, as the same.
    bench.carrier.incoming.send(Incoming::Disconnected("cut".to_owned())).await.expect("a worker");
    bench.connect().await;
    let status = bench.status().await;
    assert_eq!((status.alarm, status.alarm_since.map(wire::time::millis)), (Some(Alarm::DoorForced), Some(since)));
    assert_eq!(bench.status().await.alarm, None);
    tokio::time::sleep(Duration::from_secs(20)).await;
    bench.carrier.incoming.send(Incoming::Disconnected("cut".to_owned())).await.expect("a worker");
    bench.connect().await;
    assert_eq!(bench.status().await.alarm, None, "told for sure");
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_cannot_be_read_makes_the_door_unknown_and_nothing_else() {
    let mut bench = bench_with_contact().await;
    bench.relay.fail_contact(true);
    let status = bench.status().await;
    assert_eq!((status.status, status.door, status.alarm), (LockStatus::Closed, Some(LockStatus::Unknown), None));
    // Only the minute's status comes: nothing is told at each look.
    let begun = Instant::now();
    assert_eq!(bench.status().await.door, Some(LockStatus::Unknown));
    assert!(begun.elapsed() > Duration::from_secs(59), "{:?}", begun.elapsed());
    bench.obeyed(&command(Action::Open)).await;
    bench.relay.fail_contact(false);
    assert_eq!(bench.status().await.door, Some(LockStatus::Closed));
}

#[tokio::test(start_paused = true)]
async fn stopping_closes_the_door_and_says_that_nobody_is_here() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    bench.obeyed(&command(Action::Open)).await;
    bench.stop.cancel();
    let status = bench.status().await;
    assert_eq!((status.status, status.online), (LockStatus::Closed, true), "read back before it goes");
    let status = bench.status().await;
    assert_eq!((status.status, status.online), (LockStatus::Unknown, false));
    bench.worker.await.expect("no panic").expect("a clean end");
    assert_eq!(bench.relay.read().expect("read"), Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_lost_link_and_an_aborted_worker_close_the_door_too() {
    let mut bench = Bench::new(AgentSettings::default()).await;
    bench.obeyed(&command(Action::Open)).await;
    let Bench { relay, carrier, worker, .. } = bench;
    drop(carrier);
    worker.await.expect("no panic").expect_err("a link that ended is a fault");
    assert_eq!(relay.read().expect("read"), Position::Closed);

    let mut bench = Bench::new(AgentSettings::default()).await;
    bench.obeyed(&command(Action::Open)).await;
    let Bench { relay, worker, carrier: _carrier, .. } = bench;
    worker.abort();
    assert!(worker.await.expect_err("aborted").is_cancelled());
    assert_eq!(relay.read().expect("read"), Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_relay_found_open_at_the_start_is_closed_before_anything_is_told() {
    let relay = SimulatedRelay::default();
    relay.force(Position::Open);
    let mut bench = Bench::on(relay, AgentSettings::default());
    bench.connect().await;
    assert_eq!(bench.status().await.status, LockStatus::Closed);
}

#[test]
fn the_will_says_unknown_and_offline() {
    let will = will(17, false);
    assert!(will.retain);
    let status: Status = serde_json::from_slice(&will.payload).expect("a status");
    assert_eq!((status.status, status.online, status.pin), (LockStatus::Unknown, false, 17));
}
