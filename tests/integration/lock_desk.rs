//! The hub's side of the lock, against a real Postgres and a lock worker that the test plays.

use std::{
    fs,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use parking_lot::Mutex;
use portcullis::{
    auth::chain::{Fault, Head, Report},
    domain::{
        camera::{CameraId, CameraLabel},
        event::{Details, Event, EventId, EventType, Occurrence},
        lock::{Action, LockStatus},
    },
    events::{
        Announcer, Arrival, Channel, Item, LockAsk, LockDone, LockFailure, LockRequest, Outcome, Requester,
        StoredEvent, Submission, intake::Intake,
    },
    gpio::{self, simulated::SimulatedRelay},
    lifecycle::Lifecycle,
    lock_agent::{self, AgentSettings},
    lock_desk::{self, DeskSettings, LockDesk, OnDetection, Parts, Requests},
    mqtt::link::{self, Incoming, LinkPeer, Message, QoS},
    store::{Database, lock_audit::history},
    telemetry::metrics::Metrics,
    wire::{
        self,
        lock::{Command, Response, Status},
        lock_audit::LockAttempt,
    },
};
use sqlx::Executor as _;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};

use crate::server;

const DEADLINE: Duration = Duration::from_secs(10);

/// Where hubs run one after the other: a database and a `DATA_DIR`.
struct Place {
    database: Database,
    folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        Self { database: server::database().await, folder: tempfile::tempdir().expect("a folder") }
    }

    /// A desk that no worker has spoken to.
    fn hub(&self, settings: DeskSettings) -> Hub {
        Hub::start(&self.database, &self.folder, settings)
    }

    /// A desk whose worker has said that the door is closed.
    async fn hub_with_worker(&self) -> Hub {
        let mut hub = self.hub(SETTINGS);
        hub.greet().await;
        hub
    }

    /// What was asked of the lock, newest first.
    async fn history(&self) -> Vec<LockAttempt> {
        history(&self.database, None, 1000).await.expect("the history")
    }

    async fn outcomes(&self) -> Vec<String> {
        let outcome = |attempt: LockAttempt| attempt.outcome.unwrap_or_else(|| "none".to_owned());
        self.history().await.into_iter().map(outcome).collect()
    }

    async fn verified(&self) -> Report {
        lock_desk::verify(&self.database, self.folder.path(), &[]).await.expect("a verification")
    }

    /// The audit's newest row, and nothing is wrong with it or those before.
    async fn intact(&self) -> Head {
        let report = self.verified().await;
        assert!(report.is_intact(), "{report}");
        report.newest
    }
}

const SETTINGS: DeskSettings =
    DeskSettings { pin: 17, on_detection: OnDetection::Off, threshold: 0.5, hold_open: false };

/// A desk, and everything around it in the test's hands.
struct Hub {
    desk: LockDesk,
    carrier: LinkPeer,
    /// Whether the worker has one.
    session: watch::Sender<bool>,
    front: mpsc::Sender<LockRequest>,
    announcer: Announcer,
    recorded: Arc<Mutex<Vec<Occurrence>>>,
    metrics: Metrics,
    lifecycle: Lifecycle,
}

impl Hub {
    fn start(database: &Database, folder: &TempDir, settings: DeskSettings) -> Self {
        let (link, carrier) = link::pair();
        let (session, worker_is_there) = watch::channel(true);
        let requests = Requests::default();
        let front = requests.sender();
        let (intake, mut submitted) = Intake::with_room(32);
        let (announcer, lifecycle) = (Announcer::default(), Lifecycle::default());
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let (kept, metrics) = (recorded.clone(), Metrics::default());
        drop(lifecycle.track(async move {
            while let Some(Submission { arrival, item, reply, .. }) = submitted.recv().await {
                assert_eq!(arrival.channel, Channel::Internal);
                let Item::Occurrence(occurrence) = item else { panic!("{item:?}") };
                kept.lock().push(occurrence);
                let _ = reply.send(Outcome::Ignored);
            }
        }));
        let parts = Parts {
            database: database.clone(),
            link,
            worker_is_there,
            requests,
            recorder: intake,
            announcer: announcer.clone(),
            folder: folder.path().to_owned(),
            settings,
            metrics: metrics.clone(),
        };
        let desk = LockDesk::start(parts, &lifecycle).expect("a desk");
        Self { desk, carrier, session, front, announcer, recorded, metrics, lifecycle }
    }

