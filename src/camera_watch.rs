//! Watches the cameras: keeps `camera/<id>/status` and `camera/<id>/occupancy` true, tells dashboards of what has changed,
//! and raises an alert when a camera is lost or has returned.
//!
//! Must not know how detections come in; it hears of them. What counts as lost is decided in `domain::attendance`, who is
//! there in `domain::occupancy`. However many detections come, they are looked at a hundred times a second at most, and a
//! camera is told of twice a second at most.

mod watched;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::watched::{Now, Watched};
use crate::{
    domain::{attendance::Change, camera::CameraId, event::Kind, occupancy::PACE, topic::Topic},
    events::{
        Announcer, Signs,
        alerts::{Alerts, Subject},
        cameras::{CameraState, Cameras, News},
        presence::{self, Presence},
    },
    mqtt::link::{Link, Message, QoS},
    store::{self, Database, attendance::Known},
    wire::presence::{CameraOccupancy, CameraStatus},
};

/// How often the cameras are judged, so that nothing is told later than that though nothing is heard.
const JUDGE: Duration = PACE;
/// How long signs of life gather before they are looked at again.
const GATHER: Duration = Duration::from_millis(10);
/// How often the cameras are read anew though no notice told of a change: none tells of a table that was emptied, and one
/// may be lost.
const COMPARE: Duration = Duration::from_secs(15);
/// Before a database that is away is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the watch works with.
#[derive(Debug)]
pub struct Parts {
    pub database: Database,
    pub link: Link,
    pub announcer: Announcer,
    pub presence: Presence,
    pub alerts: Alerts,
    /// Where it is shown how each camera is.
    pub cameras: Cameras,
    /// Counts up when the cameras were changed.
    pub cameras_changed: watch::Receiver<u64>,
    /// Why detections wait, while they do: then the hub reads nobody, and silence is not the cameras' fault.
    pub stalled: watch::Receiver<Option<String>>,
    /// `CAMERA_TIMEOUT`.
    pub timeout: Duration,
    /// `OCCUPANCY_SECONDS`.
    pub hold: Duration,
}

/// Why the watch looks.
enum Woken {
    Stop,
    /// The cameras may have been changed.
    Cameras,
    Signs(HashMap<CameraId, Signs>),
    Session(presence::Change),
    Tick,
    Deaf,
}

/// The watch.
struct Watch {
    parts: Parts,
    known: HashMap<CameraId, Watched>,
    /// The cameras were read once: those that come later are news.
    is_loaded: bool,
}

/// Watches until `stop`.
///
/// # Errors
/// When the hub's own MQTT session is gone.
pub async fn run(parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let (sightings, mut sessions) = (parts.announcer.sightings(), parts.presence.listen());
    let mut watch = Watch { parts, known: HashMap::new(), is_loaded: false };
    let mut tick = tokio::time::interval(JUDGE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut compare = tokio::time::interval(COMPARE);
    compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
    watch.parts.cameras_changed.mark_changed();
    let mut looked = Instant::now();
    loop {
        let woken = tokio::select! {
            () = stop.cancelled() => Woken::Stop,
            Ok(()) = watch.parts.cameras_changed.changed() => Woken::Cameras,
            signs = sightings.take_after(GATHER.saturating_sub(looked.elapsed())) => Woken::Signs(signs),
            Ok(change) = sessions.recv() => Woken::Session(change),
            _ = tick.tick() => Woken::Tick,
            _ = compare.tick() => Woken::Cameras,
            incoming = watch.parts.link.incoming.recv() => if incoming.is_some() { Woken::Tick } else { Woken::Deaf },
        };
        match woken {
            Woken::Stop => return Ok(()),
            Woken::Deaf => anyhow::bail!("the hub's own MQTT session is gone"),
            Woken::Cameras => watch.reload().await?,
            Woken::Signs(signs) => {
                looked = Instant::now();
                watch.sighted(signs).await?;
            }
            Woken::Session(change) => watch.session(change).await?,
            Woken::Tick => watch.judge_all().await?,
        }
    }
}

impl Watch {
    /// Learns of new, changed and deleted cameras; when the database is away, tries again a little later. Signs of life wait
    /// meanwhile, and what was stored before the cameras were read is read with them: so none is missed.
    async fn reload(&mut self) -> anyhow::Result<()> {
        let read = match store::attendance::cameras(&self.parts.database).await {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!("the cameras could not be read: {error}");
                tokio::time::sleep(PAUSE).await;
                self.parts.cameras_changed.mark_changed();
                return Ok(());
            }
        };
        let now = Now::read();
        let was_loaded = std::mem::replace(&mut self.is_loaded, true);
        let mut before = std::mem::take(&mut self.known);
        for camera in read {
            let id = camera.camera.id;
            let watched = match before.remove(&id) {
                Some(watched) => self.parts.renew(watched, camera, now).await?,
                None => self.parts.meet(camera, was_loaded, now),
            };
            self.parts.judge(self.known.entry(id).or_insert(watched), now).await?;
        }
        for watched in before.into_values() {
            self.parts.removed(&watched, now).await?;
        }
        Ok(())
    }

    async fn sighted(&mut self, signs: HashMap<CameraId, Signs>) -> anyhow::Result<()> {
        let now = Now::read();
        for (id, signs) in signs {
            if let Some(camera) = self.known.get_mut(&id) {
                camera.sighted(signs, now);
                self.parts.judge(camera, now).await?;
            }
        }
        Ok(())
    }

    async fn session(&mut self, change: presence::Change) -> anyhow::Result<()> {
        let now = Now::read();
        if let Some(camera) = change.camera.and_then(|id| self.known.get_mut(&id)) {
            camera.session(change.online, now);
            self.parts.judge(camera, now).await?;
        }
        Ok(())
    }

    async fn judge_all(&mut self) -> anyhow::Result<()> {
        let now = Now::read();
        for camera in self.known.values_mut() {
            self.parts.judge(camera, now).await?;
        }
        Ok(())
    }
}

