//! The broker under test: our front, or, where `MQTT_INTEROP_BROKER=mosquitto` says so, Debian's Mosquitto, which shows
//! that the cases can fail.

use std::{
    env,
    fmt::Write as _,
    mem,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use portcullis::events::{LockFailure, LockRequest};
use tokio::sync::mpsc;

use crate::{
    mqtt_client::{
        Client, Connack,
        packet::{Connect, Version},
    },
    mqtt_hub::{self, Hub},
};

/// A topic that no device may subscribe to; all others outside the hub's own are open.
pub const FORBIDDEN: &str = "test/nosubscribe";

/// Less than 65,535 bytes, since only then the suite tries a longer packet; the other limits are the usual ones, but
/// that no test has to wait for its turn.
const LIMITS: &str = "[limits]\npacket_bytes = 32768\naccepts_per_second = 100000\n";

/// A broker of its own for each test, so that nothing is left over from another.
pub struct Broker {
    pub address: SocketAddr,
    process: Process,
}

/// Ends with the test.
enum Process {
    Front(Box<Hub>),
    #[expect(dead_code, reason = "held to be dropped")]
    Mosquitto(Mosquitto),
}

impl Broker {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With more lines under `[limits]`, where the broker is the front.
    pub async fn with(limits: &str) -> Self {
        if env::var("MQTT_INTEROP_BROKER").is_ok_and(|name| name == "mosquitto") {
            let mosquitto = Mosquitto::start();
            return Self { address: mosquitto.address, process: Process::Mosquitto(mosquitto) };
        }
        let mut hub = Hub::with(&format!("{LIMITS}{limits}\n{}", rights())).await;
        let submissions = mem::replace(&mut hub.submissions, mpsc::channel(1).1);
        let lock = mem::replace(&mut hub.lock, mpsc::channel(1).1);
        hub.lifecycle.track(mqtt_hub::record_all(submissions));
        hub.lifecycle.track(refuse_commands(lock));
        Self { address: hub.address, process: Process::Front(Box::new(hub)) }
    }

    /// What the front has counted, for a person to read.
    pub fn counters(&self) -> String {
        match &self.process {
            Process::Front(hub) => format!("{:?}", hub.front.metrics()),
            Process::Mosquitto(_) => String::new(),
        }
    }

    /// A CONNECT with the login of the tests' sensor.
    pub fn login(version: Version, client_id: &str) -> Connect {
        mqtt_hub::login(version, "tester", client_id)
    }

    /// Connects the tests' sensor and is accepted.
    pub async fn connect(&self, connect: &Connect) -> (Client, Connack) {
        Client::connect(self.address, connect).await
    }
}

/// Opens all topics that can be opened, but one.
fn rights() -> String {
    let mut text = String::new();
    for who in ["sensor", "ai-engine", "controller"] {
        for (action, filter, allow) in
            [("subscribe", FORBIDDEN, false), ("subscribe", "#", true), ("publish", "#", true)]
        {
            let entry = format!("who = '{who}'\naction = '{action}'\nfilter = '{filter}'\nallow = {allow}");
            writeln!(text, "[[rights]]\n{entry}").expect("a string takes all");
        }
    }
    text
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
