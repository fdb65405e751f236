//! What is too much or in vain is answered where MQTT has an answer, and does not cost the connection: a client that is
//! disconnected comes back and does the same again.

use portcullis::mqtt::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    mqtt_client::{
        Client,
        packet::{
            self, Connect, Filter, Properties, Publish, Value, Version,
            property::{SESSION_EXPIRY, TOPIC_ALIAS},
        },
    },
    mqtt_hub::{Hub, login, record_all},
};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// Sensors may do everything outside the hub's own topics.
fn rights() -> String {
    let entry = |action| format!("[[rights]]\nwho = 'sensor'\naction = '{action}'\nfilter = '#'\nallow = true\n");
    ["publish", "subscribe"].map(entry).concat()
}

fn filters(count: usize) -> Vec<Filter> {
    (0..count).map(|number| Filter::new(&format!("home/{number}/state"), 1)).collect()
}

/// SUBACK's code for what is too much.
fn too_much(version: Version) -> u8 {
    if version == Version::V5 { 0x97 } else { 0x80 }
}

#[tokio::test]
async fn filters_that_are_too_many_are_refused_one_by_one() {
    let hub = Hub::with(&format!("[limits]\nsubscriptions = 150\n{}", rights())).await;
    for version in VERSIONS {
        let mut client = hub.connect(version, "tester", &format!("{version:?}")).await;
        // In one packet, and in the next; one that is there already needs no room.
        let codes = client.subscribe(&filters(200), &Properties::default()).await;
        assert_eq!(codes, [vec![1; 150], vec![too_much(version); 50]].concat(), "{version:?}");
        let again = [Filter::new("home/0/state", 2), Filter::new("home/150/state", 1)];
        assert_eq!(client.subscribe(&again, &Properties::default()).await, [2, too_much(version)]);
        // Also where one filter is there over and over.
        let same = vec![Filter::new("home/1/state", 0); 1000];
        let codes = client.subscribe(&same, &Properties::default()).await;
        assert_eq!(codes, [vec![0; 150], vec![too_much(version); 850]].concat(), "{version:?}");
        assert_eq!(client.publish(Publish::new("home/149/state", "on", 1)).await, 0);
        client.until_messages(1).await;
        // What is given up makes room, however many are given up at once, and those that were never there are no fault.
        let all: Vec<String> = (0..5000).map(|number| format!("home/{number}/state")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let id = client.next_id();
        client.send(&packet::unsubscribe(version, id, &all)).await;
        client.ping().await;
        assert_eq!(client.subscribe(&filters(150), &Properties::default()).await, [1; 150]);
        client.ping().await;
    }
    assert_eq!(hub.front.metrics().protocol_errors.get(), 0);
}

#[tokio::test]
async fn a_house_full_of_entities_is_let_in_by_default() {
    let hub = Hub::with(&rights()).await;
    assert_eq!(Settings::default().limits.subscriptions, 1000);
    for version in VERSIONS {
        let mut client = hub.connect(version, "tester", &format!("{version:?}")).await;
        for part in filters(1000).chunks(500) {
            assert_eq!(client.subscribe(part, &Properties::default()).await, [1; 500], "{version:?}");
        }
        for number in [0, 499, 500, 999] {
            client.publish(Publish::new(&format!("home/{number}/state"), "on", 1)).await;
        }
        client.until_messages(4).await;
    }
}

#[tokio::test]
async fn retained_messages_come_behind_the_answer_and_within_the_queues_bounds() {
    let hub = Hub::with(&format!("[limits]\nqueue_messages = 100\n{}", rights())).await;
    let mut client = hub.connect(Version::V5, "tester", "reader").await;
    for number in 0..30_u8 {
        client.publish(Publish::new(&format!("kept/{number}"), [number], 1).retained()).await;
    }
    // Each brings all.
    let wide = ["kept/#", "kept/+", "+/#", "#", "+/+"].map(|filter| Filter::new(filter, 1));
    assert_eq!(client.subscribe(&wide, &Properties::default()).await, [1; 5]);
    client.until_messages(100).await;
    client.ping().await;
    assert_eq!((client.messages.len(), hub.front.metrics().dropped.get()), (100, 50));
}

#[tokio::test]
async fn a_topic_that_is_too_long_is_refused_and_the_connection_goes_on() {
    let hub = Hub::with(&format!("[limits]\ntopic_bytes = 100\n{}", rights())).await;
    let long = "a/".repeat(60);
    for version in VERSIONS {
        let mut client = hub.connect(version, "tester", "long").await;
        client.subscribe_to("#", 2).await;
        let refused = if version == Version::V5 { 0x90 } else { 0 };
        for qos in 0..3 {
            let code = client.publish(Publish::new(&long, "lost", qos)).await;
            assert_eq!(code, if qos == 0 { 0 } else { refused }, "{version:?} at QoS {qos}");
        }
        assert_eq!(
            client.subscribe(&[Filter::new(&long, 1)], &Properties::default()).await,
            [if version == Version::V5 { 0x8F } else { 0x80 }]
        );
        if version == Version::V5 {
            let alias = Properties::default().with(TOPIC_ALIAS, Value::Two(1));
            assert_eq!(client.publish(Publish::new(&long, "", 1).properties(alias.clone())).await, 0x90);
            assert_eq!(client.publish(Publish::new("", "", 1).properties(alias.clone())).await, 0x90);
            // The alias may stand for something else from now on.
            assert_eq!(client.publish(Publish::new("short", "heard", 1).properties(alias.clone())).await, 0);
            assert_eq!(client.publish(Publish::new("", "heard", 1).properties(alias)).await, 0);
            client.until_messages(2).await;
        }
        client.ping().await;
        assert!(client.messages.iter().all(|message| message.topic == "short"), "{:?}", client.messages);
        client.disconnect().await;
    }
    // What is no topic at all still is a fault.
    for topic in ["a/+", "#", ""] {
        let mut client = hub.connect(Version::V5, "tester", "wrong").await;
        client.send_publish(Publish::new(topic, "", 1)).await;
        assert_eq!(client.until_closed().await, Some(0x90), "{topic}");
    }
}

#[tokio::test]
async fn a_user_name_that_is_too_long_is_refused_before_anybody_looks_at_it() {
    let hub = Hub::start().await;
    for (version, malformed, wrong) in [(Version::V311, 4, 5), (Version::V5, 0x86, 0x86)] {
        for (length, code) in [(256, wrong), (257, malformed), (65_535, malformed)] {
            let connect =
                Connect { login: Some(("n".repeat(length), "guess".to_owned())), ..Connect::new(version, "c") };
            let (_, connack) = hub.try_connect(&connect).await;
            assert_eq!(connack.map(|connack| connack.code), Some(code), "{version:?} {length}");
        }
    }
    // Bytes count, not letters.
    let connect = Connect { login: Some(("ä".repeat(129), "guess".to_owned())), ..Connect::new(Version::V311, "c") };
    assert_eq!(hub.try_connect(&connect).await.1.map(|connack| connack.code), Some(4));
}

#[tokio::test]
async fn a_connect_that_is_too_long_is_answered_where_the_version_has_an_answer() {
    let hub = Hub::start().await;
    for (version, expected) in [(Version::V5, Some(0x95)), (Version::V311, None)] {
        let will = Publish::new("t", vec![0; 65_000], 0);
        let connect = Connect { will: Some(will), client_id: "c".repeat(60_000), ..login(version, "tester", "") };
        let mut stream = tokio::net::TcpStream::connect(hub.address).await.expect("connected");
        // The front need not read it all, and may close before it is written.
        let _ = stream.write_all(&connect.bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(crate::mqtt_client::PATIENCE, stream.read_to_end(&mut answer)).await;
        assert_eq!(answer.get(3).copied(), expected, "{version:?} {answer:?}");
    }
}

#[tokio::test]
async fn a_publisher_is_told_that_nobody_subscribes() {
    const NOBODY: u8 = 0x10;
    let mut hub = Hub::with(&rights()).await;
    let submissions = std::mem::replace(&mut hub.submissions, tokio::sync::mpsc::channel(1).1);
    hub.lifecycle.track(record_all(submissions));
    let mut publisher = hub.connect(Version::V5, "sensor", "publisher").await;
    let mut code = async |topic: &str| {
        let at_1 = publisher.publish(Publish::new(topic, "x", 1)).await;
        assert_eq!(publisher.publish(Publish::new(topic, "x", 2)).await, 0, "PUBCOMP knows no such thing");
        let at_2: Vec<u8> = publisher.recs.drain().map(|(_, code)| code).collect();
        assert_eq!(at_2, [at_1], "{topic}");
        at_1
    };
    assert_eq!(code("home/door").await, NOBODY);
    let lasting = Connect {
        clean: false,
        properties: Properties::default().with(SESSION_EXPIRY, Value::Four(100)),
        ..login(Version::V5, "tester", "lasting")
    };
    for filter in ["home/door", "home/+", "home/#", "#", "+/door", "$share/group/home/door", "$share/group/#"] {
        let (mut client, _) = hub.try_connect(&lasting).await;
        client.subscribe_to(filter, 1).await;
        assert_eq!(
            (code("home/door").await, code("other").await == 0),
            (0, filter.contains('#') && !filter.contains("home"))
        );
        // Somebody who is away and will be back is somebody.
        client.disconnect().await;
        assert_eq!(code("home/door").await, 0, "{filter} of somebody who is away");
        let (mut client, connack) = hub.try_connect(&lasting).await;
        assert!(connack.is_some_and(|connack| connack.session_present));
        assert_eq!(client.unsubscribe(filter).await, [0]);
        assert_eq!(code("home/door").await, NOBODY, "{filter} is given up");
        // A session that ends takes its subscriptions along.
        client.subscribe_to(filter, 1).await;
        assert_eq!(code("home/door").await, 0, "{filter}");
        let (mut client, _) = hub.try_connect(&Connect { clean: true, ..lasting.clone() }).await;
        assert_eq!(code("home/door").await, NOBODY, "{filter} of a session that is over");
        client.ping().await;
    }
    // What is kept is kept, though nobody hears it now.
    let kept = publisher.publish(Publish::new("home/kept", "kept", 1).retained()).await;
    assert_eq!(kept, NOBODY);
    let mut reader = hub.connect(Version::V5, "tester", "reader").await;
    reader.subscribe_to("home/kept", 1).await;
    reader.until_messages(1).await;
    // The hub itself hears what comes for it.
    let mut camera = hub.connect(Version::V5, "cam1", "camera").await;
    assert_eq!(camera.publish(Publish::new("camera/1/detections", "{\"personCount\":1}", 1)).await, 0);
    let mut worker = hub.connect(Version::V5, "lock1", "worker").await;
    assert_eq!(worker.publish(Publish::new("lock/status", "{}", 1)).await, 0);
    // What is refused is refused, and 3.1.1 has no word for it.
    assert_eq!(camera.publish(Publish::new("home/door", "x", 1)).await, 0x87);
    let mut old: Client = hub.connect(Version::V311, "sensor", "old").await;
    assert_eq!(old.publish(Publish::new("home/door", "x", 1)).await, 0);
}
