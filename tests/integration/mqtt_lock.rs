//! The lock's own rules on MQTT.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use portcullis::{
    auth::identity::Identity,
    domain::lock::{Action, LockStatus},
    events::{Channel, Item, LockAsk, LockDone, LockFailure},
    mqtt::link::{Incoming, Link, Message, QoS},
};
use uuid::Uuid;

use crate::{
    mqtt_client::{
        SILENCE,
        packet::{
            self, Filter, Properties, Publish, Value, Version,
            property::{SESSION_EXPIRY, WILL_DELAY},
        },
    },
    mqtt_hub::{Hub, login},
    rest_hub::eventually,
};

fn done() -> LockDone {
    LockDone { previous: LockStatus::Closed, current: LockStatus::Open, pin: 17, message: "open".to_owned() }
}

fn command(payload: &str, qos: u8) -> Publish {
    Publish::new("lock/command", payload, qos)
}

async fn next_message(link: &mut Link) -> Message {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(5), link.incoming.recv()).await;
        match next.expect("a message").expect("the link lives") {
            Incoming::Message(message) => return message,
            Incoming::Connected => {}
            Incoming::Disconnected(why) => panic!("{why}"),
        }
    }
}

#[tokio::test]
async fn a_command_goes_to_the_desk_and_not_past_it() {
    let mut hub = Hub::start().await;
    let mut worker = hub.connect(Version::V5, "lock1", "w").await;
    worker.subscribe_to("lock/command", 1).await;
    let mut panel = hub.connect(Version::V5, "panel", "p").await;
    let id = Uuid::from_u128(7);
    let (begin, end) = (Utc::now(), Utc::now() + TimeDelta::seconds(5));
    let body = format!(
        r#"{{"action":"open","commandId":"{id}","issuedAt":"{}","expiresAt":"{}","requestedBy":"user:1","more":1}}"#,
        begin.to_rfc3339(),
        end.to_rfc3339()
    );
    panel.send_publish(command(&body, 1)).await;
    let request = hub.lock_request().await;
    assert_eq!((request.requester.name.as_str(), request.requester.channel), ("device:panel", Channel::Mqtt));
    assert_eq!(request.ask, LockAsk::Command { action: Action::Open, command_id: Some(id) });
    assert_eq!(panel.receive(Duration::from_millis(200)).await, None, "the acknowledgement waits for the desk");
    request.reply.send(Ok(done())).expect("the front waits");
    let ack = panel.receive(SILENCE).await;
    assert!(matches!(ack, Some(packet::Packet::Ack { code: 0, .. })), "{ack:?}");
    worker.listen(SILENCE).await;
    assert_eq!(worker.messages, [], "only the desk's own command reaches the worker");

    panel.send_publish(command("TOGGLE", 0)).await;
    let request = hub.lock_request().await;
    assert_eq!(request.ask, LockAsk::Command { action: Action::Toggle, command_id: None });
}

