//! `portcullis lock-agent`: the lock worker on a machine of its own.

use anyhow::{Context as _, bail};
use url::{Host, Url};

use super::{
    log_level,
    serve::embedded_agent::{agent_settings, relay_settings},
};
use crate::{
    config::{LockAgentOptions, secrets},
    gpio::{self, Simulated},
    lifecycle::{Lifecycle, Signals, service_manager::ServiceManager},
    lock_agent::{self, AgentSettings},
    mqtt::client::{self, RemoteSettings},
    telemetry::log::Log,
};

/// Works the lock until a signal. A hub that is away is waited for; the door closes by itself meanwhile.
///
/// # Errors
/// When the relay cannot be had, or the settings are wrong.
pub async fn run(options: LockAgentOptions, log: Log) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let remote = &options.remote;
    let url: Url = remote.mqtt_url.parse().context("MQTT_URL")?;
    ensure_private(&url, remote.plain_lock)?;
    let mut relay = relay_settings(&options.gpio);
    if relay.simulated == Simulated::Auto {
        // A worker of its own is there for a real door: it simulates only when told.
        relay.simulated = Simulated::No;
    }
    let relay = gpio::open(&relay).context("the relay cannot be had")?;
    let password =
        secrets::given("MQTT_PASSWORD", remote.mqtt_password.as_deref(), remote.mqtt_password_file.as_ref())?;
    let username = remote.mqtt_username.clone().context("MQTT_USERNAME is needed: the name of this device")?;
    let settings = RemoteSettings {
        url,
        username: username.clone(),
        password: password.context("MQTT_PASSWORD or MQTT_PASSWORD_FILE is needed: the device's secret")?,
        ca: remote.mqtt_ca.clone(),
        client_id: username,
        will: Some(lock_agent::will(relay.pin(), relay.is_simulated())),
        filters: lock_agent::FILTERS.iter().map(ToString::to_string).collect(),
    };
    let agent = AgentSettings {
        service_manager: ServiceManager::from_environment().context("the service manager cannot be told")?,
        ..agent_settings(&options.open)
    };
    // The connection outlives the worker, whose last words it carries.
    let base = Lifecycle::default();
    let worker = base.inner();
    let (link, driver) = client::connect(settings, base.soft.clone())?;
    base.keep("connection to the hub", driver);
    base.keep("log", log_level::follow(log, signals.again(), base.soft.clone()));
    worker.keep("lock worker", lock_agent::run(link, relay, agent, worker.soft.clone()));
    let died = tokio::select! {
        () = signals.next() => false,
        () = worker.soft.cancelled() => true,
    };
    worker.stop(signals.next()).await;
    base.stop(signals.next()).await;
    anyhow::ensure!(!died, "the lock worker died; the log says why");
    Ok(())
}

/// Without TLS anybody on the way reads the worker's secret, and opens the door with it. The hub refuses it as well.
fn ensure_private(url: &Url, plain_lock: bool) -> anyhow::Result<()> {
    let is_near = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        // Of a scheme that it does not know, a URL has only names.
        Some(Host::Domain(name)) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    };
    if url.scheme() != "mqtt" || is_near {
        return Ok(());
    }
    if !plain_lock {
        bail!(
            "MQTT_URL={url} leads to another machine without TLS: whoever listens on the way gets this device's secret, \
             and with it the door. Use mqtts:// (and MQTT_TLS_PORT on the hub); or, on a network that you trust, set \
             PLAIN_LOCK=true here and plain_lock = true in the hub's broker.toml"
        );
    }
    tracing::warn!(%url, "PLAIN_LOCK: the lock worker's secret and the lock's commands cross the network in the clear");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_it_goes_no_further_than_this_machine_unless_told() {
        for (url, near) in [
            ("mqtt://127.0.0.1:1883", true),
            ("mqtt://127.1.2.3", true),
            ("mqtt://localhost", true),
            ("mqtt://[::1]:1883", true),
            ("mqtts://hub.example:8883", true),
            ("mqtt://hub.example", false),
            ("mqtt://localhost.example", false),
            ("mqtt://192.0.2.1", false),
            ("mqtt://[2001:db8::1]", false),
            ("mqtt:///nowhere", false),
        ] {
            let url = url.parse().expect("a URL");
            assert_eq!(ensure_private(&url, false).is_ok(), near, "{url}");
            assert!(ensure_private(&url, true).is_ok(), "{url}");
        }
    }
}
