//! Who somebody is, by MQTT, REST and sockets: one count of failures, and tokens that do not outlive their account.

use std::net::{IpAddr, Ipv4Addr};

use portcullis::{
    auth::{identity::Identity, rights::Rights},
    domain::{device::DeviceName, user::Role},
    identities::{self, Identities},
    mqtt::{Credentials, Refusal},
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    rest_hub::{Hub, PASSWORD},
    rest_realtime::Socket,
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the front gets for a CONNECT from `address`.
async fn connect(who: &Identities, address: IpAddr, username: &str, password: &str) -> Result<Identity, Refusal> {
    let credentials = Credentials {
        client_id: "x".to_owned(),
        username: Some(username.to_owned()),
        password: Some(password.to_owned()),
        address: address.into(),
        certificate_name: None,
    };
    identities::clients(who.clone(), Rights::default())(credentials).await
}

async fn login(hub: &Hub, username: &str, password: &str) -> StatusCode {
    let body = json!({"username": username, "password": password});
    hub.ask(Method::POST, "/auth/login", "", Some(body)).await.0
}

/// Whether the socket is let in.
async fn is_welcome(hub: &Hub, token: &str) -> bool {
    Socket::open(hub, token).await.packet().await.expect("an answer").starts_with("40")
}

#[tokio::test]
async fn failures_by_mqtt_and_rest_count_together() {
    let hub = Hub::start().await;
    for _ in 0..6 {
        assert_eq!(connect(&hub.identities, HERE, "uma", "wrong").await, Err(Refusal::BadCredentials));
    }
    for _ in 0..4 {
        assert_eq!(login(&hub, "uma", "wrong password").await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(login(&hub, "uma", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(connect(&hub.identities, HERE, "uma", "wrong").await, Err(Refusal::TooMany));
    assert_eq!(login(&hub, "oto", PASSWORD).await, StatusCode::OK, "another account");
    let there = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(connect(&hub.identities, there, "uma", "wrong").await, Err(Refusal::BadCredentials), "another address");
    // What cannot be guessed is let in all the same.
    assert!(matches!(connect(&hub.identities, HERE, "uma", &hub.user).await, Ok(Identity::User(_))));
}

#[tokio::test]
async fn guesses_by_sockets_and_with_devices_tokens_count_for_the_address() {
    let hub = Hub::start().await;
    let token = hub.make_device("cam-1", "sensor", None).await;
    let secret = token.split_once('~').expect("a secret").1.to_owned();
    for number in 0..90 {
        assert!(!is_welcome(&hub, &format!("guess.number.{number}")).await);
    }
    // A token that this hub gave out is no guess, however void it is.
    let (id, void) = hub.make_user("eva", Role::User).await;
    hub.ask(Method::PUT, &format!("/api/users/{id}"), &hub.admin, Some(json!({"isActive": false}))).await;
    for _ in 0..30 {
        assert!(!is_welcome(&hub, &void).await);
        assert_eq!(connect(&hub.identities, HERE, "eva", &void).await, Err(Refusal::BadCredentials));
    }
    assert_eq!(login(&hub, "ada", PASSWORD).await, StatusCode::OK);
    for _ in 0..30 {
        let wrong = format!("{token}x");
        assert_eq!(hub.ask(Method::GET, "/api/events", &wrong, None).await.0, StatusCode::UNAUTHORIZED);
        // Ten count; those that come when they are too many do not.
    }
    assert_eq!(login(&hub, "ada", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS, "100 from this address");
    // Whoever has a right secret or a right token is not kept out by those who fail beside them.
    assert!(matches!(connect(&hub.identities, HERE, "cam-1", &secret).await, Ok(Identity::Device(_))));
    assert!(matches!(connect(&hub.identities, HERE, "ada", &hub.admin).await, Ok(Identity::User(_))));
    assert!(is_welcome(&hub, &hub.admin).await);
    assert_eq!(connect(&hub.identities, HERE, "ada", "wrong").await, Err(Refusal::TooMany));
}

#[tokio::test]
async fn a_name_of_64_kilobytes_is_a_failure_like_any_other() {
    let hub = Hub::start().await;
    let long = "u".repeat(65_535);
    for _ in 0..10 {
        assert_eq!(connect(&hub.identities, HERE, &long, "wrong").await, Err(Refusal::BadCredentials));
    }
    assert_eq!(connect(&hub.identities, HERE, &long, "wrong").await, Err(Refusal::TooMany));
    assert_eq!(connect(&hub.identities, HERE, &long[1..], "wrong").await, Err(Refusal::BadCredentials));
}

#[tokio::test]
async fn a_new_secret_is_good_at_once_and_a_new_device_too() {
    let hub = Hub::start().await;
    let name: DeviceName = "panel".parse().expect("a name");
    let who = &hub.identities;
    assert_eq!(who.by_device_secret(&name, "x").await.expect("a database"), None);
    let secret = |token: String| token.split_once('~').expect("a secret").1.to_owned();
    let first = secret(hub.make_device("panel", "controller", None).await);
    assert!(who.by_device_secret(&name, &first).await.expect("a database").is_some());
    let (_, answer) = hub.ask(Method::POST, "/api/devices/1/rotate", &hub.admin, None).await;
    let second = secret(answer["token"].as_str().expect("a token").to_owned());
    // What is kept of the device is older than its new secret, and must not refuse it.
    assert!(who.by_device_secret(&name, &second).await.expect("a database").is_some());
    assert_eq!(who.by_device_secret(&name, &first).await.expect("a database"), None, "read anew meanwhile");
    assert!(who.by_certificate(&name).await.expect("a database").is_some());
}

/// A token of `uma`'s is void everywhere once her row is another's.
#[tokio::test]
async fn a_token_is_nobodys_after_its_account() {
    // How the row with id 3 comes to be another account: whatever the new one has in common with hers.
    for change in [
        "DELETE FROM users WHERE id = 3;
         INSERT INTO users (id, username, email, password_hash, role) OVERRIDING SYSTEM VALUE
         VALUES (3, 'boss', 'boss@example.org', 'x', 'ADMIN')",
        "DELETE FROM users WHERE id = 3;
         INSERT INTO users (id, username, name_key, email, password_hash, role) OVERRIDING SYSTEM VALUE
         VALUES (3, 'uma', 'uma', 'uma@example.org', 'x', 'ADMIN')",
        "UPDATE users SET account = gen_random_uuid() WHERE id = 3",
        "DELETE FROM users WHERE id = 3",
    ] {
        let hub = Hub::start().await;
        let mut socket = Socket::welcome(&hub, &hub.user).await;
        assert_eq!(hub.get("/auth/profile", &hub.user).await["username"], "uma");
        sqlx::raw_sql(change).execute(&hub.database).await.expect(change);
        hub.identities.forget_all();
        hub.revocations.all_changed();
        socket.event("auth:expired").await;
        let (status, _) = hub.ask(Method::GET, "/auth/profile", &hub.user, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{change}");
        assert!(!is_welcome(&hub, &hub.user).await, "{change}");
        for name in ["uma", "boss"] {
            let refused = connect(&hub.identities, HERE, name, &hub.user).await;
            assert_eq!(refused, Err(Refusal::BadCredentials), "{change}");
        }
        assert!(is_welcome(&hub, &hub.admin).await, "others stay");
    }
}
