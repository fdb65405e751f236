//! Socket.io on the wire, without a client library: what ends a socket, a gap that is closed, and a dashboard that does
//! not read.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use portcullis::{bridge::Heartbeat, domain::user::Role};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::rest_hub::{DEADLINE, Hub, Options, eventually};

/// A Socket.io client on a WebSocket.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects and sends the token; what the server says to that comes first.
    pub async fn open(hub: &Hub, token: &str) -> Self {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", hub.address);
        let mut socket = Self(connect_async(url).await.expect("a WebSocket").0);
        assert!(socket.packet().await.expect("a handshake").starts_with('0'));
        socket.send(&format!("40{}", json!({"token": token}))).await;
        socket
    }

    /// A socket that has been welcomed and told of the lock.
    pub async fn welcome(hub: &Hub, token: &str) -> Self {
        let mut socket = Self::open(hub, token).await;
        assert!(socket.packet().await.expect("a welcome").starts_with("40{"));
        socket.event("connection").await;
        assert_eq!(socket.event("lock:status").await["metadata"]["pin"], 17);
        socket
    }

    async fn send(&mut self, packet: &str) {
        self.0.send(Message::text(packet)).await.expect("a server that reads");
    }

    /// The next packet, pings answered; none when the connection has ended.
    pub async fn packet(&mut self) -> Option<String> {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.0.next()).await.expect("in time")?;
            match message.ok()? {
                Message::Text(text) if text.as_str() == "2" => self.send("3").await,
                Message::Text(text) => return Some(text.to_string()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// What comes with the next event of this name.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let packet = self.packet().await.unwrap_or_else(|| panic!("the connection ended before {name}"));
            let Some(Ok(event)) = packet.strip_prefix("42").map(serde_json::from_str::<Value>) else { continue };
            if event[0] == name {
                return event[1].clone();
            }
        }
    }

    async fn ask(&mut self, name: &str, data: Value, answer: &str) -> Value {
        self.send(&format!("42{}", json!([name, data]))).await;
        self.event(answer).await
    }
}

