//! The broker under test: our front, or, where `MQTT_INTEROP_BROKER=mosquitto` says so, Debian's Mosquitto, which shows
//! that the cases can fail.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use portcullis::{
    auth::{
        identity::{DeviceIdentity, Identity},
        rights::{Action, Entry, Rights},
    },
    domain::device::{DeviceId, DeviceRole},
    events::{LockFailure, LockRequest, Outcome, Submission, presence::Presence},
    lifecycle::Lifecycle,
    mqtt::{
        Credentials, Front, Hooks, Refusal,
        settings::{Limits, Settings},
    },
};
use tokio::{runtime::Runtime, sync::mpsc};

use crate::mqtt_client::{
    Client, Connack,
    packet::{Connect, Version},
};

/// The devices that may sign in, each with the password `secret`.
const DEVICES: [(&str, DeviceRole); 3] =
    [("tester", DeviceRole::Sensor), ("engine", DeviceRole::AiEngine), ("controller", DeviceRole::Controller)];

/// A topic that no device may subscribe to; all others outside the hub's own are open.
pub const FORBIDDEN: &str = "test/nosubscribe";

/// A broker of its own for each test, so that nothing is left over from another.
pub struct Broker {
    pub address: SocketAddr,
    _process: Process,
}

/// Ends with the test.
#[expect(dead_code, reason = "held to be dropped")]
enum Process {
    Front(Box<FrontRuntime>),
    Mosquitto(Mosquitto),
}

impl Broker {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// With other limits than the tests' usual ones, where the broker is the front.
    pub fn with(change: impl FnOnce(&mut Limits)) -> Self {
        if env::var("MQTT_INTEROP_BROKER").is_ok_and(|name| name == "mosquitto") {
            let mosquitto = Mosquitto::start();
            return Self { address: mosquitto.address, _process: Process::Mosquitto(mosquitto) };
        }
        let front = FrontRuntime::start(change);
        Self { address: front.address, _process: Process::Front(Box::new(front)) }
    }

    /// A CONNECT with the login of the tests' sensor.
    pub fn login(version: Version, client_id: &str) -> Connect {
        Self::login_as("tester", version, client_id)
    }

    /// A CONNECT with the login of one of the [`DEVICES`].
    pub fn login_as(device: &str, version: Version, client_id: &str) -> Connect {
        let login = Some((device.to_owned(), "secret".to_owned()));
        Connect { login, ..Connect::new(version, client_id) }
    }

    /// Connects the test's device and is accepted.
    pub async fn connect(&self, connect: &Connect) -> (Client, Connack) {
        Client::connect(self.address, connect).await
    }
}

/// The front in a runtime of its own, apart from the clients'.
struct FrontRuntime {
    address: SocketAddr,
    lifecycle: Lifecycle,
    runtime: Option<Runtime>,
}

impl FrontRuntime {
    fn start(change: impl FnOnce(&mut Limits)) -> Self {
        // The suite tries a longer packet only where less than 65,535 bytes are allowed.
        let mut limits = Limits { packet_bytes: 32 * 1024, accepts_per_second: 100_000, ..Limits::default() };
        change(&mut limits);
        let settings = Settings { limits, ..Settings::default() };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let inside = runtime.enter();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let lifecycle = Lifecycle::default();
        let (submissions, to_record) = mpsc::channel(100);
        let (lock, to_lock) = mpsc::channel(10);
        let hooks = Hooks {
            authenticate: Arc::new(|credentials| Box::pin(async move { authenticate(&credentials) })),
            submissions,
            lock,
            presence: Presence::default(),
        };
        let front = Front::start(settings, rights(), hooks, &lifecycle).expect("a front");
        lifecycle.keep("front", front.serve(listener, None, lifecycle.soft.clone()));
        lifecycle.track(record(to_record));
        lifecycle.track(refuse_commands(to_lock));
        drop(inside);
        Self { address, lifecycle, runtime: Some(runtime) }
    }
}

impl Drop for FrontRuntime {
    fn drop(&mut self) {
        self.lifecycle.soft.cancel();
        self.lifecycle.hard.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn authenticate(credentials: &Credentials) -> Result<Identity, Refusal> {
    let username = credentials.username.as_deref().unwrap_or_default();
    let known = (0..).zip(DEVICES).find(|(_, (name, _))| *name == username);
    match known {
        Some((number, (name, role))) if credentials.password.as_deref() == Some("secret") => {
            Ok(Identity::Device(DeviceIdentity {
                id: DeviceId(number),
                name: name.parse().expect("a name"),
                role,
                camera_id: None,
            }))
        }
        _ => Err(Refusal::BadCredentials),
    }
}

fn rights() -> Rights {
    let mut entries = Vec::new();
    for (_, role) in DEVICES {
        let entry = |action, filter: &str, allow| Entry {
            who: role.to_string().parse().expect("a role"),
            action,
            filter: filter.to_owned(),
            allow,
        };
        entries.extend([
            entry(Action::Subscribe, FORBIDDEN, false),
            entry(Action::Subscribe, "#", true),
            entry(Action::Publish, "#", true),
        ]);
    }
    Rights::new(entries)
}

/// Stands in for the recorder: every detection shows nobody.
async fn record(mut submissions: mpsc::Receiver<Submission>) {
    while let Some(submission) = submissions.recv().await {
        let _ = submission.reply.send(Outcome::Ignored);
    }
}

/// Stands in for the lock desk: there is no lock.
async fn refuse_commands(mut requests: mpsc::Receiver<LockRequest>) {
    while let Some(request) = requests.recv().await {
        let _ = request.reply.send(Err(LockFailure::NoWorker));
    }
}

struct Mosquitto {
    address: SocketAddr,
    process: Child,
    _settings: tempfile::NamedTempFile,
}

impl Mosquitto {
    fn start() -> Self {
        // One after the other, so that no two are given the same port.
        static STARTING: Mutex<()> = Mutex::new(());
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        (0..10).find_map(|_| Self::try_start()).expect("mosquitto starts")
    }

    fn try_start() -> Option<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let settings = tempfile::NamedTempFile::new().expect("a file");
        let text = format!("listener {} 127.0.0.1\nallow_anonymous true\n", address.port());
        std::fs::write(&settings, text).expect("written");
        let command = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(settings.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut started = Self { address, process: command.expect("mosquitto is installed"), _settings: settings };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(address).is_err() {
            if started.process.try_wait().expect("a child").is_some() {
                return None;
            }
            assert!(Instant::now() < until, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        started.process.try_wait().expect("a child").is_none().then_some(started)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
