//! Who has less never takes from who has more: each thing that all share is filled by the least of users, and then the
//! lock agent, a controller and an ADMIN come all the same, and the door is worked.

use std::time::{Duration, Instant};

use portcullis::{
    auth::identity::Identity,
    mqtt::link::{Link, Message, QoS},
};

use crate::{
    mqtt_client::{
        Client, PATIENCE,
        packet::{Connect, Filter, Properties, Publish, Version},
    },
    mqtt_hub::{Hub, login},
};

const QUOTA: u8 = 0x97;

/// Sensors may do everything below `test/`.
fn rights() -> String {
    let entry = |action| format!("[[rights]]\nwho = 'sensor'\naction = '{action}'\nfilter = 'test/#'\nallow = true\n");
    ["publish", "subscribe"].map(entry).concat()
}

fn lasting(name: &str, client_id: &str) -> Connect {
    Connect { clean: false, ..login(Version::V311, name, client_id) }
}

fn with_will(name: &str, client_id: &str, topic: &str, bytes: usize) -> Connect {
    Connect { will: Some(Publish::new(topic, vec![b'w'; bytes], 1)), ..login(Version::V5, name, client_id) }
}

async fn code(hub: &Hub, connect: &Connect) -> (Client, Option<u8>) {
    let (client, connack) = hub.try_connect(connect).await;
    (client, connack.map(|connack| connack.code))
}

/// Connects as often as it is let in, at most so often.
async fn fill(hub: &Hub, most: usize, connect: impl Fn(usize) -> Connect) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..most {
        match code(hub, &connect(number)).await {
            (client, Some(0)) => clients.push(client),
            _ => break,
        }
    }
    clients
}

/// Says something as the hub does.
async fn say(link: &Link, topic: &str, payload: impl Into<Vec<u8>>) {
    let message =
        Message { topic: topic.to_owned(), payload: payload.into().into(), qos: QoS::AtLeastOnce, retain: false };
    link.outgoing.send(message).await.expect("the hub's link");
}

/// The lock agent connects with its will and hears a command, a controller and an ADMIN come, and the controller's command
/// reaches the lock desk.
async fn the_door_is_worked(hub: &mut Hub) {
    let (mut agent, code_of_agent) = code(hub, &with_will("lock1", "agent", "lock/status", 300)).await;
    assert_eq!(code_of_agent, Some(0), "the lock agent");
    agent.subscribe_to("lock/command", 1).await;
    let link = hub.front.link(Identity::Hub, None, &["lock/status"]);
    say(&link, "lock/command", "open").await;
    agent.until_messages(1).await;
    assert_eq!(agent.messages[0].payload, b"open");
    let (mut admin, code_of_admin) = code(hub, &login(Version::V5, "chief", "admin")).await;
    assert_eq!(code_of_admin, Some(0), "the ADMIN");
    admin.subscribe_to("camera/7/events", 1).await;
    say(&link, "camera/7/events", vec![b'e'; 3000]).await;
    admin.until_messages(1).await;
    let (mut panel, code_of_panel) = code(hub, &login(Version::V5, "panel", "panel")).await;
    assert_eq!(code_of_panel, Some(0), "the controller");
    panel.subscribe_to("lock/status", 1).await;
    panel.send_publish(Publish::new("lock/command", r#"{"action":"OPEN"}"#, 1)).await;
    let request = hub.lock_request().await;
    assert_eq!(request.requester.name, "device:panel");
    agent.disconnect().await;
    admin.disconnect().await;
    panel.terminate();
}

#[tokio::test]
async fn connections() {
    // An eighth of all is kept for those above everybody.
    for (limit, open) in [("connections", 28), ("connections_per_address", 32)] {
        let mut hub = Hub::with(&format!("[limits]\n{limit} = 32\n")).await;
        let camera = fill(&hub, 100, |number| login(Version::V311, "cam1", &number.to_string())).await;
        assert_eq!(camera.len(), open, "{limit}");
        assert_ne!(code(&hub, &login(Version::V311, "cam2", "c")).await.1, Some(0), "nobody else of the same standing");
        // Those who say nothing make way.
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(Client::open(hub.address, Version::V311).await);
        }
        the_door_is_worked(&mut hub).await;
        drop((camera, silent));
    }
}

#[tokio::test]
async fn sessions_of_many_cameras() {
    let mut hub = Hub::with("[limits]\nsessions = 12\nsessions_per_identity = 5\n").await;
    let mut clients = Vec::new();
    for name in ["cam1", "cam2", "engine", "sensor", "viewer", "guard"] {
        clients.push(fill(&hub, 100, |number| lasting(name, &number.to_string())).await);
    }
    assert_eq!(clients.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 2, 0, 0, 0]);
    // Parked, they hold their places.
    drop(clients);
    the_door_is_worked(&mut hub).await;
    assert_eq!(code(&hub, &lasting("cam1", "0")).await.1, Some(0), "a session that is there needs no other place");
}

