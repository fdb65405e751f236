//! Events over REST: what is stored once, how lists are narrowed, and sums that stay right whoever writes.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rest_hub::{DEADLINE, Hub, Options, is_as};

fn ids(events: &Value) -> Vec<i64> {
    events.as_array().expect("events").iter().map(|event| event["id"].as_i64().expect("an id")).collect()
}

#[tokio::test]
async fn a_detection_is_stored_once_and_no_person_is_no_event() {
    let hub = Hub::start().await;
    let camera = hub.make_camera("Front").await;
    let body = json!({
        "cameraId": camera, "personCount": 3.0, "confidence": 1, "snapshotPath": "/a.jpg", "description": "three",
        "detectionId": "6F9619FF-8B86-D011-B42D-00CF4FC964FF", "detectedAt": "2026-11-22T10:00:00.123456+01:00",
    });
    let stored = json!({
        "id": 1, "cameraId": camera, "eventType": "MULTIPLE_PERSONS", "personCount": 3, "confidence": 1.0,
        "snapshotPath": "/a.jpg", "description": "three", "isResolved": false, "createdAt": "<time>", "resolvedAt": null,
        "camera": {"id": camera, "name": "Front", "location": null},
        "detectionId": "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "detectedAt": "2026-11-22T09:00:00.123Z",
        "kind": null, "subjectCameraId": null, "requestedBy": null, "commandId": null,
    });
    for expected in [StatusCode::CREATED, StatusCode::OK] {
        let (status, answer) = hub.ask(Method::POST, "/api/events", &hub.operator, Some(body.clone())).await;
        assert_eq!(status, expected);
        assert!(is_as(&stored, &answer), "{answer}");
    }
    let nobody = json!({"cameraId": camera, "personCount": 0});
    let (status, answer) = hub.ask(Method::POST, "/api/events", &hub.operator, Some(nobody)).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"ignored": "no person"})));
    assert_eq!(ids(&hub.get("/api/events", &hub.user).await), [1]);
}

#[tokio::test]
async fn lists_are_narrowed_and_ordered_by_id() {
    let hub = Hub::start().await;
    let (front, back) = (hub.make_camera("Front").await, hub.make_camera("Back").await);
    for camera in [front, back, front, back, front] {
        hub.report(camera).await;
    }
    hub.ask(Method::PATCH, "/api/events/3/resolve", &hub.operator, None).await;
    let third = hub.get("/api/events/3", &hub.user).await["createdAt"].as_str().expect("a time").to_owned();
    for (query, expected) in [
        ("", vec![5, 4, 3, 2, 1]),
        ("?limit=2", vec![5, 4]),
        ("?limit=2&offset=1", vec![4, 3]),
        ("?before=4", vec![3, 2, 1]),
        ("?before=99&limit=1", vec![5]),
        ("?cameraId=1", vec![5, 3, 1]),
        ("?cameraId=1&isResolved=false", vec![5, 1]),
        ("?cameraId=1&before=5&limit=1", vec![3]),
        ("?isResolved=true", vec![3]),
        ("?isResolved=false&before=3", vec![2, 1]),
        ("?eventType=PERSON_DETECTED&cameraId=2", vec![4, 2]),
        ("?eventType=DOOR_OPENED", vec![]),
        ("?from=2999-01-01T00:00:00Z", vec![]),
        ("?to=2000-01-01T00:00:00%2B01:00", vec![]),
    ] {
        assert_eq!(ids(&hub.get(&format!("/api/events{query}"), &hub.user).await), expected, "{query}");
    }
    assert!(ids(&hub.get(&format!("/api/events?from={third}&to={third}"), &hub.user).await).contains(&3));
    assert_eq!(ids(&hub.get("/api/events/unresolved?limit=2", &hub.user).await), [5, 4]);
    assert_eq!(ids(&hub.get("/api/events/camera/2?before=4", &hub.user).await), [2]);
    let cameras = hub.get("/api/cameras", &hub.user).await;
    assert_eq!(ids(&cameras[0]["events"]), [5, 3, 1]);
}

