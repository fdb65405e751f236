//! Places for signing in: whoever knows one password keeps nobody else out.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis::{bridge::Registration, domain::user::Role};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::rest_hub::{Hub, Options, PASSWORD, eventually};

/// Of those who were turned away: the crowd is in this process, and takes what it computes with from the hub.
const BREATH: Duration = Duration::from_millis(50);

/// A client of its own at another address of this machine.
fn client_at(host: u8) -> Client {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
    Client::builder().local_address(address).build().expect("a client")
}

async fn login(client: &Client, url: &str, username: &str, password: &str) -> StatusCode {
    let body = json!({"username": username, "password": password});
    let answer = client.post(url).json(&body).send().await.expect("an answer");
    let status = answer.status();
    if status == StatusCode::SERVICE_UNAVAILABLE && username == "ada" {
        // For whoever reads a failure.
        println!("{}", answer.text().await.expect("a body"));
    }
    status
}

/// Has `threads` clients sign in with right passwords of `users` from `hosts` until it is told to stop.
struct Crowd {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    turned_away: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Crowd {
    fn gather(hub: &Hub, threads: usize, users: &[String], hosts: &[u8]) -> Self {
        let (stop, answers, turned_away) = (Arc::<AtomicBool>::default(), Arc::default(), Arc::default());
        let mut crowd = Self { stop, answers, turned_away, tasks: JoinSet::new() };
        let clients: Vec<_> = hosts.iter().map(|host| client_at(*host)).collect();
        for number in 0..threads {
            let (stop, answers, turned_away) = (crowd.stop.clone(), crowd.answers.clone(), crowd.turned_away.clone());
            let (client, url) = (clients[number % clients.len()].clone(), hub.url("/auth/login"));
            let user = users[number % users.len()].clone();
            crowd.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let status = login(&client, &url, &user, PASSWORD).await;
                    answers.fetch_add(1, Ordering::Relaxed);
                    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
                        turned_away.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(BREATH).await;
                    }
                }
            });
        }
        crowd
    }

    async fn disperse(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.expect("no panic");
        }
        self.turned_away.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_users_crowd_keeps_no_admin_out() {
    let hub = Hub::start().await;
    let crowd = Crowd::gather(&hub, 80, &["uma".to_owned()], &[1]);
    let answers = crowd.answers.clone();
    eventually("the crowd is there", || answers.load(Ordering::Relaxed) > 80).await;
    let (client, url) = (client_at(2), hub.url("/auth/login"));
    for number in 0..25 {
        assert_eq!(login(&client, &url, "ada", PASSWORD).await, StatusCode::OK, "login {number}");
    }
    assert!(crowd.disperse().await > 0, "they were more than had a place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_users_at_many_addresses_keeps_no_admin_out() {
    let hub = Hub::start().await;
    let mut users = Vec::new();
    for number in 0..8 {
        let name = format!("user{number}");
        hub.make_user(&name, Role::User).await;
        users.push(name);
    }
    let hosts: Vec<u8> = (10..30).collect();
    let crowd = Crowd::gather(&hub, 160, &users, &hosts);
    let answers = crowd.answers.clone();
    eventually("the crowd is there", || answers.load(Ordering::Relaxed) > 100).await;
    // All at once, too.
    let (client, url) = (client_at(2), hub.url("/auth/login"));
    let mut admins = JoinSet::new();
    for _ in 0..10 {
        let (client, url) = (client.clone(), url.clone());
        admins.spawn(async move { login(&client, &url, "ada", PASSWORD).await });
    }
    while let Some(status) = admins.join_next().await {
        assert_eq!(status.expect("no panic"), StatusCode::OK);
    }
    crowd.disperse().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_an_admins_name_takes_not_all_of_its_places() {
    let hub = Hub::start().await;
    let url = hub.url("/auth/login");
    let mut guesses = JoinSet::new();
    for _ in 0..80 {
        let (client, url) = (client_at(1), url.clone());
        guesses.spawn(async move { login(&client, &url, "ada", "wrong password").await });
    }
    for number in 0..5 {
        assert_eq!(login(&client_at(2), &url, "ada", PASSWORD).await, StatusCode::OK, "login {number}");
    }
    let mut wrong = 0;
    while let Some(status) = guesses.join_next().await {
        let status = status.expect("no panic");
        assert!(matches!(status.as_u16(), 401 | 429 | 503), "{status}");
        wrong += usize::from(status == StatusCode::UNAUTHORIZED);
    }
    assert_eq!(wrong, 10, "no more than the limit were told anything");
}

#[tokio::test]
async fn right_passwords_have_a_rate_and_it_is_the_accounts_own() {
    let hub = Hub::start().await;
    let (client, url) = (client_at(1), hub.url("/auth/login"));
    let mut good = 0;
    let status = loop {
        match login(&client, &url, "uma", PASSWORD).await {
            StatusCode::OK => good += 1,
            other => break other,
        }
        assert!(good < 200, "no end");
    };
    // One was signed in when the hub was made. On a machine so slow that a minute goes by, it takes more.
    assert!(status == StatusCode::TOO_MANY_REQUESTS && good >= 59, "{status} after {good}");
    assert_eq!(login(&client_at(2), &url, "uma", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS, "from wherever");
    assert_eq!(login(&client, &url, "oto", PASSWORD).await, StatusCode::OK);
    assert!(hub.get("/auth/profile", &hub.user).await["id"].is_number(), "a token is no login");
    // The password to a change is one of them.
    let change = json!({"email": "new@example.org", "currentPassword": PASSWORD});
    let (status, _) = hub.ask(Method::PUT, "/api/users/3", &hub.user, Some(change)).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_disabled_accounts_right_password_counts_as_a_failure() {
    let hub = Hub::start().await;
    let (id, _) = hub.make_user("eva", Role::Admin).await;
    hub.ask(Method::PUT, &format!("/api/users/{id}"), &hub.admin, Some(json!({"isActive": false}))).await;
    let body = json!({"username": "eva", "password": PASSWORD});
    for _ in 0..10 {
        let (status, answer) = hub.ask(Method::POST, "/auth/login", "", Some(body.clone())).await;
        assert_eq!((status, &answer["message"]), (StatusCode::UNAUTHORIZED, &json!("Account is disabled")));
    }
    assert_eq!(hub.ask(Method::POST, "/auth/login", "", Some(body)).await.0, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_register_take_no_admins_place() {
    let hub = Hub::start_with(Options { registration: Registration::Open, ..Options::default() }).await;
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut crowd = JoinSet::new();
    // More than an address has places, and no more than the database is asked by in passing.
    for number in 0..48 {
        let (client, url, stop, answers) = (client_at(1), hub.url("/auth/register"), stop.clone(), answers.clone());
        crowd.spawn(async move {
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                let name = format!("new-{number}-{turn}");
                let body = json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD});
                let answer = client.post(&url).json(&body).send().await.expect("an answer");
                answers.fetch_add(1, Ordering::Relaxed);
                turn += 1;
                if !answer.status().is_success() {
                    tokio::time::sleep(BREATH).await;
                }
            }
        });
    }
    eventually("the crowd is there", || answers.load(Ordering::Relaxed) > 48).await;
    for number in 0..10 {
        assert_eq!(login(&client_at(2), &hub.url("/auth/login"), "ada", PASSWORD).await, StatusCode::OK, "{number}");
    }
    // Nor the one that an ADMIN's own password takes, who is signed in at the crowd's address.
    let change = json!({"email": "ada.new@example.org", "currentPassword": PASSWORD});
    let (status, answer) = hub.ask(Method::PUT, "/api/users/1", &hub.admin, Some(change)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = crowd.join_next().await {
        done.expect("no panic");
    }
}
