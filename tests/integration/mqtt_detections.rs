//! A detection's acknowledgement means that the recorder has answered, in the order of arrival, however long it takes.

use std::time::{Duration, Instant};

use portcullis::events::{Channel, Item, Outcome};

use crate::{
    mqtt_client::{
        Client, SILENCE,
        packet::{self, Packet, Properties, Publish, Value, Version, kind, property::SESSION_EXPIRY},
    },
    mqtt_hub::{Hub, login, stored},
};

const TOPIC: &str = "camera/1/detections";
const BODY: &str = r#"{"personCount":1}"#;
const PATIENCE: Duration = Duration::from_secs(5);

fn detection(qos: u8) -> Publish {
    Publish::new(TOPIC, BODY, qos)
}

/// The next acknowledgement: its kind, its identifier and its code.
async fn ack(client: &mut Client) -> (u8, u16, u8) {
    match client.receive(PATIENCE).await {
        Some(Packet::Ack { kind, id, code, .. }) => (kind, id, code),
        other => panic!("an acknowledgement, not {other:?}"),
    }
}

#[tokio::test]
async fn an_acknowledgement_waits_for_the_recorder() {
    let mut hub = Hub::start().await;
    let mut engine = hub.connect(Version::V5, "engine", "e").await;
    engine.subscribe_to(TOPIC, 1).await;
    let mut camera = hub.connect(Version::V311, "cam1", "c").await;
    let id = camera.send_publish(detection(1)).await;
    let submission = hub.submission().await;
    assert_eq!(submission.arrival.channel, Channel::Mqtt);
    assert!(matches!(&submission.item, Item::Detection(detection) if detection.person_count == 1));
    camera.ping().await;
    assert_eq!(camera.receive(SILENCE).await, None, "no acknowledgement before the recorder's answer");
    assert_eq!(engine.receive(Duration::from_millis(100)).await, None, "and nobody hears of it");
    submission.reply.send(stored()).expect("the front waits");
    assert_eq!(ack(&mut camera).await, (kind::PUBACK, id, 0));
    engine.until_messages(1).await;
    assert_eq!(engine.messages[0].payload, BODY.as_bytes());
}

#[tokio::test]
async fn acknowledgements_keep_the_order_of_arrival() {
    let mut hub = Hub::start().await;
    let mut camera = hub.connect(Version::V311, "cam1", "c").await;
    let mut ids = Vec::new();
    for qos in [1, 2, 1] {
        ids.push(camera.send_publish(detection(qos)).await);
    }
    let mut open = Vec::new();
    for _ in &ids {
        open.push(hub.submission().await);
    }
    for submission in open.into_iter().rev() {
        submission.reply.send(stored()).expect("the front waits");
    }
    assert_eq!(ack(&mut camera).await, (kind::PUBACK, ids[0], 0));
    assert_eq!(ack(&mut camera).await, (kind::PUBREC, ids[1], 0));
    assert_eq!(ack(&mut camera).await, (kind::PUBACK, ids[2], 0));
}

#[tokio::test]
async fn a_client_is_not_read_while_its_window_is_full_and_not_timed_out() {
    let mut hub = Hub::with("[limits]\ninflight = 3\n").await;
    let (mut camera, _) =
        hub.try_connect(&packet::Connect { keep_alive: 1, ..login(Version::V311, "cam1", "c") }).await;
    for _ in 0..5 {
        camera.send_publish(detection(1)).await;
    }
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(hub.submission().await);
    }
    // Longer than one and a half times its keep-alive.
    let early = tokio::time::timeout(Duration::from_millis(2500), hub.submissions.recv()).await;
    assert!(early.is_err(), "the fourth is not read");
    assert!(hub.presence.is_online(portcullis::domain::device::DeviceId(1)));
    for submission in open {
        submission.reply.send(stored()).expect("the front waits");
    }
    for _ in 0..2 {
        hub.submission().await.reply.send(stored()).expect("the front waits");
    }
    for id in 1..=5 {
        assert_eq!(ack(&mut camera).await, (kind::PUBACK, id, 0));
    }
    camera.ping().await;
}

#[tokio::test]
async fn what_a_dead_socket_left_is_finished() {
    let mut hub = Hub::start().await;
    let mut engine = hub.connect(Version::V5, "engine", "e").await;
    engine.subscribe_to("camera/+/detections", 1).await;
    let mut camera = hub.connect(Version::V311, "cam1", "c").await;
    camera.send_publish(detection(1)).await;
    let submission = hub.submission().await;
    camera.reset();
    let until = Instant::now() + PATIENCE;
    while hub.presence.is_online(portcullis::domain::device::DeviceId(1)) {
        assert!(Instant::now() < until, "the camera is gone");
        tokio::task::yield_now().await;
    }
    submission.reply.send(stored()).expect("the front still waits");
    engine.until_messages(1).await;
}