#[tokio::test]
async fn resolving_twice_changes_nothing_and_sums_follow_every_write() {
    let hub = Hub::start().await;
    let camera = hub.make_camera("Front").await;
    for _ in 0..3 {
        hub.report(camera).await;
    }
    let sums = async || hub.get("/api/events/stats", &hub.user).await;
    assert_eq!(sums().await, json!({"total": 3, "unresolved": 3, "todayEvents": 3, "resolved": 0}));
    let (_, once) = hub.ask(Method::PATCH, "/api/events/2/resolve", &hub.operator, None).await;
    let (status, twice) = hub.ask(Method::PATCH, "/api/events/2/resolve", &hub.admin, None).await;
    assert_eq!((status, &once["isResolved"]), (StatusCode::OK, &json!(true)));
    assert_eq!(once, twice);
    assert_eq!(sums().await, json!({"total": 3, "unresolved": 2, "todayEvents": 3, "resolved": 1}));
    let (status, gone) = hub.ask(Method::DELETE, "/api/events/2", &hub.admin, None).await;
    assert_eq!((status, gone), (StatusCode::OK, twice));
    assert_eq!(sums().await, json!({"total": 2, "unresolved": 2, "todayEvents": 2, "resolved": 0}));
    // Past the hub: moved to yesterday, resolved by hand, deleted by hand.
    for statement in [
        "UPDATE events SET created_at = created_at - interval '1 day' WHERE id = 1",
        "UPDATE events SET is_resolved = true WHERE id IN (1, 3)",
    ] {
        sqlx::query(statement).execute(&hub.database).await.expect("an update");
    }
    assert_eq!(sums().await, json!({"total": 2, "unresolved": 0, "todayEvents": 1, "resolved": 2}));
    let days = hub.get("/api/events/analytics?bucket=day&cameraId=1", &hub.user).await;
    assert_eq!(days.as_array().expect("days").iter().map(|day| &day["count"]).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(hub.get("/api/events/analytics?bucket=day&cameraId=2", &hub.user).await, json!([]));
    assert_eq!(hub.get("/api/events/analytics?bucket=day&cameraId=0", &hub.user).await, json!([]));
    sqlx::query("TRUNCATE events").execute(&hub.database).await.expect("an end");
    assert_eq!(sums().await, json!({"total": 0, "unresolved": 0, "todayEvents": 0, "resolved": 0}));
}

#[tokio::test]
async fn days_begin_in_the_hubs_time_zone() {
    let hub = Hub::start_with(Options { time_zone: chrono_tz::Asia::Kathmandu, ..Options::default() }).await;
    sqlx::query(
        "INSERT INTO events (event_type, person_count, created_at) VALUES
             ('SYSTEM_ALERT', 0, '2026-05-01 18:14:59Z'), ('SYSTEM_ALERT', 0, '2026-05-01 18:15:00Z'),
             ('DOOR_OPENED', 0, '2026-05-01 19:14:00Z'), ('SYSTEM_ALERT', 0, '2026-05-02 18:15:00Z')",
    )
    .execute(&hub.database)
    .await
    .expect("events");
    let ask = async |bucket: &str| {
        let query = "from=2026-05-01T18:00:00Z&to=2026-05-02T12:00:00Z";
        hub.get(&format!("/api/events/analytics?bucket={bucket}&{query}"), &hub.user).await
    };
    let line = |bucket: &str, kind: &str| json!({"bucket": bucket, "eventType": kind, "count": 1});
    assert_eq!(
        ask("day").await,
        json!([
            line("2026-04-30T18:15:00.000Z", "SYSTEM_ALERT"),
            line("2026-05-01T18:15:00.000Z", "DOOR_OPENED"),
            line("2026-05-01T18:15:00.000Z", "SYSTEM_ALERT"),
        ])
    );
    assert_eq!(
        ask("hour").await,
        json!([
            line("2026-05-01T17:15:00.000Z", "SYSTEM_ALERT"),
            line("2026-05-01T18:15:00.000Z", "DOOR_OPENED"),
            line("2026-05-01T18:15:00.000Z", "SYSTEM_ALERT"),
        ])
    );
    let event = hub.get("/api/events/1", &hub.user).await;
    assert_eq!(event["camera"], json!({"id": null, "name": "Portcullis", "location": null}));
    assert_eq!(event["cameraId"], Value::Null);
}

#[tokio::test]
async fn a_user_sees_no_camera_password() {
    let hub = Hub::start().await;
    let body =
        json!({"name": "Front", "streamUrl": "rtsp://root:s3cret@cam.local:554/s", "webrtcUrl": "webrtc://cam/1"});
    let (_, camera) = hub.ask(Method::POST, "/api/cameras", &hub.operator, Some(body)).await;
    assert_eq!(camera["streamUrl"], "rtsp://root:s3cret@cam.local:554/s");
    for path in ["/api/cameras/1", "/api/cameras"] {
        let shown = hub.get(path, &hub.user).await;
        let shown = shown.get(0).unwrap_or(&shown);
        assert_eq!(shown["streamUrl"], "rtsp://cam.local:554/s");
        let shown = hub.get(path, &hub.operator).await;
        assert_eq!(shown.get(0).unwrap_or(&shown)["streamUrl"], "rtsp://root:s3cret@cam.local:554/s");
    }
    for (stream, shown) in [
        ("rtsp://root:s3cret@cam.local/live?channel=1", json!("rtsp://cam.local/live")),
        ("http://cam.local/flv?port=1935&user=admin&password=s3cret", json!("http://cam.local/flv")),
        ("http://cam.local/videostream.cgi?loginuse=admin&loginpas=s3cret", json!("http://cam.local/videostream.cgi")),
        ("https://cam.local/live#token=s3cret", json!("https://cam.local/live")),
        ("rtsp://cam.local/user=admin&password=s3cret&channel=1", json!("rtsp://cam.local")),
        ("rtsp://cam.local:554/user=admin_password=s3cret_channel=1_stream=0.sdp", json!("rtsp://cam.local:554")),
        ("rtsps://cam.local:7441/s3cretKey", json!("rtsps://cam.local:7441")),
        ("rtsp://admin:s3cret#cam@cam.local/", json!(null)),
        ("rtsp://admin:s3/cret@cam.local/live", json!(null)),
        ("rtsp://admin:s3cret?x@cam.local/live", json!(null)),
        ("rtsp://admin:s3cret#x%40cam.local/live", json!(null)),
    ] {
        // Whatever is taken today, an older version may have taken this.
        sqlx::query("UPDATE cameras SET stream_url = $1, webrtc_url = $1 WHERE id = 1")
            .bind(stream)
            .execute(&hub.database)
            .await
            .expect("stored");
        assert_eq!(hub.get("/api/cameras/1", &hub.operator).await["streamUrl"], stream);
        for path in ["/api/cameras/1", "/api/cameras"] {
            let seen = hub.get(path, &hub.user).await;
            assert_eq!(seen.get(0).unwrap_or(&seen)["streamUrl"], shown, "{stream}");
            assert!(!seen.to_string().contains("s3") && !seen.to_string().contains("cret"), "{seen}");
        }
    }
    let change = json!({"streamUrl": null, "webrtcUrl": "webrtc://cam/1", "isActive": false});
    let (_, camera) = hub.ask(Method::PUT, "/api/cameras/1", &hub.operator, Some(change)).await;
    assert_eq!(
        (&camera["streamUrl"], &camera["isActive"], &camera["webrtcUrl"]),
        (&json!(null), &json!(false), &json!("webrtc://cam/1"))
    );
    assert_eq!(hub.get("/api/cameras/stats", &hub.user).await, json!({"total": 1, "active": 0, "inactive": 1}));
}

#[tokio::test]
async fn a_refused_command_is_told_and_kept_and_the_eleventh_waits() {
    let hub = Hub::start_with(Options { hold_open: true, ..Options::default() }).await;
    let until = chrono::Utc::now() + chrono::TimeDelta::minutes(5);
    let hold = json!({"until": until.to_rfc3339(), "reason": "moving in"});
    let (status, answer) = hub.ask(Method::POST, "/api/lock/hold", &hub.admin, Some(hold)).await;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("OPEN")), "{answer}");
    hub.refusing.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        let (status, answer) = hub.ask(Method::POST, "/api/lock/open", &hub.operator, None).await;
        let expected = json!({"statusCode": 409, "message": "The relay is stuck", "error": "Conflict"});
        assert_eq!((status, answer), (StatusCode::CONFLICT, expected));
    }
    let response = hub.request(Method::POST, "/api/lock/open", &hub.operator).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key("retry-after"));
    let history = hub.get("/api/lock/history", &hub.operator).await;
    let history = history.as_array().expect("a history");
    // The eleventh refusal of a minute is counted, and gets its row when the minute is over.
    assert_eq!(history.len(), 11);
    assert_eq!((&history[0]["outcome"], &history[0]["requestedBy"]), (&json!("refused"), &json!("user:2")));
    assert_eq!((&history[10]["outcome"], &history[10]["channel"]), (&json!("done"), &json!("http")));
}

