//! A bridge over a database of its own, a real recorder and a real lock desk, with a lock worker that the test plays;
//! and somebody of each role to ask it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use portcullis::{
    auth::{origin::Proxies, password, rights::Rights, token::Keys},
    bridge::{self, ConnectionLimits, Heartbeat, Hosts, Parts, Realtime, Registration, Settings},
    domain::{
        condition::Condition,
        lock::{Action, LockStatus},
        user::{Role, UserId},
    },
    events::{
        Announcer, alerts::Alerts, cameras::Cameras, intake::Intake, presence::Presence, revocations::Revocations,
    },
    health::{Finding, Health},
    identities::Identities,
    lifecycle::Lifecycle,
    lock_desk::{self, DeskSettings, LockDesk, OnDetection},
    mqtt::link::{self, Incoming, LinkPeer, Message, QoS},
    recorder::Recorder,
    store::{self, Database},
    telemetry::{log::Log, metrics::Metrics},
    wire::lock::{Command, Outcome, Response, Status},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};

use crate::server;

pub const DEADLINE: Duration = Duration::from_secs(10);
/// Of the users `ada` (ADMIN), `oto` (OPERATOR) and `uma` (USER).
pub const PASSWORD: &str = "correct horse";

/// A bridge that listens, and what is behind it.
pub struct Hub {
    pub address: SocketAddr,
    pub database: Database,
    pub realtime: Arc<Realtime>,
    pub revocations: Revocations,
    pub identities: Identities,
    pub announcer: Announcer,
    pub cameras: Cameras,
    /// Whether the played lock worker refuses.
    pub refusing: Arc<AtomicBool>,
    pub client: reqwest::Client,
    pub admin: String,
    pub operator: String,
    pub user: String,
    _folder: TempDir,
    _lifecycle: Lifecycle,
}

/// What a test may want otherwise.
pub struct Options {
    pub registration: Registration,
    pub trusted_proxies: Vec<&'static str>,
    pub token_lifetime: Duration,
    pub heartbeat: Heartbeat,
    pub hold_open: bool,
    pub time_zone: chrono_tz::Tz,
    pub metrics_elsewhere: bool,
    pub connections: ConnectionLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registration: Registration::Closed,
            trusted_proxies: Vec::new(),
            token_lifetime: Duration::from_hours(1),
            heartbeat: Heartbeat::default(),
            hold_open: false,
            time_zone: chrono_tz::UTC,
            metrics_elsewhere: false,
            connections: ConnectionLimits::default(),
        }
    }
}