    async fn greet(&mut self) {
        let first = self.published().await;
        assert_eq!((first.topic.as_str(), first.retain), ("lock/status", true));
        let status: Status = serde_json::from_slice(&first.payload).expect("a status");
        assert_eq!((status.status, status.online, status.pin), (LockStatus::Unknown, false, 17));
        self.deliver(Incoming::Connected).await;
        self.says(LockStatus::Closed, None).await;
        let desk = self.desk.clone();
        eventually("the worker is seen", || desk.state().status.online).await;
    }

    /// What the desk publishes next.
    async fn published(&mut self) -> Message {
        tokio::time::timeout(DEADLINE, self.carrier.outgoing.recv()).await.expect("in time").expect("a message")
    }

    async fn command(&mut self) -> Command {
        let message = self.published().await;
        assert_eq!((message.topic.as_str(), message.retain, message.qos), ("lock/command", false, QoS::AtLeastOnce));
        Command::read(&message.payload).expect("a command")
    }

    async fn deliver(&self, incoming: Incoming) {
        self.carrier.incoming.send(incoming).await.expect("a desk that listens");
    }

    async fn says(&self, status: LockStatus, command: Option<&Command>) {
        let said = Status {
            status,
            online: true,
            reason: Some("command".to_owned()),
            command_id: command.map(|command| command.command_id),
            requested_by: command.map(|command| command.requested_by.clone()),
            ..Status::offline(17, true, "", Utc::now())
        };
        self.deliver(message("lock/status", &said)).await;
    }

    async fn answers(&self, command: &Command, outcome: wire::lock::Outcome, words: &str) {
        let (command_id, message_text) = (command.command_id, words.to_owned());
        let response = Response { command_id, outcome, message: message_text, duration_ms: 0.2 };
        self.deliver(message("lock/response", &response)).await;
    }

    /// Has the worker obey the next command.
    async fn obey(&mut self, status: LockStatus) -> Command {
        let command = self.command().await;
        self.says(status, Some(&command)).await;
        self.answers(&command, wire::lock::Outcome::Done, "done").await;
        command
    }

    fn ask(&self, name: &str, action: Action) -> tokio::task::JoinHandle<Result<LockDone, LockFailure>> {
        let (desk, requester) = (self.desk.clone(), requester(name));
        self.lifecycle.track(async move { desk.command(requester, action).await })
    }

    /// By the front's way.
    async fn mqtt(&self, ask: LockAsk) -> Result<LockDone, LockFailure> {
        let (reply, answer) = oneshot::channel();
        let requester = Requester { name: "device:button".to_owned(), channel: Channel::Mqtt, address: None };
        self.front
            .send(LockRequest { requester, ask, arrived: Instant::now(), expires_at: None, reply })
            .await
            .expect("a desk");
        answer.await.expect("an answer")
    }

    fn kinds(&self) -> Vec<EventType> {
        self.recorded.lock().iter().map(|occurrence| occurrence.event_type).collect()
    }

    async fn stop(self) {
        let Self { desk, front, lifecycle, .. } = self;
        drop((desk, front));
        lifecycle.stop(std::future::pending()).await;
    }
}

fn message(topic: &str, payload: &impl serde::Serialize) -> Incoming {
    let payload = serde_json::to_vec(payload).expect("json").into();
    Incoming::Message(Message { topic: topic.to_owned(), payload, qos: QoS::AtLeastOnce, retain: false })
}

fn requester(name: &str) -> Requester {
    Requester { name: name.to_owned(), channel: Channel::Http, address: Some([127, 0, 0, 1].into()) }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_async(what, || std::future::ready(condition())).await;
}

