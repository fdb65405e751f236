//! The router's links and its end. What it carries is tested through the front.

use std::collections::HashSet;

use super::*;
use crate::lifecycle::Lifecycle;

/// A router, and the names that its links were opened under.
fn router() -> (Router, Arc<Mutex<Vec<String>>>) {
    let events = rumqttd::Router::new(
        0,
        rumqttd::RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 100,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..rumqttd::RouterConfig::default()
        },
    )
    .spawn();
    let names = Arc::new(Mutex::new(Vec::new()));
    let opened = names.clone();
    let build: Build = Box::new(move |name| {
        anyhow::ensure!(opened.lock().len() < 60 || name != "s1", "none left");
        opened.lock().push(name.to_owned());
        let built = LinkBuilder::new(name, events.clone()).clean_session(true).build();
        let (mut sender, receiver, _) = built.map_err(|error| anyhow::anyhow!("{error}"))?;
        if name == "s7" {
            // A name whose first byte is no whole letter: rumqttd cuts it in two, and its thread dies.
            let _ = sender.try_publish("\u{e9}a", "");
        }
        Ok((sender, receiver))
    });
    (Router::fed_by(build, &Limits::default(), Arc::default()).expect("a router"), names)
}

#[tokio::test]
async fn links_that_have_ended_leave_their_names_to_later_ones() {
    let (router, names) = router();
    for _ in 0..50 {
        let link = router.open().await.expect("a link");
        link.subscribe(1, "a/b").await.expect("subscribed");
        drop(link);
    }
    let different: HashSet<_> = names.lock().iter().cloned().collect();
    assert!(different.len() < 10, "50 links in turn had {} names", different.len());
}

#[tokio::test]
async fn a_link_that_cannot_be_opened_is_the_askers_trouble_alone() {
    let (router, names) = router();
    names.lock().extend((0..60).map(|_| String::new()));
    assert_eq!(router.open().await.map(|_| ()), Err(NotSubscribed::NoLink));
    names.lock().clear();
    router.open().await.expect("a link again");
}

#[tokio::test]
async fn the_routers_death_stops_the_hub() {
    let (router, _) = router();
    let (hub, watched) = (Lifecycle::default(), router.clone());
    hub.keep("mqtt router", async move { watched.watch().await });
    assert!(!hub.soft.is_cancelled());
    let links = futures_util::future::join_all((0..6).map(|_| router.open())).await;
    assert!(links.iter().all(Result::is_ok));
    // The seventh kills it.
    let killed = Instant::now();
    let _ = tokio::time::timeout(FENCE_TIME, router.open()).await;
    tokio::time::timeout(FENCE_TIME * 3, hub.soft.cancelled()).await.expect("the hub stops");
    assert!(router.pulse().asked.is_some_and(|asked| asked + BEAT * 2 > killed), "it owes a sign of life since then");
}
