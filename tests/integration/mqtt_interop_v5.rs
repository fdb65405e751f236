//! The cases of the Eclipse Paho interoperability suite for MQTT 5.0, by name: each asserts all that the suite's case of
//! that name asserts, and mostly more. The code is our own.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    mqtt_broker::{Broker, FORBIDDEN},
    mqtt_client::{
        Client, PATIENCE, SILENCE,
        packet::{
            self, Connect, Filter, Packet, Properties, Publish, Value, Version, kind,
            property::{
                ASSIGNED_CLIENT_ID, CONTENT_TYPE, CORRELATION_DATA, MAXIMUM_PACKET_SIZE, MESSAGE_EXPIRY,
                PAYLOAD_FORMAT, RECEIVE_MAXIMUM, RESPONSE_TOPIC, SERVER_KEEP_ALIVE, SESSION_EXPIRY, SUBSCRIPTION_ID,
                TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM, WILL_DELAY,
            },
        },
    },
};

const TOPICS: [&str; 5] = [
    "client_test5/TopicA",
    "client_test5/TopicA/B",
    "client_test5/Topic/C",
    "client_test5/TopicA/C",
    "client_test5//TopicA",
];
const TWO_LEVELS: &str = "client_test5/+/+";
const LONG: u32 = 99_999;

fn connect(client_id: &str) -> Connect {
    Broker::login(Version::V5, client_id)
}

fn none() -> Properties {
    Properties::default()
}

fn expiring_in(seconds: u32) -> Properties {
    none().with(SESSION_EXPIRY, Value::Four(seconds))
}

fn two_users() -> Properties {
    none().user("a", "2").user("c", "3")
}

fn alias(number: u16) -> Properties {
    none().with(TOPIC_ALIAS, Value::Two(number))
}

/// What arrived, as (topic, payload, `QoS`), in the topics' order.
fn arrived(client: &Client) -> Vec<(&str, &[u8], u8)> {
    let mut arrived: Vec<_> = client
        .messages
        .iter()
        .map(|message| (message.topic.as_str(), message.payload.as_slice(), message.qos))
        .collect();
    arrived.sort_unstable();
    arrived
}

fn qos_of(client: &Client) -> Vec<u8> {
    let mut qos: Vec<_> = client.messages.iter().map(|message| message.qos).collect();
    qos.sort_unstable();
    qos
}

async fn publish_at_each_qos(client: &mut Client, topics: [&str; 3], like: &Publish) {
    for (qos, topic) in (0..).zip(topics) {
        let message = Publish { topic: topic.to_owned(), qos, ..like.clone() };
        assert!(client.publish(message).await < 0x80);
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
    publish_at_each_qos(&mut client, [TOPICS[0]; 3], &Publish::new("", "basic", 0)).await;
    client.until_messages(3).await;
    client.listen(SILENCE).await;
    let expected: [(&str, &[u8], u8); 3] =
        [(TOPICS[0], b"basic", 0), (TOPICS[0], b"basic", 1), (TOPICS[0], b"basic", 2)];
    assert_eq!(arrived(&client), expected);
    client.disconnect().await;

    // A second CONNECT on one connection is a fault.
    let (mut client, _) = broker.connect(&connect("one")).await;
    client.send(&connect("one").bytes()).await;
    client.until_closed().await;

    let (_, connack) =
        Client::try_connect(broker.address, &Connect { protocol: "hj".to_owned(), ..connect("one") }).await;
    assert!(connack.is_none_or(|connack| connack.code >= 0x80), "another protocol was accepted");
}

#[tokio::test]
async fn retained_message() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.connect(&connect("one")).await;
    let like = Publish::new("", "kept", 0).retained().properties(two_users());
    publish_at_each_qos(&mut client, [TOPICS[1], TOPICS[2], TOPICS[3]], &like).await;
    client.subscribe_to(TWO_LEVELS, 2).await;
    client.until_messages(3).await;
    client.listen(SILENCE).await;
    assert_eq!(client.messages.len(), 3, "{:?}", client.messages);
    for message in &client.messages {
        assert_eq!(message.properties.users(), [("a", "2"), ("c", "3")]);
        assert!(message.retain);
    }
    assert_eq!(qos_of(&client), [0, 1, 2]);
    client.disconnect().await;
}

