//! The router's end. What it carries is tested through the front.

use super::*;
use crate::{
    lifecycle::Lifecycle,
    mqtt::link::{self, QoS},
};

/// A router, and a way to kill it.
fn router() -> (Router, impl FnOnce()) {
    let events = rumqttd::Router::new(
        0,
        rumqttd::RouterConfig {
            max_connections: 4,
            max_outgoing_packet_count: 100,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..rumqttd::RouterConfig::default()
        },
    )
    .spawn();
    let open = |name: &str| {
        let built = LinkBuilder::new(name, events.clone()).clean_session(true).build();
        built.map(|(sender, receiver, _)| (sender, receiver)).map_err(|error| anyhow::anyhow!("{error}"))
    };
    let router = Router::between(open, &Limits::default(), Arc::default()).expect("a router");
    let (mut killer, _) = open("killer").expect("a link");
    // A name whose first byte is no whole letter: rumqttd cuts it in two, and its thread dies.
    (router, move || drop(killer.try_publish("\u{e9}a", "")))
}

#[tokio::test]
async fn a_subscription_brings_what_comes_after_it_and_no_more() {
    let (router, _) = router();
    let mut link = router.open(Holder::Hub, Standing::Vital);
    let publish = |mark: u8| {
        let plain =
            link::Message { topic: "a/b".to_owned(), payload: vec![mark].into(), qos: QoS::AtMostOnce, retain: false };
        router.publish(Message::plain(plain, 0))
    };
    let mut ears = router.open(Holder::Hub, Standing::Vital);
    ears.subscribe(1, "#").await.expect("subscribed");
    for mark in 0..3 {
        publish(mark).await.expect("published");
    }
    let since = link.subscribe(7, "a/+").await.expect("subscribed");
    assert_eq!(since, 3);
    publish(3).await.expect("published");
    let arrival = link.receive().await;
    assert_eq!((arrival.subscription, arrival.message.sequence, &arrival.message.payload[..]), (7, 4, &[3][..]));
    drop(link);
    assert!(router.has_subscribers(&"a/b".into()));
    drop(ears);
    assert!(!router.has_subscribers(&"a/b".into()));
}

#[tokio::test]
async fn a_subscription_ends_with_its_guard_whoever_has_the_link() {
    let (router, _) = router();
    let mut link = router.open(Holder::Hub, Standing::Vital);
    link.subscribe(1, "a/+").await.expect("subscribed");
    assert!(link.guard(2).is_none(), "no such subscription");
    let guard = link.guard(1).expect("a guard");
    assert!(router.has_subscribers(&"a/b".into()));
    drop(guard);
    assert!(!router.has_subscribers(&"a/b".into()));
    drop(link);
    assert!(!router.has_subscribers(&"a/b".into()));
}

#[tokio::test]
async fn the_routers_death_stops_the_hub() {
    let (router, kill) = router();
    let (hub, watched) = (Lifecycle::default(), router.clone());
    hub.keep("mqtt router", async move { watched.watch().await });
    assert!(!hub.soft.is_cancelled());
    let killed = Instant::now();
    kill();
    tokio::time::timeout(FENCE_TIME * 3, hub.soft.cancelled()).await.expect("the hub stops");
    assert!(
        router.heartbeat().asked.is_some_and(|asked| asked + BEAT * 2 > killed),
        "it owes a sign of life since then"
    );
}