pub async fn eventually_async<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_command_is_recorded_given_confirmed_and_answered() {
    let place = Place::new().await;
    let insert = "INSERT INTO cameras (name) VALUES ('Door') RETURNING id";
    let camera: i32 = sqlx::query_scalar(insert).fetch_one(&place.database).await.expect("a camera");
    let insert = "INSERT INTO events (camera_id, event_type, person_count, created_at)
                  VALUES ($1, 'PERSON_DETECTED', 1, now() - interval '5 s'), ($1, 'SYSTEM_ALERT', 0, now()),
                         ($1, 'PERSON_DETECTED', 1, now() - interval '9 s') RETURNING id";
    let seen: i64 = sqlx::query_scalar(insert).bind(camera).fetch_one(&place.database).await.expect("an event");
    let mut hub = place.hub_with_worker().await;

    let answer = hub.ask("user:1", Action::Open);
    let command = hub.command().await;
    // The attempt is committed before the command leaves.
    let before = place.history().await;
    assert_eq!((before.len(), before[0].outcome.as_deref()), (1, None));
    assert_eq!(before[0].command_id, Some(command.command_id));
    assert_eq!((command.action, command.requested_by.as_str()), (Action::Open, "user:1"));
    assert_eq!(command.expires_at - command.issued_at, TimeDelta::milliseconds(2500));
    assert!((Utc::now() - command.issued_at).abs() < TimeDelta::seconds(2));
    hub.says(LockStatus::Open, Some(&command)).await;
    hub.answers(&command, wire::lock::Outcome::Done, "done").await;

    let done = answer.await.expect("a task").expect("done");
    let message = "Door opened successfully".to_owned();
    assert_eq!(done, LockDone { previous: LockStatus::Closed, current: LockStatus::Open, pin: 17, message });
    let after = place.history().await;
    let attempt = &after[0];
    assert_eq!(place.outcomes().await, ["done"]);
    assert_eq!((attempt.event_id, attempt.camera_id), (Some(seen), Some(camera)));
    assert_eq!((attempt.requested_by.as_str(), attempt.channel.as_str()), ("user:1", "http"));
    assert_eq!((attempt.address.as_deref(), attempt.action.as_str()), (Some("127.0.0.1"), "open"));
    assert!(attempt.duration_ms.is_some_and(|duration| duration > 0.0 && duration < 3000.0));
    assert_eq!(hub.desk.state().status.status, LockStatus::Open);
    eventually("the opening is recorded", || hub.kinds() == [EventType::DoorOpened]).await;
    assert_eq!(hub.recorded.lock()[0].description, "Door opened by user:1: command");
    assert_eq!(place.intact().await.number, 2);
    hub.stop().await;
}

#[tokio::test]
async fn the_status_may_come_after_the_answer_or_not_at_all() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    let answer = hub.ask("user:1", Action::Toggle);
    let command = hub.command().await;
    hub.answers(&command, wire::lock::Outcome::Done, "done").await;
    hub.says(LockStatus::Open, Some(&command)).await;
    let done = answer.await.expect("a task").expect("done");
    assert_eq!((done.previous, done.current), (LockStatus::Closed, LockStatus::Open));
    assert_eq!(done.message, "Door opened successfully");

    let answer = hub.ask("user:1", Action::Open);
    let command = hub.command().await;
    hub.answers(&command, wire::lock::Outcome::Done, "open already").await;
    let done = answer.await.expect("a task").expect("done");
    assert_eq!((done.previous, done.current), (LockStatus::Open, LockStatus::Open));
    hub.stop().await;
}

#[tokio::test]
async fn without_a_worker_nothing_leaves() {
    let place = Place::new().await;
    let mut hub = place.hub(SETTINGS);
    assert_eq!(hub.published().await.topic, "lock/status");
    assert_eq!(hub.ask("user:1", Action::Open).await.expect("a task"), Err(LockFailure::NoWorker));
    assert!(hub.carrier.outgoing.try_recv().is_err());
    assert_eq!(place.outcomes().await, ["no-worker"]);
    assert_eq!(hub.desk.state().changed_at, None);
    hub.stop().await;
}

#[tokio::test]
async fn what_the_worker_refuses_or_leaves_unanswered_is_told_so() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    let answer = hub.ask("user:1", Action::Open);
    let command = hub.command().await;
    hub.answers(&command, wire::lock::Outcome::Refused, "the clock is not set").await;
    let refused = LockFailure::Refused("the clock is not set".to_owned());
    assert_eq!(answer.await.expect("a task"), Err(refused));

    let asked = Instant::now();
    let answer = hub.ask("user:1", Action::Open);
    let command = hub.command().await;
    assert_eq!(answer.await.expect("a task"), Err(LockFailure::NoConfirmation));
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(5), "{waited:?}");
    // Too late: it changes nothing any more.
    hub.answers(&command, wire::lock::Outcome::Done, "late").await;
    assert_eq!(place.outcomes().await, ["no-confirmation", "refused"]);
    assert_eq!(hub.kinds(), []);
    hub.stop().await;
}