#[tokio::test]
async fn will_message() {
    let broker = Broker::start().await;
    let properties = none().with(WILL_DELAY, Value::Four(0)).user("a", "2").user("c", "3");
    let will = Some(Publish::new(TOPICS[2], "will message", 2).properties(properties));
    let (mut silent, _) = broker.connect(&Connect { will, keep_alive: 2, ..connect("one") }).await;
    let (mut heir, _) = broker.connect(&Connect { clean: false, ..connect("two") }).await;
    heir.subscribe_to(TOPICS[2], 2).await;
    // The keep-alive runs out.
    heir.until_messages(1).await;
    heir.listen(SILENCE).await;
    assert_eq!(arrived(&heir), [(TOPICS[2], &b"will message"[..], 2)]);
    assert_eq!(heir.messages[0].properties.users(), [("a", "2"), ("c", "3")]);
    silent.until_closed().await;
    heir.disconnect().await;
}

#[tokio::test]
async fn zero_length_clientid() {
    let broker = Broker::start().await;
    for clean in [false, true] {
        let (client, _) = broker.connect(&Connect { clean, ..connect("") }).await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn offline_message_queueing() {
    let broker = Broker::start().await;
    let (mut away, _) = broker.connect(&Connect { properties: expiring_in(LONG), ..connect("one") }).await;
    away.subscribe_to(TWO_LEVELS, 2).await;
    away.disconnect().await;

    let (mut sender, _) = broker.connect(&connect("two")).await;
    publish_at_each_qos(&mut sender, [TOPICS[1], TOPICS[2], TOPICS[3]], &Publish::new("", "queued", 0)).await;
    sender.disconnect().await;

    let (mut back, connack) = broker.connect(&Connect { clean: false, ..connect("one") }).await;
    assert!(connack.session_present);
    back.until("both messages", |client| qos_of(client).ends_with(&[1, 2])).await;
    back.listen(SILENCE).await;
    // Whether a message at QoS 0 waits for somebody is the broker's choice.
    assert!(matches!(qos_of(&back)[..], [1, 2] | [0, 1, 2]), "{:?}", back.messages);
    back.disconnect().await;
}

#[tokio::test]
async fn overlapping_subscriptions() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.connect(&connect("one")).await;
    let filters = [Filter::new("client_test5/TopicA/#", 2), Filter::new("client_test5/TopicA/+", 1)];
    assert_eq!(client.subscribe(&filters, &none()).await, [2, 1]);
    client.publish(Publish::new(TOPICS[3], "overlapping topic filters", 2)).await;
    client.until_messages(1).await;
    client.listen(SILENCE).await;
    // One message for all filters, at the highest QoS, or one for each at its own.
    assert!(matches!(qos_of(&client)[..], [2] | [1, 2]), "{:?}", client.messages);
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
    assert_eq!(arrived(&heir), [(TOPICS[4], &b"keepalive expiry"[..], 0)]);
    silent.until_closed().await;
    heir.disconnect().await;
}

#[tokio::test]
async fn redelivery_on_reconnect() {
    let broker = Broker::start().await;
    let persistent = Connect { clean: false, properties: expiring_in(LONG), ..connect("one") };
    let (mut client, _) = broker.connect(&persistent).await;
    client.subscribe_to("client_test5/TopicA/#", 2).await;
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
    assert_eq!(arrived(&client), [(TOPICS[1], &b""[..], 1), (TOPICS[3], &b""[..], 2)]);
    assert!(client.messages.iter().all(|message| message.dup), "{:?}", client.messages);
    client.disconnect().await;
}

#[tokio::test]
async fn dollar_topics() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.connect(&connect("one")).await;
    client.subscribe_to(TWO_LEVELS, 2).await;
    client.subscribe_to("+/TopicA/B", 2).await;
    client.publish(Publish::new("$client_test5/TopicA/B", "", 1)).await;
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
    assert_eq!(reader.unsubscribe(TOPICS[0]).await, [0]);
    let (mut writer, _) = broker.connect(&connect("one")).await;
    for topic in &TOPICS[..3] {
        writer.publish(Publish::new(topic, "", 1)).await;
    }
    reader.until_messages(2).await;
    reader.listen(SILENCE).await;
    assert_eq!(arrived(&reader), [(TOPICS[2], &b""[..], 1), (TOPICS[1], &b""[..], 1)]);
    reader.disconnect().await;
    writer.disconnect().await;
}

