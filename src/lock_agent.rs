//! The lock worker: hears `lock/command`, moves the relay, reads it back and says what it reads. It runs in the hub's
//! process or on another machine and can't tell which.
//!
//! The decisions are `domain::bolt`'s; here they meet the relay and the link. Closing never waits for the hub: nothing
//! in the loop blocks on the link. Must not know HTTP, SQL, or who may do what.

mod fault;
mod worker;

use std::time::Duration;

use anyhow::bail;
use chrono::Utc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use worker::Worker;

use crate::{
    domain::{
        bolt::{Limits, Moment},
        device::DeviceId,
    },
    gpio::Relay,
    lifecycle::service_manager::ServiceManager,
    mqtt::link::{Link, Message, QoS},
    wire::lock::Status,
};

/// What the worker listens to: its commands, and the hub's own status, by which it measures its clock.
pub const FILTERS: &[&str] = &["lock/command", "hub/status"];

/// The id of an agent in the hub's own process: none that Postgres gives out.
pub const EMBEDDED: DeviceId = DeviceId(0);

/// How long the last status and responses may take to leave at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the installer has set.
#[derive(Debug)]
pub struct AgentSettings {
    /// How long the door stays open after each command to open.
    pub open_seconds: Duration,
    /// The longest that repeated commands can keep it open without a hold.
    pub max_open: Duration,
    /// Whether a hold, which may outlast `max_open`, is obeyed.
    pub hold_open: bool,
    /// How long an open door is left open once the hub is lost.
    pub hub_lost_limit: Duration,
    /// How long the door may stand open behind a closed relay before `DOOR_HELD_OPEN`, where there is a contact.
    pub door_held_open_after: Duration,
    /// Told when the relay is locked, and at each turn of the loop.
    pub service_manager: Option<ServiceManager>,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            open_seconds: Duration::from_secs(5),
            max_open: Duration::from_mins(5),
            hold_open: false,
            hub_lost_limit: Duration::from_secs(30),
            door_held_open_after: Duration::from_secs(30),
            service_manager: None,
        }
    }
}

impl AgentSettings {
    fn limits(&self) -> Limits {
        Limits {
            open_for: self.open_seconds,
            max_open: self.max_open,
            hold_open: self.hold_open,
            hub_lost: self.hub_lost_limit,
        }
    }
}

/// What the broker says in the worker's place when it is gone without a word: unknown and offline, kept.
#[must_use]
pub fn will(pin: u32, simulated: bool) -> Message {
    status_message(&Status::offline(pin, simulated, "the lock worker was lost", Utc::now()))
}

/// `lock/status` as a message: retained, at least once.
fn status_message(status: &Status) -> Message {
    // A status is plain text and numbers; that JSON can't hold one is not possible, and not worth a panic.
    let payload = serde_json::to_vec(status).unwrap_or_default().into();
    Message { topic: "lock/status".to_owned(), payload, qos: QoS::AtLeastOnce, retain: true }
}

fn now() -> Moment {
    Moment { monotonic: Instant::now().into_std(), wall: Utc::now() }
}

/// Works the lock until `stop`. At its end, however it ends, the relay is closed: by [`Relay`]'s drop if by nothing
/// else.
///
/// # Errors
/// When the link's other end is gone.
pub async fn run(mut link: Link, relay: Relay, settings: AgentSettings, stop: CancellationToken) -> anyhow::Result<()> {
    let mut worker = Worker::new(relay, &settings, now());
    if let Some(manager) = &settings.service_manager {
        manager.ready();
    }
    let carried = loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break true,
            // Before the link, so that no flood of messages keeps a door open.
            () = sleep_until(worker.due().into()) => worker.look(now()),
            heard = link.incoming.recv() => match heard {
                Some(heard) => worker.hear(heard, now()),
                None => break false,
            },
        }
        worker.tell(&link.outgoing, now());
        // At each turn: a worker that is kept busy is as alive as one that is not.
        if let Some(manager) = &settings.service_manager {
            manager.feed();
        }
    };
    let last_words = worker.end(now());
    if !carried {
        bail!("the lock worker's link to the hub ended");
    }
    let farewell = async {
        for message in last_words {
            if link.outgoing.send(message).await.is_err() {
                break;
            }
        }
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("the hub did not take the lock worker's last words");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
