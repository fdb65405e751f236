//! What the Mosquitto project's own broker tests ask of any broker, where the suites beside this one do not ask it: by
//! subject, in our own words and code. Where the hub does otherwise the case says why: a paragraph of the standard, or a
//! choice of docs/mqtt.md.

use crate::{
    mqtt_broker::Broker,
    mqtt_client::{
        Client, PATIENCE,
        packet::{
            self, Connect, Filter, Packet, Properties, Publish, Value, Version, kind,
            property::{MESSAGE_EXPIRY, SESSION_EXPIRY, SUBSCRIPTION_ID, WILL_DELAY},
        },
    },
};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

fn none() -> Properties {
    Properties::default()
}

/// A session that outlives its connection.
fn lasting(version: Version, client_id: &str) -> Connect {
    let properties =
        if version == Version::V5 { none().with(SESSION_EXPIRY, Value::Four(60)) } else { Properties::default() };
    Connect { clean: false, properties, ..Broker::login(version, client_id) }
}

async fn connect(broker: &Broker, version: Version, client_id: &str) -> Client {
    broker.connect(&Broker::login(version, client_id)).await.0
}

/// What has come, up to a message of the client's own behind all that is on its way.
async fn heard(client: &mut Client) -> Vec<(String, String)> {
    client.subscribe_to("mark", 0).await;
    client.publish(Publish::new("mark", "", 0)).await;
    // At QoS 2 what was sent before the mark counts only with its PUBREL, which may come after it.
    let is_whole =
        |client: &Client| client.held.is_empty() && client.messages.iter().any(|message| message.topic == "mark");
    client.until("the mark", is_whole).await;
    let text = |payload: Vec<u8>| String::from_utf8(payload).expect("text");
    let all = client.messages.drain(..).map(|message| (message.topic, text(message.payload)));
    all.filter(|(topic, _)| topic != "mark").collect()
}

/// Pairs as [`heard`] gives them.
fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(topic, payload)| ((*topic).to_owned(), (*payload).to_owned())).collect()
}

// CONNECT and DISCONNECT --------------------------------------------------------------------------------------------

#[tokio::test]
async fn two_thousand_user_properties_in_a_connect_are_read() {
    let broker = Broker::start().await;
    let properties = (0..2_000).fold(none(), |properties, _| properties.user("key", "value"));
    let (mut client, _) = broker.connect(&Connect { properties, ..Broker::login(Version::V5, "c") }).await;
    client.ping().await;
}

#[tokio::test]
async fn a_disconnect_in_each_of_its_forms_makes_the_will_void() {
    let broker = Broker::start().await;
    let mut watcher = connect(&broker, Version::V5, "watcher").await;
    watcher.subscribe_to("will", 0).await;
    let forms: [&[u8]; 6] = [
        &[],
        &[0],
        &[0, 0],
        &[0, 9, 38, 0, 2, b'k', b'y', 0, 2, b'v', b'a'],
        &[0, 99, 38, 0, 2, b'k', b'y', 0, 2, b'v', b'a'],
        &[0x04],
    ];
    for (form, goes_out) in forms.into_iter().zip([false, false, false, false, true, true]) {
        let will = Some(Publish::new("will", "lost", 0));
        let (mut client, _) = broker.connect(&Connect { will, ..Broker::login(Version::V5, "leaves") }).await;
        // The fifth's properties are longer than it, so it is none; the last asks for the will.
        client.send(&packet::frame(0xE0, form)).await;
        client.paused = true;
        client.until_closed().await;
        // Its session is over once its id is free for another.
        connect(&broker, Version::V5, "leaves").await.disconnect().await;
        assert_eq!(heard(&mut watcher).await.len(), usize::from(goes_out), "{form:?}");
    }
}