#[tokio::test]
async fn session_expiry() {
    let broker = Broker::start().await;
    let clean = |seconds| Connect { properties: expiring_in(seconds), ..connect("one") };
    let resuming = |seconds| Connect { clean: false, ..clean(seconds) };

    // 0: the session ends with its connection.
    let (mut client, connack) = broker.connect(&clean(0)).await;
    assert!(!connack.session_present);
    client.subscribe_to(TOPICS[0], 2).await;
    client.disconnect().await;
    let (client, connack) = broker.connect(&resuming(0)).await;
    assert!(!connack.session_present);
    client.disconnect().await;

    // 5 s: it is there after 2, and gone after 6.
    let (mut client, connack) = broker.connect(&clean(5)).await;
    assert!(!connack.session_present);
    client.subscribe_to(TOPICS[0], 2).await;
    client.disconnect().await;
    sleep(Duration::from_secs(2)).await;
    let (client, connack) = broker.connect(&resuming(5)).await;
    assert!(connack.session_present);
    client.disconnect().await;
    sleep(Duration::from_secs(6)).await;
    let (client, connack) = broker.connect(&resuming(5)).await;
    assert!(!connack.session_present);
    client.disconnect().await;

    // DISCONNECT may change it, to longer and to nothing.
    let (mut client, connack) = broker.connect(&clean(1)).await;
    assert!(!connack.session_present);
    client.subscribe_to(TOPICS[0], 2).await;
    client.disconnect_with(&expiring_in(5)).await;
    sleep(Duration::from_secs(3)).await;
    let (client, connack) = broker.connect(&resuming(1)).await;
    assert!(connack.session_present);
    client.disconnect_with(&expiring_in(0)).await;
    let (client, connack) = broker.connect(&resuming(1)).await;
    assert!(!connack.session_present);
    client.disconnect().await;
}

#[tokio::test]
async fn user_properties() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.connect(&connect("one")).await;
    client.subscribe_to(TOPICS[0], 2).await;
    publish_at_each_qos(&mut client, [TOPICS[0]; 3], &Publish::new("", "", 0).properties(two_users())).await;
    client.until_messages(3).await;
    client.listen(SILENCE).await;
    assert_eq!(qos_of(&client), [0, 1, 2]);
    for message in &client.messages {
        assert_eq!(message.properties.users(), [("a", "2"), ("c", "3")]);
    }
    client.disconnect().await;
}

#[tokio::test]
async fn payload_format() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.connect(&connect("one")).await;
    client.subscribe_to(TOPICS[0], 2).await;
    let properties = none().with(PAYLOAD_FORMAT, Value::Byte(1)).with(CONTENT_TYPE, Value::Text("My name".to_owned()));
    publish_at_each_qos(&mut client, [TOPICS[0]; 3], &Publish::new("", "", 0).properties(properties)).await;
    client.until_messages(3).await;
    client.listen(SILENCE).await;
    assert_eq!(qos_of(&client), [0, 1, 2]);
    for message in &client.messages {
        assert_eq!(message.properties.text(CONTENT_TYPE), Some("My name"));
        assert_eq!(message.properties.number(PAYLOAD_FORMAT), Some(1));
    }
    client.disconnect().await;
}

#[tokio::test]
async fn publication_expiry() {
    let broker = Broker::start().await;
    let (mut away, _) = broker.connect(&Connect { properties: expiring_in(LONG), ..connect("two") }).await;
    away.subscribe_to(TOPICS[0], 2).await;
    away.disconnect_with(&expiring_in(999_999_999)).await;

    let (mut writer, _) = broker.connect(&connect("one")).await;
    for (seconds, payload) in [(1, "expires"), (6, "stays")] {
        for qos in [1, 2] {
            let properties = none().with(MESSAGE_EXPIRY, Value::Four(seconds));
            writer.publish(Publish::new(TOPICS[0], payload, qos).properties(properties)).await;
        }
    }
    sleep(Duration::from_secs(3)).await;
    let (mut back, connack) = broker.connect(&Connect { clean: false, ..connect("two") }).await;
    assert!(connack.session_present);
    back.until_messages(2).await;
    back.listen(SILENCE).await;
    assert_eq!(arrived(&back), [(TOPICS[0], &b"stays"[..], 1), (TOPICS[0], &b"stays"[..], 2)]);
    for message in &back.messages {
        let left = message.properties.number(MESSAGE_EXPIRY);
        assert!(left.is_some_and(|left| left < 6), "{left:?} seconds are left");
    }
    writer.disconnect().await;
}

