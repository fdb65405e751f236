//! `portcullis lock-agent`: the lock worker on a machine of its own.

use anyhow::Context as _;

use super::serve::relay::{agent_settings, relay_settings};
use crate::{
    config::{LockAgentOptions, secrets},
    gpio::{self, Simulated},
    lifecycle::{Lifecycle, Signals, service_manager::ServiceManager},
    lock_agent::{self, AgentSettings},
    mqtt::client::{self, RemoteSettings},
};

/// Works the lock until a signal. A hub that is away is waited for; the door closes by itself meanwhile.
///
/// # Errors
/// When the relay cannot be had, or the settings are wrong.
pub async fn run(options: LockAgentOptions) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut relay = relay_settings(&options.gpio);
    if relay.simulated == Simulated::Auto {
        // A worker of its own is there for a real door: it simulates only when told.
        relay.simulated = Simulated::No;
    }
    let relay = gpio::open(&relay).context("the relay cannot be had")?;
    let remote = &options.remote;
    let password =
        secrets::given("MQTT_PASSWORD", remote.mqtt_password.as_deref(), remote.mqtt_password_file.as_ref())?;
    let username = remote.mqtt_username.clone().context("MQTT_USERNAME is needed: the name of this device")?;
    let settings = RemoteSettings {
        url: remote.mqtt_url.parse().context("MQTT_URL")?,
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