#[tokio::test]
async fn wills_of_one_camera_and_of_many() {
    let toml = format!("[limits]\nqueue_bytes_in_all = 300000\nqueue_bytes_per_identity = 100000\n{}", rights());
    let mut hub = Hub::with(&toml).await;
    let mut clients = Vec::new();
    for name in ["tester", "sensor"] {
        clients.push(fill(&hub, 100, |number| with_will(name, &number.to_string(), "test/will", 60_000)).await);
    }
    assert_eq!(clients.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1], "each has its own part");
    let refused = code(&hub, &with_will("tester", "one more", "test/will", 60_000)).await.1;
    assert_eq!(refused, Some(QUOTA));
    the_door_is_worked(&mut hub).await;
    // The rest, by smaller ones.
    for name in ["tester", "sensor"] {
        clients.push(fill(&hub, 1000, |number| with_will(name, &format!("s{number}"), "test/will", 3000)).await);
    }
    assert_eq!(code(&hub, &with_will("tester", "one more", "test/will", 3000)).await.1, Some(QUOTA));
    the_door_is_worked(&mut hub).await;
}

#[tokio::test]
async fn queues_of_sessions_that_are_away() {
    let limits = "[limits]\nsessions = 1000\nqueue_bytes_in_all = 800000\nqueue_bytes_per_identity = 150000\n";
    let mut hub = Hub::with(limits).await;
    let park = async |name: &'static str, count: usize| {
        for number in 0..count {
            let (mut client, _) = code(&hub, &lasting(name, &number.to_string())).await;
            client.subscribe_to("camera/+/events", 1).await;
            client.terminate();
        }
    };
    park("viewer", 30).await;
    park("guard", 30).await;
    park("visitor", 1).await;
    let mut engine = hub.connect(Version::V311, "engine", "reads").await;
    engine.subscribe_to("camera/+/events", 1).await;
    until(|| hub.front.metrics().connections.get() == 1).await;
    let link = hub.front.link(Identity::Hub, None, &[]);
    for number in 0..10_u8 {
        say(&link, "camera/1/events", [vec![number], vec![b'e'; 8000]].concat()).await;
    }
    engine.until_messages(10).await;
    until(|| hub.front.metrics().dropped.get() >= 2 * (30 * 10 - 150_000 / 8000 - 30)).await;
    let (mut visitor, _) = code(&hub, &lasting("visitor", "0")).await;
    visitor.until_messages(10).await;
    assert!(visitor.messages.iter().map(|message| message.payload[0]).eq(0..10), "nobody else loses");
    the_door_is_worked(&mut hub).await;
}

