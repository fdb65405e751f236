//! The cases of the Eclipse Paho interoperability suite for MQTT 3.1.1, by name: each asserts all that the suite's case
//! of that name asserts, and mostly more. The code is our own.

use crate::{
    mqtt_broker::{Broker, FORBIDDEN},
    mqtt_client::{
        Client, SILENCE,
        packet::{Connect, Filter, Properties, Publish, Version},
    },
};

const TOPICS: [&str; 5] = ["TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"];

fn connect(client_id: &str) -> Connect {
    Broker::login(Version::V311, client_id)
}

/// What arrived, as (topic, payload, `QoS`), in the topics' order.
fn arrived(client: &Client) -> Vec<(&str, &[u8], u8)> {
    let ours = client.messages.iter().filter(|message| !message.topic.starts_with("hub/"));
    let mut arrived: Vec<_> =
        ours.map(|message| (message.topic.as_str(), message.payload.as_slice(), message.qos)).collect();
    arrived.sort_unstable();
    arrived
}

async fn publish_at_each_qos(client: &mut Client, topics: [&str; 3], retain: bool) {
    for (qos, topic) in (0..).zip(topics) {
        let message = Publish { retain, ..Publish::new(topic, format!("qos {qos}"), qos) };
        assert_eq!(client.publish(message).await, 0);
    }
}

#[tokio::test]
async fn basic() {
    let broker = Broker::start().await;
    let (client, _) = broker.connect(&connect("one")).await;
    client.disconnect().await;

    let (mut client, connack) = broker.connect(&connect("one")).await;
    assert!(!connack.session_present);
    client.subscribe_to(TOPICS[0], 2).await;
    publish_at_each_qos(&mut client, [TOPICS[0]; 3], false).await;
    client.until_messages(3).await;
    client.listen(SILENCE).await;
    let expected: [(&str, &[u8], u8); 3] =
        [(TOPICS[0], b"qos 0", 0), (TOPICS[0], b"qos 1", 1), (TOPICS[0], b"qos 2", 2)];
    assert_eq!(arrived(&client), expected);
    client.disconnect().await;

    // A second CONNECT on one connection is a fault.
    let (mut client, _) = broker.connect(&connect("one")).await;
    client.send(&connect("one").bytes()).await;
    client.until_closed().await;

    let (_, connack) =
        Client::try_connect(broker.address, &Connect { protocol: "hj".to_owned(), ..connect("one") }).await;
    assert!(connack.is_none_or(|connack| connack.code != 0), "another protocol was accepted");
}

#[tokio::test]
async fn retained_messages() {
    let broker = Broker::start().await;
    let topics = [TOPICS[1], TOPICS[2], TOPICS[3]];
    let (mut client, connack) = broker.connect(&connect("one")).await;
    assert!(!connack.session_present);
    publish_at_each_qos(&mut client, topics, true).await;
    client.subscribe_to("+/+", 2).await;
    client.until("three messages", |client| arrived(client).len() == 3).await;
    client.listen(SILENCE).await;
    let expected: [(&str, &[u8], u8); 3] =
        [(TOPICS[2], b"qos 1", 1), (TOPICS[1], b"qos 0", 0), (TOPICS[3], b"qos 2", 2)];
    assert_eq!(arrived(&client), expected);
    assert!(client.messages.iter().all(|message| message.retain), "{:?}", client.messages);
    client.disconnect().await;

    let (mut client, connack) = broker.connect(&connect("one")).await;
    assert!(!connack.session_present);
    for (qos, topic) in (0..).zip(topics) {
        client.publish(Publish::new(topic, "", qos).retained()).await;
    }
    client.subscribe_to("+/+", 2).await;
    client.listen(SILENCE).await;
    assert_eq!(arrived(&client), []);
    client.disconnect().await;
}

#[tokio::test]
async fn will_message() {
    let broker = Broker::start().await;
    let will = Some(Publish::new(TOPICS[2], "client not disconnected", 2));
    let (dying, connack) = broker.connect(&Connect { will, keep_alive: 2, ..connect("one") }).await;
    assert!(!connack.session_present);
    let (mut heir, _) = broker.connect(&Connect { clean: false, ..connect("two") }).await;
    heir.subscribe_to(TOPICS[2], 2).await;
    dying.terminate();
    heir.until_messages(1).await;
    heir.listen(SILENCE).await;
    let expected: [(&str, &[u8], u8); 1] = [(TOPICS[2], b"client not disconnected", 2)];
    assert_eq!(arrived(&heir), expected);
    heir.disconnect().await;
}

#[tokio::test]
async fn zero_length_clientid() {
    let broker = Broker::start().await;
    let (_, connack) = Client::try_connect(broker.address, &Connect { clean: false, ..connect("") }).await;
    assert!(connack.is_none_or(|connack| connack.code == 2), "a session without a name would be kept");
    let (client, _) = broker.connect(&connect("")).await;
    client.disconnect().await;
}

