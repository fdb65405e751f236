//! What the front promises about the order of things, on a busy router.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    mqtt_broker::Broker,
    mqtt_client::{
        Client,
        packet::{Publish, Version},
    },
};

/// A SUBACK means that the subscription stands: what is published after it arrives, however busy the router is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_published_after_a_suback_is_missed() {
    const ROUNDS: usize = 300;
    let broker = Broker::start().await;
    let address = broker.address;
    let enough = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..3)
        .map(|number| {
            let enough = enough.clone();
            tokio::spawn(async move {
                let name = format!("flood-{number}");
                let (mut client, _) = Client::connect(address, &Broker::login(Version::V311, &name)).await;
                while !enough.load(Relaxed) {
                    for _ in 0..50 {
                        client.send_publish(Publish::new("flood", [0; 100], 0)).await;
                    }
                    client.ping().await;
                }
            })
        })
        .collect();
    let (mut client, _) = broker.connect(&Broker::login(Version::V311, "reader")).await;
    let mut missed = Vec::new();
    for round in 0..ROUNDS {
        client.clear();
        let topic = format!("order/{}", round % 10);
        client.subscribe_to(&topic, 1).await;
        client.publish(Publish::new(&topic, "after the SUBACK", 1)).await;
        client.listen_for(1, Duration::from_secs(1)).await;
        if client.messages.is_empty() {
            missed.push(round);
        }
        client.unsubscribe(&topic).await;
    }
    enough.store(true, Relaxed);
    for flood in floods {
        flood.await.expect("a publisher");
    }
    assert_eq!(missed, [0; 0], "of {ROUNDS} rounds");
}
