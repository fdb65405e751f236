//! The broker under test: our front, or, where `MQTT_INTEROP_BROKER=mosquitto` says so, Debian's Mosquitto, which shows
//! that the cases can fail.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::mqtt_client::{
    Client, Connack,
    packet::{Connect, Version},
};

/// A broker of its own for each test, so that nothing is left over from another.
pub struct Broker {
    pub address: SocketAddr,
    _mosquitto: Option<Mosquitto>,
    _hub: Option<crate::mqtt_hub::Hub>,
}

impl Broker {
    pub async fn start() -> Self {
        if std::env::var("MQTT_INTEROP_BROKER").as_deref() != Ok("mosquitto") {
            return Self::front("").await;
        }
        let mosquitto = Mosquitto::start();
        Self { address: mosquitto.address, _mosquitto: Some(mosquitto), _hub: None }
    }

    /// With a limit on connections.
    pub async fn with_connections(most: usize) -> Self {
        Self::front(&format!("[limits]\nconnections = {most}\n")).await
    }

    async fn front(limits: &str) -> Self {
        let mut toml = limits.to_owned();
        for action in ["publish", "subscribe"] {
            let deny = "test/nosubscribe";
            toml += &format!(
                "[[rights]]\nwho = \"device:tester\"\naction = \"{action}\"\nfilter = \"{deny}\"\nallow = false\n"
            );
            toml +=
                &format!("[[rights]]\nwho = \"device:tester\"\naction = \"{action}\"\nfilter = \"#\"\nallow = true\n");
        }
        let hub = crate::mqtt_hub::Hub::with(&toml).await;
        Self { address: hub.address, _mosquitto: None, _hub: Some(hub) }
    }

    /// A CONNECT with the login of the test's device.
    pub fn login(version: Version, client_id: &str) -> Connect {
        let login = Some(("tester".to_owned(), "secret".to_owned()));
        Connect { login, ..Connect::new(version, client_id) }
    }

    /// Connects the test's device and is accepted.
    pub async fn connect(&self, connect: &Connect) -> (Client, Connack) {
        Client::connect(self.address, connect).await
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
