//! Puts committed events on MQTT, and says that the hub is there: `camera/<id>/events`, `hub/events`, `hub/status`.
//!
//! Must not know how events are stored or who subscribes.

use bytes::Bytes;
use chrono::Utc;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::topic::Topic,
    events::{Announcer, StoredEvent},
    mqtt::link::{Link, Message, QoS},
    wire::presence::HubStatus,
};

/// How often the hub's status is repeated, so that a lock worker can measure its clock against the hub's.
const REPEAT: std::time::Duration = std::time::Duration::from_secs(10);

/// `hub/status`, retained, as the hub's own words or as its will.
#[must_use]
pub fn hub_status(online: bool) -> Message {
    // The will is written long before it is heard, so it bears no time.
    let timestamp = online.then(Utc::now);
    let status = HubStatus { online, version: env!("CARGO_PKG_VERSION").to_owned(), timestamp };
    Message {
        topic: Topic::HubStatus.to_string(),
        payload: Bytes::from(serde_json::to_vec(&status).unwrap_or_default()),
        qos: QoS::AtLeastOnce,
        retain: true,
    }
}

fn event_message(stored: &StoredEvent) -> Message {
    let topic = stored.event.camera.as_ref().map_or(Topic::HubEvents, |camera| Topic::CameraEvents(camera.id));
    Message {
        topic: topic.to_string(),
        payload: Bytes::copy_from_slice(stored.json.get().as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
    }
}

/// Publishes until `stop`, then says that the hub goes.
///
/// # Errors
/// When the link is gone before the hub stops.
pub async fn run(mut link: Link, announcer: Announcer, stop: CancellationToken) -> anyhow::Result<()> {
    let mut news = announcer.listen();
    let mut repeat = tokio::time::interval(REPEAT);
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => break,
            event = news.recv() => match event {
                Ok(event) => event_message(&event),
                Err(RecvError::Lagged(count)) => {
                    tracing::warn!(count, "events were stored faster than MQTT took them: notices dropped, rows are there");
                    continue;
                }
                Err(RecvError::Closed) => break,
            },
            _ = repeat.tick() => hub_status(true),
            incoming = link.incoming.recv() => match incoming {
                Some(_) => continue,
                None => anyhow::bail!("the hub's own MQTT session is gone"),
            },
        };
        if link.outgoing.send(message).await.is_err() {
            anyhow::bail!("the hub's own MQTT session is gone");
        }
    }
    // Nobody may be left to hear it; the will says the same.
    let _ = link.outgoing.send(hub_status(false)).await;
    Ok(())
}
