//! A lock worker's way to the hub over TLS, by each form in which the hub can be named, and what it says of a certificate
//! that does not fit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis::mqtt::{
    client::{self, RemoteSettings},
    link::{Incoming, Link},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    mqtt_certificates::Certificates,
    mqtt_client::PATIENCE,
    mqtt_hub::{Hub, PASSWORD},
};

/// The next thing that the worker hears of its connection to this host.
async fn outcome(trusted: &Certificates, hub: &Hub, host: &str) -> Incoming {
    let url = format!("mqtts://{host}:{}", hub.address.port()).parse().expect("an address");
    let settings = RemoteSettings {
        url,
        username: "lock1".to_owned(),
        password: PASSWORD.to_owned(),
        ca: Some(trusted.path("ca.pem")),
        client_id: "lock1".to_owned(),
        will: None,
        filters: vec!["lock/command".to_owned()],
    };
    let stop = CancellationToken::new();
    let (link, driver) = client::connect(settings, stop).expect("settings");
    let driving = tokio::spawn(driver);
    let Link { mut incoming, outgoing } = link;
    let heard = timeout(PATIENCE, incoming.recv()).await.expect("in time").expect("a driver");
    drop((incoming, outgoing));
    timeout(PATIENCE, driving).await.expect("in time").expect("a task").expect("no fault");
    heard
}

/// A front on this address, with a certificate for these names.
async fn hub(certificates: &Certificates, at: IpAddr, names: &[&str]) -> Hub {
    Hub::listening("", at, Some(certificates.server_for(names))).await
}

#[tokio::test]
async fn a_worker_reaches_the_hub_by_each_form_of_its_name() {
    let certificates = Certificates::new();
    let (four, six) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    for (at, names, host) in [
        (six, &["::1"][..], "[::1]"),
        (six, &["::1"], "[0:0:0:0:0:0:0:1]"),
        (four, &["127.0.0.1"], "127.0.0.1"),
        (four, &["localhost"], "localhost"),
        (four, &["localhost"], "LocalHost"),
        (four, &["localhost"], "localhost."),
        (six, &["hub.example", "::1", "127.0.0.1"], "[::1]"),
        (four, &["hub.example", "::1", "127.0.0.1"], "127.0.0.1"),
    ] {
        let hub = hub(&certificates, at, names).await;
        let mut is_there = hub.front.worker_is_there();
        assert_eq!(outcome(&certificates, &hub, host).await, Incoming::Connected, "{host} for {names:?}");
        is_there.wait_for(|is_there| !is_there).await.expect("a front");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_named_with_the_name_that_was_expected() {
    let certificates = Certificates::new();
    let (four, six) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    for (at, names, host, expected) in [
        (six, &["127.0.0.1"][..], "[::1]", "::1"),
        (six, &["localhost"], "[::1]", "::1"),
        (four, &["::1"], "127.0.0.1", "127.0.0.1"),
        (four, &["hub.example"], "localhost", "localhost"),
        (four, &["hub.example"], "localhost.", "localhost"),
        (four, &["hub.example", "door.example"], "127.0.0.1", "127.0.0.1"),
    ] {
        let hub = hub(&certificates, at, names).await;
        let Incoming::Disconnected(why) = outcome(&certificates, &hub, host).await else {
            panic!("{host} for {names:?} fits");
        };
        let start = format!("the hub's certificate is not for {expected}, which MQTT_URL names, but for ");
        assert!(why.starts_with(&start), "{why}");
        for name in names {
            assert!(why[start.len()..].contains(name) && !why.contains('('), "{why}");
        }
    }
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_told_with_what_to_do() {
    let certificates = Certificates::new();
    let hub = hub(&certificates, Ipv6Addr::LOCALHOST.into(), &["::1"]).await;
    // Another one, and one that was made anew under its old name.
    for trusted in [Certificates::of("Another"), Certificates::new()] {
        let Incoming::Disconnected(why) = outcome(&trusted, &hub, "[::1]").await else { panic!("trusted") };
        assert!(why.contains("MQTT_CA"), "{why}");
    }
}