#[tokio::test]
async fn two_requests_at_once_are_two_commands_in_order() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    let id = Some(uuid::Uuid::new_v4());
    let front = hub.front.clone();
    let (replies, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    for (reply, (action, command_id)) in
        replies.into_iter().zip([(Action::Toggle, id), (Action::Toggle, None), (Action::Close, id)])
    {
        let requester = Requester { name: "device:button".to_owned(), channel: Channel::Mqtt, address: None };
        let request = LockRequest {
            requester,
            ask: LockAsk::Command { action, command_id },
            arrived: Instant::now(),
            expires_at: None,
            reply,
        };
        front.send(request).await.expect("a desk");
    }
    // Neither waits for the other's answer; the third uses the first one's id.
    let (first, second) = (hub.command().await, hub.command().await);
    assert_eq!(Some(first.command_id), id);
    hub.says(LockStatus::Open, Some(&first)).await;
    hub.says(LockStatus::Closed, Some(&second)).await;
    hub.answers(&second, wire::lock::Outcome::Done, "done").await;
    hub.answers(&first, wire::lock::Outcome::Done, "done").await;
    let mut done = Vec::new();
    for answer in answers {
        done.push(answer.await.expect("an answer").map(|done| (done.previous, done.current)));
    }
    let busy = LockFailure::Refused("A command with this commandId is under way".to_owned());
    let (open, closed) = (LockStatus::Open, LockStatus::Closed);
    assert_eq!(done, [Ok((closed, open)), Ok((open, closed)), Err(busy)]);
    hub.stop().await;
}

#[tokio::test]
async fn a_sender_that_asks_too_often_is_refused_and_counted() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    for _ in 0..10 {
        let answer = hub.ask("user:1", Action::Close);
        hub.obey(LockStatus::Closed).await;
        answer.await.expect("a task").expect("done");
    }
    let refused = hub.ask("user:1", Action::Close).await.expect("a task").expect_err("too often");
    assert!(refused.to_string().starts_with("Too many lock commands: 10 in 10 s at most"), "{refused}");
    // Another sender is not concerned.
    let answer = hub.ask("user:2", Action::Close);
    hub.obey(LockStatus::Closed).await;
    answer.await.expect("a task").expect("done");

    for _ in 0..25 {
        let (what, reason) = ("EXPLODE\0\n".to_owned(), "unknown action".to_owned());
        assert!(hub.mqtt(LockAsk::Refused { what, reason }).await.is_err());
    }
    hub.stop().await;
    let history = place.history().await;
    let page = portcullis::store::lock_audit::history(&place.database, Some(history[1].id), 3).await.expect("a page");
    assert_eq!(page, history[2..5]);
    let front: Vec<_> = history.iter().filter(|attempt| attempt.requested_by == "device:button").collect();
    assert_eq!(front.len(), 11);
    assert_eq!((front[0].times, front[1].times), (15, 1));
    assert_eq!((front[0].action.as_str(), front[0].outcome.as_deref()), ("EXPLODE  ", Some("refused")));
    assert_eq!(front[0].message.as_deref(), Some("unknown action"));
    place.intact().await;
}

#[tokio::test]
async fn what_cannot_be_recorded_in_time_is_not_given() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    let answer = hub.ask("user:1", Action::Close);
    hub.obey(LockStatus::Closed).await;
    answer.await.expect("a task").expect("done");

    let mut blocker = place.database.begin().await.expect("a transaction");
    blocker.execute("LOCK TABLE lock_audit IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    let asked = Instant::now();
    assert_eq!(hub.ask("user:1", Action::Open).await.expect("a task"), Err(LockFailure::NotRecorded));
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_millis(900) && waited < Duration::from_millis(2500), "{waited:?}");
    blocker.rollback().await.expect("an end");
    // The row comes late, and with it the word that the command was never given.
    eventually_async("the attempt is closed", async || place.outcomes().await == ["not-given", "done"]).await;
    assert!(hub.carrier.outgoing.try_recv().is_err());
    place.intact().await;
    hub.stop().await;
}

#[tokio::test]
async fn what_the_worker_refuses_too_often_is_refused_by_the_hub_and_counted() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    for _ in 0..10 {
        let answer = hub.ask("user:1", Action::Open);
        let command = hub.command().await;
        hub.answers(&command, wire::lock::Outcome::Refused, "given before under the same commandId").await;
        answer.await.expect("a task").expect_err("refused");
    }
    for _ in 0..15 {
        let refused = hub.ask("user:1", Action::Open).await.expect("a task").expect_err("too often");
        assert!(refused.to_string().starts_with("Too many refused commands: 10 in 60 s at most"), "{refused}");
    }
    assert!(hub.carrier.outgoing.try_recv().is_err());
    // Another sender is not concerned.
    let answer = hub.ask("user:2", Action::Close);
    hub.obey(LockStatus::Closed).await;
    answer.await.expect("a task").expect("done");
    hub.stop().await;
    let history = place.history().await;
    let times: Vec<_> =
        history.iter().filter(|attempt| attempt.requested_by == "user:1").map(|attempt| attempt.times).collect();
    assert_eq!(times, [&[15][..], &[1; 10]].concat());
    assert_eq!(place.intact().await.number, 10 * 2 + 2 + 1);
}

