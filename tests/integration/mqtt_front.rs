//! The front's door: who is let in, how many, over what, and how sessions end from outside.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use portcullis::auth::{identity::Identity, origin::Origin};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls};

use crate::{
    mqtt_certificates::Certificates,
    mqtt_client::{
        Client,
        packet::{self, Connect, Filter, Properties, Publish, Value, Version, property::SESSION_EXPIRY},
    },
    mqtt_hub::{Hub, PASSWORD, login},
};

async fn code(hub: &Hub, connect: &Connect) -> Option<u8> {
    hub.try_connect(connect).await.1.map(|connack| connack.code)
}

#[tokio::test]
async fn a_refusal_has_its_code_in_either_version() {
    let hub = Hub::start().await;
    for (version, wrong, nameless, away) in [(Version::V311, 5, 5, 3), (Version::V5, 0x86, 0x86, 0x88)] {
        let mut connect = login(version, "cam1", "c");
        assert_eq!(code(&hub, &connect).await, Some(0));
        connect.login = Some(("cam1".to_owned(), "guess".to_owned()));
        assert_eq!(code(&hub, &connect).await, Some(wrong));
        connect.login = None;
        assert_eq!(code(&hub, &connect).await, Some(nameless));
        assert_eq!(code(&hub, &login(version, "nobody-knows", "c")).await, Some(away));
    }
    let odd = Connect { level: 9, ..login(Version::V311, "cam1", "c") };
    assert_eq!(code(&hub, &odd).await, Some(1));
    assert_eq!(hub.front.metrics().refused_connects.get(), 6);
}

#[tokio::test]
async fn one_cannot_take_over_a_session_of_somebody_else() {
    let hub = Hub::start().await;
    let mut camera = hub.connect(Version::V5, "cam1", "same").await;
    let mut other = hub.connect(Version::V5, "cam2", "same").await;
    camera.ping().await;
    other.ping().await;
    let mut again = hub.connect(Version::V5, "cam1", "same").await;
    assert_eq!(camera.until_closed().await, Some(0x8E));
    again.ping().await;
    other.ping().await;
}

#[tokio::test]
async fn rights_decide_on_each_message_and_each_delivery() {
    let hub = Hub::with(
        "[[rights]]\nwho = \"device:sensor\"\naction = \"subscribe\"\nfilter = \"#\"\nallow = true\n\
         [[rights]]\nwho = \"device:sensor\"\naction = \"publish\"\nfilter = \"own/%n/#\"\nallow = true\n",
    )
    .await;
    let mut sensor = hub.connect(Version::V5, "sensor", "s").await;
    sensor.subscribe_to("#", 1).await;
    assert_eq!(sensor.publish(Publish::new("own/other/x", "1", 1)).await, 0x87);
    assert_eq!(sensor.publish(Publish::new("lock/status", "1", 1).retained()).await, 0x87);
    let desk = hub.front.link(Identity::Hub, None, &[]);
    let secret = portcullis::mqtt::link::Message {
        topic: "camera/1/events".to_owned(),
        payload: "secret".into(),
        qos: portcullis::mqtt::link::QoS::AtLeastOnce,
        retain: false,
    };
    desk.outgoing.send(secret).await.expect("a link");
    assert_eq!(sensor.publish(Publish::new("own/sensor/x", "2", 1)).await, 0);
    sensor.until_messages(1).await;
    assert_eq!(sensor.messages[0].topic, "own/sensor/x", "the wide filter does not reach the hub's own topics");
    let mut camera = hub.connect(Version::V311, "cam1", "c").await;
    let codes = camera.subscribe(&[Filter::new("lock/command", 1)], &Properties::default()).await;
    assert_eq!(codes, [0x80]);
    assert_eq!(camera.publish(Publish::new("lock/status", "1", 1).retained()).await, 0, "3.1.1 knows no refusal");
    sensor.ping().await;
    assert_eq!(sensor.messages.len(), 1);
}

