//! REST while a part is away: an answer with the one error body, and when to ask again.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use portcullis::{
    domain::user::Role,
    store::{self, private::Private},
};
use reqwest::Method;
use serde_json::json;

use crate::{
    rest_hub::{DEADLINE, Hub, Options},
    server,
};

#[tokio::test]
async fn without_postgres_reads_and_writes_are_refused_with_a_time_to_wait() {
    // PostgreSQL's own user must reach it, by a path that is short enough for a socket.
    let folder = tempfile::Builder::new().prefix("pc-away-").tempdir_in("/tmp").expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a reachable folder");
    let postgres = Private::start(folder.path()).await.expect("a server");
    let database = postgres.address().open(10);
    store::migrate(&database).await.expect("a schema");
    let hub = Hub::start_on(database, Options::default()).await;
    hub.report(hub.make_camera("Front").await).await;
    postgres.stop().await.expect("a stopped server");
    let reads = [
        "/auth/profile",
        "/api/users",
        "/api/users/stats",
        "/api/users/me",
        "/api/users/1",
        "/api/cameras",
        "/api/cameras/1",
        "/api/cameras/stats",
        "/api/events",
        "/api/events/unresolved",
        "/api/events/camera/1",
        "/api/events/stats",
        "/api/events/analytics",
        "/api/events/rejected",
        "/api/events/1",
        "/api/lock/status",
        "/api/lock/history",
        "/api/devices",
        "/api/devices/1/explain?action=publish&topic=a",
    ];
    let ask = async |method: Method, path: &'static str| {
        let answer = hub.request(method.clone(), path, &hub.admin).timeout(Duration::from_secs(30)).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 503, "{method} {path}");
        assert_eq!(answer.headers()["retry-after"], "1", "{method} {path}");
        let body: serde_json::Value = answer.json().await.expect("JSON");
        let expected = json!({
            "statusCode": 503, "message": "The database is not available", "error": "Service Unavailable",
        });
        assert_eq!(body, expected, "{method} {path}");
    };
    futures_util::future::join_all(reads.map(|path| ask(Method::GET, path))).await;
    // A command to the lock that cannot be recorded is not given; here not even who asks is known.
    futures_util::future::join_all(["/api/lock/open", "/api/lock/close"].map(|path| ask(Method::POST, path))).await;
    let body = json!({"username": "uma", "password": "correct horse"});
    let (status, answer) = hub.ask(Method::POST, "/auth/login", "", Some(body)).await;
    assert_eq!((status.as_u16(), &answer["statusCode"]), (503, &json!(503)));
    let (status, answer) = hub.ask(Method::GET, "/readyz", "", None).await;
    assert_eq!((status.as_u16(), &answer["parts"][0]), (503, &json!({"name": "database", "up": false})));
    assert_eq!(hub.get("/healthz", "").await, json!({"status": "ok"}));
}

#[tokio::test]
async fn an_admin_is_told_why_also_while_the_database_is_away() {
    let (database, gate) = server::gated().await;
    let hub = Hub::start_on(database, Options::default()).await;
    let details = async |token: &str| {
        let (status, answer) = hub.ask(Method::GET, "/readyz", token, None).await;
        assert_eq!(status.as_u16(), 503);
        answer["parts"][0]["detail"].as_str().map(str::to_owned)
    };
    let (demoted, their_token) = hub.make_user("dora", Role::Admin).await;
    // The last answer about one was that they are an ADMIN; of the other it is known that something changed.
    hub.get("/readyz", &hub.admin).await;
    hub.get("/readyz", &their_token).await;
    hub.revocations.user_changed(demoted);
    hub.get("/api/cameras", &hub.user).await;
    gate.shut("pulled the plug".to_owned());
    let forgotten = async {
        while details(&their_token).await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, forgotten).await.expect("what was known of the demoted is forgotten");
    assert!(details(&hub.admin).await.expect("a detail").contains("pulled the plug"));
    for nobody in [&hub.user, &hub.operator, "", "nonsense"] {
        assert_eq!(details(nobody).await, None, "{nobody}");
    }
    gate.open();
    let (status, answer) = hub.ask(Method::GET, "/readyz", &their_token, None).await;
    assert_eq!((status.as_u16(), &answer["parts"][0]["state"]), (200, &json!("up")));
}