#[tokio::test]
async fn without_a_worker_many_attempts_are_few_rows() {
    let place = Place::new().await;
    let hub = place.hub(SETTINGS);
    for _ in 0..25 {
        hub.ask("user:1", Action::Open).await.expect("a task").expect_err("no worker");
    }
    hub.stop().await;
    let history = place.history().await;
    assert_eq!((history.len(), history.iter().map(|attempt| attempt.times).sum::<i64>()), (11, 25));
    assert_eq!(place.outcomes().await[1..], ["no-worker"; 10]);
    assert_eq!(place.intact().await.number, 11);
}

/// Of whom each attempt has its row, and how often.
fn counted(history: &[LockAttempt]) -> i64 {
    history.iter().map(|attempt| attempt.times).sum()
}

#[tokio::test]
async fn what_was_refused_on_its_way_takes_no_place_in_the_queue() {
    let place = Place::new().await;
    let hub = place.hub_with_worker().await;
    let mut blocker = place.database.begin().await.expect("a transaction");
    blocker.execute("LOCK TABLE lock_audit IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    let first = hub.ask("user:1", Action::Open);
    // More than find room, while the first waits for its row; each is answered at once all the same.
    for _ in 0..200 {
        let (what, reason) = ("EXPLODE".to_owned(), "unknown action".to_owned());
        assert_eq!(
            hub.mqtt(LockAsk::Refused { what, reason: reason.clone() }).await,
            Err(LockFailure::Refused(reason))
        );
    }
    let second = hub.ask("user:2", Action::Open);
    blocker.rollback().await.expect("an end");
    for answer in [first, second] {
        let answer = answer.await.expect("a task");
        assert_ne!(answer, Err(LockFailure::Full));
    }
    // What came too often from one sender is counted, and written at the end.
    hub.stop().await;
    assert_eq!(counted(&place.history().await), 202);
    place.intact().await;
}

#[tokio::test]
async fn what_waits_too_long_or_finds_no_room_is_refused_and_recorded() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    let mut blocker = place.database.begin().await.expect("a transaction");
    blocker.execute("LOCK TABLE lock_audit IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    // The first waits for its row, the others for the first; 64 of them find room.
    let answers: Vec<_> = (0..100).map(|n| hub.ask(&format!("user:{n}"), Action::Open)).collect();
    let mut failures = Vec::new();
    for answer in answers {
        failures.push(answer.await.expect("a task").expect_err("not given"));
    }
    assert!(
        failures
            .iter()
            .all(|failure| matches!(failure, LockFailure::NotRecorded | LockFailure::TooLate | LockFailure::Full))
    );
    assert!(failures.contains(&LockFailure::NotRecorded) && failures.contains(&LockFailure::Full));
    let counted_as = r#"portcullis_lock_commands_total{action="open",outcome="not-given"} 100"#;
    assert!(hub.metrics.text().expect("metrics").contains(counted_as));
    blocker.rollback().await.expect("an end");
    eventually_async("each is recorded", async || counted(&place.history().await) == 100).await;
    eventually_async("and as not given", async || place.outcomes().await.iter().all(|outcome| outcome == "not-given"))
        .await;
    assert!(hub.carrier.outgoing.try_recv().is_err());
    place.intact().await;
    hub.stop().await;
}

#[tokio::test]
async fn what_is_asked_while_the_database_is_away_is_refused_and_recorded_on_its_return() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&place.database).await.expect("a name");
    let elsewhere = server::maintenance();
    let admit = async |whether: bool| {
        let alter = format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS {whether}");
        elsewhere.execute(sqlx::AssertSqlSafe(alter)).await.expect("altered");
        let kill = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        elsewhere.execute(sqlx::AssertSqlSafe(kill)).await.expect("killed");
    };
    admit(false).await;
    for _ in 0..2 {
        let failure = hub.ask("user:1", Action::Open).await.expect("a task").expect_err("not recorded");
        assert_eq!(failure, LockFailure::NotRecorded);
    }
    for _ in 0..300 {
        let (what, reason) = ("EXPLODE".to_owned(), "unknown action".to_owned());
        assert!(hub.mqtt(LockAsk::Refused { what, reason }).await.is_err());
    }
    let refused: Vec<_> = (10..310)
        .map(|n| {
            let (desk, who) = (hub.desk.clone(), requester(&format!("user:{n}")));
            hub.lifecycle.track(async move { desk.refused(who, "open", "no right".to_owned()).await })
        })
        .collect();
    for refused in refused {
        refused.await.expect("a task");
    }
    assert!(hub.carrier.outgoing.try_recv().is_err(), "nothing left");
    admit(true).await;
    hub.stop().await;
    assert_eq!(counted(&place.history().await), 602);
    place.intact().await;
}

