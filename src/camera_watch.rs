//! Watches the cameras: keeps `camera/<id>/status` true, and raises an alert when one is lost or has returned.
//!
//! Must not know how detections come in; it hears of them. What counts as lost is decided in `domain::attendance`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::{
    sync::{broadcast, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        attendance::{Attendance, Change},
        camera::CameraId,
        topic::Topic,
    },
    events::{
        Announcer, Sighting,
        alerts::{Alerts, Subject},
        presence::Presence,
    },
    mqtt::link::{Link, Message, QoS},
    store::{self, Database},
    wire::presence::CameraStatus,
};

/// How often the cameras are judged.
const JUDGE: Duration = Duration::from_secs(1);
/// How often the cameras are read anew though no notice told of a change: none tells of a table that was emptied, and one
/// may be lost.
const COMPARE: Duration = Duration::from_secs(15);
/// How often a camera's `lastSeen` is published anew while nothing else of it changes.
const REFRESH: Duration = Duration::from_secs(30);

/// What the watch works with.
#[derive(Debug)]
pub struct Parts {
    pub database: Database,
    pub link: Link,
    pub announcer: Announcer,
    pub presence: Presence,
    pub alerts: Alerts,
    /// Counts up when the cameras were changed.
    pub cameras_changed: watch::Receiver<u64>,
    /// Why detections wait, while they do: then the hub reads nobody, and silence is not the cameras' fault.
    pub stalled: watch::Receiver<Option<String>>,
    /// `CAMERA_TIMEOUT`.
    pub timeout: Duration,
}

/// What is known of one camera.
#[derive(Debug)]
struct Watched {
    name: String,
    attendance: Attendance,
    last_seen: Option<DateTime<Utc>>,
    published: Option<(CameraStatus, Instant)>,
}

/// Watches until `stop`.
///
/// # Errors
/// When the hub's own MQTT session is gone.
pub async fn run(mut parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let mut sightings = parts.announcer.listen_to_sightings();
    let mut sessions = parts.presence.listen();
    let mut cameras = HashMap::new();
    let mut tick = tokio::time::interval(JUDGE);
    let mut compare = tokio::time::interval(COMPARE);
    compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
    parts.cameras_changed.mark_changed();
    loop {
        let now = Instant::now();
        let mut gone = HashMap::new();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Ok(()) = parts.cameras_changed.changed() => {
                gone = reload(&parts.database, &mut parts.cameras_changed, &mut cameras).await;
            }
            sighting = sightings.recv() => match sighting {
                // Only a camera that was not there is news; the others are judged at the next tick.
                Ok(sighting) if sighted(&mut cameras, sighting, now) => {}
                // The next sighting of a camera comes soon enough.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            Ok(change) = sessions.recv() => {
                if let Some(camera) = change.camera.and_then(|id| cameras.get_mut(&id)) {
                    camera.attendance.session(change.online, now);
                    if change.online {
                        camera.last_seen = Some(Utc::now());
                    }
                }
            }
            _ = tick.tick() => {}
            _ = compare.tick() => parts.cameras_changed.mark_changed(),
            incoming = parts.link.incoming.recv() => anyhow::ensure!(incoming.is_some(), "the hub's own MQTT session is gone"),
        }
        for (id, camera) in gone {
            forget(&parts.link, id, camera.last_seen).await?;
        }
        if parts.stalled.borrow().is_some() {
            for camera in cameras.values_mut() {
                camera.attendance.excuse(now);
            }
        }
        for (id, camera) in &mut cameras {
            judge(&parts, *id, camera, now).await?;
        }
    }
}

/// Takes note of a sign of life, and says whether the camera was not there before.
fn sighted(cameras: &mut HashMap<CameraId, Watched>, sighting: Sighting, now: Instant) -> bool {
    let Some(camera) = cameras.get_mut(&sighting.camera) else { return false };
    let was_there = camera.attendance.is_online();
    camera.attendance.sighted(sighting.person_count, now);
    camera.last_seen = Some(Utc::now());
    !was_there
}

/// Learns of new and renamed cameras, and gives those that are there no more; when the database is away, tries again a tick
/// later.
async fn reload(
    database: &Database,
    changed: &mut watch::Receiver<u64>,
    cameras: &mut HashMap<CameraId, Watched>,
) -> HashMap<CameraId, Watched> {
    let known = match store::attendance::cameras(database).await {
        Ok(known) => known,
        Err(error) => {
            tracing::debug!("the cameras could not be read: {error}");
            tokio::time::sleep(JUDGE).await;
            changed.mark_changed();
            return HashMap::new();
        }
    };
    let mut before = std::mem::take(cameras);
    for camera in known {
        let (attendance, last_seen, published) = match before.remove(&camera.id) {
            Some(old) => (old.attendance, old.last_seen.max(camera.last_seen), old.published),
            None => (Attendance::default(), camera.last_seen, None),
        };
        cameras.insert(camera.id, Watched { name: camera.name, attendance, last_seen, published });
    }
    before
}

/// Says that a camera that is there no more is offline, and then clears its topic, so that nobody who subscribes later is
/// given a status of it.
async fn forget(link: &Link, id: CameraId, last_seen: Option<DateTime<Utc>>) -> anyhow::Result<()> {
    let offline = Bytes::from(serde_json::to_vec(&CameraStatus { online: false, last_seen })?);
    for payload in [offline, Bytes::new()] {
        publish(link, id, payload).await?;
    }
    Ok(())
}

/// Publishes `camera/<id>/status`, retained.
async fn publish(link: &Link, id: CameraId, payload: Bytes) -> anyhow::Result<()> {
    let topic = Topic::CameraStatus(id).to_string();
    let message = Message { topic, payload, qos: QoS::AtLeastOnce, retain: true };
    anyhow::ensure!(link.outgoing.send(message).await.is_ok(), "the hub's own MQTT session is gone");
    Ok(())
}

async fn judge(parts: &Parts, id: CameraId, camera: &mut Watched, now: Instant) -> anyhow::Result<()> {
    if let Some(change) = camera.attendance.judge(now, parts.timeout) {
        parts.alerts.raise(Subject::Camera(id), words(id, &camera.name, change), Utc::now());
    }
    let status = CameraStatus { online: camera.attendance.is_online(), last_seen: camera.last_seen };
    let is_news = camera.published.as_ref().is_none_or(|(before, at)| {
        before.online != status.online
            || (before.last_seen != status.last_seen && now.saturating_duration_since(*at) >= REFRESH)
    });
    if is_news {
        publish(&parts.link, id, Bytes::from(serde_json::to_vec(&status)?)).await?;
        camera.published = Some((status, now));
    }
    Ok(())
}

/// What is told of a camera.
fn words(id: CameraId, name: &str, change: Change) -> String {
    match change {
        Change::Lost => format!("Camera {id} ({name}) is lost"),
        Change::Returned => format!("Camera {id} ({name}) has returned"),
    }
}