#[tokio::test]
async fn a_connect_that_is_malformed_is_answered_as_far_as_its_version_allows() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let with_will =
            |topic: &str| Connect { will: Some(Publish::new(topic, "", 1).retained()), ..Connect::new(version, "c") };
        let plain = with_will("will/topic").bytes();
        // Without the will's payload, whose length are the last two bytes.
        let mut without_payload = plain[..plain.len() - 2].to_vec();
        without_payload[1] -= 2;
        let at = plain.windows(4).position(|part| part == b"will").expect("a topic");
        let mut with_nul = plain.clone();
        with_nul[at] = 0;
        let mut no_text = plain.clone();
        no_text[at] = 0xFF;
        for bytes in [without_payload, with_nul, no_text] {
            let mut client = Client::open(broker.address, version).await;
            client.send(&bytes).await;
            match client.receive(PATIENCE).await {
                // 3.1.1 has no code for it: the connection is closed without an answer (3.1.4).
                None => assert_eq!((version, client.closed), (Version::V311, true)),
                Some(Packet::Connack { code, .. }) => assert_eq!((version, code), (Version::V5, 0x81)),
                other => panic!("{other:?}"),
            }
        }
        // A will for no topic at all: Mosquitto closes; the hub says what is wrong where it can (3.1.2.5, code 0x90 of 5.0).
        let empty = Connect { will: Some(Publish::new("", "", 0)), ..Broker::login(version, "c") };
        let (_, connack) = Client::try_connect(broker.address, &empty).await;
        assert_eq!(connack.map(|connack| connack.code), Some(if version == Version::V5 { 0x90 } else { 3 }));
    }
}

#[tokio::test]
async fn an_authentication_method_that_nobody_knows_is_refused() {
    let broker = Broker::start().await;
    let properties = none().with(21, Value::Text("method".to_owned()));
    let connect = Connect { properties, ..Broker::login(Version::V5, "c") };
    let (_, connack) = Client::try_connect(broker.address, &connect).await;
    assert_eq!(connack.map(|connack| connack.code), Some(0x8C));
}

// SUBSCRIBE ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn filters_match_live_messages_and_retained_ones_alike() {
    let broker = Broker::start().await;
    for (number, (filter, topic)) in [
        ("#", "test/topic"),
        ("#", "/test/topic"),
        ("foo/#", "foo/bar/baz"),
        ("foo/+/baz", "foo/bar/baz"),
        ("foo/+/baz/#", "foo/bar/baz"),
        ("foo/+/baz/#", "foo/bar/baz/bar"),
        ("foo/foo/baz/#", "foo/foo/baz/bar"),
        ("foo/#", "foo"),
        ("foo/#", "foo/"),
        ("/#", "/foo"),
        ("test/topic/", "test/topic/"),
        ("test/topic/+", "test/topic/"),
        ("+/+/+/+/+/+/+/+/+/+/test", "one/two/three/four/five/six/seven/eight/nine/ten/test"),
        ("#", "test////a//topic"),
        ("#", "/test////a//topic"),
        ("foo/#", "foo//bar///baz"),
        ("foo/+/baz", "foo//baz"),
        ("foo/+/baz//", "foo//baz//"),
        ("foo/+/baz/#", "foo//baz"),
        ("foo/+/baz/#", "foo//baz/bar"),
        ("foo//baz/#", "foo//baz/bar"),
        ("/#", "////foo///bar"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = connect(&broker, VERSIONS[number % 2], "c").await;
        client.subscribe_to(filter, 0).await;
        client.publish(Publish::new(topic, "message", 1).retained()).await;
        client.until_messages(1).await;
        client.unsubscribe(filter).await;
        client.subscribe_to(filter, 0).await;
        client.until_messages(2).await;
        let seen: Vec<_> = client.messages.iter().map(|one| (one.topic.as_str(), one.retain)).collect();
        assert_eq!(seen, [(topic, false), (topic, true)], "{filter}");
        client.publish(Publish::new(topic, "", 1).retained()).await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn a_subscriptions_identifier_may_be_changed_given_and_taken_away() {
    let broker = Broker::start().await;
    let mut client = connect(&broker, Version::V5, "c").await;
    let id = |number: Option<u32>| number.map_or_else(none, |id| none().with(SUBSCRIPTION_ID, Value::Varint(id)));
    for ids in [[Some(1), Some(14), None], [None, Some(19), Some(21)]] {
        for (filter, number) in ["ids/one", "ids/+/two", "ids/three"].into_iter().zip(ids) {
            assert_eq!(client.subscribe(&[Filter::new(filter, 0)], &id(number)).await, [0]);
        }
        for (topic, number) in ["ids/one", "ids/x/two", "ids/three"].into_iter().zip(ids) {
            client.publish(Publish::new(topic, "", 0)).await;
            client.until_messages(1).await;
            let got = client.messages.remove(0);
            assert_eq!(got.properties.numbers(SUBSCRIPTION_ID), Vec::from_iter(number), "{topic}");
        }
    }
}

#[tokio::test]
async fn what_is_no_text_in_a_packet_ends_the_connection() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        for bad in [0x00, 0xFF] {
            let mut subscribe = packet::subscribe(version, 1, &[Filter::new("invalid/utf8", 0)], &none());
            let mut publish = Publish { id: 1, ..Publish::new("invalid/utf8", "", 1) }.bytes(version);
            let mut unsubscribe = packet::unsubscribe(version, 1, &["invalid/utf8"]);
            for bytes in [&mut subscribe, &mut publish, &mut unsubscribe] {
                let at = bytes.windows(4).position(|part| part == b"utf8").expect("a topic");
                bytes[at] = bad;
                let mut client = connect(&broker, version, "c").await;
                client.send(bytes).await;
                assert_eq!(client.until_closed().await, (version == Version::V5).then_some(0x81));
            }
        }
    }
}