#[tokio::test]
async fn a_qos_2_detection_that_is_sent_again_is_recorded_once() {
    let mut hub = Hub::start().await;
    let lasting = packet::Connect {
        clean: false,
        properties: Properties::default().with(SESSION_EXPIRY, Value::Four(100)),
        ..login(Version::V5, "cam1", "c")
    };
    let (mut camera, _) = hub.try_connect(&lasting).await;
    let first = Publish { id: 9, ..detection(2) };
    camera.send(&first.bytes(Version::V5)).await;
    let submission = hub.submission().await;
    camera.reset();
    let (mut camera, connack) = hub.try_connect(&lasting).await;
    assert!(connack.expect("a CONNACK").session_present);
    camera.send(&Publish { dup: true, ..first }.bytes(Version::V5)).await;
    camera.ping().await;
    submission.reply.send(stored()).expect("the front waits");
    assert_eq!(ack(&mut camera).await, (kind::PUBREC, 9, 0));
    camera.send(&packet::ack(kind::PUBREL, 9)).await;
    assert_eq!(ack(&mut camera).await, (kind::PUBCOMP, 9, 0));
    assert!(hub.submissions.try_recv().is_err(), "recorded once");
}

#[tokio::test]
async fn a_refused_detection_is_kept_and_told_as_far_as_the_version_allows() {
    let mut hub = Hub::start().await;
    let mut modern = hub.connect(Version::V5, "cam1", "a").await;
    let mut older = hub.connect(Version::V311, "cam1", "b").await;
    for (topic, payload, code) in [(TOPIC, "{\"personCount\":-1}", 0x99), ("camera/2/detections", BODY, 0x87)] {
        modern.send_publish(Publish::new(topic, payload, 1)).await;
        let submission = hub.submission().await;
        let Item::Malformed(malformed) = submission.item else { panic!("{:?}", submission.item) };
        assert_eq!((malformed.topic.as_str(), malformed.source.as_str()), (topic, "device:cam1"));
        assert_eq!(malformed.payload, payload.as_bytes());
        submission.reply.send(Outcome::Rejected(malformed.reason)).expect("the front waits");
        let Some(Packet::Ack { code: told, properties, .. }) = modern.receive(PATIENCE).await else { panic!("an ack") };
        assert_eq!(told, code);
        assert!(properties.text(31).is_some_and(|reason| !reason.is_empty()), "{properties:?}");

        let id = older.send_publish(Publish::new(topic, payload, 1)).await;
        let submission = hub.submission().await;
        submission.reply.send(Outcome::Rejected("no".to_owned())).expect("the front waits");
        assert_eq!(ack(&mut older).await, (kind::PUBACK, id, 0));
    }
}

#[tokio::test]
async fn what_shows_nobody_goes_no_further_and_an_unknown_camera_is_told() {
    let mut hub = Hub::start().await;
    let mut engine = hub.connect(Version::V5, "engine", "e").await;
    engine.subscribe_to("camera/#", 1).await;
    engine.send_publish(Publish::new("camera/9/detections", BODY, 1)).await;
    hub.submission().await.reply.send(Outcome::Ignored).expect("the front waits");
    assert_eq!(ack(&mut engine).await.2, 0);
    engine.send_publish(Publish::new("camera/9/detections", BODY, 1)).await;
    hub.submission().await.reply.send(Outcome::UnknownCamera).expect("the front waits");
    // Acknowledged only once it is kept.
    let kept = hub.submission().await;
    let Item::Malformed(malformed) = &kept.item else { panic!("not kept: {:?}", kept.item) };
    assert_eq!((&malformed.payload[..], malformed.reason.as_str()), (BODY.as_bytes(), "Camera with ID 9 not found"));
    kept.reply.send(Outcome::Rejected(malformed.reason.clone())).expect("the front waits");
    assert_eq!(ack(&mut engine).await.2, 0x99);
    engine.send_publish(detection(0)).await;
    hub.submission().await.reply.send(stored()).expect("the front waits, at QoS 0 too");
    engine.until_messages(1).await;
    assert_eq!(engine.messages[0].topic, TOPIC);
}

#[tokio::test]
async fn without_a_recorder_nothing_is_acknowledged() {
    let mut hub = Hub::start().await;
    let mut camera = hub.connect(Version::V5, "cam1", "c").await;
    camera.send_publish(detection(1)).await;
    drop(hub.submission().await);
    assert_eq!(camera.until_closed().await, None);
}