#[tokio::test]
async fn a_lost_connection_costs_no_command() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    for _ in 0..3 {
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
        place.database.execute(kill).await.expect("killed");
        let answer = hub.ask("user:1", Action::Close);
        hub.obey(LockStatus::Closed).await;
        answer.await.expect("a task").expect("done");
    }
    assert_eq!(place.intact().await.number, 6);
    hub.stop().await;
}

#[tokio::test]
async fn the_audit_only_grows_and_tampering_is_found() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    for _ in 0..3 {
        let answer = hub.ask("user:1", Action::Close);
        hub.obey(LockStatus::Closed).await;
        answer.await.expect("a task").expect("done");
    }
    hub.stop().await;
    assert_eq!(place.intact().await.number, 6);
    for statement in ["UPDATE lock_audit SET action = 'x'", "DELETE FROM lock_audit", "TRUNCATE lock_audit"] {
        let refused = place.database.execute(statement).await.expect_err("refused").to_string();
        assert!(refused.contains("lock_audit only grows"), "{refused}");
    }
    let tamper = async |statement: &'static str| {
        let mut connection = place.database.acquire().await.expect("a connection");
        connection.execute("ALTER TABLE lock_audit DISABLE TRIGGER ALL").await.expect("an owner");
        connection.execute(statement).await.expect("tampered");
        place.verified().await.faults
    };
    assert_eq!(tamper("UPDATE lock_audit SET requested_by = 'user:2' WHERE number = 3").await, [Fault::Changed(3)]);
    let faults = tamper("UPDATE lock_audit SET requested_by = 'user:1' WHERE number = 3").await;
    assert_eq!(faults, [], "as it was");
    assert_eq!(tamper("UPDATE lock_audit SET duration_ms = 1 WHERE number = 2").await, [Fault::Changed(2)]);
    assert_eq!(tamper("DELETE FROM lock_audit WHERE number = 4").await, [Fault::Changed(2), Fault::Missing(4, 4)],);
    assert_eq!(tamper("DELETE FROM lock_audit WHERE number >= 5").await, [Fault::Changed(2), Fault::CutOff(4, 6)],);
    assert_eq!(tamper("DELETE FROM lock_audit").await, [Fault::CutOff(1, 6)]);

    // The next start tells of it, goes on, and does not paper over the gap.
    let mut hub = place.hub_with_worker().await;
    eventually("the alert", || hub.kinds() == [EventType::SystemAlert]).await;
    let answer = hub.ask("user:1", Action::Close);
    hub.obey(LockStatus::Closed).await;
    answer.await.expect("a task").expect("done");
    hub.stop().await;
    let report = place.verified().await;
    assert_eq!((report.faults, report.newest.number), (vec![Fault::Missing(1, 6)], 8));
}

#[tokio::test]
async fn a_crash_between_commit_and_head_is_made_good_but_a_forged_row_is_not() {
    let place = Place::new().await;
    let head = place.folder.path().join("lock-audit-head");
    let mut hub = place.hub_with_worker().await;
    let old = fs::read_to_string(&head).expect("a head");
    let answer = hub.ask("user:1", Action::Close);
    hub.obey(LockStatus::Closed).await;
    answer.await.expect("a task").expect("done");
    hub.stop().await;

    fs::write(&head, old).expect("put back");
    let hub = place.hub_with_worker().await;
    eventually("the head catches up", || fs::read_to_string(&head).expect("a head").starts_with("2:")).await;
    assert_eq!(hub.kinds(), []);
    hub.stop().await;
    place.intact().await;

    let forge = "INSERT INTO lock_audit SELECT 3, kind, attempt, command_id, action, detail, requested_by, channel,
                 address, at, outcome, message, duration_ms, times, event_id, camera_id, hash, previous_hash
                 FROM lock_audit WHERE number = 1";
    place.database.execute(forge).await.expect("forged");
    let mut hub = place.hub_with_worker().await;
    eventually("the alert", || hub.kinds() == [EventType::SystemAlert]).await;
    let answer = hub.ask("user:1", Action::Close);
    hub.obey(LockStatus::Closed).await;
    answer.await.expect("a task").expect("done");
    hub.stop().await;
    let report = place.verified().await;
    assert_eq!(report.faults, [Fault::Changed(3)]);
}

#[tokio::test]
async fn an_attempt_that_a_crash_left_open_is_closed_at_the_next_start() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    let answer = hub.ask("user:1", Action::Open);
    hub.command().await;
    hub.lifecycle.hard.cancel();
    assert_eq!(answer.await.expect("a task"), Err(LockFailure::NoConfirmation));
    hub.stop().await;
    assert_eq!(place.outcomes().await, ["none"]);
    let hub = place.hub_with_worker().await;
    eventually_async("it is closed", async || place.outcomes().await == ["interrupted"]).await;
    hub.stop().await;
    place.intact().await;
}