/// Mosquitto lets a topic have 200 levels and ends the connection above; the hub counts bytes (`topic_bytes`) and answers.
#[tokio::test]
async fn topics_of_many_levels_are_taken_as_far_as_their_bytes_allow() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut client = connect(&broker, version, "c").await;
        for topic in ["/".repeat(200), "abc/".repeat(199) + "d", "/".repeat(1024)] {
            client.subscribe_to(&topic, 0).await;
            client.publish(Publish::new(&topic, "", 0)).await;
            client.until_messages(1).await;
            assert_eq!(client.messages.remove(0).topic, topic);
        }
        let (too_long, refused) = ("/".repeat(30_000), if version == Version::V5 { 0x8F } else { 0x80 });
        assert_eq!(client.subscribe(&[Filter::new(&too_long, 0)], &none()).await, [refused]);
        let refused = if version == Version::V5 { 0x90 } else { 0 };
        assert_eq!(client.publish(Publish::new(&too_long, "", 1)).await, refused);
        client.ping().await;
    }
}

/// Mosquitto lets everybody hear `$SYS`, and take part in bridges' talk of themselves; here both need an entry.
#[tokio::test]
async fn topics_that_begin_with_a_dollar_are_closed() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let v5 = version == Version::V5;
        let mut client = connect(&broker, version, "c").await;
        let filters = ["$SYS/broker/missing", "$share/share/#", "$share/share/$SYS/#"].map(|text| Filter::new(text, 0));
        let refused = if v5 { 0x87 } else { 0x80 };
        assert_eq!(client.subscribe(&filters, &none()).await, [refused, 0, refused]);
        for topic in
            ["$SYS/broker/uptime", "$SYS/broker/connection/me", "$SYS/broker/connection/me/state", "$share/share/topic"]
        {
            assert_eq!(client.publish(Publish::new(topic, "", 1)).await, if v5 { 0x87 } else { 0 }, "{topic}");
        }
        client.ping().await;
    }
}

