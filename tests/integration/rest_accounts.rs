//! Accounts over REST: what ends a token, who may try how often, and that the hub never loses its last ADMIN.

use std::time::{Duration, Instant};

use portcullis::domain::user::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rest_hub::{DEADLINE, Hub, Options, PASSWORD};

/// Asks until the token is void, and says how long that took.
async fn until_void(hub: &Hub, token: &str) -> Duration {
    let begun = Instant::now();
    while hub.ask(Method::GET, "/auth/profile", token, None).await.0 != StatusCode::UNAUTHORIZED {
        assert!(begun.elapsed() < DEADLINE, "the token is still good");
    }
    begun.elapsed()
}

#[tokio::test]
async fn a_user_who_is_disabled_demoted_changed_or_deleted_is_out_within_a_second() {
    let hub = Hub::start().await;
    for (name, change) in [
        ("disabled", json!({"isActive": false})),
        ("demoted", json!({"role": "USER"})),
        ("changed", json!({"password": "another password"})),
    ] {
        let (id, token) = hub.make_user(name, Role::Operator).await;
        let (status, answer) = hub.ask(Method::PUT, &format!("/api/users/{id}"), &hub.admin, Some(change)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert!(until_void(&hub, &token).await < Duration::from_secs(1), "{name}");
    }
    let (id, token) = hub.make_user("deleted", Role::User).await;
    let (status, _) = hub.ask(Method::DELETE, &format!("/api/users/{id}"), &hub.admin, None).await;
    assert_eq!(status, StatusCode::OK);
    assert!(until_void(&hub, &token).await < Duration::from_secs(1));
}

#[tokio::test]
async fn a_change_past_the_hub_ends_a_token_too_and_a_promotion_does_not() {
    let hub = Hub::start().await;
    let (id, token) = hub.make_user("eva", Role::User).await;
    let (status, _) =
        hub.ask(Method::PUT, &format!("/api/users/{id}"), &hub.admin, Some(json!({"role": "OPERATOR"}))).await;
    assert_eq!(status, StatusCode::OK);
    // What the token says of the role is old; what the database says counts.
    assert_eq!(hub.get("/auth/profile", &token).await["role"], "OPERATOR");
    sqlx::query("UPDATE users SET token_version = token_version + 1 WHERE id = $1")
        .bind(id.0)
        .execute(&hub.database)
        .await
        .expect("an update");
    assert!(until_void(&hub, &token).await < Duration::from_secs(1));
}

#[tokio::test]
async fn ten_wrong_passwords_close_an_account_to_an_address_whether_it_exists_or_not() {
    let hub = Hub::start_with(Options { trusted_proxies: vec!["127.0.0.0/8"], ..Options::default() }).await;
    let try_login = async |username: &str, password: &str, address: &str| {
        let request = hub.request(Method::POST, "/auth/login", "").header("x-forwarded-for", address);
        let body = json!({"username": username, "password": password});
        let response = request.json(&body).send().await.expect("an answer");
        let wait = response.headers().get("retry-after").map(|wait| wait.to_str().expect("a number").to_owned());
        let status = response.status().as_u16();
        (status, wait, response.json::<Value>().await.expect("JSON"))
    };
    for username in ["uma", "nobody"] {
        for _ in 0..10 {
            let (status, _, answer) = try_login(username, "wrong password", "192.0.2.1").await;
            let expected = json!({"statusCode": 401, "message": "Invalid credentials", "error": "Unauthorized"});
            assert_eq!((status, answer), (401, expected));
        }
        let (status, wait, answer) = try_login(username, PASSWORD, "192.0.2.1").await;
        assert_eq!((status, &answer["statusCode"]), (429, &json!(429)));
        assert!(wait.and_then(|wait| wait.parse::<u64>().ok()).is_some_and(|wait| (1..=300).contains(&wait)));
    }
    // Another address, and another account from this one, are not concerned.
    assert_eq!(try_login("uma", PASSWORD, "192.0.2.2").await.0, 200);
    assert_eq!(try_login("oto", PASSWORD, "192.0.2.1").await.0, 200);
    for _ in 0..20 {
        assert_eq!(try_login("ada", PASSWORD, "192.0.2.3").await.0, 200, "a success never counts");
    }
}

#[tokio::test]
async fn a_disabled_account_is_told_so_only_after_the_right_password() {
    let hub = Hub::start().await;
    let (id, _) = hub.make_user("eva", Role::User).await;
    hub.ask(Method::PUT, &format!("/api/users/{id}"), &hub.admin, Some(json!({"isActive": false}))).await;
    let login = async |password: &str| {
        let body = json!({"username": "eva", "password": password});
        hub.ask(Method::POST, "/auth/login", "", Some(body)).await.1["message"].clone()
    };
    assert_eq!(login("wrong password").await, "Invalid credentials");
    assert_eq!(login(PASSWORD).await, "Account is disabled");
}

#[tokio::test]
async fn the_last_active_admin_stays() {
    let hub = Hub::start().await;
    for (method, body) in [
        (Method::DELETE, None),
        (Method::PUT, Some(json!({"role": "OPERATOR"}))),
        (Method::PUT, Some(json!({"isActive": false}))),
    ] {
        let (status, answer) = hub.ask(method, "/api/users/1", &hub.admin, body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    }
    // Two ADMINs who remove each other at the same moment: one is left.
    let (eva, token) = hub.make_user("eva", Role::Admin).await;
    let (path, demoted) = (format!("/api/users/{eva}"), json!({"role": "USER"}));
    let (one, other) = tokio::join!(
        hub.ask(Method::PUT, &path, &hub.admin, Some(demoted.clone())),
        hub.ask(Method::PUT, "/api/users/1", &token, Some(demoted)),
    );
    let done = [one.0, other.0].iter().filter(|status| **status == StatusCode::OK).count();
    assert_eq!(done, 1, "{one:?} {other:?}");
    let admins = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM users WHERE role = 'ADMIN' AND is_active");
    assert_eq!(admins.fetch_one(&hub.database).await.expect("a count"), 1);
}

#[tokio::test]
async fn ones_own_password_and_address_need_the_current_password() {
    let hub = Hub::start().await;
    let change = async |body: Value| hub.ask(Method::PUT, "/api/users/3", &hub.user, Some(body)).await;
    let (status, answer) = change(json!({"email": "new@example.org"})).await;
    assert_eq!((status, &answer["message"]), (StatusCode::BAD_REQUEST, &json!(["currentPassword must be a string"])));
    let (status, answer) = change(json!({"email": "new@example.org", "currentPassword": "wrong"})).await;
    assert_eq!((status, &answer["message"]), (StatusCode::UNAUTHORIZED, &json!("Invalid credentials")));
    let (status, answer) =
        change(json!({"email": "new@example.org", "firstName": "Uma", "currentPassword": PASSWORD})).await;
    assert_eq!(
        (status, &answer["email"], &answer["firstName"]),
        (StatusCode::OK, &json!("new@example.org"), &json!("Uma"))
    );
    assert_eq!(change(json!({"firstName": null})).await.1["firstName"], Value::Null);
    assert_eq!(change(json!({"role": "ADMIN"})).await.0, StatusCode::FORBIDDEN);
    let other = hub.ask(Method::PUT, "/api/users/2", &hub.user, Some(json!({"firstName": "x"}))).await;
    assert_eq!(other.0, StatusCode::FORBIDDEN);
    let taken = json!({"username": "x12", "email": "NEW@example.org", "password": "long enough"});
    let (status, answer) = hub.ask(Method::POST, "/api/users", &hub.admin, Some(taken)).await;
    assert_eq!(
        (status, &answer["message"]),
        (StatusCode::CONFLICT, &json!("User with this email or username already exists"))
    );
    let (status, _) = change(json!({"password": "another password", "currentPassword": PASSWORD})).await;
    assert_eq!(status, StatusCode::OK);
    until_void(&hub, &hub.user).await;
    hub.sign_in("uma", "another password").await;
}

#[tokio::test]
async fn a_devices_token_reports_for_its_own_camera_until_it_is_changed() {
    let hub = Hub::start().await;
    let (front, back) = (hub.make_camera("Front").await, hub.make_camera("Back").await);
    let token = hub.make_device("cam-1", "camera", Some(front)).await;
    let report = async |token: &str, camera: i64| {
        let body = json!({"cameraId": camera, "personCount": 1});
        hub.ask(Method::POST, "/api/events", token, Some(body)).await.0
    };
    assert_eq!(report(&token, front).await, StatusCode::CREATED);
    assert_eq!(report(&token, back).await, StatusCode::FORBIDDEN);
    assert_eq!(report(&format!("{token}x"), front).await, StatusCode::UNAUTHORIZED);
    assert!(hub.get("/api/devices", &hub.admin).await[0]["lastSeen"].is_string());
    let (status, answer) = hub.ask(Method::POST, "/api/devices/1/rotate", &hub.admin, None).await;
    assert_eq!(status, StatusCode::CREATED);
    let begun = Instant::now();
    while report(&token, front).await != StatusCode::UNAUTHORIZED {
        assert!(begun.elapsed() < Duration::from_secs(1), "the old secret is still good");
    }
    assert_eq!(report(answer["token"].as_str().expect("a token"), front).await, StatusCode::CREATED);
    // A name is either a user's or a device's.
    let body = json!({"name": "uma", "role": "sensor"});
    assert_eq!(hub.ask(Method::POST, "/api/devices", &hub.admin, Some(body)).await.0, StatusCode::CONFLICT);
    let body = json!({"username": "cam-1", "email": "cam@example.org", "password": "long enough"});
    assert_eq!(hub.ask(Method::POST, "/api/users", &hub.admin, Some(body)).await.0, StatusCode::CONFLICT);
}