#[tokio::test]
async fn what_breaks_a_rule_is_audited_and_refused() {
    let mut hub = Hub::start().await;
    let mut panel = hub.connect(Version::V5, "panel", "p").await;
    let old = r#"{"action":"open","issuedAt":"2020-01-01T00:00:00Z","expiresAt":"2020-01-01T00:00:02Z"}"#;
    let early = r#"{"action":"open","issuedAt":"2999-01-01T00:00:00Z","expiresAt":"2999-01-01T00:00:02Z"}"#;
    let good = r#"{"action":"open"}"#;
    for (publish, reason) in [
        (command("OPEN", 1), "bare word"),
        (command(good, 1).retained(), "retained"),
        (Publish { dup: true, ..command(good, 1) }, "DUP"),
        (command("open", 0), "no lock command"),
        (command("{", 1), "no lock command"),
        (command(r#"{"action":"explode"}"#, 1), "no lock command"),
        (command(old, 1), "expired"),
        (command(early, 1), "future"),
        (command(good, 1), "needs issuedAt and expiresAt"),
    ] {
        let (what, qos) = (String::from_utf8_lossy(&publish.payload).into_owned(), publish.qos);
        panel.send_publish(publish).await;
        let request = hub.lock_request().await;
        let LockAsk::Refused { what: kept, reason: told } = &request.ask else { panic!("{what}: {:?}", request.ask) };
        assert!(told.contains(reason) && *kept == what, "{what}: {told}");
        request.reply.send(Err(LockFailure::Refused(told.clone()))).expect("the front waits");
        if qos > 0 {
            let Some(packet::Packet::Ack { code, .. }) = panel.receive(SILENCE).await else { panic!("an ack") };
            assert_eq!(code, 0x87, "{what}");
        }
    }
    let mut camera = hub.connect(Version::V5, "cam1", "c").await;
    camera.send_publish(command(good, 1)).await;
    assert!(matches!(hub.lock_request().await.ask, LockAsk::Refused { reason, .. } if reason.contains("authorized")));
    assert_eq!(hub.front.metrics().refused_lock_commands.get(), 10);
}

#[tokio::test]
async fn a_will_on_the_lock_is_refused_and_the_workers_own_goes_out() {
    let mut hub = Hub::start().await;
    let with_will = |name: &str, topic: &str| packet::Connect {
        will: Some(Publish::new(topic, "offline", 1).retained()),
        ..login(Version::V5, name, "w")
    };
    let (_, connack) = hub.try_connect(&with_will("panel", "lock/command")).await;
    assert_eq!(connack.expect("a CONNACK").code, 0x87);
    assert!(matches!(hub.lock_request().await.ask, LockAsk::Refused { .. }));

    let mut viewer = hub.connect(Version::V311, "viewer", "v").await;
    viewer.subscribe_to("lock/status", 1).await;
    let (worker, connack) = hub.try_connect(&with_will("lock1", "lock/status")).await;
    assert_eq!(connack.expect("a CONNACK").code, 0);
    worker.terminate();
    viewer.until_messages(1).await;
    let mut later = hub.connect(Version::V5, "guard", "g").await;
    later.subscribe_to("lock/#", 1).await;
    later.until_messages(1).await;
    assert!(later.messages[0].retain && later.messages[0].payload == b"offline");
}

#[tokio::test]
async fn the_will_of_a_session_that_the_worker_has_left_behind_is_void() {
    let hub = Hub::start().await;
    let mut viewer = hub.connect(Version::V5, "viewer", "v").await;
    viewer.subscribe_to("lock/status", 1).await;
    let delay = Properties::default().with(WILL_DELAY, Value::Four(1));
    let lasting = packet::Connect {
        clean: false,
        properties: Properties::default().with(SESSION_EXPIRY, Value::Four(2)),
        will: Some(Publish::new("lock/status", "offline", 1).retained().properties(delay)),
        ..login(Version::V5, "lock1", "first")
    };
    // Once the worker is gone for good, and once it is back by another session before its will is due.
    for is_back in [false, true] {
        let mut is_there = hub.front.worker_is_there();
        let (mut worker, connack) = hub.try_connect(&lasting).await;
        assert_eq!(connack.expect("a CONNACK").code, 0);
        worker.publish(Publish::new("lock/status", "online", 1)).await;
        viewer.until_messages(1).await;
        worker.terminate();
        is_there.wait_for(|is_there| !is_there).await.expect("a front");
        if is_back {
            let mut next = hub.connect(Version::V5, "lock1", "next").await;
            next.publish(Publish::new("lock/status", "back", 1)).await;
            let metrics = hub.front.metrics();
            // The viewer's and its own.
            eventually("the first session is over", || metrics.sessions.get() == 2).await;
            next.publish(Publish::new("lock/status", "still there", 1)).await;
        }
        viewer.until_messages(if is_back { 3 } else { 2 }).await;
        let told: Vec<_> = viewer.messages.drain(..).map(|message| message.payload).collect();
        let told: Vec<_> = told.iter().map(|payload| String::from_utf8_lossy(payload)).collect();
        assert_eq!(told, if is_back { vec!["online", "back", "still there"] } else { vec!["online", "offline"] });
    }
}

#[tokio::test]
async fn there_is_one_worker() {
    let mut hub = Hub::start().await;
    let mut is_there = hub.front.worker_is_there();
    let first = hub.connect(Version::V5, "lock1", "w").await;
    assert!(*is_there.borrow_and_update());
    for (name, client_id) in [("lock2", "w"), ("lock1", "other")] {
        let (_, connack) = hub.try_connect(&login(Version::V5, name, client_id)).await;
        assert_eq!(connack.expect("a CONNACK").code, 0x87, "{name} {client_id}");
        let submission = hub.submission().await;
        assert!(matches!(submission.item, Item::Occurrence(_)) && submission.arrival.channel == Channel::Internal);
    }
    let again = hub.connect(Version::V5, "lock1", "w").await;
    drop(first);
    let (_, connack) = hub.try_connect(&login(Version::V311, "lock2", "w")).await;
    assert_eq!(connack.expect("a CONNACK").code, 5);
    assert!(!is_there.has_changed().expect("a front"), "one follows the other");
    again.disconnect().await;
    is_there.wait_for(|is_there| !is_there).await.expect("a front");
    let second = hub.connect(Version::V5, "lock2", "w").await;
    second.disconnect().await;

    let mut embedded = hub.front.link(Identity::Hub, None, &["lock/command"]);
    assert_eq!(embedded.incoming.recv().await, Some(Incoming::Connected));
    let (_, connack) = hub.try_connect(&login(Version::V5, "lock1", "w")).await;
    assert_eq!(connack.expect("a CONNACK").code, 0x87);
}

#[tokio::test]
async fn nothing_waits_for_an_absent_worker_and_nothing_is_shared() {
    let hub = Hub::start().await;
    let lasting = packet::Connect {
        clean: false,
        properties: Properties::default().with(SESSION_EXPIRY, Value::Four(100)),
        ..login(Version::V5, "lock1", "w")
    };
    let (mut worker, _) = hub.try_connect(&lasting).await;
    worker.subscribe_to("lock/command", 1).await;
    let codes = worker.subscribe(&[Filter::new("$share/g/lock/command", 1)], &Properties::default()).await;
    assert_eq!(codes, [0x87]);
    let desk = hub.front.link(Identity::Hub, None, &[]);
    let give = |payload: &'static str| Message {
        topic: "lock/command".to_owned(),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
    };
    // Delivered and not acknowledged, then one while the worker is away.
    worker.paused = true;
    desk.outgoing.send(give("first")).await.expect("a link");
    worker.until("the first command", |worker| worker.ignored == 1).await;
    worker.reset();
    let mut viewer = hub.connect(Version::V5, "viewer", "v").await;
    viewer.subscribe_to("lock/status", 0).await;
    desk.outgoing.send(give("second")).await.expect("a link");
    let mark = Message { topic: "lock/status".to_owned(), ..give("after the second") };
    desk.outgoing.send(mark).await.expect("a link");
    viewer.until_messages(1).await;
    let (mut worker, connack) = loop {
        // The place is free once the front has seen the others go.
        let (client, connack) = hub.try_connect(&lasting).await;
        if connack.as_ref().is_some_and(|connack| connack.code == 0) {
            break (client, connack.expect("looked"));
        }
    };
    assert!(connack.session_present);
    desk.outgoing.send(give("third")).await.expect("a link");
    worker.until_messages(1).await;
    worker.listen(SILENCE).await;
    let payloads: Vec<_> = worker.messages.iter().map(|message| message.payload.clone()).collect();
    assert_eq!(payloads, [b"third".to_vec()]);
}

#[tokio::test]
async fn workers_in_the_process_speak_by_links() {
    let hub = Hub::start().await;
    let mut viewer = hub.connect(Version::V5, "viewer", "v").await;
    viewer.subscribe_to("lock/status", 1).await;
    let status = |payload: &'static str| Message {
        topic: "lock/status".to_owned(),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: true,
    };
    let worker = hub.front.link(Identity::Hub, Some(status("offline")), &["lock/command"]);
    worker.outgoing.send(status("open")).await.expect("a link");
    viewer.until_messages(1).await;
    let mut desk = hub.front.link(Identity::Hub, None, &["lock/status", "lock/response"]);
    let kept = next_message(&mut desk).await;
    assert_eq!((kept.payload.as_ref(), kept.retain), (&b"open"[..], true));
    drop(worker);
    let will = next_message(&mut desk).await;
    assert_eq!((will.payload.as_ref(), will.retain), (&b"offline"[..], false));
}