#[tokio::test]
async fn subscribe_options() {
    let broker = Broker::start().await;
    no_local(&broker).await;
    retain_as_published(&broker).await;
    retain_handling(&broker).await;
}

async fn no_local(broker: &Broker) {
    let filter = [Filter { no_local: true, ..Filter::new(TOPICS[0], 2) }];
    let (mut writer, _) = broker.connect(&connect("one")).await;
    let (mut other, _) = broker.connect(&connect("two")).await;
    assert_eq!(writer.subscribe(&filter, &none()).await, [2]);
    assert_eq!(other.subscribe(&filter, &none()).await, [2]);
    writer.publish(Publish::new(TOPICS[0], "noLocal test", 1)).await;
    other.until_messages(1).await;
    other.listen(SILENCE).await;
    writer.listen(SILENCE).await;
    assert_eq!(writer.messages, []);
    assert_eq!(other.messages.len(), 1, "{:?}", other.messages);
    writer.disconnect().await;
    other.disconnect().await;
}

async fn retain_as_published(broker: &Broker) {
    let (mut client, _) = broker.connect(&connect("one")).await;
    let filter = [Filter { retain_as_published: true, ..Filter::new(TOPICS[0], 2) }];
    assert_eq!(client.subscribe(&filter, &none()).await, [2]);
    client.publish(Publish::new(TOPICS[0], "retain as published false", 1)).await;
    client.publish(Publish::new(TOPICS[0], "retain as published true", 1).retained()).await;
    client.until_messages(2).await;
    client.listen(SILENCE).await;
    let retains: Vec<_> = client.messages.iter().map(|message| message.retain).collect();
    assert_eq!(retains, [false, true]);
    client.disconnect().await;
}

async fn retain_handling(broker: &Broker) {
    let filter = |retain_handling| [Filter { retain_handling, ..Filter::new(TWO_LEVELS, 2) }];
    let (mut client, _) = broker.connect(&connect("one")).await;
    let like = Publish::new("", "kept", 0).retained();
    publish_at_each_qos(&mut client, [TOPICS[1], TOPICS[2], TOPICS[3]], &like).await;

    // 1: to a new subscription only. 2: never. 0: to each SUBSCRIBE.
    for (handling, at_first, again) in
        [(1, &[0, 1, 2][..], &[][..]), (2, &[][..], &[][..]), (0, &[0, 1, 2][..], &[0, 1, 2][..])]
    {
        let (mut client, _) = broker.connect(&connect("two")).await;
        for expected in [at_first, again] {
            client.clear();
            assert_eq!(client.subscribe(&filter(handling), &none()).await, [2]);
            client.until_messages(expected.len()).await;
            client.listen(SILENCE).await;
            assert_eq!(qos_of(&client), expected, "retain handling {handling}");
        }
        client.disconnect().await;
    }
    client.disconnect().await;
}

#[tokio::test]
async fn assigned_clientid() {
    let broker = Broker::start().await;
    let (client, connack) = broker.connect(&connect("")).await;
    assert!(connack.properties.text(ASSIGNED_CLIENT_ID).is_some_and(|id| !id.is_empty()), "{connack:?}");
    client.disconnect().await;
}

#[tokio::test]
async fn subscribe_identifiers() {
    let broker = Broker::start().await;
    let numbered = |number| none().with(SUBSCRIPTION_ID, Value::Varint(number));
    let (mut one, _) = broker.connect(&connect("one")).await;
    one.subscribe(&[Filter::new(TOPICS[0], 2)], &numbered(456_789)).await;
    let (mut two, _) = broker.connect(&connect("two")).await;
    two.subscribe(&[Filter::new(TOPICS[0], 2)], &numbered(2)).await;
    two.subscribe(&[Filter::new("client_test5/TopicA/#", 2)], &numbered(3)).await;
    two.publish(Publish::new(TOPICS[0], "sub identifier test", 1)).await;

    one.until_messages(1).await;
    one.listen(SILENCE).await;
    assert_eq!(one.messages.len(), 1, "{:?}", one.messages);
    assert_eq!(one.messages[0].properties.numbers(SUBSCRIPTION_ID), [456_789]);
    one.disconnect().await;

    // One message for both filters, with both numbers.
    two.until_messages(1).await;
    two.listen(SILENCE).await;
    assert_eq!(two.messages.len(), 1, "{:?}", two.messages);
    let mut numbers = two.messages[0].properties.numbers(SUBSCRIPTION_ID);
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
    two.disconnect().await;
}