#[tokio::test]
async fn offline_message_queueing() {
    let broker = Broker::start().await;
    let (mut away, _) = broker.connect(&Connect { clean: false, ..connect("one") }).await;
    away.subscribe_to("+/+", 2).await;
    away.disconnect().await;

    let (mut sender, connack) = broker.connect(&connect("two")).await;
    assert!(!connack.session_present);
    publish_at_each_qos(&mut sender, [TOPICS[1], TOPICS[2], TOPICS[3]], false).await;
    sender.disconnect().await;

    let (mut back, connack) = broker.connect(&Connect { clean: false, ..connect("one") }).await;
    assert!(connack.session_present);
    back.until("both messages", |client| arrived(client).iter().filter(|(.., qos)| *qos > 0).count() == 2).await;
    back.listen(SILENCE).await;
    // Whether a message at QoS 0 waits for somebody is the broker's choice.
    let arrived: Vec<_> = arrived(&back).into_iter().filter(|(.., qos)| *qos > 0).collect();
    let expected: [(&str, &[u8], u8); 2] = [(TOPICS[2], b"qos 1", 1), (TOPICS[3], b"qos 2", 2)];
    assert_eq!(arrived, expected);
    assert!(back.messages.len() <= 3, "{:?}", back.messages);
    back.disconnect().await;
}

#[tokio::test]
async fn overlapping_subscriptions() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.connect(&connect("one")).await;
    let filters = [Filter::new("TopicA/#", 2), Filter::new("TopicA/+", 1)];
    assert_eq!(client.subscribe(&filters, &Properties::default()).await, [2, 1]);
    client.publish(Publish::new(TOPICS[3], "overlapping topic filters", 2)).await;
    client.until_messages(1).await;
    client.listen(SILENCE).await;
    // One message for all filters, at the highest QoS, or one for each at its own.
    let mut qos: Vec<_> = client.messages.iter().map(|message| message.qos).collect();
    qos.sort_unstable();
    assert!(qos == [2] || qos == [1, 2], "{qos:?}");
    client.disconnect().await;
}

#[tokio::test]
async fn keepalive() {
    let broker = Broker::start().await;
    let will = Some(Publish::new(TOPICS[4], "keepalive expiry", 0));
    let (mut silent, _) = broker.connect(&Connect { will, keep_alive: 5, ..connect("one") }).await;
    let (mut heir, _) = broker.connect(&connect("two")).await;
    heir.subscribe_to(TOPICS[4], 2).await;
    heir.until_messages(1).await;
    heir.listen(SILENCE).await;
    let expected: [(&str, &[u8], u8); 1] = [(TOPICS[4], b"keepalive expiry", 0)];
    assert_eq!(arrived(&heir), expected);
    silent.until_closed().await;
    heir.disconnect().await;
}

#[tokio::test]
async fn redelivery_on_reconnect() {
    let broker = Broker::start().await;
    let persistent = Connect { clean: false, ..connect("one") };
    let (mut client, _) = broker.connect(&persistent).await;
    client.subscribe_to("TopicA/#", 2).await;
    client.paused = true;
    client.publish(Publish::new(TOPICS[1], "", 1)).await;
    client.publish(Publish::new(TOPICS[3], "", 2)).await;
    client.until("both are sent", |client| client.ignored == 2).await;
    assert_eq!(client.messages, []);
    client.disconnect().await;

    let (mut client, connack) = broker.connect(&persistent).await;
    assert!(connack.session_present);
    client.until_messages(2).await;
    client.listen(SILENCE).await;
    let expected: [(&str, &[u8], u8); 2] = [(TOPICS[1], b"", 1), (TOPICS[3], b"", 2)];
    assert_eq!(arrived(&client), expected);
    assert!(client.messages.iter().all(|message| message.dup), "{:?}", client.messages);
    client.disconnect().await;
}

#[tokio::test]
async fn subscribe_failure() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.connect(&connect("one")).await;
    let codes = client.subscribe(&[Filter::new(FORBIDDEN, 2)], &Properties::default()).await;
    assert_eq!(codes, [0x80]);
    client.disconnect().await;
}

#[tokio::test]
async fn dollar_topics() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.connect(&connect("one")).await;
    client.subscribe_to("+/+", 2).await;
    client.publish(Publish::new("$TopicA/B", "", 1)).await;
    client.listen(SILENCE).await;
    assert_eq!(arrived(&client), []);
    client.disconnect().await;
}

#[tokio::test]
async fn unsubscribe() {
    let broker = Broker::start().await;
    let (mut reader, _) = broker.connect(&connect("two")).await;
    for topic in &TOPICS[..3] {
        reader.subscribe_to(topic, 2).await;
    }
    assert!(reader.unsubscribe(TOPICS[0]).await.is_empty());
    let (mut writer, _) = broker.connect(&connect("one")).await;
    for topic in &TOPICS[..3] {
        writer.publish(Publish::new(topic, "", 1)).await;
    }
    reader.until_messages(2).await;
    reader.listen(SILENCE).await;
    let expected: [(&str, &[u8], u8); 2] = [(TOPICS[2], b"", 1), (TOPICS[1], b"", 1)];
    assert_eq!(arrived(&reader), expected);
    reader.disconnect().await;
    writer.disconnect().await;
}