impl Hub {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        Self::start_on(server::database().await, options).await
    }

    pub async fn start_on(database: Database, options: Options) -> Self {
        let (lifecycle, announcer) = (Lifecycle::default(), Announcer::default());
        let (recorder, queue) = Intake::new();
        let worker = Recorder::new(&database, announcer.clone(), watch::channel(None).0);
        lifecycle.keep("recorder", worker.run(queue, lifecycle.soft.clone(), lifecycle.hard.clone()));
        let folder = tempfile::tempdir().expect("a folder");
        let (lock, carrier) = desk(&database, &folder, &recorder, &announcer, options.hold_open, &lifecycle);
        let refusing = Arc::new(AtomicBool::new(false));
        drop(lifecycle.track(play_worker(carrier, refusing.clone())));
        let settings = Settings {
            origins: vec!["http://localhost:3000".to_owned()],
            trusted_proxies: Proxies::read(options.trusted_proxies).expect("networks"),
            hosts: Hosts::default(),
            registration: options.registration,
            heartbeat: options.heartbeat,
            connections: options.connections,
            time_zone: options.time_zone,
            rights: Rights::default(),
            version: "0.0.0-test",
            metrics_elsewhere: options.metrics_elsewhere,
        };
        let (revocations, cameras) = (Revocations::default(), Cameras::default());
        let keys = Keys::new(b"0f8a6c1e9b7d5324a1b2c3d4e5f60718", options.token_lifetime).expect("a key");
        let identities = Identities::new(database.clone(), keys);
        let parts = Parts {
            database: database.clone(),
            recorder,
            lock: lock.clone(),
            announcer: announcer.clone(),
            presence: Presence::default(),
            cameras: cameras.clone(),
            front: None,
            identities: identities.clone(),
            settings,
            revocations: revocations.clone(),
            health: Health::new(Alerts::default())
                .with("database", None, Box::new(|_| Finding::new(Condition::Up, "")))
                .with("broker", None, Box::new(|_| Finding::new(Condition::Up, "0 clients"))),
            metrics: Metrics::default(),
            log: Log::none("info"),
        };
        let hub = bridge::build(parts, &lifecycle).expect("a bridge");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        lifecycle.keep("HTTP", bridge::serve(listener, hub.router, hub.connections, lifecycle.soft.clone()));
        eventually("the lock worker has spoken", || lock.state().status.online).await;
        let mut hub = Self {
            address,
            database,
            realtime: Arc::new(hub.realtime),
            revocations,
            identities,
            announcer,
            cameras,
            refusing,
            client: reqwest::Client::new(),
            admin: String::new(),
            operator: String::new(),
            user: String::new(),
            _folder: folder,
            _lifecycle: lifecycle,
        };
        hub.admin = hub.make_user("ada", Role::Admin).await.1;
        hub.operator = hub.make_user("oto", Role::Operator).await.1;
        hub.user = hub.make_user("uma", Role::User).await.1;
        hub
    }

    /// Makes a user and signs them in.
    pub async fn make_user(&self, username: &str, role: Role) -> (UserId, String) {
        let email = format!("{username}@example.org");
        let new = store::users::NewUser {
            username,
            email: &email,
            password_hash: &password::hash(PASSWORD).expect("a hash"),
            first_name: None,
            last_name: None,
            role,
        };
        let id = store::users::create(&self.database, &new).await.expect("a user").id;
        (id, self.sign_in(username, PASSWORD).await)
    }

    pub async fn sign_in(&self, username: &str, password: &str) -> String {
        let body = json!({"username": username, "password": password});
        let (status, answer) = self.ask(Method::POST, "/auth/login", "", Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// Makes a camera and answers its id.
    pub async fn make_camera(&self, name: &str) -> i64 {
        let (status, answer) =
            self.ask(Method::POST, "/api/cameras", &self.operator, Some(json!({"name": name}))).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["id"].as_i64().expect("an id")
    }

    /// Makes a device and answers its token.
    pub async fn make_device(&self, name: &str, role: &str, camera: Option<i64>) -> String {
        let body = json!({"name": name, "role": role, "cameraId": camera});
        let (status, answer) = self.ask(Method::POST, "/api/devices", &self.admin, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// Reports a person and answers the event.
    pub async fn report(&self, camera: i64) -> Value {
        let body = json!({"cameraId": camera, "personCount": 1});
        let (status, answer) = self.ask(Method::POST, "/api/events", &self.operator, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, self.url(path));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    /// Asks, and answers status and JSON.
    pub async fn ask(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.request(method, path, token);
        let request = if let Some(body) = &body { request.json(body) } else { request };
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: not JSON: {text}")))
    }

    pub async fn get(&self, path: &str, token: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, path, token, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }
}

fn desk(
    database: &Database,
    folder: &TempDir,
    recorder: &Intake,
    announcer: &Announcer,
    hold_open: bool,
    lifecycle: &Lifecycle,
) -> (LockDesk, LinkPeer) {
    let (link, carrier) = link::pair();
    let parts = lock_desk::Parts {
        database: database.clone(),
        link,
        worker_is_there: tokio::sync::watch::channel(true).1,
        requests: lock_desk::Requests::default(),
        recorder: recorder.clone(),
        announcer: announcer.clone(),
        folder: folder.path().to_owned(),
        settings: DeskSettings { pin: 17, on_detection: OnDetection::Off, threshold: 0.5, hold_open },
        metrics: Metrics::default(),
    };
    (LockDesk::start(parts, lifecycle).expect("a desk"), carrier)
}

/// A lock worker that does at once what it is told, or refuses.
async fn play_worker(mut carrier: LinkPeer, refusing: Arc<AtomicBool>) {
    let _ = carrier.incoming.send(Incoming::Connected).await;
    let mut status = LockStatus::Closed;
    say_status(&carrier, status, None).await;
    while let Some(message) = carrier.outgoing.recv().await {
        let Ok(command) = Command::read(&message.payload) else { continue };
        let refused = refusing.load(Ordering::Relaxed);
        if !refused {
            status = match command.action {
                Action::Close => LockStatus::Closed,
                Action::Toggle if status == LockStatus::Open => LockStatus::Closed,
                Action::Open | Action::Toggle => LockStatus::Open,
            };
            say_status(&carrier, status, Some(&command)).await;
        }
        let (outcome, message) =
            if refused { (Outcome::Refused, "The relay is stuck") } else { (Outcome::Done, "done") };
        let response =
            Response { command_id: command.command_id, outcome, message: message.to_owned(), duration_ms: 1.0 };
        say(&carrier, "lock/response", &response).await;
    }
}

async fn say_status(carrier: &LinkPeer, status: LockStatus, command: Option<&Command>) {
    let offline = Status::offline(17, true, "", chrono::Utc::now());
    let status = Status {
        status,
        online: true,
        reason: Some("played".to_owned()),
        command_id: command.map(|command| command.command_id),
        requested_by: command.map(|command| command.requested_by.clone()),
        ..offline
    };
    say(carrier, "lock/status", &status).await;
}

async fn say(carrier: &LinkPeer, topic: &str, payload: &impl serde::Serialize) {
    let payload = Bytes::from(serde_json::to_vec(payload).expect("JSON"));
    let message = Message { topic: topic.to_owned(), payload, qos: QoS::AtLeastOnce, retain: false };
    let _ = carrier.incoming.send(Incoming::Message(message)).await;
}

pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waited).await.is_ok(), "not in time: {what}");
}

/// Whether an answer is as written by hand. `"<time>"`, `"<id>"`, `"<text>"` and `"<any>"` stand for what cannot be known.
pub fn is_as(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::String(kind), actual) if kind.starts_with('<') => match kind.as_str() {
            "<any>" => true,
            "<id>" => actual.as_i64().is_some_and(|id| id > 0),
            "<text>" => actual.as_str().is_some_and(|text| !text.is_empty()),
            "<time>" => actual.as_str().is_some_and(|text| {
                text.len() == 24 && text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok()
            }),
            other => panic!("{other} stands for nothing"),
        },
        (Value::Object(expected), Value::Object(actual)) => {
            expected.len() == actual.len()
                && expected.iter().all(|(key, value)| actual.get(key).is_some_and(|actual| is_as(value, actual)))
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(expected, actual)| is_as(expected, actual))
        }
        (expected, actual) => expected == actual,
    }
}