#[tokio::test]
async fn request_response() {
    let broker = Broker::start().await;
    let filter = [Filter { no_local: true, ..Filter::new(TOPICS[0], 2) }];
    let (mut asking, _) = broker.connect(&connect("one")).await;
    let (mut answering, _) = broker.connect(&connect("two")).await;
    asking.subscribe(&filter, &none()).await;
    answering.subscribe(&filter, &none()).await;
    let properties = none()
        .with(RESPONSE_TOPIC, Value::Text(TOPICS[0].to_owned()))
        .with(CORRELATION_DATA, Value::Binary(b"334".to_vec()));
    asking.publish(Publish::new(TOPICS[0], "request", 1).properties(properties)).await;

    answering.until_messages(1).await;
    assert_eq!(answering.messages.len(), 1, "{:?}", answering.messages);
    let properties = answering.messages[0].properties.clone();
    assert_eq!(properties.text(RESPONSE_TOPIC), Some(TOPICS[0]));
    assert_eq!(properties.get(CORRELATION_DATA), Some(&Value::Binary(b"334".to_vec())));
    let topic = properties.text(RESPONSE_TOPIC).expect("looked").to_owned();
    answering.publish(Publish::new(&topic, "response", 1).properties(properties)).await;

    asking.until_messages(1).await;
    asking.listen(SILENCE).await;
    assert_eq!(arrived(&asking), [(TOPICS[0], &b"response"[..], 1)]);
    assert_eq!(asking.messages[0].properties.get(CORRELATION_DATA), Some(&Value::Binary(b"334".to_vec())));
    answering.listen(Duration::ZERO).await;
    assert_eq!(answering.messages.len(), 1, "{:?}", answering.messages);
    asking.disconnect().await;
    answering.disconnect().await;
}

#[tokio::test]
async fn client_topic_alias() {
    let broker = Broker::start().await;
    // 0 is no alias.
    let (mut client, _) = broker.connect(&connect("one")).await;
    client.send_publish(Publish::new(TOPICS[0], "topic alias 0", 1).properties(alias(0))).await;
    let reason = client.until_closed().await;
    assert!(matches!(reason, Some(0x81 | 0x82 | 0x94)), "{reason:?}");

    let properties = expiring_in(LONG).with(TOPIC_ALIAS_MAXIMUM, Value::Two(0));
    let (mut client, connack) = broker.connect(&Connect { properties, ..connect("one") }).await;
    // The suite's case ends here where a broker takes no alias; ours takes some.
    assert!(connack.properties.number(TOPIC_ALIAS_MAXIMUM).is_some_and(|most| most > 0), "{connack:?}");
    client.subscribe_to(TOPICS[0], 2).await;
    client.publish(Publish::new(TOPICS[0], "topic alias 1", 1).properties(alias(1))).await;
    client.until_messages(1).await;
    client.publish(Publish::new("", "topic alias 2", 1).properties(alias(1))).await;
    client.until_messages(2).await;
    client.listen(SILENCE).await;
    let expected: [(&str, &[u8], u8); 2] = [(TOPICS[0], b"topic alias 1", 1), (TOPICS[0], b"topic alias 2", 1)];
    assert_eq!(arrived(&client), expected);
    client.disconnect().await;

    // The aliases went with the connection, the subscription stayed with the session.
    let (mut client, connack) = broker.connect(&Connect { clean: false, ..connect("one") }).await;
    assert!(connack.session_present);
    client.publish(Publish::new(TOPICS[0], "topic alias 3", 1)).await;
    client.until_messages(1).await;
    assert_eq!(arrived(&client), [(TOPICS[0], &b"topic alias 3"[..], 1)]);
    client.send_publish(Publish::new("", "topic alias 4", 1).properties(alias(1))).await;
    let reason = client.until_closed().await;
    assert!(matches!(reason, Some(0x81 | 0x82 | 0x94)), "{reason:?}");
}