#[tokio::test]
async fn one_member_of_each_group_hears_a_message_and_everybody_else_does() {
    let broker = Broker::start().await;
    let mut all = Vec::new();
    for (client_id, filters) in [
        ("everybody", &["#"][..]),
        ("one", &["$share/one/shared"]),
        ("both", &["$share/one/shared", "$share/two/shared"]),
        ("two", &["$share/two/shared"]),
    ] {
        let mut client = connect(&broker, Version::V5, client_id).await;
        for filter in filters {
            client.subscribe_to(filter, 0).await;
        }
        all.push(client);
    }
    let mut publisher = connect(&broker, Version::V5, "publisher").await;
    for number in 0..6 {
        publisher.publish(Publish::new("shared", number.to_string(), 1)).await;
    }
    all[0].until_messages(6).await;
    // The members take turns: half of each group's messages are each one's.
    for (client, wanted) in all[1..].iter_mut().zip([3, 6, 3]) {
        client.until_messages(wanted).await;
        client.ping().await;
        assert_eq!(client.messages.len(), wanted);
    }
    for (client, filter) in all.iter_mut().zip(["#", "$share/one/shared", "$share/one/shared", "$share/two/shared"]) {
        assert_eq!(client.unsubscribe(filter).await, [0]);
        assert_eq!(client.unsubscribe(filter).await, [0x11]);
    }
}

// PUBLISH -----------------------------------------------------------------------------------------------------------

/// The four forms of an acknowledgement of 5.0 (3.4.2.1): neither code nor properties, a code, empty properties, one.
fn acknowledgements(kind: u8) -> [Vec<u8>; 4] {
    let property = [0, 1, 0, 9, 38, 0, 2, b'k', b'y', 0, 2, b'v', b'a'];
    [&[0, 1][..], &[0, 1, 0], &[0, 1, 0, 0], &property].map(|body| packet::frame(kind, body))
}

#[tokio::test]
async fn acknowledgements_are_taken_in_each_of_their_forms() {
    let broker = Broker::start().await;
    let mut publisher = connect(&broker, Version::V5, "publisher").await;
    for form in 0..4 {
        for qos in [1, 2] {
            let mut client = connect(&broker, Version::V5, "c").await;
            client.subscribe_to("forms", qos).await;
            publisher.publish(Publish::new("forms", "x", qos)).await;
            let Some(Packet::Publish(publish)) = client.receive(PATIENCE).await else { panic!("no PUBLISH") };
            assert_eq!(publish.id, 1, "the first of the session");
            if qos == 1 {
                client.send(&acknowledgements(kind::PUBACK)[form]).await;
            } else {
                client.send(&acknowledgements(kind::PUBREC)[form]).await;
                let next = client.receive(PATIENCE).await;
                assert!(matches!(next, Some(Packet::Ack { kind: kind::PUBREL, id: 1, code: 0, .. })), "{next:?}");
                client.send(&acknowledgements(kind::PUBCOMP)[form]).await;
            }
            client.ping().await;
            client.disconnect().await;
        }
        // And the client's own, at QoS 2.
        let mut client = connect(&broker, Version::V5, "c").await;
        client.send(&Publish { id: 1, ..Publish::new("forms", "x", 2) }.bytes(Version::V5)).await;
        assert!(matches!(client.receive(PATIENCE).await, Some(Packet::Ack { kind: kind::PUBREC, id: 1, .. })));
        client.send(&acknowledgements(kind::PUBREL)[form]).await;
        let next = client.receive(PATIENCE).await;
        assert!(matches!(next, Some(Packet::Ack { kind: kind::PUBCOMP, id: 1, code: 0, .. })), "{next:?}");
        client.ping().await;
    }
}

#[tokio::test]
async fn a_message_that_its_subscriber_refuses_is_done_with() {
    let broker = Broker::start().await;
    let mut client = connect(&broker, Version::V5, "c").await;
    client.subscribe_to("refused/+", 2).await;
    let mut publisher = connect(&broker, Version::V311, "publisher").await;
    publisher.publish(Publish::new("refused/first", "x", 2)).await;
    let Some(Packet::Publish(first)) = client.receive(PATIENCE).await else { panic!("no PUBLISH") };
    client.send(&packet::frame(kind::PUBREC, &[0, u8::try_from(first.id).expect("small"), 0x80])).await;
    publisher.publish(Publish::new("refused/second", "x", 2)).await;
    // No PUBREL comes for the first (4.3.3).
    let next = client.receive(PATIENCE).await;
    assert!(matches!(next, Some(Packet::Publish(second)) if second.topic == "refused/second"));
}