#[tokio::test]
async fn without_a_good_token_nobody_comes_in() {
    let hub = Hub::start().await;
    for token in ["", "no.such.token", "cam-1~secret"] {
        let mut socket = Socket::open(&hub, token).await;
        assert_eq!(socket.packet().await.as_deref(), Some(r#"44{"message":"Unauthorized"}"#));
    }
}

#[tokio::test]
async fn a_token_that_ends_takes_its_socket_along() {
    let hub = Hub::start_with(Options { token_lifetime: Duration::from_secs(2), ..Options::default() }).await;
    let mut socket = Socket::welcome(&hub, &hub.sign_in("uma", crate::rest_hub::PASSWORD).await).await;
    let begun = Instant::now();
    socket.event("auth:expired").await;
    assert_eq!(socket.packet().await.as_deref(), Some("41"));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_revoked_user_is_out_at_once_and_others_stay() {
    let hub = Hub::start().await;
    let (id, token) = hub.make_user("eva", Role::Operator).await;
    let mut eva = Socket::welcome(&hub, &token).await;
    let mut uma = Socket::welcome(&hub, &hub.user).await;
    hub.ask(Method::PUT, &format!("/api/users/{id}"), &hub.admin, Some(json!({"isActive": false}))).await;
    let begun = Instant::now();
    // As the news of the changed row does.
    hub.revocations.user_changed(id);
    hub.revocations.user_changed(portcullis::domain::user::UserId(3));
    eva.event("auth:expired").await;
    assert_eq!(eva.packet().await.as_deref(), Some("41"));
    assert!(begun.elapsed() < Duration::from_secs(1));
    uma.ask("ping", json!(null), "pong").await;
}

#[tokio::test]
async fn a_gap_is_closed_while_detections_stream_in() {
    let hub = Hub::start().await;
    let camera = hub.make_camera("Front").await;
    for _ in 0..20 {
        hub.report(camera).await;
    }
    let stream = async {
        for _ in 0..40 {
            hub.report(camera).await;
        }
    };
    let replay = async {
        let mut socket = Socket::welcome(&hub, &hub.user).await;
        let mut seen = std::collections::BTreeSet::new();
        let mut since = 5;
        loop {
            let answer = json!({"eventId": since, "limit": 7});
            socket.send(&format!("42{}", json!(["request:events-since", answer]))).await;
            // What happens meanwhile comes as it happens, before or after the answer.
            let answer = loop {
                let packet = socket.packet().await.expect("a packet");
                let event: Value = serde_json::from_str(packet.strip_prefix("42").expect("an event")).expect("JSON");
                if event[0] == "events:since" {
                    break event[1].clone();
                }
                seen.insert(event[1]["id"].as_i64().expect("an id"));
                assert!(event[1]["broadcastedAt"].is_string());
            };
            let ids: Vec<_> = answer["events"]
                .as_array()
                .expect("events")
                .iter()
                .map(|event| event["id"].as_i64().expect("an id"))
                .collect();
            assert!(ids.is_sorted());
            since = ids.last().copied().unwrap_or(since);
            seen.extend(ids);
            if answer["more"] == false {
                break;
            }
        }
        while seen.last() != Some(&60) {
            seen.insert(socket.event("event:detected").await["id"].as_i64().expect("an id"));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), (6..=60).collect::<Vec<_>>());
    };
    tokio::join!(stream, replay);
}

/// Announces events as the recorder would after their commits.
fn announce(hub: &Hub, event: &Value, count: usize) {
    use portcullis::{
        domain::event::{Details, Event, EventId, EventType},
        events::{Arrival, Channel, StoredEvent},
    };
    let stored = Event {
        id: EventId(event["id"].as_i64().expect("an id")),
        camera: None,
        event_type: EventType::SystemAlert,
        person_count: 0,
        confidence: None,
        snapshot_path: None,
        description: Some("x".repeat(2000)),
        is_resolved: false,
        resolved_at: None,
        detection_id: None,
        detected_at: None,
        created_at: chrono::Utc::now(),
        details: Details::default(),
    };
    let json = portcullis::wire::event::encode(&stored).expect("JSON");
    let span = tracing::Span::none();
    let arrival = Arrival { channel: Channel::Internal, at: std::time::Instant::now(), span };
    let stored = std::sync::Arc::new(StoredEvent { event: stored, json, arrival });
    for _ in 0..count {
        hub.announcer.announce(stored.clone());
    }
}

#[tokio::test]
async fn a_dashboard_that_does_not_read_is_cut_and_slows_nobody() {
    let hub = Hub::start().await;
    let event = hub.report(hub.make_camera("Front").await).await;
    // It never reads again.
    let stalled = Socket::welcome(&hub, &hub.user).await;
    let mut healthy = Socket::welcome(&hub, &hub.user).await;
    assert_eq!(hub.realtime.count(), 2);
    for _ in 0..40 {
        announce(&hub, &event, 1000);
        for _ in 0..1000 {
            healthy.event("event:detected").await;
        }
        if hub.realtime.count() == 1 {
            break;
        }
    }
    eventually("the stalled one is cut", || hub.realtime.count() == 1).await;
    drop(stalled);
    assert_eq!(healthy.ask("request:latest-events", json!({}), "latest:events").await["count"], 1);
}

/// A Socket.io client that polls.
struct Poller {
    client: reqwest::Client,
    url: String,
}

impl Poller {
    /// Opens a session and sends the token.
    pub async fn open(hub: &Hub, token: &str) -> Self {
        let url = hub.url("/socket.io/?EIO=4&transport=polling");
        let open = hub.client.get(&url).send().await.expect("a session").text().await.expect("a packet");
        let session: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).expect("JSON");
        let url = format!("{url}&sid={}", session["sid"].as_str().expect("an id"));
        let poller = Self { client: hub.client.clone(), url };
        poller.send(&format!("40{}", json!({"token": token}))).await;
        poller
    }

    async fn send(&self, packet: &str) {
        let answer = self.client.post(&self.url).body(packet.to_owned()).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }

    /// The packets of one poll; none once the session is gone.
    async fn poll(&self) -> Option<Vec<String>> {
        let answer = self.client.get(&self.url).timeout(DEADLINE).send().await.expect("an answer");
        if answer.status() != 200 {
            return None;
        }
        let text = answer.text().await.expect("packets");
        Some(text.split('\u{1e}').filter(|packet| !packet.is_empty()).map(str::to_owned).collect())
    }
}

#[tokio::test]
async fn who_is_refused_by_polling_is_let_go_before_long() {
    let hub = Hub::start().await;
    let poller = Poller::open(&hub, "no.such.token").await;
    let mut packets = Vec::new();
    // Without it, a poll would stay open until the next ping.
    while let Some(more) = poller.poll().await {
        packets.extend(more);
    }
    packets.retain(|packet| packet != "2");
    assert_eq!(packets, [r#"44{"message":"Unauthorized"}"#, "1"], "refused, and closed");
}

#[tokio::test]
async fn a_dashboard_that_polls_late_was_kept_no_more_than_fits_and_is_dropped() {
    let hub = Hub::start().await;
    let event = hub.report(hub.make_camera("Front").await).await;
    let late = Poller::open(&hub, &hub.user).await;
    eventually("it is let in", || hub.realtime.count() == 1).await;
    let mut healthy = Socket::welcome(&hub, &hub.user).await;
    for _ in 0..12 {
        announce(&hub, &event, 1000);
        for _ in 0..1000 {
            healthy.event("event:detected").await;
        }
    }
    let (mut events, mut told_to_go) = (0, false);
    while !told_to_go {
        let packets = late.poll().await.expect("a session, until it is told to go");
        events += packets.iter().filter(|packet| packet.starts_with("42[\"event:detected\"")).count();
        told_to_go = packets.iter().any(|packet| packet == "41");
        if packets.iter().any(|packet| packet == "2") {
            late.send("3").await;
        }
    }
    assert!((4000..=4096).contains(&events), "{events} events were kept");
    eventually("it is gone", || hub.realtime.count() == 1).await;
}

#[tokio::test]
async fn a_dashboard_that_never_polls_is_dropped_by_its_missing_pong() {
    let heartbeat = Heartbeat { every: Duration::from_secs(3), patience: Duration::from_secs(3) };
    let hub = Hub::start_with(Options { heartbeat, ..Options::default() }).await;
    let event = hub.report(hub.make_camera("Front").await).await;
    let _silent = Poller::open(&hub, &hub.user).await;
    eventually("it is let in", || hub.realtime.count() == 1).await;
    let mut healthy = Socket::welcome(&hub, &hub.user).await;
    let begun = Instant::now();
    while hub.realtime.count() > 1 {
        assert!(begun.elapsed() < DEADLINE, "the one that does not poll is still there");
        announce(&hub, &event, 100);
        for _ in 0..100 {
            healthy.event("event:detected").await;
        }
    }
}

/// How many bytes a client that polls may leave unread of what it asked for, and one that has just come over it.
const UNREAD: usize = 16 << 20;

#[tokio::test]
async fn a_dashboard_that_polls_asks_and_does_not_fetch_is_closed_at_once() {
    let hub = Hub::start().await;
    let camera = hub.make_camera("Front").await;
    let body = json!({"cameraId": camera, "personCount": 1, "description": "x".repeat(2000)});
    for _ in 0..500 {
        let (status, _) = hub.ask(Method::POST, "/api/events", &hub.operator, Some(body.clone())).await;
        assert_eq!(status, 201);
    }
    let mut healthy = Socket::welcome(&hub, &hub.user).await;
    let poller = Poller::open(&hub, &hub.user).await;
    eventually("it is let in", || hub.realtime.count() == 2).await;
    let ask = r#"42["request:latest-events",{"limit":"500"}]"#;
    let answer = 500 * 2000;
    for _ in 0..UNREAD / answer + 2 {
        // What asks after the end is told that there is no such session.
        let _ = poller.client.post(&poller.url).body(ask).send().await.expect("an answer");
    }
    eventually("it is gone", || hub.realtime.count() == 1).await;
    assert!(
        poller.poll().await.is_none(),
        "its session ended, long before its pong is missed, and what waited with it"
    );
    let again = poller.client.post(&poller.url).body(format!("40{}", json!({"token": hub.user}))).send().await;
    assert_eq!(again.expect("an answer").status(), 400, "nor can it come in again by the same session");
    assert_eq!(healthy.ask("request:latest-events", json!({}), "latest:events").await["count"], 10);
    // One that fetches what it asks for may ask on.
    let reader = Poller::open(&hub, &hub.user).await;
    // Who asks before that is closed, as by Node's Socket.io.
    eventually("it is let in", || hub.realtime.count() == 2).await;
    let mut read = 0;
    while read < 2 * UNREAD {
        reader.send(ask).await;
        let packets = reader.poll().await.expect("a session");
        read += packets.iter().map(String::len).sum::<usize>();
        if packets.iter().any(|packet| packet == "2") {
            reader.send("3").await;
        }
    }
}

#[tokio::test]
async fn a_camera_is_subscribed_to_in_every_form_that_a_page_sends() {
    let hub = Hub::start().await;
    let id = hub.make_camera("Front").await;
    let mut socket = Socket::welcome(&hub, &hub.user).await;
    let room = format!("camera:{id}");
    for data in [
        json!({"cameraId": id}),
        json!({"cameraId": id.to_string()}),
        json!({"cameraId": 1.0}),
        json!(id),
        json!(id.to_string()),
    ] {
        assert_eq!(
            socket.ask("subscribe:camera", data.clone(), "subscription:confirmed").await["room"],
            room,
            "{data}"
        );
        assert_eq!(socket.ask("unsubscribe:camera", data, "unsubscription:confirmed").await["room"], room);
    }
    for data in [json!({"cameraId": ""}), json!({"cameraId": "one"}), json!({}), json!({"cameraId": 1.5})] {
        let fault = socket.ask("subscribe:camera", data, "exception").await;
        assert_eq!(fault, json!({"status": "error", "message": "cameraId must be an integer number"}));
    }
    for limit in [json!("5"), json!(5.0), json!(""), json!(null)] {
        socket.ask("request:latest-events", json!({"limit": limit}), "latest:events").await;
    }
    socket.ask("request:events-since", json!({"eventId": "0", "limit": "5"}), "events:since").await;
    let fault = socket.ask("request:latest-events", json!({"limit": "501"}), "exception").await;
    assert_eq!(fault["message"], "limit must not be greater than 500");
}

#[tokio::test]
async fn closing_ends_open_sockets_at_once() {
    let hub = Hub::start().await;
    let mut socket = Socket::welcome(&hub, &hub.user).await;
    let begun = Instant::now();
    hub.realtime.close().await;
    while socket.packet().await.is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn cameras_and_parts_are_told_to_each_as_far_as_they_may_know() {
    use portcullis::{
        domain::camera::CameraId,
        events::cameras::{CameraState, News},
        store::{self, cameras::NewCamera},
    };
    let hub = Hub::start().await;
    let url = "rtsp://admin:secret@cam/1";
    let new = NewCamera { name: "Yard", stream_url: Some(url), ..NewCamera::default() };
    let camera = store::cameras::create(&hub.database, &new).await.expect("a camera");
    let id = camera.id;
    let state = CameraState { online: true, persons: 2, ..CameraState::default() };
    hub.cameras.set(id, state);
    let present = json!({"cameraId": id, "online": true, "lastSeen": null, "occupied": true, "personCount": 2});
    let mut sockets = Vec::new();
    for token in [&hub.user, &hub.operator, &hub.admin] {
        let mut socket = Socket::welcome(&hub, token).await;
        assert_eq!(socket.event("camera:status").await, present, "what is so already");
        sockets.push(socket);
    }
    let health = sockets[2].event("system:health").await;
    let names: Vec<_> =
        health["parts"].as_array().expect("parts").iter().map(|part| part["name"].as_str().expect("a name")).collect();
    assert_eq!((&health["status"], names), (&json!("up"), vec!["database", "broker"]));
    assert_eq!(health["parts"][1]["detail"], "0 clients");

    let camera = std::sync::Arc::new(camera);
    hub.cameras.tell(News::Changed(camera.clone(), state));
    hub.cameras.tell(News::Removed(camera, CameraState::default()));
    hub.cameras.tell(News::State(CameraId(77), CameraState::default()));
    for (socket, (shown, is_admin)) in sockets.iter_mut().zip([("rtsp://cam/1", false), (url, false), (url, true)]) {
        let mut seen = Vec::new();
        loop {
            let packet = socket.packet().await.expect("a packet");
            let event: Value = serde_json::from_str(packet.strip_prefix("42").expect("an event")).expect("JSON");
            let name = event[0].as_str().expect("a name").to_owned();
            if name == "camera:status" {
                assert_eq!(event[1]["cameraId"], 77);
                break;
            }
            // Nothing but what is told here; an ADMIN may be told of the parts anew, and nobody else.
            if name == "system:health" && is_admin {
                continue;
            }
            let told = &event[1]["camera"];
            assert_eq!((&told["id"], &told["streamUrl"]), (&json!(id), &json!(shown)), "{event}");
            seen.push((
                name,
                told["occupied"].as_bool().expect("whether"),
                told["personCount"].as_u64().expect("a count"),
            ));
        }
        assert_eq!(seen, [("camera:changed".to_owned(), true, 2), ("camera:removed".to_owned(), false, 0)]);
    }
    let shown = hub.get(&format!("/api/cameras/{id}"), &hub.user).await;
    assert_eq!((&shown["online"], &shown["occupied"], &shown["personCount"]), (&json!(true), &json!(true), &json!(2)));
    assert_eq!(hub.get("/api/cameras", &hub.user).await[0]["personCount"], 2);
}

#[tokio::test]
async fn who_is_no_admin_any_more_hears_as_the_user_that_they_are() {
    use portcullis::{
        domain::camera::CameraId,
        events::cameras::{CameraState, News},
        store::{self, cameras::NewCamera},
    };
    let hub = Hub::start().await;
    let new = NewCamera { name: "Yard", stream_url: Some("rtsp://admin:secret@cam/1"), ..NewCamera::default() };
    let camera = std::sync::Arc::new(store::cameras::create(&hub.database, &new).await.expect("a camera"));
    hub.cameras.set(camera.id, CameraState::default());
    let mut socket = Socket::welcome(&hub, &hub.operator).await;
    socket.event("camera:status").await;
    // Past the hub, which leaves the token good.
    let id: i32 = sqlx::query_scalar("UPDATE users SET role = 'USER' WHERE username = 'oto' RETURNING id")
        .fetch_one(&hub.database)
        .await
        .expect("a user");
    hub.revocations.user_changed(portcullis::domain::user::UserId(id));
    let deadline = Instant::now() + DEADLINE;
    loop {
        hub.cameras.tell(News::Changed(camera.clone(), CameraState::default()));
        if socket.event("camera:changed").await["camera"]["streamUrl"] == "rtsp://cam/1" {
            break;
        }
        assert!(Instant::now() < deadline, "still told what only an OPERATOR may see");
    }
    hub.cameras.tell(News::State(CameraId(1), CameraState::default()));
    socket.event("camera:status").await;
}