#[tokio::test]
async fn server_topic_alias() {
    let broker = Broker::start().await;
    let properties = none().with(TOPIC_ALIAS_MAXIMUM, Value::Two(1));
    let messages = messages_at_each_qos(&broker, properties).await;
    let aliases: Vec<_> = messages.iter().map(|message| message.properties.number(TOPIC_ALIAS)).collect();
    assert!(aliases[0].is_some_and(|alias| alias > 0), "{messages:?}");
    assert_eq!(aliases, [aliases[0]; 3]);
    let topics: Vec<_> = messages.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, [TOPICS[0], "", ""]);

    for properties in [none(), none().with(TOPIC_ALIAS_MAXIMUM, Value::Two(0))] {
        for message in messages_at_each_qos(&broker, properties).await {
            assert_eq!(message.properties.number(TOPIC_ALIAS), None);
            assert_eq!(message.topic, TOPICS[0]);
        }
    }
}

/// One message at each `QoS` to oneself, in the order in which the broker sent them.
async fn messages_at_each_qos(broker: &Broker, properties: Properties) -> Vec<Publish> {
    let (mut client, _) = broker.connect(&Connect { properties, ..connect("one") }).await;
    client.subscribe_to(TOPICS[0], 2).await;
    publish_at_each_qos(&mut client, [TOPICS[0]; 3], &Publish::new("", "topic alias 1", 0)).await;
    client.until_messages(3).await;
    client.listen(SILENCE).await;
    let messages = std::mem::take(&mut client.messages);
    assert_eq!(messages.len(), 3, "{messages:?}");
    client.disconnect().await;
    messages
}

#[tokio::test]
async fn maximum_packet_size() {
    let broker = Broker::start().await;
    // What the broker takes.
    let (mut client, connack) = broker.connect(&connect("one")).await;
    if let Some(most) = connack.properties.number(MAXIMUM_PACKET_SIZE) {
        let most = usize::try_from(most).expect("fits");
        client.send_publish(Publish::new(TOPICS[0], ".".repeat(most), 0)).await;
        assert_eq!(client.until_closed().await, Some(0x95));
    } else {
        client.disconnect().await;
    }

    // What the client takes.
    let properties = none().with(MAXIMUM_PACKET_SIZE, Value::Four(64));
    let (mut client, _) = broker.connect(&Connect { properties, ..connect("one") }).await;
    client.subscribe_to(TOPICS[0], 2).await;
    client.publish(Publish::new(TOPICS[0], ".".repeat(32), 0)).await;
    client.until_messages(1).await;
    client.publish(Publish::new(TOPICS[0], ".".repeat(64), 1)).await;
    client.listen(2 * SILENCE).await;
    assert_eq!(client.messages.len(), 1, "{:?}", client.messages);
    // And the broker goes on with what fits.
    client.publish(Publish::new(TOPICS[0], "fits", 1)).await;
    client.until_messages(2).await;
    client.disconnect().await;
}

#[tokio::test]
async fn server_keep_alive() {
    let broker = Broker::start().await;
    let (client, connack) = broker.connect(&Connect { keep_alive: 120, ..connect("one") }).await;
    assert_eq!(connack.properties.number(SERVER_KEEP_ALIVE), Some(60));
    client.disconnect().await;
}