#[tokio::test]
async fn whoever_is_turned_away_from_the_lock_is_in_its_audit() {
    let options = Options { hold_open: true, trusted_proxies: vec!["127.0.0.0/8"], ..Options::default() };
    let hub = Hub::start_with(options).await;
    for (verb, token, body, status) in [
        ("open", "", None, 401),
        ("hold", "not.a.token", Some("{}"), 401),
        ("toggle", hub.user.as_str(), None, 403),
        ("hold", hub.operator.as_str(), Some("{}"), 403),
        ("hold", hub.admin.as_str(), Some("{"), 400),
        ("hold", hub.admin.as_str(), Some(r#"{"until":"2999-01-01T00:00:00Z","more":1}"#), 400),
    ] {
        let request = hub.request(Method::POST, &format!("/api/lock/{verb}"), token);
        let request = request.header("x-forwarded-for", "203.0.113.9").header("content-type", "application/json");
        let answer = request.body(body.unwrap_or_default()).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{verb} {token}");
    }
    // Of a stranger's third and further attempts within an hour there is a count, and its row comes when that is over.
    for _ in 0..50 {
        let request = hub.request(Method::POST, "/api/lock/open", "").header("x-forwarded-for", "203.0.113.9");
        assert_eq!(request.send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    }
    let rows = async || {
        let history = hub.get("/api/lock/history", &hub.operator).await;
        let row = |row: &Value| {
            assert_eq!(
                (&row["address"], &row["outcome"], &row["channel"]),
                (&json!("203.0.113.9"), &json!("refused"), &json!("http"))
            );
            [&row["requestedBy"], &row["action"], &row["message"]].map(|text| text.as_str().expect("a text").to_owned())
        };
        history.as_array().expect("a history").iter().rev().map(row).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + DEADLINE;
    while rows().await.len() < 6 {
        assert!(Instant::now() < deadline, "each has its row");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let right = "no right to work the lock over HTTP";
    let expected = [
        ["unknown", "open", "no token"],
        ["unknown", "hold", "a token that is not valid"],
        ["user:3", "toggle", right],
        ["user:2", "hold", right],
        ["user:1", "hold", "EOF while "],
        ["user:1", "hold", "property more should not exist; reason should not be empty; reason must be a string"],
    ];
    let mut found = rows().await;
    found[4][2].truncate(10);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn answers_carry_the_headers_that_browsers_need() {
    let hub = Hub::start().await;
    let ask = async |origin: &str| {
        let request = hub.request(Method::GET, "/api/cameras", &hub.user).header("origin", origin);
        request.header("accept-encoding", "gzip").send().await.expect("an answer").headers().clone()
    };
    let welcome = ask("http://localhost:3000").await;
    assert_eq!(welcome["access-control-allow-origin"], "http://localhost:3000");
    assert_eq!(
        (&welcome["x-content-type-options"], &welcome["x-frame-options"]),
        (&"nosniff".parse().unwrap(), &"DENY".parse().unwrap())
    );
    assert!(welcome.contains_key("x-request-id"));
    assert!(!ask("http://evil.example").await.contains_key("access-control-allow-origin"));
    let upgrade = async |origin: &str| {
        let request = hub.request(Method::GET, "/socket.io/?EIO=4&transport=websocket", "").header("origin", origin);
        let request = request.header("upgrade", "websocket").header("connection", "upgrade");
        let request =
            request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        request.send().await.expect("an answer").status()
    };
    assert_eq!(upgrade("http://evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(upgrade("http://localhost:3000").await, StatusCode::SWITCHING_PROTOCOLS);
    let page = hub.client.get(hub.url("/openapi.json")).header("accept-encoding", "br").send().await.expect("a page");
    assert_eq!(page.headers()["content-encoding"], "br");
}