/// Mosquitto ends the connection at the third; the standard bounds nothing here (4.3.3 asks for an answer to each).
#[tokio::test]
async fn a_message_at_qos_2_that_comes_again_and_again_is_heard_once() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut client = connect(&broker, version, "c").await;
        client.subscribe_to("again", 0).await;
        let publish = Publish { id: 1, dup: true, ..Publish::new("again", "x", 2) };
        for _ in 0..5 {
            client.send(&publish.bytes(version)).await;
        }
        client.ping().await;
        assert_eq!(heard(&mut client).await, pairs(&[("again", "x")]));
    }
}

#[tokio::test]
async fn an_exchange_at_qos_2_goes_on_over_a_new_connection() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut watcher = connect(&broker, version, "watcher").await;
        watcher.subscribe_to("exchange/#", 2).await;
        let session = lasting(version, "c");
        let publish = |topic: &str, dup| Publish { id: 1, dup, ..Publish::new(topic, "x", 2) }.bytes(version);
        let is =
            |next: &Option<Packet>, wanted| matches!(next, Some(Packet::Ack { kind, id: 1, .. }) if *kind == wanted);
        let (mut client, _) = broker.connect(&session).await;
        client.send(&publish("exchange/one", false)).await;
        assert!(is(&client.receive(PATIENCE).await, kind::PUBREC));
        client.terminate();
        // Nobody has seen the PUBREC: the message comes again, and then the PUBCOMP is lost as well.
        let (mut client, connack) = broker.connect(&session).await;
        assert!(connack.session_present);
        client.send(&publish("exchange/one", true)).await;
        assert!(is(&client.receive(PATIENCE).await, kind::PUBREC));
        client.send(&packet::ack(kind::PUBREL, 1)).await;
        assert!(is(&client.receive(PATIENCE).await, kind::PUBCOMP));
        client.terminate();
        let (mut client, _) = broker.connect(&session).await;
        client.send(&packet::ack(kind::PUBREL, 1)).await;
        assert!(is(&client.receive(PATIENCE).await, kind::PUBCOMP));
        // The same identifier stands for other messages from then on, heard by somebody or by nobody.
        for topic in ["nobody/hears", "exchange/two"] {
            client.send(&publish(topic, false)).await;
            assert!(is(&client.receive(PATIENCE).await, kind::PUBREC));
            client.send(&packet::ack(kind::PUBREL, 1)).await;
            assert!(is(&client.receive(PATIENCE).await, kind::PUBCOMP));
        }
        assert_eq!(heard(&mut watcher).await, pairs(&[("exchange/one", "x"), ("exchange/two", "x")]), "{version:?}");
        watcher.disconnect().await;
        client.disconnect().await;
        broker.connect(&Broker::login(version, "c")).await.0.disconnect().await;
    }
}

// Retained messages -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn retained_messages_are_cleared_one_by_one_and_given_as_often_as_asked() {
    let broker = Broker::start().await;
    let mut publisher = connect(&broker, Version::V311, "publisher").await;
    let topics = ["1/2/3/4/5/6/7", "1/2/3/4", "1"];
    for topic in topics {
        publisher.publish(Publish::new(topic, "kept", 1).retained()).await;
    }
    for cleared in 0..=3 {
        for version in VERSIONS {
            let mut client = connect(&broker, version, "c").await;
            // Each SUBSCRIBE brings them anew, also one that is there already (3.8.4); at its own QoS.
            for _ in 0..2 {
                client.subscribe_to("1/#", 0).await;
                client.until_messages(topics.len() - cleared).await;
                client.ping().await;
                let seen: Vec<_> = client.messages.drain(..).map(|one| (one.topic, one.qos, one.retain)).collect();
                let wanted = topics[cleared..].iter().map(|topic| ((*topic).to_owned(), 0, true));
                assert_eq!(seen, wanted.collect::<Vec<_>>());
            }
            client.disconnect().await;
        }
        if let Some(topic) = topics.get(cleared) {
            publisher.publish(Publish::new(topic, "", 1).retained()).await;
        }
    }
}

