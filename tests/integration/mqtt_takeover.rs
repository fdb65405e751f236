//! A client that is back before the front has read its old connection: what it had sent there counts, within bounds, and
//! a session that was to live no longer than its connection does not go on.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    mqtt_certificates::Certificates,
    mqtt_client::{
        Client, PATIENCE,
        packet::{
            self, Connect, Properties, Publish, Value, Version,
            property::{SESSION_EXPIRY, WILL_DELAY},
        },
    },
    mqtt_hub::{Hub, login, stored},
};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// Sensors may do everything below `test/`.
fn rights() -> String {
    let entry = |action| format!("[[rights]]\nwho = 'sensor'\naction = '{action}'\nfilter = 'test/#'\nallow = true\n");
    ["publish", "subscribe"].map(entry).concat()
}

/// A session that outlives its connections.
fn lasting(version: Version, name: &str, client_id: &str) -> Connect {
    let properties = match version {
        Version::V311 => Properties::default(),
        Version::V5 => expiring_in(100),
    };
    Connect { clean: false, properties, ..login(version, name, client_id) }
}

fn expiring_in(seconds: u32) -> Properties {
    Properties::default().with(SESSION_EXPIRY, Value::Four(seconds))
}

fn with_will(connect: Connect) -> Connect {
    Connect { will: Some(Publish::new("test/will", "lost", 1)), ..connect }
}

/// Connects, is let in, sends this and closes without waiting. Says whether there was a session.
async fn round(mut stream: impl AsyncRead + AsyncWrite + Unpin, connect: &Connect, then: &[u8]) -> bool {
    let talk = async {
        stream.write_all(&connect.bytes()).await.expect("written");
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.expect("a CONNACK");
        let mut rest = vec![0; usize::from(head[1])];
        stream.read_exact(&mut rest).await.expect("a CONNACK");
        assert_eq!((head[0], rest[1]), (0x20, 0), "let in");
        stream.write_all(then).await.expect("written");
        stream.flush().await.expect("written");
        rest[0] == 1
    };
    timeout(PATIENCE, talk).await.expect("in time")
}

