//! What kills rumqttd's own listeners or its router from outside, and does nothing to our front.
//!
//! Each test does the same to both: first to a plain `rumqttd::Broker` in this process, to show that the fault is real
//! and the attack still finds it, then to the front. A broker serves when a new client of each protocol can connect,
//! subscribe, publish and hear itself.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rumqttd::{ConnectionSettings, RouterConfig, ServerSettings};
use tokio::time::{sleep, timeout};

use crate::{
    mqtt_broker::Broker,
    mqtt_client::{
        Client,
        packet::{self, Connect, Filter, Packet, Properties, Publish, Value, Version, property::SESSION_EXPIRY},
    },
};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// How long a broker that lives may take to serve one client.
const SERVES_WITHIN: Duration = Duration::from_secs(3);

/// How long an attack is repeated before it counts as failed: some need the right moment.
const TRYING: Duration = Duration::from_secs(30);

/// Something to attack: an address for each protocol.
#[derive(Debug, Clone, Copy)]
struct Target {
    v311: SocketAddr,
    v5: SocketAddr,
}

impl Target {
    fn address(self, version: Version) -> SocketAddr {
        match version {
            Version::V311 => self.v311,
            Version::V5 => self.v5,
        }
    }

    /// Connects with the given will of the test, whatever becomes of it.
    async fn try_connect(self, version: Version, connect: &Connect) -> (Client, bool) {
        let (client, connack) = Client::try_connect(self.address(version), connect).await;
        let accepted = connack.is_some_and(|connack| connack.code == 0);
        (client, accepted)
    }

    async fn connect(self, version: Version, client_id: &str) -> Client {
        let (client, accepted) = self.try_connect(version, &login(version, client_id)).await;
        assert!(accepted, "{client_id} was refused");
        client
    }

    /// Whether a new client can hear itself.
    async fn serves(self, version: Version) -> bool {
        timeout(SERVES_WITHIN, self.hears_itself(version)).await.unwrap_or(false)
    }

    async fn hears_itself(self, version: Version) -> bool {
        let name = format!("probe-{}", uuid::Uuid::new_v4().simple());
        let mut client = Client::open(self.address(version), version).await;
        client.send(&login(version, &name).bytes()).await;
        client.send(&packet::subscribe(version, 1, &[Filter::new(&name, 0)], &Properties::default())).await;
        // The router takes the SUBSCRIBE before the PUBLISH, as they come by one connection.
        let mut waits_for_suback = true;
        while let Some(packet) = client.receive(SERVES_WITHIN).await {
            match packet {
                Packet::Suback { .. } if waits_for_suback => {
                    waits_for_suback = false;
                    client.send(&Publish::new(&name, "probe", 0).bytes(version)).await;
                }
                Packet::Publish(publish) => return publish.topic == name,
                _ => {}
            }
        }
        false
    }

    async fn serves_all(self) -> bool {
        self.serves(Version::V311).await && self.serves(Version::V5).await
    }

    async fn assert_serves(self) {
        for version in VERSIONS {
            assert!(self.serves(version).await, "the front does not serve {version:?} any more");
        }
    }
}

/// A CONNECT that both brokers accept: rumqttd takes no keep-alive of 0.
fn login(version: Version, client_id: &str) -> Connect {
    Connect { keep_alive: 60, ..Broker::login(version, client_id) }
}

/// A session that is kept.
fn persistent(version: Version, client_id: &str) -> Connect {
    let properties = Properties::default().with(SESSION_EXPIRY, Value::Four(600));
    Connect { clean: false, properties, ..login(version, client_id) }
}

