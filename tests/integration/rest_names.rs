//! Names of accounts: one that reads like another's is refused wherever accounts are made, and those of before go on.

use portcullis::{
    auth::password,
    bridge::Registration,
    domain::{device::DeviceRole, user::Role},
    store,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    rest_hub::{Hub, Options, PASSWORD},
    server,
};

#[tokio::test]
async fn a_name_that_reads_like_anothers_is_taken() {
    let hub = Hub::start_with(Options { registration: Registration::Open, ..Options::default() }).await;
    hub.make_user("Zoë Müller", Role::User).await;
    hub.make_device("Panel-1", "controller", None).await;
    let mut number = 0;
    let mut make = async |path: &str, name: &str| {
        number += 1;
        let body = json!({"username": name, "email": format!("n{number}@example.org"), "password": "long enough"});
        let token = if path == "/api/users" { hub.admin.as_str() } else { "" };
        hub.ask(Method::POST, path, token, Some(body)).await
    };
    for path in ["/api/users", "/auth/register"] {
        for name in
            ["Ada", "ADA", "ａｄａ", "аԁа", "zoë müller", "ZOE\u{308} MÜLLER", "zoë  Müller", "panel-1", "Panel-1"]
        {
            let (status, answer) = make(path, name).await;
            let taken = json!("User with this email or username already exists");
            assert_eq!((status, &answer["message"]), (StatusCode::CONFLICT, &taken), "{name}");
        }
        for (name, fault) in [
            ("eva ", "username must not begin or end with a blank"),
            (" eva", "username must not begin or end with a blank"),
            ("e\u{7}va", "username must not contain control or invisible characters"),
            ("ev\u{200b}a", "username must not contain control or invisible characters"),
            ("аda", "username must not mix alphabets, such as Latin and Cyrillic letters"),
        ] {
            let (status, answer) = make(path, name).await;
            assert_eq!((status, &answer["message"]), (StatusCode::BAD_REQUEST, &json!([fault])), "{name:?}");
        }
    }
    for name in ["Иван", "Adam", "ada2"] {
        assert_eq!(make("/api/users", name).await.0, StatusCode::CREATED, "{name}");
    }
    for name in ["ADAM", "иВан", "panel-1", "PANEL-1"] {
        let body = json!({"name": name, "role": "sensor"});
        let (status, answer) = hub.ask(Method::POST, "/api/devices", &hub.admin, Some(body)).await;
        let expected = if name.is_ascii() { StatusCode::CONFLICT } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, expected, "{name}: {answer}");
    }
    // An address is one however it is capitalised.
    let body = json!({"username": "other", "email": "ADA@Example.org", "password": "long enough"});
    assert_eq!(hub.ask(Method::POST, "/api/users", &hub.admin, Some(body)).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn of_many_who_want_names_that_read_alike_at_once_one_gets_it() {
    let hub = Hub::start().await;
    let mut tries = tokio::task::JoinSet::new();
    for (number, name) in ["eva", "Eva", "EVA", "eVa", "EvA", "evA"].into_iter().enumerate() {
        let body = json!({"username": name, "email": format!("e{number}@example.org"), "password": "long enough"});
        let request = hub.request(Method::POST, "/api/users", &hub.admin).json(&body);
        tries.spawn(async move { request.send().await.expect("an answer").status() });
    }
    let mut made = 0;
    while let Some(status) = tries.join_next().await {
        made += usize::from(status.expect("no panic") == StatusCode::CREATED);
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn accounts_and_devices_of_before_that_read_alike_go_on() {
    let database = server::database().await;
    let hash = password::hash(PASSWORD).expect("a hash");
    // As they were made when only the spelling counted.
    sqlx::raw_sql("ALTER TABLE users DISABLE TRIGGER ALL; ALTER TABLE devices DISABLE TRIGGER ALL")
        .execute(&database)
        .await
        .expect("no triggers");
    for (number, name) in ["Mia", "mia", "mia ", "мia"].into_iter().enumerate() {
        sqlx::query("INSERT INTO users (username, email, password_hash) VALUES ($1, $2, $3)")
            .bind(name)
            .bind(format!("m{number}@example.org"))
            .bind(&hash)
            .execute(&database)
            .await
            .expect("a user");
    }
    for name in ["Cam1", "cam1"] {
        let name = name.parse().expect("a name");
        let secret = portcullis::auth::secret::hash(PASSWORD);
        store::devices::add(&database, &name, DeviceRole::Sensor, None, &secret).await.expect("a device");
    }
    sqlx::raw_sql("ALTER TABLE users ENABLE TRIGGER ALL; ALTER TABLE devices ENABLE TRIGGER ALL")
        .execute(&database)
        .await
        .expect("triggers");
    store::migrate(&database).await.expect("as at a start");
    let hub = Hub::start_on(database, Options::default()).await;
    for name in ["Mia", "mia", "mia ", "мia"] {
        let token = hub.sign_in(name, PASSWORD).await;
        let me = hub.get("/api/users/me", &token).await;
        assert_eq!(me["username"], name);
        // They are changed like any other, under the name they have.
        let change = json!({"firstName": "Mia", "password": "another password", "currentPassword": PASSWORD});
        let (status, answer) = hub.ask(Method::PUT, &format!("/api/users/{}", me["id"]), &token, Some(change)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        hub.sign_in(name, "another password").await;
    }
    for name in ["cam1", "Cam1"] {
        let token = format!("{name}~{PASSWORD}");
        // Known, and a sensor may not report.
        let (status, answer) = hub.ask(Method::GET, "/api/events", &token, None).await;
        assert_eq!((status, &answer["message"]), (StatusCode::FORBIDDEN, &json!("Forbidden resource")));
    }
    // The spelling is the account's, not its key.
    let body = json!({"username": "MIA", "password": "another password"});
    assert_eq!(hub.ask(Method::POST, "/auth/login", "", Some(body)).await.0, StatusCode::UNAUTHORIZED);
    let body = json!({"username": "MIA", "email": "m@example.org", "password": "long enough"});
    let (status, answer): (_, Value) = hub.ask(Method::POST, "/api/users", &hub.admin, Some(body)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
}