async fn tcp(hub: &Hub) -> TcpStream {
    let stream = TcpStream::connect(hub.address).await.expect("connected");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Somebody who hears all below `test/`.
async fn watcher(hub: &Hub) -> Client {
    let mut watcher = hub.connect(Version::V5, "sensor", "watcher").await;
    watcher.subscribe_to("test/#", 2).await;
    watcher
}

/// What the watcher has heard up to a mark that comes last.
async fn heard(hub: &Hub, watcher: &mut Client) -> Vec<String> {
    let mut other = hub.connect(Version::V5, "tester", "marker").await;
    other.publish(Publish::new("test/mark", "", 1)).await;
    other.disconnect().await;
    watcher.until("the mark", |client| client.messages.last().is_some_and(|last| last.topic == "test/mark")).await;
    let messages = watcher.messages.drain(..).filter(|message| message.topic != "test/mark");
    messages.map(|message| String::from_utf8(message.payload).expect("text")).collect()
}

/// Waits for something that the front does by itself.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn rounds(usual: usize) -> usize {
    if std::env::var_os("PORTCULLIS_LONG").is_some() { usual * 10 } else { usual }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_goodbye_counts_however_quickly_the_client_is_back() {
    let hub = Hub::with(&rights()).await;
    let mut watcher = watcher(&hub).await;
    for version in VERSIONS {
        let id = |life: &str| format!("{life} {version:?}");
        for connect in [login(version, "tester", &id("brief")), lasting(version, "tester", &id("lasting"))] {
            let connect = with_will(connect);
            for number in 0..rounds(250) {
                let present =
                    round(tcp(&hub).await, &connect, &packet::disconnect(version, &Properties::default())).await;
                assert_eq!(present, !connect.clean && number > 0);
            }
        }
    }
    assert_eq!(heard(&hub, &mut watcher).await, [""; 0], "no will goes out");
    // And one that says nothing has its will published.
    for _ in 0..2 {
        round(tcp(&hub).await, &with_will(login(Version::V5, "tester", "silent")), &[]).await;
    }
    watcher.until_messages(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_goodbye_over_tls_counts_too() {
    let certificates = Certificates::new();
    let tls = Some(certificates.server());
    let hub = Hub::listening(&rights(), std::net::Ipv4Addr::LOCALHOST.into(), tls).await;
    let connector = certificates.client(None);
    let connect = async || {
        let name = tokio_rustls::rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        connector.connect(name, tcp(&hub).await).await.expect("a handshake")
    };
    let subscribe = packet::subscribe(Version::V5, 1, &[packet::Filter::new("test/#", 1)], &Properties::default());
    let watching = lasting(Version::V5, "sensor", "watcher");
    assert!(!round(connect().await, &watching, &subscribe).await);
    let mut bytes = Publish::new("test/a", "said", 0).bytes(Version::V5);
    bytes.extend(packet::disconnect(Version::V5, &Properties::default()));
    let quick = with_will(login(Version::V5, "tester", "quick"));
    let said = rounds(100);
    for _ in 0..said {
        round(connect().await, &quick, &bytes).await;
    }
    until("all messages went on", || hub.front.metrics().received.get() == said as u64).await;
    assert_eq!(hub.front.metrics().unread.get(), 0);
    // Counted by their end: nobody but the watcher's session has anything waiting, and no will was published.
    let quicker = login(Version::V5, "tester", "last");
    round(connect().await, &quicker, &packet::disconnect(Version::V5, &Properties::default())).await;
    let mut stream = connect().await;
    stream.write_all(&watching.bytes()).await.expect("written");
    stream
        .write_all(&Publish { id: 9, ..Publish::new("test/mark", "mark", 1) }.bytes(Version::V5))
        .await
        .expect("written");
    let mut all = Vec::new();
    let read = async {
        while !all.windows(4).any(|window| window == b"mark") {
            assert!(stream.read_buf(&mut all).await.expect("read") > 0);
        }
    };
    timeout(PATIENCE, read).await.expect("in time");
    assert!(!all.windows(4).any(|window| window == b"lost"), "no will goes out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_sent_before_a_quick_reconnect_arrives() {
    let hub = Hub::with(&rights()).await;
    let mut watcher = watcher(&hub).await;
    for version in VERSIONS {
        for qos in 0..3 {
            let id = |life: &str| format!("{life} {version:?} {qos}");
            for connect in [login(version, "tester", &id("brief")), lasting(version, "tester", &id("lasting"))] {
                let numbers: Vec<String> = (0..rounds(40)).map(|number| number.to_string()).collect();
                for (id, number) in (1..).zip(&numbers) {
                    let publish = Publish { id, ..Publish::new("test/number", number, qos) };
                    round(tcp(&hub).await, &connect, &publish.bytes(version)).await;
                }
                // The last one's connection nobody takes over: it is read as ever.
                watcher.until_messages(numbers.len()).await;
                let heard = heard(&hub, &mut watcher).await;
                assert_eq!(heard, numbers, "{version:?} at QoS {qos}, clean: {}", connect.clean);
            }
        }
    }
    assert_eq!(hub.front.metrics().unread.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_session_expiry_of_a_goodbye_counts_however_quickly_the_client_is_back() {
    let hub = Hub::with(&rights()).await;
    let (stays, goes) = (lasting(Version::V5, "tester", "quick"), packet::disconnect(Version::V5, &expiring_in(0)));
    for _ in 0..rounds(100) {
        assert!(!round(tcp(&hub).await, &stays, &goes).await, "the session before ended with its connection");
    }
    // And the other way round: one that was to live a second lives on.
    let short = Connect { properties: expiring_in(1), ..stays };
    let longer = packet::disconnect(Version::V5, &expiring_in(100));
    round(tcp(&hub).await, &short, &longer).await;
    for _ in 0..rounds(20) {
        assert!(round(tcp(&hub).await, &short, &longer).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_goodbye_counts_though_writing_to_its_client_fails() {
    let hub = Hub::with(&rights()).await;
    let mut watcher = watcher(&hub).await;
    for version in VERSIONS {
        let connect = with_will(login(version, "tester", "does not read"));
        let (mut leaving, _) = hub.try_connect(&connect).await;
        leaving.subscribe_to("test/much", 0).await;
        let mut busy = hub.connect(Version::V5, "tester", "busy").await;
        // More than the system keeps for a socket on both sides, so that some waits in the front, which reads no more.
        let received = hub.front.metrics().received.get();
        let much = Publish::new("test/much", vec![b'x'; 100_000], 0).bytes(Version::V5);
        for _ in 0..200 {
            busy.send(&much).await;
        }
        until("all has come", || hub.front.metrics().received.get() == received + 200).await;
        leaving.send(&Publish::new("test/last", "last words", 0).bytes(version)).await;
        leaving.send(&packet::disconnect(version, &Properties::default())).await;
        leaving.terminate();
        until("it has gone", || hub.front.metrics().sessions.get() == 2).await;
        busy.publish(Publish::new("test/end", "end", 1)).await;
        watcher.until("the end", |client| client.messages.last().is_some_and(|last| last.topic == "test/end")).await;
        let of = |topic: &str| watcher.messages.iter().filter(|message| message.topic == topic).count();
        assert_eq!((of("test/will"), of("test/last")), (0, 1), "{version:?}");
        watcher.clear();
        busy.disconnect().await;
    }
}

#[tokio::test]
async fn a_session_without_a_life_of_its_own_is_not_taken_over() {
    let hub = Hub::with(&rights()).await;
    // Each: the first CONNECT, the second, and whether there is a session for it.
    let mut cases = Vec::new();
    for version in VERSIONS {
        let (brief, stays) = (login(version, "tester", "c"), lasting(version, "tester", "c"));
        cases.push((brief.clone(), stays.clone(), false));
        cases.push((stays.clone(), stays.clone(), true));
        cases.push((stays, brief.clone(), false));
        cases.push((brief.clone(), brief, false));
    }
    // 5.0: what counts is the expiry, not Clean Start.
    let five = login(Version::V5, "tester", "c");
    cases.push((Connect { clean: false, ..five.clone() }, Connect { clean: false, ..five.clone() }, false));
    cases.push((Connect { properties: expiring_in(100), ..five.clone() }, Connect { clean: false, ..five }, true));
    for (first, second, present) in cases {
        let (mut old, _) = hub.try_connect(&with_will(first.clone())).await;
        old.subscribe_to("test/a", 1).await;
        let (mut new, connack) = hub.try_connect(&second).await;
        assert_eq!(connack.map(|connack| connack.session_present), Some(present), "{first:?} then {second:?}");
        old.until_closed().await;
        new.publish(Publish::new("test/a", "heard", 1)).await;
        new.subscribe_to("test/b", 1).await;
        new.publish(Publish::new("test/b", "mark", 1)).await;
        new.until("the mark", |client| client.messages.iter().any(|message| message.payload == b"mark")).await;
        assert_eq!(new.messages.len(), 1 + usize::from(present), "{first:?} then {second:?}");
        new.send(&packet::disconnect(
            if second.level == 5 { Version::V5 } else { Version::V311 },
            &Properties::default(),
        ))
        .await;
        new.until_closed().await;
        // So that none of it is left for the next.
        let (last, _) = hub.try_connect(&login(Version::V311, "tester", "c")).await;
        last.disconnect().await;
        until("the session is over", || hub.front.metrics().sessions.get() == 0).await;
    }
}

#[tokio::test]
async fn the_will_of_a_session_that_ends_by_a_take_over_goes_out_whatever_its_delay() {
    let hub = Hub::with(&rights()).await;
    let mut watcher = watcher(&hub).await;
    let delayed =
        Publish::new("test/will", "delayed", 1).properties(Properties::default().with(WILL_DELAY, Value::Four(100)));
    for (connect, goes_out) in
        [(login(Version::V5, "tester", "brief"), true), (lasting(Version::V5, "tester", "stays"), false)]
    {
        let (_old, _) = hub.try_connect(&Connect { will: Some(delayed.clone()), ..connect.clone() }).await;
        let (new, _) = hub.try_connect(&Connect { clean: false, ..connect }).await;
        new.disconnect().await;
        assert_eq!(heard(&hub, &mut watcher).await.len(), usize::from(goes_out));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_floods_does_not_keep_its_next_connection_waiting() {
    let hub = Hub::with(&rights()).await;
    for version in VERSIONS {
        let connect = lasting(version, "tester", "flood");
        let mut flooding = tcp(&hub).await;
        let before = hub.front.metrics().received.get();
        flooding.write_all(&connect.bytes()).await.expect("written");
        let flood = tokio::spawn(async move {
            let bytes = Publish::new("test/flood", [b'x'; 100], 0).bytes(version).repeat(1000);
            // Until the front closes.
            while flooding.write_all(&bytes).await.is_ok() {}
        });
        until("it floods", || hub.front.metrics().received.get() > before + 1000).await;
        let (mut new, connack) = hub.try_connect(&connect).await;
        assert!(connack.is_some_and(|connack| connack.session_present), "{version:?}");
        new.ping().await;
        timeout(PATIENCE, flood).await.expect("the old connection is closed").expect("a task");
        new.disconnect().await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_acknowledgements_is_heard_to_its_goodbye() {
    let mut hub = Hub::with(&format!("[limits]\ninflight = 2\n{}", rights())).await;
    let detection =
        |id| Publish { id, ..Publish::new("camera/1/detections", "{\"personCount\":1}", 1) }.bytes(Version::V311);
    for (answers, clean) in [(false, false), (true, false), (false, true)] {
        let connect = Connect {
            will: Some(Publish::new("camera/1/detections", "{\"personCount\":7}", 1)),
            clean,
            ..login(Version::V311, "cam1", "waits")
        };
        let (mut old, _) = hub.try_connect(&connect).await;
        let unread = hub.front.metrics().unread.get();
        // Two fill the window; behind them lie another, one at QoS 0, and the goodbye.
        let mut bytes = [detection(1), detection(2), detection(3)].concat();
        bytes.extend(Publish::new("camera/1/detections", "{\"personCount\":2}", 0).bytes(Version::V311));
        bytes.extend(packet::disconnect(Version::V311, &Properties::default()));
        old.send(&bytes).await;
        let mut waiting = vec![hub.submission().await, hub.submission().await];
        old.terminate();
        let front = hub.address;
        let back = tokio::spawn(async move { Client::try_connect(front, &connect).await });
        if answers {
            // The window opens again while the newer connection waits.
            for submission in waiting.drain(..) {
                let _ = submission.reply.send(stored());
            }
            let third = hub.submission().await;
            let fourth = hub.submission().await;
            for submission in [third, fourth] {
                let _ = submission.reply.send(stored());
            }
        }
        let (new, connack) = back.await.expect("a task");
        assert_eq!(connack.map(|connack| connack.session_present), Some(!clean), "{answers} {clean}");
        assert_eq!(hub.front.metrics().unread.get() - unread, u64::from(!answers), "{answers} {clean}");
        for submission in waiting {
            let _ = submission.reply.send(stored());
        }
        assert!(hub.submissions.try_recv().is_err(), "no will, nothing twice: {answers} {clean}");
        new.disconnect().await;
        let (last, _) = hub.try_connect(&login(Version::V311, "cam1", "waits")).await;
        last.disconnect().await;
        until("the session is over", || hub.front.metrics().sessions.get() == 0).await;
    }
}

#[tokio::test]
async fn half_a_packet_and_a_client_that_is_silent_hold_nobody_up() {
    let hub = Hub::with(&rights()).await;
    let mut watcher = watcher(&hub).await;
    let whole = Publish { id: 1, ..Publish::new("test/half", vec![b'x'; 50_000], 1) }.bytes(Version::V5);
    for part in [0, 1, 3, 10, 40_000, whole.len() - 1] {
        let (mut old, _) = hub.try_connect(&with_will(lasting(Version::V5, "tester", "half"))).await;
        old.send(&whole[..part]).await;
        let (new, connack) = hub.try_connect(&lasting(Version::V5, "tester", "half")).await;
        assert_eq!(connack.map(|connack| connack.code), Some(0), "{part} bytes");
        assert_eq!(old.until_closed().await, Some(0x8E), "{part} bytes");
        new.disconnect().await;
    }
    // The old connections ended without their client's word.
    assert_eq!(heard(&hub, &mut watcher).await, ["lost"; 6]);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_last_reading() {
    let hub = Hub::with(&rights()).await;
    let mut watcher = watcher(&hub).await;
    for broken in [&[0x90, 0][..], &[0x30, 0xFF, 0xFF, 0xFF, 0x7F], &[0xE0, 2, 0, 0xFF]] {
        for version in VERSIONS {
            let (mut old, _) = hub.try_connect(&with_will(login(version, "tester", "broken"))).await;
            let mut bytes = Publish::new("test/before", "before", 0).bytes(version);
            bytes.extend(broken);
            bytes.extend(packet::disconnect(version, &Properties::default()));
            old.send(&bytes).await;
            let (new, connack) = hub.try_connect(&login(version, "tester", "broken")).await;
            assert_eq!(connack.map(|connack| connack.code), Some(0));
            let reason = old.until_closed().await;
            assert!(version == Version::V311 || reason.is_some_and(|reason| reason != 0x8E), "{reason:?}");
            new.disconnect().await;
            // A DISCONNECT behind what cannot be read is none.
            assert_eq!(heard(&hub, &mut watcher).await, ["before", "lost"], "{broken:?} {version:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_of_take_overs_loses_no_session_and_publishes_no_will() {
    const CROWD: usize = 200;
    let hub = Hub::with(&rights()).await;
    let mut watcher = watcher(&hub).await;
    for version in VERSIONS {
        let connect = lasting(version, "tester", "crowd");
        let (mut first, _) = hub.try_connect(&connect).await;
        first.subscribe_to("test/crowd", 1).await;
        first.disconnect().await;
        let mut bytes = with_will(connect.clone()).bytes();
        bytes.extend(packet::disconnect(version, &Properties::default()));
        let all = (0..CROWD).map(|_| {
            let (address, bytes) = (hub.address, bytes.clone());
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("connected");
                // Without waiting to be let in. Some stay open, as behind a network that is gone.
                stream.write_all(&bytes).await.expect("written");
                let mut answer = [0; 4];
                let _ = timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer or the end");
            })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.expect("a task");
        }
        let (mut last, connack) = hub.try_connect(&connect).await;
        assert!(connack.is_some_and(|connack| connack.session_present), "{version:?}");
        last.publish(Publish::new("test/crowd", "still there", 1)).await;
        last.until_messages(1).await;
        last.disconnect().await;
        assert_eq!(heard(&hub, &mut watcher).await, ["still there"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_client_that_goes_on_sending_is_taken_over_all_the_same() {
    let hub = Hub::with(&rights()).await;
    let connect = lasting(Version::V5, "tester", "two paths");
    let mut old = tcp(&hub).await;
    old.write_all(&connect.bytes()).await.expect("written");
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while old.write_all(&Publish::new("test/trickle", "x", 0).bytes(Version::V5)).await.is_ok() {
            sent += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        sent
    });
    until("it sends", || hub.front.metrics().received.get() > 10).await;
    let (mut new, connack) = hub.try_connect(&connect).await;
    assert!(connack.is_some_and(|connack| connack.session_present));
    new.ping().await;
    assert!(timeout(PATIENCE, sending).await.expect("the old one is closed").expect("a task") > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lock_agent_that_restarts_is_not_said_to_be_lost() {
    let hub = Hub::start().await;
    let mut panel = hub.connect(Version::V5, "panel", "panel").await;
    panel.subscribe_to("lock/status", 1).await;
    for version in VERSIONS {
        let connect = Connect {
            will: Some(Publish::new("lock/status", "the lock worker was lost", 1).retained()),
            ..login(version, "lock1", "lock-agent")
        };
        let mut last_words = Publish { id: 1, ..Publish::new("lock/status", "stopped", 1) }.bytes(version);
        last_words.extend(packet::disconnect(version, &Properties::default()));
        let times = rounds(100);
        for _ in 0..times {
            round(tcp(&hub).await, &connect, &last_words).await;
        }
        panel.until_messages(times).await;
        until("the last session is over", || hub.front.metrics().sessions.get() == 1).await;
        panel.ping().await;
        let told: Vec<_> = panel.messages.drain(..).map(|message| message.payload).collect();
        assert!(told.iter().all(|payload| payload == b"stopped") && told.len() == times, "{version:?}: {}", told.len());
    }
}
