//! The REST contract as a table: every route, asked by everybody, with good and bad input. What is expected is written
//! by hand from the contract, not made from the hub's own types.

use reqwest::Method;
use serde_json::{Value, json};

use crate::rest_hub::{Hub, Options, is_as};

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum Who {
    Nobody,
    Garbage,
    User,
    Operator,
    Admin,
    Camera,
    Engine,
    Controller,
}
use Who::{Admin, Camera, Controller, Engine, Garbage, Nobody, Operator, User};

const EVERYBODY: [Who; 8] = [Nobody, Garbage, User, Operator, Admin, Camera, Engine, Controller];

/// A hub with a camera 1 that has an event 1, a camera 2 without one, and a device of each sort.
struct Stage {
    hub: Hub,
    camera: String,
    engine: String,
    controller: String,
}

impl Stage {
    async fn set() -> Self {
        let hub = Hub::start().await;
        assert_eq!(hub.make_camera("Front door").await, 1);
        assert_eq!(hub.make_camera("Back door").await, 2);
        let camera = hub.make_device("cam-1", "camera", Some(1)).await;
        let engine = hub.make_device("engine", "ai-engine", None).await;
        let controller = hub.make_device("button", "controller", None).await;
        assert_eq!(hub.report(1).await["id"], 1);
        Self { hub, camera, engine, controller }
    }

    fn token(&self, who: Who) -> &str {
        match who {
            Nobody => "",
            Garbage => "no.such.token",
            User => &self.hub.user,
            Operator => &self.hub.operator,
            Admin => &self.hub.admin,
            Camera => &self.camera,
            Engine => &self.engine,
            Controller => &self.controller,
        }
    }

    async fn ask(&self, who: Who, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let (status, answer) = self.hub.ask(method, path, self.token(who), body).await;
        (status.as_u16(), answer)
    }

    async fn expect(&self, who: Who, method: &str, path: &str, body: Option<Value>, status: u16, answer: Value) {
        let (actual, said) = self.ask(who, method, path, body.clone()).await;
        assert_eq!(actual, status, "{who:?} {method} {path} {body:?}: {said}");
        assert!(is_as(&answer, &said), "{who:?} {method} {path} {body:?}:\nexpected {answer}\n but got {said}");
    }
}

fn unauthorized() -> Value {
    json!({"statusCode": 401, "message": "Unauthorized"})
}

fn forbidden() -> Value {
    json!({"statusCode": 403, "message": "Forbidden resource", "error": "Forbidden"})
}

fn not_found(message: &str) -> Value {
    json!({"statusCode": 404, "message": message, "error": "Not Found"})
}

fn faults(faults: &[&str]) -> Value {
    json!({"statusCode": 400, "message": faults, "error": "Bad Request"})
}

