//! The lock agent in the hub's own process.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    auth::identity::{DeviceIdentity, Identity},
    config::{GpioOptions, LockFailMode, OpenOptions, ServeOptions, SimulatedRelay},
    domain::device::DeviceRole,
    gpio::{self, FailMode, RelaySettings, Simulated},
    lifecycle::Lifecycle,
    lock_agent::{self, AgentSettings},
    mqtt::Front,
};

/// Starts the agent on its own session.
///
/// # Errors
/// When a real relay is wanted and cannot be had.
pub fn start(options: &ServeOptions, front: &Front, hub: &Lifecycle) -> anyhow::Result<()> {
    let relay = gpio::open(&relay_settings(&options.gpio)).context("the relay cannot be had")?;
    let who = Identity::Device(DeviceIdentity {
        id: lock_agent::EMBEDDED,
        name: "embedded".parse()?,
        role: DeviceRole::LockAgent,
        camera_id: None,
    });
    let will = lock_agent::will(relay.pin(), relay.is_simulated());
    let link = front.link(who, Some(will), lock_agent::FILTERS);
    hub.keep("lock worker", lock_agent::run(link, relay, agent_settings(&options.open), hub.soft.clone()));
    Ok(())
}

/// The relay's settings, as `serve` and `lock-agent` read them.
#[must_use]
pub fn relay_settings(options: &GpioOptions) -> RelaySettings {
    RelaySettings {
        simulated: match options.gpio_simulated {
            SimulatedRelay::Auto => Simulated::Auto,
            SimulatedRelay::True => Simulated::Yes,
            SimulatedRelay::False => Simulated::No,
        },
        chip: options.gpio_chip.clone(),
        pin: options.gpio_relay_pin,
        active_low: options.gpio_active_low,
        contact_pin: options.gpio_contact_pin,
        fail_mode: match options.lock_fail_mode {
            LockFailMode::FailSecure => FailMode::FailSecure,
            LockFailMode::FailSafe => FailMode::FailSafe,
        },
    }
}

/// The agent's settings, as `serve` and `lock-agent` read them.
#[must_use]
pub fn agent_settings(options: &OpenOptions) -> AgentSettings {
    AgentSettings {
        open_seconds: Duration::from_secs(options.lock_open_seconds),
        max_open: Duration::from_secs(options.lock_max_open_seconds),
        hold_open: options.lock_hold_open,
        ..AgentSettings::default()
    }
}
