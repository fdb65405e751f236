//! A front with stand-ins for the rest of the hub: a fixed list of devices, a recorder and a lock desk that the test
//! answers for.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use portcullis::{
    auth::{
        identity::{DeviceIdentity, Identity, UserIdentity},
        rights::Rights,
    },
    domain::{
        camera::CameraId,
        device::{DeviceId, DeviceRole},
        user::{Role, UserId},
    },
    events::{
        Arrival, Channel, Item, LockRequest, Outcome, StoredEvent, Submission, alerts::Alerts, intake::Intake,
        presence::Presence,
    },
    lifecycle::Lifecycle,
    mqtt::{Credentials, Front, Hooks, Refusal, Settings},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::rustls::ServerConfig;

use crate::mqtt_client::{
    Client, Connack,
    packet::{Connect, Version},
};

/// Every device's and user's password.
pub const PASSWORD: &str = "secret";

/// A running front, and the test's side of its channels.
pub struct Hub {
    pub front: Front,
    pub address: SocketAddr,
    pub submissions: mpsc::Receiver<Submission>,
    pub lock: mpsc::Receiver<LockRequest>,
    pub presence: Presence,
    pub lifecycle: Lifecycle,
}

impl Hub {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With these lines of broker.toml.
    pub async fn with(toml: &str) -> Self {
        Self::listening(toml, Ipv4Addr::LOCALHOST.into(), None).await
    }

    pub async fn listening(toml: &str, host: IpAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("broker.toml");
        std::fs::write(&path, toml).expect("written");
        let settings = Settings::read(&path).expect("settings");
        let rights = Rights::new(settings.rights.clone());
        let (to_recorder, submissions) = Intake::with_room(1000);
        let (to_desk, lock) = mpsc::channel(100);
        let (presence, lifecycle) = (Presence::default(), Lifecycle::default());
        let alerts = Alerts::default();
        lifecycle.keep("alerts", alerts.clone().deliver(to_recorder.clone(), lifecycle.soft.clone()));
        let hooks = Hooks {
            authenticate: Arc::new(|credentials| Box::pin(async move { identify(&credentials) })),
            recorder: to_recorder,
            lock: to_desk,
            presence: presence.clone(),
            alerts,
        };
        let front = Front::start(settings, rights, hooks, &lifecycle).expect("a front");
        let listener = TcpListener::bind((host, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        lifecycle.keep("mqtt", front.clone().serve(listener, tls, lifecycle.soft.clone()));
        Self { front, address, submissions, lock, presence, lifecycle }
    }

    /// Connects somebody by name and is accepted.
    pub async fn connect(&self, version: Version, name: &str, client_id: &str) -> Client {
        let (client, connack) = Client::connect(self.address, &login(version, name, client_id)).await;
        assert_eq!(connack.code, 0, "{name} is let in");
        client
    }

    /// Connects and gives whatever answer comes.
    pub async fn try_connect(&self, connect: &Connect) -> (Client, Option<Connack>) {
        Client::try_connect(self.address, connect).await
    }

    /// The next submission to the recorder.
    pub async fn submission(&mut self) -> Submission {
        let next = tokio::time::timeout(Duration::from_secs(5), self.submissions.recv()).await;
        next.expect("a submission").expect("the front lives")
    }

    /// The next request to the lock desk.
    pub async fn lock_request(&mut self) -> LockRequest {
        let next = tokio::time::timeout(Duration::from_secs(5), self.lock.recv()).await;
        next.expect("a lock request").expect("the front lives")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.lifecycle.soft.cancel();
        self.lifecycle.hard.cancel();
    }
}

/// A CONNECT by name.
pub fn login(version: Version, name: &str, client_id: &str) -> Connect {
    Connect { login: Some((name.to_owned(), PASSWORD.to_owned())), ..Connect::new(version, client_id) }
}

fn device(id: i32, name: &str, role: DeviceRole, camera: Option<i32>) -> Identity {
    let name = name.parse().expect("a device's name");
    Identity::Device(DeviceIdentity { id: DeviceId(id), name, role, camera_id: camera.map(CameraId) })
}

fn user(id: i32, name: &str, role: Role, expires_at: DateTime<Utc>) -> Identity {
    let (username, email) = (name.to_owned(), format!("{name}@example.org"));
    Identity::User(UserIdentity { id: UserId(id), username, email, role, expires_at })
}

fn identify(credentials: &Credentials) -> Result<Identity, Refusal> {
    let later = Utc::now() + chrono::TimeDelta::hours(1);
    if let Some(name) = &credentials.certificate_name {
        return Ok(device(40, name, DeviceRole::LockAgent, None));
    }
    let name = credentials.username.as_deref().ok_or(Refusal::BadCredentials)?;
    if name == "nobody-knows" {
        return Err(Refusal::Unavailable);
    }
    if credentials.password.as_deref() != Some(PASSWORD) {
        return Err(Refusal::BadCredentials);
    }
    Ok(match name {
        "cam1" => device(1, name, DeviceRole::Camera, Some(1)),
        "cam2" => device(2, name, DeviceRole::Camera, Some(2)),
        "engine" => device(3, name, DeviceRole::AiEngine, None),
        "lock1" => device(4, name, DeviceRole::LockAgent, None),
        "lock2" => device(5, name, DeviceRole::LockAgent, None),
        "sensor" => device(6, name, DeviceRole::Sensor, None),
        "tester" => device(7, name, DeviceRole::Sensor, None),
        "panel" => device(8, name, DeviceRole::Controller, None),
        "viewer" => user(1, name, Role::User, later),
        "guard" => user(2, name, Role::Operator, later),
        "chief" => user(4, name, Role::Admin, later),
        "visitor" => user(5, name, Role::User, later),
        "brief" => user(3, name, Role::Operator, Utc::now() + chrono::TimeDelta::milliseconds(700)),
        _ => return Err(Refusal::BadCredentials),
    })
}

/// Stores everything at once, as a recorder without a database would.
pub async fn record_all(mut submissions: mpsc::Receiver<Submission>) {
    while let Some(submission) = submissions.recv().await {
        let outcome = match submission.item {
            Item::Malformed(malformed) => Outcome::Rejected(malformed.reason),
            Item::Detection(_) | Item::Occurrence(_) => stored(),
        };
        let _ = submission.reply.send(outcome);
    }
}

/// Some committed event.
pub fn stored() -> Outcome {
    use portcullis::domain::event::{Event, EventId, EventType};
    let event = Event {
        id: EventId(1),
        camera: None,
        event_type: EventType::PersonDetected,
        person_count: 1,
        confidence: None,
        snapshot_path: None,
        description: None,
        is_resolved: false,
        resolved_at: None,
        detection_id: None,
        detected_at: None,
        created_at: DateTime::UNIX_EPOCH,
    };
    let json = portcullis::wire::event::encode(&event).expect("json");
    let arrival = Arrival { channel: Channel::Mqtt, at: std::time::Instant::now(), span: tracing::Span::none() };
    Outcome::Stored(Arc::new(StoredEvent { event, json, arrival }))
}