#[tokio::test]
async fn a_message_that_comes_live_is_not_marked_as_retained() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut client = connect(&broker, version, "c").await;
        client.subscribe_to("fresh", 1).await;
        for (payload, retain) in [("kept", true), ("", true), ("plain", false)] {
            client.publish(Publish { retain, ..Publish::new("fresh", payload, 1) }).await;
            client.until_messages(1).await;
            let got = client.messages.remove(0);
            assert_eq!((got.retain, got.payload), (false, payload.as_bytes().to_vec()));
        }
    }
}

#[tokio::test]
async fn a_retained_message_dies_at_its_expiry_and_others_stay() {
    let broker = Broker::start().await;
    let mut client = connect(&broker, Version::V5, "c").await;
    let brief = none().with(MESSAGE_EXPIRY, Value::Four(1));
    client.publish(Publish::new("expiry/brief", "x", 1).retained().properties(brief)).await;
    client.publish(Publish::new("expiry/stays", "x", 1).retained()).await;
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        client.subscribe_to("expiry/+", 1).await;
        client.until("those that stay", |client| client.messages.iter().any(|one| one.topic == "expiry/stays")).await;
        client.ping().await;
        let brief = client.messages.drain(..).find(|one| one.topic == "expiry/brief");
        let Some(brief) = brief else { break };
        assert!(brief.properties.number(MESSAGE_EXPIRY).is_some_and(|left| left <= 1), "{brief:?}");
        assert!(std::time::Instant::now() < until, "it is still there");
    }
}

// Sessions ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_session_keeps_its_subscriptions_and_those_that_are_shared() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let session = lasting(version, &format!("{version:?}"));
        let (mut client, _) = broker.connect(&session).await;
        client.subscribe_to("plain/sub", 1).await;
        client.subscribe_to("$share/name/shared/sub", 1).await;
        for _ in 0..2 {
            let mut publisher = connect(&broker, version, "publisher").await;
            for topic in ["plain/sub", "shared/sub"] {
                publisher.publish(Publish::new(topic, "x", 1)).await;
            }
            client.until_messages(2).await;
            publisher.disconnect().await;
            // Without a word, and back at once.
            client.terminate();
            let connack;
            (client, connack) = broker.connect(&session).await;
            assert!(connack.session_present, "{version:?}");
        }
        client.disconnect().await;
        broker.connect(&Broker::login(version, &format!("{version:?}"))).await.0.disconnect().await;
    }
}

#[tokio::test]
async fn a_client_may_change_between_a_lasting_session_and_none() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let id = format!("{version:?}");
        for connect in [lasting(version, &id), Broker::login(version, &id), lasting(version, &id)] {
            let (mut client, connack) = broker.connect(&connect).await;
            assert!(!connack.session_present, "{version:?}: nothing is there of the one before");
            client.subscribe_to("flip", 1).await;
            client.publish(Publish::new("flip", "x", 1)).await;
            client.until_messages(1).await;
            client.disconnect().await;
            if !connect.clean {
                // Ends it, so that each begins with nothing.
                let (client, _) = broker.connect(&Broker::login(version, &id)).await;
                client.disconnect().await;
            }
        }
    }
}

// Wills -------------------------------------------------------------------------------------------------------------

