//! What programs send that is not quite as described, and what no route is asked about: read, or refused in words.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::rest_hub::{DEADLINE, Hub};

/// Sends a body as it is.
async fn post(hub: &Hub, path: &str, encoding: &str, body: Vec<u8>) -> (u16, Value) {
    let request = hub.request(Method::POST, path, &hub.operator).header("content-type", "application/json");
    let request = if encoding.is_empty() { request } else { request.header("content-encoding", encoding) };
    let response = request.body(body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_detection_is_read_by_one_rule_whatever_its_spelling() {
    let hub = Hub::start().await;
    let camera = hub.make_camera("Front").await;
    let id = "018f5f2a-7b1c-7e4d-8a90-1234567890ab";
    let mut first = None;
    for count in ["1", "1.0", "1e0"] {
        for (spelling, at) in [
            (id.to_owned(), "2026-11-27 19:00:00+0100"),
            (id.replace('-', ""), "2026-11-27T18:00:00Z"),
            (id.to_uppercase(), "2026-11-27t18:00:00.0000000000z"),
            (format!("urn:uuid:{id}"), "2026-11-27 19:00:00+01"),
        ] {
            let body = format!(
                r#"{{"cameraId":{camera},"personCount":{count},"detectionId":"{spelling}","detectedAt":"{at}"}}"#
            );
            for body in [body.clone(), format!("\u{feff}{body}")] {
                let (status, event) = post(&hub, "/api/events", "", body.clone().into_bytes()).await;
                let known = first.get_or_insert_with(|| {
                    assert_eq!(status, 201, "{event}");
                    event["id"].clone()
                });
                assert_eq!(event["id"], *known, "the same detection sent again: {body}");
                assert_eq!(event["detectionId"], id);
                assert_eq!(event["detectedAt"], "2026-11-27T18:00:00.000Z", "{body}");
            }
        }
    }
    for none in [
        r#""detectionId":"00000000-0000-0000-0000-000000000000""#,
        r#""detectionId":"ffffffffffffffffffffffffffffffff""#,
        r#""detectionId":"","detectedAt":"","confidence":"","description":" ","snapshotPath":"""#,
    ] {
        let body = format!(r#"{{"cameraId":{camera},"personCount":1,{none}}}"#);
        let both = [
            post(&hub, "/api/events", "", body.clone().into()).await,
            post(&hub, "/api/events", "", body.into()).await,
        ];
        for (status, event) in &both {
            assert_eq!(*status, 201, "an event of its own: {event}");
            for field in ["detectionId", "detectedAt", "confidence", "description", "snapshotPath"] {
                assert_eq!(event[field], Value::Null, "{field}");
            }
        }
        assert_ne!(both[0].1["id"], both[1].1["id"]);
    }
    for (refused, fault) in [
        (r#""personCount":"1""#, "personCount must be an integer number"),
        (r#""personCount":1.5"#, "personCount must be an integer number"),
        (r#""personCount":99999999999999999999"#, "personCount must not be greater than 2147483647"),
        (r#""personCount":1,"detectionId":"018f5f2a""#, "detectionId must be a UUID"),
        (r#""personCount":1,"detectedAt":"2026-11-27T19:00:00""#, "detectedAt must be a valid ISO 8601 date string"),
        (
            r#""personCount":1,"detectedAt":"9999-12-31T23:59:59-01:00""#,
            "detectedAt must be a valid ISO 8601 date string",
        ),
    ] {
        let (status, answer) =
            post(&hub, "/api/events", "", format!(r#"{{"cameraId":{camera},{refused}}}"#).into()).await;
        assert_eq!(status, 400, "{refused}");
        assert!(answer["message"].as_array().expect("faults").contains(&json!(fault)), "{answer}");
    }
    // By their places in an array serde would know the fields.
    assert_eq!(post(&hub, "/api/events", "", format!("[{camera},1,null,null,null,null,null]").into()).await.0, 400);
    // A time in a query is read by the same rule.
    for from in ["2026-11-27%2019:00:00%2B0100", "2026-11-27+19:00:00+0100", "2000-01-01t00:00:00z", "%20"] {
        hub.get(&format!("/api/events?from={from}"), &hub.user).await;
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("bytes");
    encoder.finish().expect("bytes")
}

#[tokio::test]
async fn a_compressed_body_is_read_and_a_bomb_is_not() {
    let hub = Hub::start().await;
    let camera = hub.make_camera("Front").await;
    let plain = format!(r#"{{"cameraId":{camera},"personCount":1}}"#).into_bytes();
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    brotli.write_all(&plain).expect("bytes");
    let brotli = brotli.into_inner();
    for (encoding, body, right) in [
        ("gzip", gzip(&plain), 201),
        ("GZip", gzip(&plain), 201),
        ("x-gzip", gzip(&plain), 201),
        ("br", brotli, 201),
        ("identity", plain.clone(), 201),
        ("gzip", gzip(&vec![b' '; 60 << 20]), 413),
        ("gzip", plain.clone(), 400),
        ("gzip", gzip(&plain)[..20].to_vec(), 400),
        ("zstd", plain.clone(), 415),
        ("gzip, br", plain.clone(), 415),
        ("compress", plain, 415),
    ] {
        let (status, answer) = post(&hub, "/api/events", encoding, body).await;
        assert_eq!(status, right, "{encoding}: {answer}");
        if right >= 400 {
            assert_eq!(answer["statusCode"], right);
            assert!(answer["message"].is_string() && answer["error"].is_string(), "{answer}");
        }
        if right == 415 {
            assert!(answer["message"].as_str().expect("words").contains("gzip, deflate, br"), "{answer}");
        }
    }
}

#[tokio::test]
async fn what_nobody_filled_in_is_none_and_a_stream_is_kept_as_it_is_given() {
    let hub = Hub::start().await;
    let blank = json!({"name": "Front", "location": "", "streamUrl": "", "webrtcUrl": "  ", "description": "\t"});
    let (status, camera) = hub.ask(Method::POST, "/api/cameras", &hub.operator, Some(blank)).await;
    assert_eq!(status, 201, "{camera}");
    let path = format!("/api/cameras/{}", camera["id"]);
    let is_empty = |camera: &Value| {
        ["location", "streamUrl", "webrtcUrl", "description"].iter().all(|field| camera[field].is_null())
    };
    assert!(is_empty(&camera), "{camera}");
    for url in [
        "RTSP://cam.local/s",
        "rtsps://cam.local:322/s",
        "rtmp://cam.local/live",
        "Rtmps://cam.local/live",
        "srt://cam.local:9000?mode=caller",
        "SRT://cam.local:9000",
        "HTTPS://cam.local/",
        "rtsp://admin:100%@cam.local/s",
        "rtsp://admin:a^b%zz@cam.local/s",
        "rtsp://admin:pässwörd@cam.local/s",
        "rtsp://admin:2024#cam@cam.local/s",
        "rtsp://admin:[x]{y}|\"<>@cam.local/s",
        "wss://[2001:db8::1]:443/s",
    ] {
        for field in ["streamUrl", "webrtcUrl"] {
            let (status, changed) = hub.ask(Method::PUT, &path, &hub.operator, Some(json!({field: url}))).await;
            assert_eq!((status.as_u16(), &changed[field]), (200, &json!(url)), "{changed}");
        }
    }
    for url in [
        "javascript:alert(1)",
        "JavaScript://x/%0aalert(1)",
        "data:text/html,x",
        "data://x",
        "file:///etc/passwd",
        "rtsp:/x",
        "rtsp://",
        "cam.local",
        "rtsp://a b/",
        " rtsp://a/",
        "rtsp://a/\n",
        "ftp://a/",
        "blob:http://a/",
    ] {
        let (status, answer) = hub.ask(Method::PUT, &path, &hub.operator, Some(json!({"streamUrl": url}))).await;
        assert_eq!((status.as_u16(), &answer["message"]), (400, &json!(["streamUrl must be a URL address"])), "{url}");
    }
    let blank =
        json!({"name": "", "location": " ", "streamUrl": "", "webrtcUrl": "", "description": "", "isActive": ""});
    let (status, camera) = hub.ask(Method::PUT, &path, &hub.operator, Some(blank)).await;
    assert_eq!(
        (status.as_u16(), &camera["name"], &camera["isActive"]),
        (200, &json!("Front"), &json!(true)),
        "{camera}"
    );
    assert!(is_empty(&camera), "{camera}");

    let user = json!({"username": "eva", "email": "eva@example.org", "password": "long enough", "firstName": "", "lastName": " ", "role": ""});
    let (status, user) = hub.ask(Method::POST, "/api/users", &hub.admin, Some(user)).await;
    assert_eq!(status, 201, "{user}");
    assert_eq!((&user["firstName"], &user["lastName"], &user["role"]), (&Value::Null, &Value::Null, &json!("USER")));
    let path = format!("/api/users/{}", user["id"]);
    let blank = json!({"firstName": "", "lastName": "Lee", "email": "", "password": "", "currentPassword": "", "role": "", "isActive": ""});
    let (status, user) = hub.ask(Method::PUT, &path, &hub.admin, Some(blank)).await;
    assert_eq!(
        (status.as_u16(), &user["lastName"], &user["email"]),
        (200, &json!("Lee"), &json!("eva@example.org")),
        "{user}"
    );
    hub.sign_in("eva", "long enough").await;
    let device = json!({"name": "panel", "role": "sensor", "cameraId": ""});
    assert_eq!(hub.ask(Method::POST, "/api/devices", &hub.admin, Some(device)).await.0, 201);
    // What must be there must not be blank.
    for (path, body, fault) in [
        ("/api/cameras", json!({"name": ""}), "name should not be empty"),
        ("/api/lock/hold", json!({"until": "", "reason": "x"}), "until must be a valid ISO 8601 date string"),
        ("/api/lock/hold", json!({"until": "2026-11-27 19:00:00+0100", "reason": ""}), "reason should not be empty"),
    ] {
        let (status, answer) = hub.ask(Method::POST, path, &hub.admin, Some(body)).await;
        assert_eq!((status.as_u16(), &answer["message"]), (400, &json!([fault])));
    }
}

#[tokio::test]
async fn words_about_a_body_are_few_and_a_long_text_is_cut_and_not_the_detection() {
    let hub = Hub::start().await;
    let camera = hub.make_camera("Front").await;
    let mut body: serde_json::Map<String, Value> = (0..5000).map(|n| (format!("k{n}"), json!(1))).collect();
    body.insert("cameraId".to_owned(), camera.into());
    body.insert("personCount".to_owned(), 1.into());
    let long = "ü".repeat(5000);
    for (body, more) in [
        (Value::Object(body), "and 4980 more"),
        (json!({"cameraId": long, "personCount": long, &long: 1, "detectedAt": long}), ""),
    ] {
        let (status, answer) = hub.ask(Method::POST, "/api/events", &hub.operator, Some(body)).await;
        assert_eq!(status, 400);
        let faults = answer["message"].as_array().expect("a list of sentences");
        assert!(
            faults.iter().all(Value::is_string) && faults.len() <= 21 && answer.to_string().len() < 4096,
            "{answer}"
        );
        assert!(more.is_empty() || faults[20] == more, "{answer}");
    }
    let body = json!({"cameraId": camera, "personCount": 1, "description": long, "snapshotPath": long});
    let (status, event) = hub.ask(Method::POST, "/api/events", &hub.operator, Some(body)).await;
    assert_eq!(status, 201);
    for (field, length) in [("description", 2000), ("snapshotPath", 1024)] {
        let text = event[field].as_str().expect("a text");
        assert!(text.chars().count() == length && text.ends_with("ü…"), "{field}");
    }
    let path = format!("/api/events/{}", event["id"]);
    assert_eq!(hub.get(&path, &hub.user).await["description"], event["description"], "as it was answered");
    let (_, answer) = hub.ask(Method::GET, &format!("/{}", "a".repeat(5000)), "", None).await;
    assert!(answer.to_string().len() < 1000);
}

#[tokio::test]
async fn one_slash_after_a_path_is_forgiven() {
    let hub = Hub::start().await;
    let camera = hub.make_camera("Front").await;
    let event = hub.report(camera).await;
    for path in [
        "/api/events/".to_owned(),
        "/api/events/?limit=1".to_owned(),
        "/api/events/stats/".to_owned(),
        format!("/api/events/{}/", event["id"]),
        format!("/api/events/camera/{camera}/?limit=5"),
        "/auth/profile/".to_owned(),
        "/api/lock/status/".to_owned(),
    ] {
        let bare = path.replacen("/?", "?", 1);
        let bare = bare.strip_suffix('/').unwrap_or(&bare);
        assert_eq!(hub.get(&path, &hub.user).await, hub.get(bare, &hub.user).await, "{path}");
    }
    let login = json!({"username": "uma", "password": crate::rest_hub::PASSWORD});
    assert_eq!(hub.ask(Method::POST, "/auth/login/", "", Some(login)).await.0, 200);
    assert_eq!(hub.ask(Method::POST, "/api/lock/open/", &hub.operator, None).await.0, 200);
    let history = hub.get("/api/lock/history/", &hub.operator).await;
    assert_eq!(history[0]["action"], "open");
    for path in ["/api/events//", "//api/events", "/api//events", "/nope/", "/api/events/stats//"] {
        let (status, answer) = hub.ask(Method::GET, path, &hub.user, None).await;
        assert_eq!((status.as_u16(), &answer["message"]), (404, &json!(format!("Cannot GET {path}"))));
    }
    let open = hub.client.get(hub.url("/socket.io?EIO=4&transport=polling")).send().await.expect("an answer");
    assert_eq!(open.status(), 200);
}

/// Sends bytes and answers the first answer's status, head and body, and whether the connection ended after it.
async fn raw(stream: &mut TcpStream, request: &[u8]) -> (u16, String, String) {
    stream.write_all(request).await.expect("a server that reads");
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.expect("a length").parse().expect("a number") {
                let status = head[9..12].parse().expect("a status");
                return (status, head.to_owned(), body.to_owned());
            }
        }
        let mut bytes = [0; 8192];
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut bytes)).await.expect("an answer").expect("bytes");
        assert!(read > 0, "the connection ended after {text:?}");
        answer.extend_from_slice(&bytes[..read]);
    }
}

#[tokio::test]
async fn what_is_no_request_gets_the_one_error_body_too() {
    let hub = Hub::start().await;
    let many = (0..200).fold(String::new(), |all, n| all + &format!("x-{n}: 1\r\n"));
    let long = "a".repeat(70_000);
    let cases = [
        (format!("GET /{long} HTTP/1.1\r\nhost: hub\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nhost: hub\r\n{many}\r\n"), 431),
        ("GET / HTTP/1.1\r\nhost hub\r\n\r\n".to_owned(), 400),
        ("GET  / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("G@T / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.1\r\n\r\n".to_owned(), 400),
        ("GET http:///x HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\r\n\r\n".to_owned(), 400),
        ("POST /api/events HTTP/1.1\r\ncontent-length: x\r\n\r\n".to_owned(), 400),
        ("POST /api/events HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(), 400),
        ("POST /api/events HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(), 400),
    ];
    for (request, right) in cases {
        // On a new connection, and after an answer that a route gave on it.
        for is_new in [true, false] {
            let mut stream = TcpStream::connect(hub.address).await.expect("a connection");
            if !is_new {
                let (status, head, body) = raw(&mut stream, b"GET /nope HTTP/1.1\r\nhost: hub\r\n\r\n").await;
                assert!(status == 404 && head.contains("x-request-id: ") && body.contains("Cannot GET /nope"));
            }
            let (status, head, body) = raw(&mut stream, request.as_bytes()).await;
            let shown = &request[..request.len().min(60)];
            assert_eq!(status, right, "{shown:?}: {head}");
            let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{shown:?}: {head} {body}"));
            assert_eq!(body["statusCode"], right, "{shown:?}");
            assert!(body["message"].is_string() && body["error"].is_string(), "{body}");
            assert!(head.contains("content-type: application/json") && head.contains("x-request-id: "), "{head}");
            let mut rest = Vec::new();
            let end = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("an end");
            assert!(end.is_err() || rest.is_empty(), "nothing comes after it: {rest:?}");
        }
    }
}

#[tokio::test]
async fn a_page_that_is_welcome_may_send_what_headers_it_likes() {
    let hub = Hub::start().await;
    let preflight = async |origin: &str, asked: &str, path: &str| {
        let request = hub.client.request(Method::OPTIONS, hub.url(path)).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let request = if asked.is_empty() { request } else { request.header("access-control-request-headers", asked) };
        request.send().await.expect("an answer").headers().clone()
    };
    let text = |headers: &HeaderMap, name: &str| {
        headers.get(name).map(|value| value.to_str().expect("text").to_ascii_lowercase()).unwrap_or_default()
    };
    let (here, elsewhere) = ("http://localhost:3000", "https://evil.example");
    for asked in ["authorization,content-type", "baggage, sentry-trace", "traceparent,x-requested-with", "x-any-thing"]
    {
        for path in ["/api/events", "/api/events/", "/auth/login"] {
            let headers = preflight(here, asked, path).await;
            assert_eq!(text(&headers, "access-control-allow-origin"), here);
            assert_eq!(text(&headers, "access-control-allow-headers"), asked);
            assert_eq!(text(&headers, "access-control-allow-credentials"), "true");
            assert!(text(&headers, "access-control-max-age").parse::<u32>().expect("seconds") >= 60);
            for method in ["get", "head", "post", "put", "patch", "delete"] {
                assert!(text(&headers, "access-control-allow-methods").split(',').any(|allowed| allowed == method));
            }
            assert!(text(&headers, "vary").contains("origin"));
            let headers = preflight(elsewhere, asked, path).await;
            assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{headers:?}");
        }
    }
    let get = async |origin: &str| {
        let request = hub.request(Method::GET, "/api/events", &hub.user).header("origin", origin);
        request.send().await.expect("an answer").headers().clone()
    };
    let exposed = text(&get(here).await, "access-control-expose-headers");
    for name in ["retry-after", "x-request-id", "etag", "date", "content-range", "content-disposition"] {
        assert!(exposed.split(',').any(|exposed| exposed == name), "{exposed}");
    }
    assert!(!get(elsewhere).await.keys().any(|name| name.as_str().starts_with("access-control-")));
}