#[tokio::test]
async fn sessions_end_from_outside_within_a_second() {
    let hub = Hub::start().await;
    let lasting = Connect {
        clean: false,
        properties: Properties::default().with(SESSION_EXPIRY, Value::Four(100)),
        ..login(Version::V5, "viewer", "v")
    };
    let (mut viewer, _) = hub.try_connect(&lasting).await;
    let mut guard = hub.connect(Version::V5, "guard", "g").await;
    let began = Instant::now();
    hub.front.end_sessions(|who| matches!(who, Identity::User(user) if user.username == "viewer"));
    assert_eq!(viewer.until_closed().await, Some(0x98));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    guard.ping().await;
    let (viewer, connack) = hub.try_connect(&lasting).await;
    assert!(!connack.expect("a CONNACK").session_present, "and all that it had");

    viewer.terminate();
    until(|| hub.front.metrics().connections.get() == 1).await;
    hub.front.end_sessions(|who| matches!(who, Identity::User(user) if user.username == "viewer"));
    until(|| hub.front.metrics().sessions.get() == 1).await;
}

/// Waits for something that the front does by itself.
async fn until(holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < until, "not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_users_session_ends_with_the_token() {
    let hub = Hub::start().await;
    let mut brief = hub.connect(Version::V5, "brief", "b").await;
    assert_eq!(brief.until_closed().await, Some(0xA0));
    until(|| hub.front.metrics().sessions.get() == 0).await;
}

#[tokio::test]
async fn connections_are_limited_in_all_and_by_address() {
    for limit in ["connections", "connections_per_address"] {
        let hub = Hub::with(&format!("[limits]\n{limit} = 2\n")).await;
        let first = hub.connect(Version::V5, "cam1", "a").await;
        let _second = hub.connect(Version::V5, "cam1", "b").await;
        assert_eq!(code(&hub, &login(Version::V5, "cam1", "c")).await, None, "{limit}");
        assert_eq!(hub.front.metrics().turned_away.get(), 1);
        first.disconnect().await;
        until(|| hub.front.metrics().connections.get() == 1).await;
        assert_eq!(code(&hub, &login(Version::V5, "cam1", "c")).await, Some(0));
    }
}

#[tokio::test]
async fn the_newest_takes_the_place_of_who_has_waited_longest_without_a_connect() {
    for limit in ["connections", "connections_per_address"] {
        let hub = Hub::with(&format!("[limits]\n{limit} = 3\n")).await;
        let known = hub.connect(Version::V5, "cam1", "known").await;
        let mut silent = Vec::new();
        for _ in 0..5 {
            let mut stream = TcpStream::connect(hub.address).await.expect("connected");
            // Half of a CONNECT is none.
            stream.write_all(&[0x10, 0x7F]).await.expect("written");
            silent.push(stream);
            until(|| hub.front.places().taken() >= u64::try_from(silent.len() + 1).expect("few").min(3)).await;
        }
        until(|| hub.front.places().sent_away() == 3).await;
        for stream in &mut silent[..3] {
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "closed: {limit}");
        }
        let _newest = hub.connect(Version::V5, "lock1", "newest").await;
        until(|| hub.front.metrics().connections.get() == 3).await;
        assert_eq!(hub.front.metrics().turned_away.get(), 0);
        known.disconnect().await;
    }
}

#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let hub = Hub::with("[limits]\nconnect_seconds = 1\n").await;
    let mut silent = TcpStream::connect(hub.address).await.expect("connected");
    silent.write_all(&[0x10]).await.expect("written");
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut [0; 8])).await;
    assert_eq!(read.expect("closed in time").expect("no reset"), 0);
}