impl Parts {
    /// A camera that was not known before. What was there at the start is no news.
    fn meet(&self, camera: Known, is_news: bool, now: Now) -> Watched {
        let watched = Watched::new(camera, now, self.hold);
        if is_news {
            self.changed(&watched, now);
        }
        watched
    }

    async fn renew(&self, mut watched: Watched, camera: Known, now: Now) -> anyhow::Result<Watched> {
        let was_active = watched.camera.is_active;
        let is_news = watched.renew(camera, now, self.hold);
        if was_active && !watched.camera.is_active {
            self.forget(watched.camera.id, watched.state(now, self.hold)).await?;
        }
        if is_news {
            self.changed(&watched, now);
        }
        Ok(watched)
    }

    fn changed(&self, watched: &Watched, now: Now) {
        let state = watched.state(now, self.hold);
        self.cameras.set(watched.camera.id, state);
        self.cameras.tell(News::Changed(Arc::clone(&watched.camera), state));
    }

    async fn removed(&self, watched: &Watched, now: Now) -> anyhow::Result<()> {
        let id = watched.camera.id;
        let state = CameraState { online: false, persons: 0, ..watched.state(now, self.hold) };
        self.cameras.remove(id);
        self.cameras.tell(News::Removed(Arc::clone(&watched.camera), state));
        if watched.camera.is_active {
            self.forget(id, state).await?;
        }
        Ok(())
    }

    /// Judges a camera anew, shows how it is, and tells of it what is due.
    async fn judge(&self, camera: &mut Watched, now: Now) -> anyhow::Result<()> {
        if self.stalled.borrow().is_some() {
            camera.excuse(now);
        }
        let id = camera.camera.id;
        if let Some(change) = camera.judge(now, self.timeout) {
            let (kind, words) = words(id, &camera.camera.name, change);
            self.alerts.raise(Subject::Camera(id), kind, words, now.clock);
        }
        let state = camera.state(now, self.hold);
        self.cameras.set(id, state);
        let due = camera.due(state, now);
        if due.notice {
            self.cameras.tell(News::State(id, state));
        }
        if due.status && camera.camera.is_active {
            publish(&self.link, Topic::CameraStatus(id), &status(state)).await?;
        }
        if due.occupancy && camera.camera.is_active {
            publish(&self.link, Topic::CameraOccupancy(id), &occupancy(state)).await?;
        }
        Ok(())
    }

    /// Says how a camera that is there no more is, offline and with nobody before it, and then clears its topics, so that
    /// nobody who subscribes later is given anything of it.
    async fn forget(&self, id: CameraId, state: CameraState) -> anyhow::Result<()> {
        publish(&self.link, Topic::CameraStatus(id), &status(state)).await?;
        publish(&self.link, Topic::CameraOccupancy(id), &occupancy(state)).await?;
        for topic in [Topic::CameraStatus(id), Topic::CameraOccupancy(id)] {
            send(&self.link, topic, Bytes::new()).await?;
        }
        Ok(())
    }
}

fn status(state: CameraState) -> CameraStatus {
    CameraStatus { online: state.online, last_seen: state.last_seen }
}

fn occupancy(state: CameraState) -> CameraOccupancy {
    let CameraState { persons, last_person, .. } = state;
    CameraOccupancy { occupied: persons > 0, person_count: persons, last_person }
}

/// Publishes it, retained.
async fn publish(link: &Link, topic: Topic, what: &impl Serialize) -> anyhow::Result<()> {
    send(link, topic, Bytes::from(serde_json::to_vec(what)?)).await
}

async fn send(link: &Link, topic: Topic, payload: Bytes) -> anyhow::Result<()> {
    let message = Message { topic: topic.to_string(), payload, qos: QoS::AtLeastOnce, retain: true };
    anyhow::ensure!(link.outgoing.send(message).await.is_ok(), "the hub's own MQTT session is gone");
    Ok(())
}

/// What is told of a camera.
fn words(id: CameraId, name: &str, change: Change) -> (Kind, String) {
    match change {
        Change::Lost => (Kind::CameraLost, format!("Camera {id} ({name}) is lost")),
        Change::Returned => (Kind::CameraReturned, format!("Camera {id} ({name}) has returned")),
    }
}

#[cfg(test)]
mod tests;
