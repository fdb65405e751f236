//! Against a hub that the test plays itself, packet by packet.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{self, ConnAck, PubAck, SubAck};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// The hub's end of one connection.
struct Hub {
    socket: TcpStream,
    read: BytesMut,
}

impl Hub {
    async fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = timeout(PATIENCE, listener.accept()).await.expect("in time").expect("a connection");
        Self { socket, read: BytesMut::new() }
    }

    async fn next(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.read, LONGEST) {
                Ok(packet) => return packet,
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            let read = timeout(PATIENCE, self.socket.read_buf(&mut self.read)).await.expect("in time").expect("bytes");
            assert_ne!(read, 0, "the client closed the connection");
        }
    }

    async fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> Result<usize, rumqttc::mqttbytes::Error>) {
        let mut bytes = BytesMut::new();
        write(&mut bytes).expect("written");
        self.socket.write_all(&bytes).await.expect("sent");
    }

    /// Takes the connection and its subscriptions, with this code for each of them.
    async fn establish(&mut self, code: SubscribeReasonCode) -> v4::Connect {
        let Packet::Connect(connect) = self.next().await else { panic!("no CONNECT") };
        self.send(|to| ConnAck::new(ConnectReturnCode::Success, false).write(to)).await;
        let Packet::Subscribe(subscribe) = self.next().await else { panic!("no SUBSCRIBE") };
        assert_eq!(subscribe.filters.len(), 2);
        let answer = SubAck::new(subscribe.pkid, vec![SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce), code]);
        self.send(|to| answer.write(to)).await;
        connect
    }

    /// The next PUBLISH, acknowledged.
    async fn published(&mut self) -> Publish {
        loop {
            match self.next().await {
                Packet::Publish(publish) => {
                    let id = publish.pkid;
                    self.send(|to| PubAck::new(id).write(to)).await;
                    return publish;
                }
                Packet::PingReq => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

struct Bench {
    hub: TcpListener,
    link: Link,
    driver: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
}

fn message(topic: &str, payload: &str) -> Message {
    let payload = payload.to_owned().into();
    Message { topic: topic.to_owned(), payload, qos: QoS::AtLeastOnce, retain: true }
}

fn settings(url: &str) -> RemoteSettings {
    RemoteSettings {
        url: url.parse().expect("a URL"),
        username: "lock".to_owned(),
        password: "secret".to_owned(),
        ca: None,
        client_id: "portcullis-lock".to_owned(),
        will: Some(message("lock/status", "gone")),
        filters: vec!["lock/command".to_owned(), "hub/status".to_owned()],
    }
}

impl Bench {
    async fn new() -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("mqtt://{}", hub.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let (link, driver) = connect(settings(&url), stop.clone()).expect("settings");
        Self { hub, link, driver: tokio::spawn(driver), stop }
    }

    async fn heard(&mut self) -> Incoming {
        timeout(PATIENCE, self.link.incoming.recv()).await.expect("in time").expect("a driver")
    }
}

#[tokio::test]
async fn credentials_and_will_go_out_and_the_subscriptions_are_granted_before_anything_is_told() {
    let mut bench = Bench::new().await;
    let mut hub = Hub::accept(&bench.hub).await;
    let connect = hub.establish(SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce)).await;
    assert!(connect.clean_session);
    let login = connect.login.expect("a login");
    assert_eq!((login.username.as_str(), login.password.as_str()), ("lock", "secret"));
    let will = connect.last_will.expect("a will");
    assert_eq!((will.topic.as_str(), &will.message[..], will.retain), ("lock/status", &b"gone"[..], true));
    assert_eq!(bench.heard().await, Incoming::Connected);
}

#[tokio::test]
async fn what_arrives_is_acknowledged_and_what_is_published_leaves_in_order_and_before_the_end() {
    let mut bench = Bench::new().await;
    let mut hub = Hub::accept(&bench.hub).await;
    hub.establish(SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce)).await;
    assert_eq!(bench.heard().await, Incoming::Connected);
    let mut publish = Publish::new("lock/command", rumqttc::QoS::AtLeastOnce, "open");
    publish.pkid = 7;
    hub.send(|to| publish.write(to)).await;
    let Incoming::Message(command) = bench.heard().await else { panic!("no message") };
    assert_eq!((command.topic.as_str(), &command.payload[..], command.retain), ("lock/command", &b"open"[..], false));
    assert_eq!(hub.next().await, Packet::PubAck(PubAck::new(7)));
    for n in 0..20 {
        bench.link.outgoing.send(message("lock/status", &n.to_string())).await.expect("a driver");
    }
    let farewell = Status::offline(17, true, "it stops", chrono::Utc::now());
    let farewell = serde_json::to_string(&farewell).expect("JSON");
    bench.link.outgoing.send(message("lock/status", &farewell)).await.expect("a driver");
    drop(bench.link);
    for n in 0..20 {
        assert_eq!(hub.published().await.payload, n.to_string());
    }
    assert_eq!(hub.published().await.payload, farewell);
    assert_eq!(hub.next().await, Packet::Disconnect);
    drop(hub);
    timeout(PATIENCE, bench.driver).await.expect("in time").expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_worker_that_dies_without_a_word_leaves_its_will() {
    let mut bench = Bench::new().await;
    let mut hub = Hub::accept(&bench.hub).await;
    hub.establish(SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce)).await;
    assert_eq!(bench.heard().await, Incoming::Connected);
    drop(bench.link);
    let mut rest = Vec::new();
    timeout(PATIENCE, hub.socket.read_to_end(&mut rest)).await.expect("in time").expect("closed");
    assert!(rest.is_empty(), "no DISCONNECT, after which the hub would forget the will: {rest:?}");
    timeout(PATIENCE, bench.driver).await.expect("in time").expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_refused_subscription_is_no_connection() {
    let mut bench = Bench::new().await;
    let mut hub = Hub::accept(&bench.hub).await;
    hub.establish(SubscribeReasonCode::Failure).await;
    let Incoming::Disconnected(why) = bench.heard().await else { panic!("connected") };
    assert!(why.contains("refuses the subscription to hub/status"), "{why}");
}

#[tokio::test]
async fn a_lost_connection_is_told_and_made_anew_and_what_waited_meanwhile_leaves() {
    let mut bench = Bench::new().await;
    let granted = SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce);
    let mut hub = Hub::accept(&bench.hub).await;
    hub.establish(granted).await;
    assert_eq!(bench.heard().await, Incoming::Connected);
    drop(hub);
    assert!(matches!(bench.heard().await, Incoming::Disconnected(_)));
    bench.link.outgoing.send(message("lock/response", "late")).await.expect("a driver");
    let mut hub = Hub::accept(&bench.hub).await;
    hub.establish(granted).await;
    assert_eq!(bench.heard().await, Incoming::Connected);
    assert_eq!(hub.published().await.payload, "late");
}

#[tokio::test]
async fn without_a_hub_it_goes_on_trying_and_ends_with_the_link() {
    let hub = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("mqtt://{}", hub.local_addr().expect("an address"));
    drop(hub);
    let (mut link, driver) = connect(settings(&url), CancellationToken::new()).expect("settings");
    let driver = tokio::spawn(driver);
    for _ in 0..2 {
        let heard = timeout(PATIENCE, link.incoming.recv()).await.expect("in time");
        assert!(matches!(heard, Some(Incoming::Disconnected(_))), "{heard:?}");
    }
    drop(link);
    timeout(PATIENCE, driver).await.expect("in time").expect("no panic").expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_ends_is_not_waited_for_after_the_stop() {
    let mut bench = Bench::new().await;
    let mut hub = Hub::accept(&bench.hub).await;
    hub.establish(SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce)).await;
    assert_eq!(bench.heard().await, Incoming::Connected);
    bench.stop.cancel();
    timeout(PATIENCE, bench.driver).await.expect("in time").expect("no panic").expect("a clean end");
    drop(bench.link);
}

#[test]
fn an_address_that_is_none_is_refused_with_words() {
    for (url, word) in
        [("http://hub", "mqtt://"), ("mqtt://user:secret@hub", "MQTT_USERNAME"), ("mqtts://hub", "MQTT_CA")]
    {
        let ca = Some(PathBuf::from("/no/such/file"));
        let error = connect(RemoteSettings { ca, ..settings(url) }, CancellationToken::new()).map(drop).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(word) || text.contains("/no/such/file"), "{text}");
    }
}
