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
        packet::{Connect, Publish, Version},
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

/// Whoever is away with a full queue costs the others nothing: their messages find room, however much waits in all.
#[tokio::test]
async fn a_full_queue_of_somebody_absent_takes_nothing_from_others() {
    const BULK: usize = 1_000;
    let broker = Broker::with("queue_bytes_in_all = 500000\nsessions = 50").await;
    for name in ["away-1", "away-2"] {
        let absent = Connect { clean: false, ..Broker::login(Version::V311, name) };
        let (mut away, _) = broker.connect(&absent).await;
        away.subscribe_to("bulk", 1).await;
        away.disconnect().await;
    }
    let (mut writer, _) = broker.connect(&Broker::login(Version::V311, "writer")).await;
    let (mut reader, _) = broker.connect(&Broker::login(Version::V311, "reader")).await;
    reader.subscribe_to("news", 1).await;
    for number in 0..BULK {
        writer.publish(Publish::new("bulk", [0; 1_000], 1)).await;
        if number % 100 == 99 {
            writer.publish(Publish::new("news", [1; 5_000], 1)).await;
        }
    }
    reader.listen_for(BULK / 100, Duration::from_secs(5)).await;
    assert_eq!(reader.messages.len(), BULK / 100, "{}", broker.counters());
}