#[tokio::test]
async fn flow_control1() {
    let broker = Broker::start().await;
    let properties = expiring_in(0).with(RECEIVE_MAXIMUM, Value::Two(2));
    let (mut client, _) = broker.connect(&Connect { properties, ..connect("one") }).await;
    client.subscribe_to(TOPICS[0], 2).await;
    let mut waiting: Vec<u16> = Vec::new();
    for number in 1..=3 {
        waiting.push(client.send_publish(Publish::new(TOPICS[0], format!("message {number}"), 1)).await);
    }

    // Two messages and all acknowledgements come, and no third message before the first is acknowledged.
    let mut taken = Vec::new();
    while taken.len() < 2 || !waiting.is_empty() {
        match client.receive(PATIENCE).await.expect("a packet") {
            Packet::Publish(message) => taken.push(message),
            Packet::Ack { kind: kind::PUBACK, id, .. } => waiting.retain(|sent| *sent != id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.receive(SILENCE).await, None);
    assert!(!client.closed);
    client.send(&packet::ack(kind::PUBACK, taken[0].id)).await;
    let Some(Packet::Publish(third)) = client.receive(PATIENCE).await else { panic!("no third message") };
    taken.push(third);
    assert!(taken.iter().all(|message| message.qos == 1), "{taken:?}");
    let payloads: Vec<_> = taken.iter().map(|message| message.payload.as_slice()).collect();
    assert_eq!(payloads, [b"message 1", b"message 2", b"message 3"]);
    for message in &taken[1..] {
        client.send(&packet::ack(kind::PUBACK, message.id)).await;
    }
    client.disconnect().await;
}

#[tokio::test]
async fn flow_control2() {
    let broker = Broker::start().await;
    let (mut client, connack) = broker.connect(&connect("one")).await;
    let most = connack.properties.number(RECEIVE_MAXIMUM).unwrap_or(65_535);
    // One more at QoS 2 than the broker takes, and none of them released.
    for number in 0..=most {
        client.send_publish(Publish::new(TOPICS[0], format!("message {number}"), 2)).await;
    }
    let until = Instant::now() + PATIENCE;
    let reason = loop {
        assert!(Instant::now() < until && !client.closed, "no DISCONNECT");
        match client.receive(PATIENCE).await {
            Some(Packet::Disconnect { code, .. }) => break code,
            Some(Packet::Ack { kind: kind::PUBREC, .. }) | None => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason, 0x93);
    client.until_closed().await;
}

#[tokio::test]
async fn will_delay() {
    // The will comes after its delay or with the session's end, whichever is first.
    let one = will_comes_after(3, 5, Duration::from_secs(3));
    let two = will_comes_after(5, 0, Duration::ZERO);
    let three = will_comes_after(5, 2, Duration::from_secs(2));
    tokio::join!(one, two, three);
}

async fn will_comes_after(delay: u32, expiry: u32, expected: Duration) {
    let broker = Broker::start().await;
    let will = Publish::new(TOPICS[0], "will message", 2).properties(none().with(WILL_DELAY, Value::Four(delay)));
    let dying = Connect { will: Some(will), properties: expiring_in(expiry), ..connect("one") };
    let (dying, connack) = broker.connect(&dying).await;
    assert!(!connack.session_present);
    let (mut heir, _) = broker.connect(&connect("two")).await;
    heir.subscribe_to(TOPICS[0], 2).await;
    let start = Instant::now();
    dying.terminate();
    heir.until_messages(1).await;
    let after = start.elapsed();
    assert!(after >= expected && after < expected + Duration::from_secs(2), "after {after:?}, not {expected:?}");
    assert_eq!(arrived(&heir), [(TOPICS[0], &b"will message"[..], 2)]);
    heir.disconnect().await;
}

#[tokio::test]
async fn shared_subscriptions() {
    let broker = Broker::start().await;
    let filters = [Filter::new("$share/sharename/client_test5/x", 2), Filter::new(TOPICS[0], 2)];
    let (mut one, connack) = broker.connect(&connect("one")).await;
    assert!(!connack.session_present);
    assert_eq!(one.subscribe(&filters, &none()).await, [2, 2]);
    let (mut two, connack) = broker.connect(&connect("two")).await;
    assert!(!connack.session_present);
    assert_eq!(two.subscribe(&filters, &none()).await, [2, 2]);

    // A plain filter brings each message to both.
    two.publish(Publish::new(TOPICS[0], "message 0", 0)).await;
    one.until_messages(1).await;
    two.until_messages(1).await;
    one.listen(SILENCE).await;
    two.listen(Duration::from_millis(100)).await;
    assert_eq!((one.messages.len(), two.messages.len()), (1, 1));

    // A shared one brings each message to one of them.
    for count in 1..=4 {
        one.clear();
        two.clear();
        two.publish(Publish::new("client_test5/x", format!("message {count}"), 0)).await;
        one.listen(SILENCE / 2).await;
        two.listen(SILENCE / 2).await;
        assert_eq!(one.messages.len() + two.messages.len(), 1, "{:?} {:?}", one.messages, two.messages);
    }
    one.disconnect().await;
    two.disconnect().await;
}

/// Where the suite asserts one thing and we do another on purpose: these cases assert what we do, and count as failed.
mod differs {
    use super::*;

    /// The suite asserts 0x80 (unspecified error), which is all that 3.1.1 has. 5.0 has 0x87 (not authorized), which
    /// tells the client not to try again, and the contract promises it.
    #[tokio::test]
    async fn subscribe_failure() {
        let broker = Broker::start().await;
        let (mut client, _) = broker.connect(&connect("one")).await;
        let codes = client.subscribe(&[Filter::new(FORBIDDEN, 2)], &none()).await;
        assert_eq!(codes, [0x87]);
        client.disconnect().await;
    }
}