#[tokio::test]
async fn a_person_closes_an_open_door_and_never_opens_one() {
    let place = Place::new().await;
    let settings = DeskSettings { on_detection: OnDetection::Close, ..SETTINGS };
    let mut hub = place.hub(settings);
    hub.greet().await;
    hub.announcer.announce(person(0.9));
    let answer = hub.ask("user:1", Action::Open);
    assert_eq!(hub.obey(LockStatus::Open).await.requested_by, "user:1");
    answer.await.expect("a task").expect("done");
    hub.announcer.announce(person(0.4));
    hub.announcer.announce(person(0.5));
    let command = hub.obey(LockStatus::Closed).await;
    assert_eq!((command.action, command.requested_by.as_str()), (Action::Close, "rule:close-on-detection"));
    eventually("both movements", || hub.kinds() == [EventType::DoorOpened, EventType::DoorClosed]).await;
    hub.stop().await;
    let history = place.history().await;
    assert_eq!((history.len(), history[0].channel.as_str()), (2, "internal"));
}

fn person(confidence: f64) -> Arc<StoredEvent> {
    let event = Event {
        id: EventId(1),
        camera: Some(CameraLabel { id: CameraId(1), name: "Door".to_owned(), location: None }),
        event_type: EventType::PersonDetected,
        person_count: 1,
        confidence: Some(confidence),
        snapshot_path: None,
        description: None,
        is_resolved: false,
        resolved_at: None,
        detection_id: None,
        detected_at: None,
        created_at: Utc::now(),
        details: Details::default(),
    };
    let json = wire::event::encode(&event).expect("json");
    let arrival = Arrival { channel: Channel::Http, at: Instant::now(), span: tracing::Span::none() };
    Arc::new(StoredEvent { event, json, arrival })
}

#[tokio::test]
async fn a_worker_that_comes_and_goes_raises_few_alerts_and_none_is_forgotten() {
    let place = Place::new().await;
    let hub = place.hub_with_worker().await;
    for _ in 0..10 {
        hub.deliver(message("lock/status", &Status::offline(17, true, "will", Utc::now()))).await;
        hub.says(LockStatus::Closed, None).await;
    }
    hub.deliver(Incoming::Disconnected("the broker is gone".to_owned())).await;
    eventually("the loss is seen", || !hub.desk.state().status.online).await;
    assert_eq!(hub.desk.state().status.status, LockStatus::Unknown);
    let recorded = hub.recorded.clone();
    hub.stop().await;
    let recorded = recorded.lock();
    assert_eq!(recorded.len(), 7, "{recorded:?}");
    let last = "The lock worker is lost: the hub cannot hear the lock worker: the broker is gone (the last of 15 within \
                a minute)";
    assert_eq!(recorded[6].description, last);
}