/// Every route that asks who it is, and whom it lets in. The bodies are empty or wrong on purpose: who may not come in
/// hears so before anything else is looked at, and whoever may hears what is wrong.
#[tokio::test]
async fn every_route_lets_in_whom_it_should() {
    const SIGNED_IN: &[Who] = &[User, Operator, Admin];
    const OPERATORS: &[Who] = &[Operator, Admin];
    const ADMINS: &[Who] = &[Admin];
    const REPORTERS: &[Who] = &[Operator, Admin, Camera, Engine];
    let routes: &[(&str, &str, &[Who])] = &[
        ("GET", "/auth/profile", SIGNED_IN),
        ("GET", "/api/users", ADMINS),
        ("POST", "/api/users", ADMINS),
        ("GET", "/api/users/stats", ADMINS),
        ("GET", "/api/users/me", SIGNED_IN),
        ("GET", "/api/users/99", ADMINS),
        ("PUT", "/api/users/99", ADMINS),
        ("DELETE", "/api/users/99", ADMINS),
        ("GET", "/api/cameras", SIGNED_IN),
        ("POST", "/api/cameras", OPERATORS),
        ("GET", "/api/cameras/stats", SIGNED_IN),
        ("GET", "/api/cameras/1", SIGNED_IN),
        ("PUT", "/api/cameras/99", OPERATORS),
        ("DELETE", "/api/cameras/99", OPERATORS),
        ("GET", "/api/events", SIGNED_IN),
        ("POST", "/api/events", REPORTERS),
        ("GET", "/api/events/unresolved", SIGNED_IN),
        ("GET", "/api/events/camera/1", SIGNED_IN),
        ("GET", "/api/events/stats", SIGNED_IN),
        ("GET", "/api/events/analytics", SIGNED_IN),
        ("GET", "/api/events/rejected", ADMINS),
        ("GET", "/api/events/1", SIGNED_IN),
        ("PATCH", "/api/events/99/resolve", OPERATORS),
        ("DELETE", "/api/events/99", ADMINS),
        ("POST", "/api/lock/open", OPERATORS),
        ("POST", "/api/lock/close", OPERATORS),
        ("POST", "/api/lock/toggle", OPERATORS),
        ("POST", "/api/lock/hold", ADMINS),
        ("GET", "/api/lock/status", SIGNED_IN),
        ("GET", "/api/lock/history", OPERATORS),
        ("GET", "/api/devices", ADMINS),
        ("POST", "/api/devices", ADMINS),
        ("DELETE", "/api/devices/99", ADMINS),
        ("POST", "/api/devices/99/rotate", ADMINS),
        ("GET", "/api/devices/99/explain", ADMINS),
        ("GET", "/api/log-level", ADMINS),
        ("PUT", "/api/log-level", ADMINS),
    ];
    let stage = Stage::set().await;
    for (method, path, welcome) in routes {
        for who in EVERYBODY {
            let (status, answer) = stage.ask(who, method, path, None).await;
            if matches!(who, Nobody | Garbage) {
                assert_eq!((status, answer), (401, unauthorized()), "{who:?} {method} {path}");
            } else if welcome.iter().any(|welcome| *welcome as u8 == who as u8) {
                assert!(status != 401 && status != 403 && status < 500, "{who:?} {method} {path}: {status} {answer}");
            } else {
                assert_eq!((status, answer), (403, forbidden()), "{who:?} {method} {path}");
            }
        }
    }
}

