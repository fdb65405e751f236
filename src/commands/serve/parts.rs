//! The parts of the hub, and how each is started with what it needs of the others.

use std::{path::PathBuf, time::Duration};

use tokio::sync::watch;

use crate::{
    auth::{identity::Identity, rights::Rights, token::Keys},
    bridge::{self, Bridge},
    camera_watch,
    changes::ChangeFeed,
    clock_watch,
    commands::data::Data,
    config::ServeOptions,
    events::{Announcer, alerts::Alerts, intake::Intake, presence::Presence, revocations::Revocations},
    health::Health,
    identities::{self, Identities},
    lifecycle::Lifecycle,
    lock_desk::{self, DeskSettings, LockDesk},
    mqtt::{self, Front, Hooks},
    publisher,
    readiness::{self, Probed},
    recorder::Recorder,
    retention,
    store::Database,
    telemetry::{log::Log, metrics::Metrics},
};

/// What almost every part works with.
pub struct Parts {
    database: Database,
    /// `DATA_DIR`.
    folder: PathBuf,
    pub recorder: Intake,
    announcer: Announcer,
    presence: Presence,
    pub metrics: Metrics,
    pub alerts: Alerts,
    identities: Identities,
    revocations: Revocations,
    /// Why detections wait, while they do.
    stalled: watch::Receiver<Option<String>>,
}

impl Parts {
    /// Starts the recorder, which lives as long as the base.
    pub fn start(data: &Data, tokens: Keys, base: &Lifecycle) -> Self {
        let (announcer, metrics) = (Announcer::default(), Metrics::default());
        let (stalled, is_stalled) = watch::channel(None);
        let (intake, queue) = Intake::new();
        let recorder = Recorder::new(&data.database, announcer.clone(), stalled).measured(metrics.clone());
        base.keep("recorder", recorder.run(queue, base.soft.clone(), base.hard.clone()));
        Self {
            database: data.database.clone(),
            folder: data.folder.clone(),
            recorder: intake,
            announcer,
            presence: Presence::default(),
            metrics,
            alerts: Alerts::kept_in(data.folder.join("alerts-waiting")),
            identities: Identities::new(data.database.clone(), tokens),
            revocations: Revocations::default(),
            stalled: is_stalled,
        }
    }

    /// Starts MQTT, which nobody can connect to yet.
    ///
    /// # Errors
    /// When the router does not start.
    pub fn front(
        &self,
        settings: mqtt::Settings,
        rights: Rights,
        lock_requests: &lock_desk::Requests,
        hub: &Lifecycle,
    ) -> anyhow::Result<Front> {
        let hooks = Hooks {
            authenticate: identities::clients(self.identities.clone(), rights.clone()),
            recorder: self.recorder.clone(),
            lock: lock_requests.sender(),
            presence: self.presence.clone(),
            alerts: self.alerts.clone(),
        };
        Front::start(settings, rights, hooks, hub)
    }

    /// Starts the lock desk, and waits until it listens: no lock agent may speak before.
    ///
    /// # Errors
    /// When the audit's key or head cannot be had.
    pub async fn lock(
        &self,
        requests: lock_desk::Requests,
        front: &Front,
        settings: DeskSettings,
        hub: &Lifecycle,
    ) -> anyhow::Result<LockDesk> {
        let parts = lock_desk::Parts {
            database: self.database.clone(),
            link: front.link(Identity::Hub, None, &["lock/status", "lock/response"]),
            worker_is_there: front.worker_is_there(),
            requests,
            recorder: self.recorder.clone(),
            announcer: self.announcer.clone(),
            folder: self.folder.clone(),
            settings,
            metrics: self.metrics.clone(),
        };
        let lock = LockDesk::start(parts, hub)?;
        lock.listening().await?;
        Ok(lock)
    }

    /// Starts those who watch, and those who tell MQTT of events. Who tells of changed accounts begins when the database
    /// is open.
    pub fn watch(&self, options: &ServeOptions, front: &Front, hub: &Lifecycle) -> ChangeFeed {
        let will = Some(publisher::hub_status(false));
        let link = front.link(Identity::Hub, will, &[]);
        let (standing, clock) = watch::channel(None);
        let watched = clock_watch::run(self.database.clone(), self.alerts.clone(), standing, hub.soft.clone());
        hub.keep("clock", watched);
        let kept = retention::run(self.database.clone(), options.hub.retention_days, clock, hub.soft.clone());
        hub.keep("months of events", kept);
        hub.keep("publisher", publisher::run(link, self.announcer.clone(), hub.soft.clone()));
        let (cameras_changed, cameras) = watch::channel(0);
        let watched = camera_watch::Parts {
            database: self.database.clone(),
            link: front.link(Identity::Hub, None, &[]),
            announcer: self.announcer.clone(),
            presence: self.presence.clone(),
            alerts: self.alerts.clone(),
            cameras_changed: cameras,
            stalled: self.stalled.clone(),
            timeout: Duration::from_secs(options.hub.camera_timeout),
        };
        hub.keep("camera watch", camera_watch::run(watched, hub.soft.clone()));
        ChangeFeed {
            database: self.database.clone(),
            front: front.clone(),
            revocations: self.revocations.clone(),
            identities: self.identities.clone(),
            cameras_changed,
            presence: self.presence.clone(),
        }
    }

    /// Watches over all of them.
    pub fn health(&self, front: &Front, lock: &LockDesk, hub: &Lifecycle) -> Health {
        let probed = Probed {
            database: self.database.clone(),
            front: front.clone(),
            lock: lock.clone(),
            alerts: self.alerts.clone(),
            recorder: self.recorder.clone(),
            stalled: self.stalled.clone(),
            folder: self.folder.clone(),
        };
        readiness::watch(probed, hub)
    }

    /// Builds what answers HTTP and Socket.io.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn bridge(
        &self,
        front: &Front,
        lock: &LockDesk,
        settings: bridge::Settings,
        health: Health,
        log: &Log,
        hub: &Lifecycle,
    ) -> anyhow::Result<Bridge> {
        let parts = bridge::Parts {
            database: self.database.clone(),
            recorder: self.recorder.clone(),
            lock: lock.clone(),
            announcer: self.announcer.clone(),
            presence: self.presence.clone(),
            front: Some(front.clone()),
            identities: self.identities.clone(),
            settings,
            revocations: self.revocations.clone(),
            health,
            metrics: self.metrics.clone(),
            log: log.clone(),
        };
        Ok(bridge::build(parts, hub)?)
    }
}