#[tokio::test]
async fn filters_that_come_and_go_and_that_stay() {
    let mut hub = Hub::with("[limits]\nfilters = 25\nfilters_per_identity = 10\n").await;
    let mut viewer = hub.connect(Version::V5, "viewer", "v").await;
    for number in 1..500 {
        let filter = format!("camera/{number}/events");
        viewer.subscribe_to(&filter, 1).await;
        assert_eq!(viewer.unsubscribe(&filter).await, [0]);
    }
    let hold = async |client: &mut Client| {
        let filters: Vec<_> = (1..=20).map(|number| format!("camera/{number}/+")).collect();
        let filters: Vec<_> = filters.iter().map(|filter| Filter::new(filter, 1)).collect();
        let codes = client.subscribe(&filters, &Properties::default()).await;
        codes.into_iter().filter(|code| *code == 1).count()
    };
    assert_eq!(hold(&mut viewer).await, 10, "its part, and no more");
    let mut clients = Vec::new();
    for (name, wanted) in [("guard", 10), ("visitor", 5), ("engine", 0)] {
        clients.push(hub.connect(Version::V5, name, "c").await);
        assert_eq!(hold(clients.last_mut().expect("pushed")).await, wanted, "{name}");
    }
    // In another session the same filters need no other place; at the session's end they are given back.
    let mut again = hub.connect(Version::V5, "viewer", "again").await;
    assert_eq!(hold(&mut again).await, 10);
    the_door_is_worked(&mut hub).await;
    viewer.disconnect().await;
    again.disconnect().await;
    until(|| hub.front.metrics().sessions.get() <= 4).await;
    let last = clients.last_mut().expect("one");
    let deadline = Instant::now() + PATIENCE;
    while hold(last).await < 10 {
        assert!(Instant::now() < deadline, "given back");
    }
}

#[tokio::test]
async fn groups_of_shared_subscriptions() {
    let mut hub = Hub::start().await;
    let mut group = 0;
    let mut hold = async |client: &mut Client| {
        let mut held = 0;
        for _ in 0..90 {
            group += 1;
            let filter = format!("$share/g{group}/camera/1/events");
            held += usize::from(client.subscribe(&[Filter::new(&filter, 1)], &Properties::default()).await == [1]);
        }
        held
    };
    let mut viewer = hub.connect(Version::V5, "viewer", "v").await;
    assert_eq!(hold(&mut viewer).await, 64, "its part, and no more");
    let mut guard = hub.connect(Version::V5, "guard", "g").await;
    assert_eq!(hold(&mut guard).await, 64, "somebody else has their own");
    viewer.disconnect().await;
    until(|| hub.front.metrics().sessions.get() == 1).await;
    let mut viewer = hub.connect(Version::V5, "viewer", "v").await;
    assert_eq!(hold(&mut viewer).await, 64, "given back");
    the_door_is_worked(&mut hub).await;
}

#[tokio::test]
async fn long_packets_that_never_end() {
    let mut hub = Hub::start().await;
    let mut begun = Vec::new();
    for number in 0..40 {
        let mut client = hub.connect(Version::V311, "cam1", &number.to_string()).await;
        let packet = Publish::new("camera/1/detections", vec![b'x'; 200_000], 1).bytes(Version::V311);
        client.send(&packet[..20_000]).await;
        begun.push(client);
    }
    let mut engine = hub.connect(Version::V5, "engine", "e").await;
    engine.send_publish(Publish::new("camera/2/detections", vec![b'x'; 200_000], 1)).await;
    let submission = hub.submission().await;
    assert!(matches!(submission.item, portcullis::events::Item::Malformed(_)), "somebody else's has arrived");
    the_door_is_worked(&mut hub).await;
    drop((begun, engine));
}

#[tokio::test]
async fn retained_messages() {
    let toml = format!("[limits]\nretained = 25\nretained_per_identity = 10\n{}", rights());
    let hub = Hub::with(&toml).await;
    for (name, without) in [("tester", 20), ("sensor", 40)] {
        let mut client = hub.connect(Version::V5, name, "c").await;
        for number in 0..30 {
            client.publish(Publish::new(&format!("test/{name}/{number}"), "x", 1).retained()).await;
        }
        until(|| hub.front.metrics().not_retained.get() == without).await;
    }
    let mut reader = hub.connect(Version::V5, "tester", "reads").await;
    reader.subscribe_to("test/#", 1).await;
    reader.until_messages(20).await;
    let of_sensor = reader.messages.iter().filter(|message| message.topic.starts_with("test/sensor/")).count();
    assert_eq!((reader.messages.len(), of_sensor), (20, 10), "each has its own part");
}

async fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