#[tokio::test]
async fn a_long_packet_ends_the_connection_and_says_why() {
    let hub = Hub::with("[limits]\npacket_bytes = 1024\n").await;
    let mut client = hub.connect(Version::V5, "cam1", "c").await;
    client.send(&Publish::new("camera/1/detections", vec![b' '; 2000], 1).bytes(Version::V5)).await;
    assert_eq!(client.until_closed().await, Some(0x95));
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts() {
    let rights =
        |action| format!("[[rights]]\nwho = \"sensor\"\naction = \"{action}\"\nfilter = \"t\"\nallow = true\n");
    let toml = format!("[limits]\nqueue_messages = 10\n{}{}", rights("publish"), rights("subscribe"));
    let hub = Hub::with(&toml).await;
    let lasting = Connect {
        clean: false,
        properties: Properties::default().with(SESSION_EXPIRY, Value::Four(100)),
        ..login(Version::V5, "sensor", "s")
    };
    let (mut absent, _) = hub.try_connect(&lasting).await;
    absent.subscribe_to("t", 1).await;
    absent.disconnect_with(&Properties::default()).await;
    let mut publisher = hub.connect(Version::V5, "tester", "p").await;
    for number in 0..25_u8 {
        assert_eq!(publisher.publish(Publish::new("t", [number], 1)).await, 0);
    }
    until(|| hub.front.metrics().dropped.get() == 15).await;
    let (mut back, _) = hub.try_connect(&lasting).await;
    back.until_messages(10).await;
    let numbers: Vec<u8> = back.messages.iter().map(|message| message.payload[0]).collect();
    assert_eq!(numbers, (15..25).collect::<Vec<u8>>());
}

/// Connects by TLS, sends a CONNECT, and gives the CONNACK's code.
async fn tls_code(hub: &Hub, connector: &TlsConnector, connect: &Connect) -> u8 {
    let stream = TcpStream::connect(hub.address).await.expect("connected");
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, stream).await.expect("a handshake");
    stream.write_all(&connect.bytes()).await.expect("written");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.expect("a CONNACK");
    assert_eq!(answer[0], 0x20);
    answer[3]
}

#[tokio::test]
async fn tls_with_and_without_a_clients_certificate() {
    let certificates = Certificates::new();
    let hub = Hub::listening("", Ipv4Addr::LOCALHOST.into(), Some(certificates.server())).await;
    let plain = certificates.client(None);
    // A client that never finishes its handshake holds nobody up.
    let _stuck = TcpStream::connect(hub.address).await.expect("connected");
    assert_eq!(tls_code(&hub, &plain, &login(Version::V311, "cam1", "c")).await, 0);
    assert_eq!(tls_code(&hub, &plain, &Connect::new(Version::V311, "c")).await, 5);
    let named = certificates.client(Some("door-1"));
    assert_eq!(tls_code(&hub, &named, &Connect::new(Version::V311, "c")).await, 0);
    let until_online = || hub.presence.is_online(portcullis::domain::device::DeviceId(40));
    let _ = until_online;
}

#[tokio::test]
async fn a_lock_worker_of_another_machine_needs_tls() {
    for (plain_lock, expected) in [(false, 0x87), (true, 0)] {
        let hub = Hub::with(&format!("plain_lock = {plain_lock}\n")).await;
        let connect = login(Version::V5, "lock1", "w");
        let (mut near, far) = tokio::io::duplex(4096);
        let front = hub.front.clone();
        let address = IpAddr::from([192, 0, 2, 7]);
        let served = tokio::spawn(async move { front.serve_stream(far, Origin::direct(address, false)).await });
        near.write_all(&connect.bytes()).await.expect("written");
        let mut answer = [0; 4];
        near.read_exact(&mut answer).await.expect("a CONNACK");
        assert_eq!(answer[3], expected, "{PASSWORD}: plain_lock = {plain_lock}");
        drop(near);
        served.await.expect("served");
    }
}

#[tokio::test]
async fn the_hubs_end_is_told() {
    let hub = Hub::start().await;
    let mut client: Client = hub.connect(Version::V5, "cam1", "c").await;
    hub.lifecycle.soft.cancel();
    assert_eq!(client.until_closed().await, Some(0x8B));
    let _ = packet::pingreq();
}