/// rumqttd as it comes: a listener for each protocol over one router. Its threads end with the process.
fn plain_rumqttd(max_connections: usize) -> Target {
    // One after the other, so that no two are given the same port.
    static STARTING: Mutex<()> = Mutex::new(());
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let free = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    let [v311, v5] = free.map(|listener| listener.local_addr().expect("bound"));
    let server = |name: &str, listen| {
        let connections = ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: 1024 * 1024,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        };
        let settings =
            ServerSettings { name: name.to_owned(), listen, tls: None, next_connection_delay_ms: 1, connections };
        Some(HashMap::from([(name.to_owned(), settings)]))
    };
    let router = RouterConfig {
        max_connections,
        max_outgoing_packet_count: 200,
        max_segment_size: 1024 * 1024,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let config = rumqttd::Config { router, v4: server("v4", v311), v5: server("v5", v5), ..Default::default() };
    let mut broker = rumqttd::Broker::new(config);
    std::thread::spawn(move || broker.start());
    for address in [v311, v5] {
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "rumqttd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Target { v311, v5 }
}

impl Broker {
    fn target(&self) -> Target {
        Target { v311: self.address, v5: self.address }
    }
}

#[tokio::test]
async fn more_than_max_connections_then_a_retry() {
    let plain = plain_rumqttd(3);
    assert!(plain.serves_all().await);
    exceed(plain, 3).await;
    assert!(!plain.serves(Version::V311).await, "rumqttd survives: is this test still needed?");

    let front = Broker::with("connections = 3").await;
    exceed(front.target(), 3).await;
    front.target().assert_serves().await;
}

/// Fills all places, lets one more client try twice, and leaves.
async fn exceed(target: Target, places: usize) {
    let mut inside = Vec::new();
    for number in 0..places {
        inside.push(target.connect(Version::V311, &format!("inside-{number}")).await);
    }
    for _ in 0..2 {
        let mut client = Client::open(target.v311, Version::V311).await;
        client.send(&login(Version::V311, "one-too-many").bytes()).await;
        let answer = client.receive(SERVES_WITHIN).await;
        let accepted = matches!(answer, Some(Packet::Connack { code: 0, .. }));
        assert!(!accepted, "one more than the limit");
    }
    drop(inside);
    leave_settles().await;
}

/// Lets a broker see that clients are gone. There is nothing to ask it.
async fn leave_settles() {
    sleep(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_client_id_with_a_slash_twice() {
    let plain = plain_rumqttd(100);
    use_odd_client_ids(plain).await;
    assert!(!plain.serves(Version::V311).await, "rumqttd survives: is this test still needed?");

    let front = Broker::start().await;
    use_odd_client_ids(front.target()).await;
    front.target().assert_serves().await;
}

async fn use_odd_client_ids(target: Target) {
    for client_id in ["a/b", "a/b", "a+", "a+", "#", "#", "$a", "$a"] {
        let mut client = Client::open(target.v311, Version::V311).await;
        client.send(&login(Version::V311, client_id).bytes()).await;
        client.receive(SERVES_WITHIN).await;
    }
}

#[tokio::test]
async fn a_reset_between_connect_and_connack() {
    let plain = plain_rumqttd(100);
    let until = Instant::now() + TRYING;
    let mut rounds = 0;
    while plain.serves(Version::V311).await {
        assert!(Instant::now() < until, "rumqttd survives: is this test still needed?");
        reset_early(plain).await;
        rounds += 1;
    }

    let front = Broker::start().await;
    for _ in 0..rounds.max(5) {
        reset_early(front.target()).await;
    }
    front.target().assert_serves().await;
}

/// Sends CONNECTs of one client id and resets each connection a little later than the one before.
async fn reset_early(target: Target) {
    for microseconds in (0..1_000).step_by(10) {
        let mut client = Client::open(target.v311, Version::V311).await;
        client.send(&login(Version::V311, "hasty").bytes()).await;
        // Too short for a timer.
        let until = Instant::now() + Duration::from_micros(microseconds);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        client.reset();
    }
}

#[tokio::test]
async fn a_brokers_packet_from_a_client() {
    let plain = plain_rumqttd(100);
    send_brokers_packets(plain).await;
    assert!(!plain.serves(Version::V5).await, "rumqttd survives: is this test still needed?");

    let front = Broker::start().await;
    send_brokers_packets(front.target()).await;
    front.target().assert_serves().await;
}

async fn send_brokers_packets(target: Target) {
    let connack = packet::frame(0x20, &[0, 0, 0]);
    let unsuback = packet::frame(0xB0, &[0, 1, 0, 0]);
    for frame in [connack, unsuback] {
        let (mut client, accepted) = target.try_connect(Version::V5, &login(Version::V5, "confused")).await;
        if accepted {
            client.send(&frame).await;
            client.receive(SERVES_WITHIN).await;
        }
        let mut again = Client::open(target.v5, Version::V5).await;
        again.send(&login(Version::V5, "confused").bytes()).await;
        again.receive(SERVES_WITHIN).await;
    }
}

#[tokio::test]
async fn a_user_property_for_an_older_subscriber() {
    let plain = plain_rumqttd(100);
    assert!(!send_user_property(plain).await);
    assert!(!plain.serves(Version::V311).await, "rumqttd survives: is this test still needed?");

    let front = Broker::start().await;
    assert!(send_user_property(front.target()).await, "the message got lost");
    front.target().assert_serves().await;
}

/// Publishes with a user property by 5.0 to a subscriber of 3.1.1, which then reconnects; whether it got the message.
async fn send_user_property(target: Target) -> bool {
    let mut old = target.connect(Version::V311, "old").await;
    old.subscribe_to("crash/a", 1).await;
    let mut new = target.connect(Version::V5, "new").await;
    new.publish(Publish::new("crash/a", "text", 1).properties(Properties::default().user("a", "2"))).await;
    let got = matches!(old.receive(SERVES_WITHIN).await, Some(Packet::Publish(message)) if message.payload == b"text");
    drop(old);
    for _ in 0..2 {
        let mut again = Client::open(target.v311, Version::V311).await;
        again.send(&login(Version::V311, "old").bytes()).await;
        again.receive(SERVES_WITHIN).await;
    }
    got
}

#[tokio::test]
async fn churn_of_one_protocol_beside_sessions_of_the_other() {
    let plain = plain_rumqttd(1_000);
    let start = Instant::now();
    let mut sessions = 0;
    while plain.serves(Version::V311).await && start.elapsed() < TRYING {
        sessions += churn(plain, Duration::from_secs(2)).await.1;
    }
    // Which of the router's and the listeners' threads is first decides: it took from 100 to 1,200 sessions in the runs
    // behind this test, and a run without the fault is possible. So its absence is told and is no failure.
    if start.elapsed() >= TRYING {
        eprintln!("not shown in this run: rumqttd survived {sessions} sessions");
    } else {
        eprintln!("rumqttd's listener died after {sessions} sessions");
    }

    let front = Broker::start().await;
    let (innocents_dropped, sessions) = churn(front.target(), Duration::from_secs(5)).await;
    assert_eq!(innocents_dropped, 0, "in {sessions} sessions");
    assert!(sessions > 100, "only {sessions} sessions in 5 s");
    front.target().assert_serves().await;
}

/// 5.0 clients come and go while 3.1.1 clients subscribe and ping: how many of the latter were dropped, and how many
/// sessions there were.
async fn churn(target: Target, time: Duration) -> (usize, usize) {
    let until = Instant::now() + time;
    let comers = futures_util::future::join_all((0..8).map(|number| async move {
        let mut sessions = 0;
        while Instant::now() < until {
            let mut client = Client::open(target.v5, Version::V5).await;
            client.send(&login(Version::V5, &format!("comer-{number}")).bytes()).await;
            client.receive(SERVES_WITHIN).await;
            client.send(&packet::disconnect(Version::V5, &Properties::default())).await;
            sessions += 1;
        }
        sessions
    }));
    let innocents = futures_util::future::join_all((0..4).map(|number| async move {
        let (mut dropped, mut round) = (0, 0);
        while Instant::now() < until {
            round += 1;
            let mut client = Client::open(target.v311, Version::V311).await;
            client.send(&login(Version::V311, &format!("innocent-{number}-{round}")).bytes()).await;
            let filter = [Filter::new(&format!("crash/{number}"), 1)];
            client.send(&packet::subscribe(Version::V311, 1, &filter, &Properties::default())).await;
            for _ in 0..20 {
                client.send(&packet::pingreq()).await;
            }
            // A CONNACK, a SUBACK and the PINGRESPs.
            let mut answers = 0;
            while answers < 22 && client.receive(SERVES_WITHIN).await.is_some() {
                answers += 1;
            }
            dropped += usize::from(answers < 22);
        }
        dropped
    }));
    let (sessions, dropped) = tokio::join!(comers, innocents);
    (dropped.into_iter().sum(), sessions.into_iter().sum())
}

#[tokio::test]
async fn a_topic_that_begins_with_a_wide_letter() {
    let plain = plain_rumqttd(100);
    publish_wide_topic(plain).await;
    for version in VERSIONS {
        assert!(!plain.serves(version).await, "rumqttd survives: is this test still needed?");
    }

    let front = Broker::start().await;
    publish_wide_topic(front.target()).await;
    front.target().assert_serves().await;
}

async fn publish_wide_topic(target: Target) {
    let mut client = target.connect(Version::V311, "wide").await;
    client.subscribe_to("crash/#", 1).await;
    client.send_publish(Publish::new("éa", "text", 1)).await;
    client.receive(SERVES_WITHIN).await;
}

#[tokio::test]
async fn a_sharing_session_that_leaves_with_an_unacknowledged_message() {
    let plain = plain_rumqttd(100);
    leave_share_unacknowledged(plain).await;
    for version in VERSIONS {
        assert!(!plain.serves(version).await, "rumqttd survives: is this test still needed?");
    }

    let front = Broker::start().await;
    leave_share_unacknowledged(front.target()).await;
    front.target().assert_serves().await;
}

async fn leave_share_unacknowledged(target: Target) {
    let (mut member, accepted) = target.try_connect(Version::V5, &persistent(Version::V5, "member")).await;
    assert!(accepted);
    let codes = member.subscribe(&[Filter::new("$share/g/crash/shared", 1)], &Properties::default()).await;
    assert_eq!(codes, [1]);
    let mut sender = target.connect(Version::V5, "sender").await;
    for number in 0..5 {
        sender.send_publish(Publish::new("crash/shared", format!("{number}"), 1)).await;
    }
    assert!(matches!(member.receive(SERVES_WITHIN).await, Some(Packet::Publish(_))), "no message came");
    member.terminate();
    leave_settles().await;
}

#[tokio::test]
async fn a_slow_subscriber_that_its_own_id_takes_over() {
    let plain = plain_rumqttd(100);
    let until = Instant::now() + TRYING;
    let mut rounds = 0;
    while plain.serves_all().await {
        assert!(Instant::now() < until, "rumqttd survives: is this test still needed?");
        take_over_slow(plain).await;
        rounds += 1;
    }

    let front = Broker::start().await;
    for _ in 0..rounds.max(6) {
        take_over_slow(front.target()).await;
    }
    front.target().assert_serves().await;
}

/// A subscriber that does not read is taken over by a newer connection, which leaves; then the old one reads all.
async fn take_over_slow(target: Target) {
    let mut slow = target.connect(Version::V311, "slow").await;
    slow.subscribe_to("crash/flood", 0).await;
    let mut sender = target.connect(Version::V311, "flood").await;
    let message = Publish::new("crash/flood", vec![b'.'; 8 * 1024], 0).bytes(Version::V311);
    for _ in 0..1_000 {
        sender.send(&message).await;
    }
    leave_settles().await;
    let mut newer = Client::open(target.v311, Version::V311).await;
    newer.send(&login(Version::V311, "slow").bytes()).await;
    newer.receive(SERVES_WITHIN).await;
    newer.send(&packet::disconnect(Version::V311, &Properties::default())).await;
    leave_settles().await;
    while slow.receive(Duration::from_millis(500)).await.is_some() {}
    leave_settles().await;
}