#[tokio::test]
async fn a_worker_whose_session_ends_is_gone_whatever_it_said_last() {
    let place = Place::new().await;
    let mut hub = place.hub_with_worker().await;
    let offline = async |hub: &mut Hub| {
        let said = hub.published().await;
        assert_eq!((said.topic.as_str(), said.retain), ("lock/status", true));
        let status: Status = serde_json::from_slice(&said.payload).expect("a status");
        assert_eq!((status.status, status.online), (LockStatus::Unknown, false));
        let desk = hub.desk.clone();
        eventually("it is gone", || !desk.state().status.online).await;
        assert_eq!(hub.desk.state().status.status, LockStatus::Unknown);
    };
    // No will.
    hub.session.send_replace(false);
    offline(&mut hub).await;
    // Odd ones, which arrive later: that it is there, and nothing that can be read.
    hub.says(LockStatus::Open, None).await;
    offline(&mut hub).await;
    hub.deliver(message("lock/status", &"gone fishing")).await;
    offline(&mut hub).await;
    assert_eq!(hub.ask("user:1", Action::Open).await.expect("a task"), Err(LockFailure::NoWorker));
    // Back, then gone again with its last words on their way: they count, and are heard first.
    hub.session.send_replace(true);
    hub.says(LockStatus::Open, None).await;
    eventually("it is back", || hub.kinds().len() == 3).await;
    hub.session.send_replace(false);
    hub.says(LockStatus::Closed, None).await;
    hub.deliver(message("lock/status", &Status::offline(17, true, "the lock worker stopped", Utc::now()))).await;
    eventually("all is told", || hub.kinds().len() == 5).await;
    let recorded: Vec<_> = hub.recorded.lock().iter().map(|occurrence| occurrence.description.clone()).collect();
    assert_eq!(
        recorded,
        [
            "The lock worker is lost: its session ended without its word",
            "The lock worker is back; the lock is OPEN",
            "Door opened: command",
            "Door closed: command",
            "The lock worker is lost: the lock worker stopped",
        ]
    );
    assert!(hub.carrier.outgoing.try_recv().is_err(), "its own word is enough");
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_that_died_with_the_door_open_tells_of_its_closing() {
    let place = Place::new().await;
    let insert = "INSERT INTO events (event_type, person_count, created_at)
                  VALUES ('DOOR_CLOSED', 0, now()), ('DOOR_OPENED', 0, now()), ('SYSTEM_ALERT', 0, now())";
    place.database.execute(insert).await.expect("the run before");
    let hub = place.hub_with_worker().await;
    eventually("the closing", || hub.kinds() == [EventType::DoorClosed]).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_door_is_held_open_only_where_that_is_allowed() {
    let place = Place::new().await;
    let until = wire::time::millis(Utc::now() + TimeDelta::hours(1));
    let hub = place.hub_with_worker().await;
    let refused = hub.desk.hold(requester("user:1"), until, "movers".to_owned()).await.expect_err("switched off");
    assert!(refused.to_string().contains("LOCK_HOLD_OPEN"), "{refused}");
    hub.stop().await;

    let settings = DeskSettings { hold_open: true, ..SETTINGS };
    let mut hub = place.hub(settings);
    hub.greet().await;
    let past = Utc::now() - TimeDelta::seconds(1);
    assert!(hub.desk.hold(requester("user:1"), past, "movers".to_owned()).await.is_err());
    let desk = hub.desk.clone();
    let answer = hub.lifecycle.track(async move { desk.hold(requester("user:1"), until, "movers".to_owned()).await });
    let command = hub.obey(LockStatus::Open).await;
    assert_eq!((command.action, command.reason.as_deref()), (Action::Open, Some("movers")));
    assert_eq!(command.hold_until, Some(until));
    assert_eq!(answer.await.expect("a task").expect("done").current, LockStatus::Open);
    hub.stop().await;
    let history = place.history().await;
    assert_eq!(place.outcomes().await, ["done", "refused", "refused"]);
    assert_eq!(history[0].action, "hold");
    assert!(history[0].detail.as_deref().is_some_and(|detail| detail.ends_with(": movers")));
}

#[tokio::test]
async fn the_desk_and_the_real_worker_understand_each_other() {
    let place = Place::new().await;
    let mut hub = place.hub(SETTINGS);
    let (link, mut worker) = link::pair();
    let relay = gpio::Relay::simulated(17, SimulatedRelay::default());
    let stop = hub.lifecycle.soft.clone();
    hub.lifecycle.keep("lock worker", lock_agent::run(link, relay, AgentSettings::default(), stop));
    worker.incoming.send(Incoming::Connected).await.expect("a worker");
    let desk = hub.desk.clone();
    // The broker between the two.
    let broker = hub.lifecycle.track(async move {
        loop {
            tokio::select! {
                Some(message) = hub.carrier.outgoing.recv() => if message.topic == "lock/command" {
                    worker.incoming.send(Incoming::Message(message)).await.expect("a worker");
                },
                Some(message) = worker.outgoing.recv() => {
                    // The desk may have heard enough by the end.
                    let _ = hub.carrier.incoming.send(Incoming::Message(message)).await;
                }
                else => return,
            }
        }
    });
    eventually("the worker is seen", || desk.state().status.online).await;
    let (mut before, mut times) = (LockStatus::Closed, Vec::new());
    for sender in 0..9 {
        let asked = Instant::now();
        let done = desk.command(requester(&format!("user:{sender}")), Action::Toggle).await.expect("done");
        times.push(asked.elapsed());
        assert_eq!(done.previous, before);
        assert_ne!(done.current, before);
        before = done.current;
        assert_eq!(desk.state().status.status, before);
    }
    times.sort();
    eprintln!("from the request to its answer: median {:?}, longest {:?}", times[4], times[8]);
    hub.lifecycle.stop(std::future::pending()).await;
    broker.await.expect("a broker");
    place.intact().await;
    let kinds: Vec<_> = hub.recorded.lock().iter().map(|occurrence| occurrence.event_type).collect();
    // The last one is the worker's closing at the stop.
    assert_eq!(kinds, [EventType::DoorOpened, EventType::DoorClosed].repeat(5));
}