/// A will goes out when its connection ends without a DISCONNECT, also by a take-over (3.1.2-8 of 3.1.1, the note at
/// 3.1.4-3 of 5.0). Mosquitto publishes none where both sessions last.
#[tokio::test]
async fn a_will_goes_out_when_its_connection_is_taken_over() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut watcher = connect(&broker, version, "watcher").await;
        watcher.subscribe_to("will", 0).await;
        for first in [lasting(version, "c"), Broker::login(version, "c")] {
            for second in [lasting(version, "c"), Broker::login(version, "c")] {
                let will = Some(Publish::new("will", "LWT", 0));
                let (_old, _) = broker.connect(&Connect { will, ..first.clone() }).await;
                let (new, connack) = broker.connect(&second).await;
                assert_eq!(connack.session_present, !first.clean && !second.clean, "{version:?}");
                new.disconnect().await;
                broker.connect(&Broker::login(version, "c")).await.0.disconnect().await;
                assert_eq!(heard(&mut watcher).await, pairs(&[("will", "LWT")]), "{version:?} {first:?} {second:?}");
            }
        }
        watcher.disconnect().await;
    }
}

#[tokio::test]
async fn a_will_is_void_after_a_disconnect_also_when_its_session_is_taken_up_again() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut watcher = connect(&broker, version, "watcher").await;
        watcher.subscribe_to("will", 0).await;
        let connect = Connect { will: Some(Publish::new("will", "lost", 0)), ..lasting(version, "c") };
        for _ in 0..3 {
            let (mut client, _) = broker.connect(&connect).await;
            client.publish(Publish::new("will", "alive", 1)).await;
            client.disconnect().await;
        }
        broker.connect(&Broker::login(version, "c")).await.0.disconnect().await;
        assert_eq!(heard(&mut watcher).await, pairs(&[("will", "alive"); 3]), "{version:?}");
        watcher.disconnect().await;
    }
}

/// A will's delay ends with the session, or is over before; and a client that is back in time has none published.
#[tokio::test]
async fn a_will_that_waits_is_published_unless_its_client_is_back_in_time() {
    let broker = Broker::start().await;
    let mut watcher = connect(&broker, Version::V5, "watcher").await;
    watcher.subscribe_to("will/+", 0).await;
    let connect = |client_id: &str, delay, expiry| {
        let properties = none().with(WILL_DELAY, Value::Four(delay));
        Connect {
            will: Some(Publish::new(&format!("will/{client_id}"), "delayed", 0).properties(properties)),
            properties: none().with(SESSION_EXPIRY, Value::Four(expiry)),
            clean: false,
            ..Broker::login(Version::V5, client_id)
        }
    };
    // Back in time; then others whose wills are due later, so that its own would have come before theirs.
    let (gone, _) = broker.connect(&connect("back", 1, 60)).await;
    gone.terminate();
    let (_back, connack) = broker.connect(&connect("back", 1, 60)).await;
    assert!(connack.session_present);
    for (client_id, delay, expiry) in [("by-its-delay", 1, 60), ("by-its-session", 60, 1), ("at-once", 60, 0)] {
        broker.connect(&connect(client_id, delay, expiry)).await.0.terminate();
    }
    watcher.until_messages(3).await;
    let mut topics: Vec<_> = watcher.messages.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics[0], "will/at-once");
    topics.sort_unstable();
    assert_eq!(topics, ["will/at-once", "will/by-its-delay", "will/by-its-session"]);
}

#[tokio::test]
async fn a_will_may_be_empty_and_is_kept_where_it_is_to_be() {
    let broker = Broker::start().await;
    for version in VERSIONS {
        let mut watcher = connect(&broker, version, "watcher").await;
        watcher.subscribe_to("will/#", 2).await;
        for (payload, retain) in [("", false), ("kept", true)] {
            for qos in 0..3 {
                let will = Some(Publish { retain, ..Publish::new("will/a", payload, qos) });
                broker.connect(&Connect { will, ..Broker::login(version, "c") }).await.0.terminate();
                watcher.until_messages(1).await;
                let got = watcher.messages.remove(0);
                assert_eq!((got.payload, got.qos, got.retain), (payload.as_bytes().to_vec(), qos, false));
            }
        }
        let mut later = connect(&broker, version, "later").await;
        later.subscribe_to("will/#", 0).await;
        later.until_messages(1).await;
        assert!(later.messages[0].retain);
        later.publish(Publish::new("will/a", "", 1).retained()).await;
        later.disconnect().await;
        watcher.disconnect().await;
    }
}