/// Every route of the description was asked above or is open to all.
#[tokio::test]
async fn the_description_names_every_route() {
    let stage = Stage::set().await;
    let document = stage.hub.get("/openapi.json", "").await;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    let operations: usize = paths.values().map(|path| path.as_object().expect("operations").len()).sum();
    // The 37 above, register, login, healthz, readyz, metrics, and what the dashboard asks of the hub itself.
    assert_eq!(operations, 43, "{:?}", paths.keys());
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("operations") {
            let answers = operation["responses"].as_object().expect("answers");
            assert!(!answers.contains_key("default"), "{method} {path} names no errors");
        }
    }
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["CreateCamera"]["additionalProperties"], false);
    assert_eq!(schemas["CreateCamera"]["properties"]["name"]["maxLength"], 200);
    let page = stage.hub.request(Method::GET, "/docs/", "").send().await.expect("a page");
    assert_eq!(page.status(), 200);
    assert!(page.text().await.expect("a text").contains("swagger-ui"));
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_is_asked_for_is_answered_as_written() {
    let stage = Stage::set().await;
    let camera = json!({"id": 1, "name": "Front door", "location": null});
    let event = json!({
        "id": 1, "cameraId": 1, "eventType": "PERSON_DETECTED", "personCount": 1, "confidence": null,
        "snapshotPath": null, "description": null, "isResolved": false, "createdAt": "<time>", "resolvedAt": null,
        "camera": camera, "detectionId": null, "detectedAt": null, "kind": null, "subjectCameraId": null,
        "requestedBy": null, "commandId": null,
    });
    let mut plain_event = event.clone();
    plain_event.as_object_mut().expect("an object").remove("camera");
    let back_door = json!({
        "id": 2, "name": "Back door", "location": null, "streamUrl": null, "webrtcUrl": null, "description": null,
        "isActive": true, "createdAt": "<time>", "updatedAt": "<time>", "online": false, "lastSeen": null,
        "occupied": false, "personCount": 0, "source": null,
    });
    let with_events = |mut camera: Value, events: Value| {
        camera["events"] = events;
        camera
    };
    let mut front_door = back_door.clone();
    front_door["id"] = 1.into();
    front_door["name"] = "Front door".into();
    let uma = json!({
        "id": 3, "username": "uma", "email": "uma@example.org", "firstName": null, "lastName": null, "role": "USER",
        "isActive": true, "createdAt": "<time>",
    });
    let signed_in = json!({"access_token": "<text>", "user": {
        "id": 3, "username": "uma", "email": "uma@example.org", "firstName": null, "lastName": null, "role": "USER",
    }});
    let lock = json!({
        "status": "CLOSED", "pin": 17, "simulated": true, "online": true, "changedAt": "<any>", "reason": "played",
        "openedBy": "<any>",
        "opensUntil": null, "held": false, "door": null, "alarm": null, "alarmSince": null,
    });
    let device = json!({
        "id": 1, "name": "cam-1", "role": "camera", "cameraId": 1, "createdAt": "<time>", "lastSeen": null, "online": false,
    });
    let login = json!({"username": "uma", "password": "correct horse"});
    let cases = [
        (Nobody, "POST", "/auth/login", Some(login), 200, signed_in),
        (
            User,
            "GET",
            "/auth/profile",
            None,
            200,
            json!({"id": 3, "username": "uma", "email": "uma@example.org", "role": "USER"}),
        ),
        (User, "GET", "/api/users/me", None, 200, uma.clone()),
        (User, "GET", "/api/users/3", None, 200, uma.clone()),
        (Admin, "GET", "/api/users/3", None, 200, uma.clone()),
        (User, "PUT", "/api/users/3", Some(json!({})), 200, uma),
        (
            Admin,
            "GET",
            "/api/users/stats",
            None,
            200,
            json!({"total": 3, "admins": 1, "activeUsers": 3, "inactiveUsers": 0}),
        ),
        (User, "GET", "/api/cameras/stats", None, 200, json!({"total": 2, "active": 2, "inactive": 0})),
        (
            User,
            "GET",
            "/api/cameras",
            None,
            200,
            json!([with_events(front_door.clone(), json!([plain_event])), with_events(back_door.clone(), json!([]))]),
        ),
        (User, "GET", "/api/cameras/1", None, 200, with_events(front_door, json!([plain_event]))),
        (Operator, "PUT", "/api/cameras/2", Some(json!({})), 200, back_door.clone()),
        (User, "GET", "/api/events", None, 200, json!([event])),
        (User, "GET", "/api/events/unresolved", None, 200, json!([event])),
        (User, "GET", "/api/events/camera/1", None, 200, json!([event])),
        (User, "GET", "/api/events/camera/2?limit=1", None, 200, json!([])),
        (User, "GET", "/api/events/1", None, 200, event),
        (
            User,
            "GET",
            "/api/events/stats",
            None,
            200,
            json!({"total": 1, "unresolved": 1, "todayEvents": 1, "resolved": 0}),
        ),
        (
            User,
            "GET",
            "/api/events/analytics?bucket=day",
            None,
            200,
            json!([{"bucket": "<time>", "eventType": "PERSON_DETECTED", "count": 1}]),
        ),
        (Admin, "GET", "/api/events/rejected", None, 200, json!([])),
        (User, "GET", "/api/lock/status", None, 200, lock),
        (Operator, "GET", "/api/lock/history", None, 200, json!([])),
        (
            Operator,
            "POST",
            "/api/lock/open",
            None,
            200,
            json!({"status": "SUCCESS", "message": "Door opened successfully", "pin": 17}),
        ),
        (
            Operator,
            "POST",
            "/api/lock/close",
            None,
            200,
            json!({"status": "SUCCESS", "message": "Door closed successfully", "pin": 17}),
        ),
        (
            Admin,
            "POST",
            "/api/lock/toggle",
            None,
            200,
            json!({"previousStatus": "CLOSED", "currentStatus": "OPEN", "pin": 17}),
        ),
        (
            Admin,
            "GET",
            "/api/devices/2/explain?action=publish&topic=camera/7/detections",
            None,
            200,
            json!({"allowed": true, "rule": "<text>"}),
        ),
        (
            Admin,
            "GET",
            "/api/devices/1/explain?action=publish&topic=camera/7/detections",
            None,
            200,
            json!({"allowed": false, "rule": "<text>"}),
        ),
        (Admin, "DELETE", "/api/devices/1", None, 200, device),
        (Operator, "DELETE", "/api/cameras/2", None, 200, back_door),
        (Nobody, "GET", "/healthz", None, 200, json!({"status": "ok"})),
        (
            Nobody,
            "GET",
            "/readyz",
            None,
            200,
            json!({"status": "up", "parts": [{"name": "database", "up": true}, {"name": "broker", "up": true}]}),
        ),
        (
            Admin,
            "GET",
            "/readyz",
            None,
            200,
            json!({"status": "up", "parts": [
                {"name": "database", "up": true, "state": "up", "since": "<time>", "detail": ""},
                {"name": "broker", "up": true, "state": "up", "since": "<time>", "detail": "0 clients"},
            ]}),
        ),
    ];
    for (who, method, path, body, status, answer) in cases {
        stage.expect(who, method, path, body, status, answer).await;
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn bad_input_is_told_in_full() {
    let stage = Stage::set().await;
    let kinds = "eventType must be one of the following values: PERSON_DETECTED, MULTIPLE_PERSONS, DOOR_OPENED, DOOR_CLOSED, SYSTEM_ALERT";
    let long = "x".repeat(2001);
    let cases = [
        (
            Admin,
            "POST",
            "/api/users",
            json!({"username": "ab", "email": "nobody", "password": "short", "foo": 1}),
            faults(&[
                "property foo should not exist",
                "email must be an email",
                "password must be longer than or equal to 8 characters",
                "username must be longer than or equal to 3 characters",
            ]),
        ),
        (
            Admin,
            "POST",
            "/api/users",
            json!({"username": "abc", "email": "a@b.org", "password": "long enough", "role": "KING"}),
            faults(&["role must be one of the following values: USER, OPERATOR, ADMIN"]),
        ),
        (
            Nobody,
            "POST",
            "/auth/login",
            json!({"username": 1, "password": "x"}),
            faults(&["username must be a string"]),
        ),
        (Operator, "POST", "/api/cameras", json!({"name": ""}), faults(&["name should not be empty"])),
        (Operator, "POST", "/api/cameras", json!({}), faults(&["name should not be empty", "name must be a string"])),
        (Operator, "POST", "/api/cameras", json!({"name": 5}), faults(&["name must be a string"])),
        (
            Operator,
            "POST",
            "/api/cameras",
            json!({"name": "x", "streamUrl": "not a url", "webrtcUrl": "ftp://x/y"}),
            faults(&["streamUrl must be a URL address", "webrtcUrl must be a URL address"]),
        ),
        (Operator, "PUT", "/api/cameras/1", json!({"isActive": "yes"}), faults(&["isActive must be a boolean value"])),
        (
            Operator,
            "POST",
            "/api/cameras",
            json!({"name": "a\u{0}b", "description": long}),
            faults(&["description must be shorter than or equal to 2000 characters", "name must not contain NUL"]),
        ),
        (
            Operator,
            "POST",
            "/api/events",
            json!({}),
            faults(&[
                "cameraId must be an integer number",
                "personCount must not be less than 0",
                "personCount must be an integer number",
            ]),
        ),
        (
            Operator,
            "POST",
            "/api/events",
            json!({"cameraId": 1, "personCount": -1, "confidence": 1.5}),
            faults(&["confidence must not be greater than 1", "personCount must not be less than 0"]),
        ),
        (
            Operator,
            "POST",
            "/api/events",
            json!({"cameraId": "1", "personCount": 1.5, "detectionId": "x", "detectedAt": "yesterday"}),
            faults(&[
                "cameraId must be an integer number",
                "detectedAt must be a valid ISO 8601 date string",
                "detectionId must be a UUID",
                "personCount must not be less than 0",
                "personCount must be an integer number",
            ]),
        ),
        (
            Admin,
            "POST",
            "/api/devices",
            json!({"name": "x", "role": "camera"}),
            faults(&["cameraId must be an integer number"]),
        ),
        (
            Admin,
            "POST",
            "/api/devices",
            json!({"name": "a/b", "role": "sensor"}),
            faults(&["name must match /^[A-Za-z0-9_.-]{1,64}$/ regular expression"]),
        ),
    ];
    for (who, method, path, body, answer) in cases {
        stage.expect(who, method, path, Some(body), 400, answer).await;
    }
    let queries = [
        ("/api/events?limit=abc", faults(&["limit must be an integer number"])),
        ("/api/events?limit=0", faults(&["limit must not be less than 1"])),
        ("/api/events?limit=501", faults(&["limit must not be greater than 500"])),
        ("/api/events?offset=-1&eventType=PARTY", faults(&[kinds, "offset must not be less than 0"])),
        (
            "/api/events?isResolved=maybe&from=x",
            faults(&["isResolved must be a boolean value", "from must be a valid ISO 8601 date string"]),
        ),
        ("/api/events/unresolved?limit=NaN", faults(&["limit must be an integer number"])),
        ("/api/events/camera/1?limit=", json!("<any>")),
        ("/api/events/analytics?bucket=week", faults(&["bucket must be one of the following values: hour, day"])),
    ];
    for (path, answer) in queries {
        let status = if answer == "<any>" { 200 } else { 400 };
        stage.expect(User, "GET", path, None, status, answer).await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_so() {
    let stage = Stage::set().await;
    let cases = [
        (User, "GET", "/nope", None, 404, not_found("Cannot GET /nope")),
        (Nobody, "POST", "/api/nope?x=1", None, 404, not_found("Cannot POST /api/nope")),
        (User, "GET", "/api/cameras/9", None, 404, not_found("Camera with ID 9 not found")),
        (User, "GET", "/api/cameras/99999999999", None, 404, not_found("Camera with ID 99999999999 not found")),
        (User, "GET", "/api/events/camera/9", None, 404, not_found("Camera with ID 9 not found")),
        (User, "GET", "/api/events/9", None, 404, not_found("Event with ID 9 not found")),
        (Operator, "PATCH", "/api/events/9/resolve", None, 404, not_found("Event with ID 9 not found")),
        (Admin, "DELETE", "/api/events/9", None, 404, not_found("Event with ID 9 not found")),
        (Admin, "GET", "/api/users/9", None, 404, not_found("User with ID 9 not found")),
        (Admin, "PUT", "/api/users/9", Some(json!({})), 404, not_found("User with ID 9 not found")),
        (Admin, "DELETE", "/api/users/9", None, 404, not_found("User with ID 9 not found")),
        (Admin, "DELETE", "/api/devices/9", None, 404, not_found("Device with ID 9 not found")),
        (Admin, "POST", "/api/devices/9/rotate", None, 404, not_found("Device with ID 9 not found")),
        (
            Engine,
            "POST",
            "/api/events",
            Some(json!({"cameraId": 9, "personCount": 1})),
            404,
            not_found("Camera with ID 9 not found"),
        ),
        (
            User,
            "GET",
            "/api/cameras/abc",
            None,
            400,
            json!({"statusCode": 400, "message": "Validation failed (numeric string is expected)", "error": "Bad Request"}),
        ),
        (
            Operator,
            "DELETE",
            "/api/cameras/1",
            None,
            409,
            json!({"statusCode": 409, "message": "Camera with ID 1 has 1 event; deactivate the camera instead", "error": "Conflict"}),
        ),
        (
            User,
            "DELETE",
            "/api/events",
            None,
            405,
            json!({"statusCode": 405, "message": "Cannot DELETE /api/events", "error": "Method Not Allowed"}),
        ),
    ];
    for (who, method, path, body, status, answer) in cases {
        stage.expect(who, method, path, body, status, answer).await;
    }
}

#[tokio::test]
async fn a_body_that_is_none_is_refused_with_the_one_error_body() {
    let stage = Stage::set().await;
    let send = async |kind: &str, body: Vec<u8>| {
        let request = stage.hub.request(Method::POST, "/api/cameras", &stage.hub.operator);
        let response = request.header("content-type", kind).body(body).send().await.expect("an answer");
        let status = response.status().as_u16();
        let answer: Value = response.json().await.expect("JSON");
        assert_eq!(answer["statusCode"], status, "{answer}");
        assert!(answer["message"].is_string() && answer["error"].is_string(), "{answer}");
        status
    };
    assert_eq!(send("application/json", b"{\"name\":".to_vec()).await, 400);
    assert_eq!(send("application/json", b"\xff\xfe".to_vec()).await, 400);
    assert_eq!(send("text/plain", b"{\"name\":\"x\"}".to_vec()).await, 415);
    assert_eq!(send("application/json", vec![b' '; 200_000]).await, 413);
}

#[tokio::test]
async fn nobody_registers_unless_it_is_open() {
    let body = json!({"username": "eva", "email": "eva@example.org", "password": "long enough", "firstName": "Eva"});
    let stage = Stage::set().await;
    stage.expect(Nobody, "POST", "/auth/register", Some(body.clone()), 403, forbidden()).await;
    stage.expect(Nobody, "POST", "/auth/register", Some(json!({"username": "ada"})), 403, forbidden()).await;
    let options = Options { registration: portcullis::bridge::Registration::Open, ..Options::default() };
    let hub = Hub::start_with(options).await;
    let (status, answer) = hub.ask(Method::POST, "/auth/register", "", Some(body.clone())).await;
    let user = json!({"access_token": "<text>", "user": {
        "id": 4, "username": "eva", "email": "eva@example.org", "firstName": "Eva", "lastName": null, "role": "USER",
    }});
    assert_eq!(status, 201);
    assert!(is_as(&user, &answer), "{answer}");
    let (status, answer) = hub.ask(Method::POST, "/auth/register", "", Some(body)).await;
    assert_eq!(status, 409);
    assert_eq!(answer["message"], "User with this email or username already exists");
}

/// What is made, changed and removed, line by line; each row finds what the rows before it have left.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_is_made_and_changed_is_answered_as_written() {
    let stage = Stage::set().await;
    sqlx::query("INSERT INTO rejected_messages (topic, payload, reason, source) VALUES ('camera/1/detections', 'x', 'no JSON', 'device:cam-1')")
        .execute(&stage.hub.database)
        .await
        .expect("a message");
    let conflict = |message: &str| json!({"statusCode": 409, "message": message, "error": "Conflict"});
    let device = |secret: bool| {
        let mut device = json!({
            "id": 4, "name": "pad", "role": "sensor", "cameraId": null, "createdAt": "<time>", "lastSeen": null, "online": false,
        });
        if secret {
            device["username"] = "pad".into();
            device["password"] = "<text>".into();
            device["token"] = "<text>".into();
        }
        device
    };
    let yard = |location: Value, active: bool| {
        json!({
            "id": 3, "name": "Yard", "location": location, "streamUrl": "rtsp://u:p@cam/1", "webrtcUrl": "wss://cam/1",
            "description": "at the back", "isActive": active, "createdAt": "<time>", "updatedAt": "<time>",
            "online": false, "lastSeen": null, "occupied": false, "personCount": 0, "source": null,
        })
    };
    let new_yard = json!({
        "name": "Yard", "location": "Garden", "streamUrl": "rtsp://u:p@cam/1", "webrtcUrl": "wss://cam/1", "description": "at the back",
    });
    let bob = |first_name: &str, role: &str, active: bool| {
        json!({
            "id": 4, "username": "bob", "email": "bob@example.org", "firstName": first_name, "lastName": null, "role": role,
            "isActive": active, "createdAt": "<time>",
        })
    };
    let new_bob = json!({
        "username": "bob", "email": "bob@example.org", "password": "12345678", "firstName": "Bob", "role": "OPERATOR",
    });
    let taken = conflict("User with this email or username already exists");
    let last_admin = conflict("The last active ADMIN cannot be deleted, demoted or deactivated");
    let attempt = json!([{
        "id": "<id>", "commandId": "<text>", "action": "open", "requestedBy": "user:2", "channel": "http", "address": "127.0.0.1",
        "requestedAt": "<time>", "outcome": "done", "message": "<text>", "durationMs": "<any>", "eventId": 1, "cameraId": 1,
        "detail": null, "times": 1,
    }]);
    let rejected = json!([{
        "id": 1, "topic": "camera/1/detections", "payload": "x", "reason": "no JSON", "source": "device:cam-1", "receivedAt": "<time>",
    }]);
    let hold = json!({"until": "2030-01-01T00:00:00Z", "reason": "moving in"});
    let numeric =
        json!({"statusCode": 400, "message": "Validation failed (numeric string is expected)", "error": "Bad Request"});
    let not_allowed =
        |what: &str| json!({"statusCode": 405, "message": format!("Cannot {what}"), "error": "Method Not Allowed"});
    let cases = [
        (Admin, "POST", "/api/devices", Some(json!({"name": "pad", "role": "sensor"})), 201, device(true)),
        (Admin, "POST", "/api/devices/4/rotate", None, 201, device(true)),
        (
            Admin,
            "POST",
            "/api/devices",
            Some(json!({"name": "pad", "role": "sensor"})),
            409,
            conflict("Device or user with this name already exists"),
        ),
        (
            Admin,
            "POST",
            "/api/devices",
            Some(json!({"name": "c", "role": "camera", "cameraId": 9})),
            404,
            not_found("Camera with ID 9 not found"),
        ),
        (
            Admin,
            "POST",
            "/api/devices",
            Some(json!({"name": "c", "role": "sensor", "cameraId": 1})),
            400,
            faults(&["property cameraId should not exist"]),
        ),
        (
            Admin,
            "GET",
            "/api/devices/4/explain",
            None,
            400,
            faults(&["action should not be empty", "topic should not be empty"]),
        ),
        (Admin, "DELETE", "/api/devices/4", None, 200, device(false)),
        (Operator, "POST", "/api/cameras", Some(new_yard), 201, yard("Garden".into(), true)),
        (
            Operator,
            "POST",
            "/api/cameras",
            Some(json!({"name": "x", "isActive": false})),
            400,
            faults(&["property isActive should not exist"]),
        ),
        (
            Operator,
            "PUT",
            "/api/cameras/3",
            Some(json!({"isActive": false, "location": null})),
            200,
            yard(Value::Null, false),
        ),
        (Operator, "PUT", "/api/cameras/3", Some(json!({"id": 1})), 400, faults(&["property id should not exist"])),
        (Operator, "DELETE", "/api/cameras/3", None, 200, yard(Value::Null, false)),
        (Operator, "DELETE", "/api/cameras/3", None, 404, not_found("Camera with ID 3 not found")),
        (Admin, "POST", "/api/users", Some(new_bob.clone()), 201, bob("Bob", "OPERATOR", true)),
        (Admin, "POST", "/api/users", Some(new_bob), 409, taken.clone()),
        (
            Admin,
            "POST",
            "/api/users",
            Some(json!({"username": "bobby", "email": "BOB@example.org", "password": "12345678"})),
            409,
            taken,
        ),
        (
            Nobody,
            "POST",
            "/auth/login",
            Some(json!({"username": "bob", "password": "wrong"})),
            401,
            json!({"statusCode": 401, "message": "Invalid credentials", "error": "Unauthorized"}),
        ),
        (
            Admin,
            "PUT",
            "/api/users/4",
            Some(json!({"firstName": "Rob", "role": "USER", "isActive": false})),
            200,
            bob("Rob", "USER", false),
        ),
        (
            Nobody,
            "POST",
            "/auth/login",
            Some(json!({"username": "bob", "password": "12345678"})),
            401,
            json!({"statusCode": 401, "message": "Account is disabled", "error": "Unauthorized"}),
        ),
        (
            Admin,
            "PUT",
            "/api/users/4",
            Some(json!({"username": "rob"})),
            400,
            faults(&["property username should not exist"]),
        ),
        (Admin, "DELETE", "/api/users/4", None, 200, bob("Rob", "USER", false)),
        (Admin, "PUT", "/api/users/1", Some(json!({"role": "USER"})), 409, last_admin.clone()),
        (Admin, "DELETE", "/api/users/1", None, 409, last_admin),
        (Admin, "GET", "/api/users/abc", None, 400, numeric),
        (
            Operator,
            "POST",
            "/api/lock/open",
            None,
            200,
            json!({"status": "SUCCESS", "message": "Door opened successfully", "pin": 17}),
        ),
        (Operator, "GET", "/api/lock/history?limit=1", None, 200, attempt),
        (Operator, "POST", "/api/lock/hold", Some(hold.clone()), 403, forbidden()),
        (
            Admin,
            "POST",
            "/api/lock/hold",
            Some(hold),
            409,
            conflict("Holding the door open is switched off (LOCK_HOLD_OPEN)"),
        ),
        (Admin, "GET", "/api/events/rejected?limit=1", None, 200, rejected),
        (Admin, "GET", "/api/events/rejected?before=1", None, 200, json!([])),
        (Admin, "GET", "/api/events/rejected?limit=501", None, 400, faults(&["limit must not be greater than 500"])),
        (Operator, "GET", "/api/lock/history?before=x", None, 400, faults(&["before must be an integer number"])),
        (User, "GET", "/api/events?limit=1.5", None, 400, faults(&["limit must be an integer number"])),
        (
            User,
            "GET",
            "/api/events?cameraId=x&before=y",
            None,
            400,
            faults(&["cameraId must be an integer number", "before must be an integer number"]),
        ),
        (
            User,
            "GET",
            "/api/events/analytics?from=2020-01-01T00:00:00Z",
            None,
            400,
            faults(&["from and to must not be further apart than 10000 buckets"]),
        ),
        (User, "GET", "/api/events/analytics?from=2020-01-01T00:00:00Z&bucket=day&cameraId=2", None, 200, json!([])),
        (User, "GET", "/api/events/analytics?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", None, 200, json!([])),
        (Nobody, "PATCH", "/api/events", None, 405, not_allowed("PATCH /api/events")),
        (Nobody, "POST", "/auth/profile", None, 405, not_allowed("POST /auth/profile")),
        (Nobody, "GET", "/api/events//", None, 404, not_found("Cannot GET /api/events//")),
    ];
    for (who, method, path, body, status, answer) in cases {
        stage.expect(who, method, path, body, status, answer).await;
    }
}
