//! What the front does at its limits: publishers slow down, what nobody waits for any more is given up, and wills count.

use std::time::{Duration, Instant};

use portcullis::{
    auth::identity::Identity,
    domain::device::DeviceRole,
    events::{Item, Submission},
};

use crate::{
    mqtt_client::{
        PATIENCE,
        packet::{self, Publish, Version},
    },
    mqtt_hub::{Hub, login, stored},
};

/// Sensors may do everything below `test/`.
fn rights() -> String {
    let entry = |action| format!("[[rights]]\nwho = 'sensor'\naction = '{action}'\nfilter = 'test/#'\nallow = true\n");
    ["publish", "subscribe"].map(entry).concat()
}

#[tokio::test]
async fn publishers_slow_down_for_a_subscriber_that_reads_and_falls_behind() {
    const MESSAGES: u32 = 100;
    let hub = Hub::with(&format!("[limits]\nqueue_messages = 1000\ninflight = 1\n{}", rights())).await;
    let mut subscriber = hub.connect(Version::V311, "tester", "slow").await;
    subscriber.subscribe_to("test/#", 1).await;
    let mut publisher = hub.connect(Version::V311, "sensor", "fast").await;
    // More than a quarter of what may wait; the subscriber acknowledges none of it.
    for number in 0..300 {
        assert_eq!(publisher.publish(Publish::new("test/a", number.to_string(), 1)).await, 0);
    }
    // What is acknowledged may still be on its way to the subscriber's queue, though never more than 400 messages are.
    let mut sent = 300;
    loop {
        let begun = Instant::now();
        for number in sent..sent + MESSAGES {
            assert_eq!(publisher.publish(Publish::new("test/a", number.to_string(), 1)).await, 0);
        }
        sent += MESSAGES;
        // At least a millisecond each, however fast the machine.
        if begun.elapsed() >= Duration::from_millis(1) * MESSAGES {
            break;
        }
        assert!(sent < 1000, "{:?}", begun.elapsed());
    }
    // Once it catches up it has all of them, in their order.
    subscriber.until_messages(sent as usize).await;
    let wanted = (0..sent).map(|number| number.to_string().into_bytes());
    assert!(subscriber.messages.iter().map(|message| message.payload.clone()).eq(wanted));
    assert_eq!(hub.front.metrics().dropped.get(), 0);
}

#[tokio::test]
async fn what_found_no_room_with_the_recorder_goes_with_its_session() {
    let mut hub = Hub::with("[limits]\ninflight = 1000\n").await;
    let detection = |count: usize| Publish::new("camera/1/detections", format!("{{\"personCount\":{count}}}"), 1);
    let mut patient = hub.connect(Version::V311, "cam1", "patient").await;
    for _ in 0..1000 {
        patient.send_publish(detection(1)).await;
    }
    until(|| hub.submissions.len() == 1000).await;
    let mut gone = hub.connect(Version::V311, "cam1", "gone").await;
    for _ in 0..5 {
        gone.send_publish(detection(2)).await;
    }
    until(|| hub.front.metrics().received.get() == 1005).await;
    gone.reset();
    until(|| hub.front.metrics().sessions.get() == 1).await;
    let mut last = hub.connect(Version::V311, "cam1", "last").await;
    last.send_publish(detection(3)).await;
    for expected in (0..1000).map(|_| 1).chain([3]) {
        let Submission { item, reply, .. } = hub.submission().await;
        assert!(matches!(item, Item::Detection(detection) if detection.person_count == expected), "{expected}");
        reply.send(stored()).expect("the front waits");
    }
    assert!(hub.submissions.try_recv().is_err(), "nothing of who is gone");
}

#[tokio::test]
async fn a_removed_devices_will_is_void_but_for_the_lock_workers() {
    let hub = Hub::with(&rights()).await;
    let mut watcher = hub.connect(Version::V5, "sensor", "watcher").await;
    watcher.subscribe_to("test/#", 1).await;
    let mut panel = hub.connect(Version::V5, "panel", "panel").await;
    panel.subscribe_to("lock/status", 1).await;
    let with_will = |name, topic| packet::Connect {
        will: Some(Publish::new(topic, "gone", 1)),
        ..login(Version::V5, name, "with a will")
    };
    let (mut sensor, _) = hub.try_connect(&with_will("tester", "test/will")).await;
    let (mut worker, _) = hub.try_connect(&with_will("lock1", "lock/status")).await;
    let is = |who: &Identity, id: i32, role: DeviceRole| matches!(who, Identity::Device(device) if device.id.0 == id && device.role == role);
    hub.front.end_sessions(|who| is(who, 7, DeviceRole::Sensor) || is(who, 4, DeviceRole::LockAgent));
    assert_eq!((sensor.until_closed().await, worker.until_closed().await), (Some(0x98), Some(0x98)));
    panel.until_messages(1).await;
    assert_eq!(panel.messages[0].payload, b"gone");
    // What came later would come behind the will.
    until(|| hub.front.metrics().sessions.get() == 2).await;
    let mut other = hub.connect(Version::V5, "tester", "other").await;
    assert_eq!(other.publish(Publish::new("test/news", "news", 1)).await, 0);
    watcher.until_messages(1).await;
    assert_eq!(watcher.messages[0].topic, "test/news");
}

#[tokio::test]
async fn wills_count_towards_what_may_wait() {
    let hub = Hub::with(&format!("[limits]\nqueue_bytes_in_all = 2000\n{}", rights())).await;
    let with_will = |client_id: &str| packet::Connect {
        will: Some(Publish::new("test/will", [b'w'; 1500], 1)),
        ..login(Version::V5, "tester", client_id)
    };
    let (first, connack) = hub.try_connect(&with_will("a")).await;
    assert_eq!(connack.map(|connack| connack.code), Some(0));
    let (_, connack) = hub.try_connect(&with_will("b")).await;
    assert_eq!(connack.map(|connack| connack.code), Some(0x97));
    first.disconnect().await;
    until(|| hub.front.metrics().sessions.get() == 0).await;
    let until = Instant::now() + PATIENCE;
    while hub.try_connect(&with_will("b")).await.1.map(|connack| connack.code) != Some(0) {
        assert!(Instant::now() < until, "its place is free again");
    }
}

async fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
