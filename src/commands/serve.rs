//! `portcullis serve`: puts the hub together, from the database up to the listeners, and takes it apart in the opposite
//! order, so that nothing is acknowledged that nobody can store any more.

mod checks;
mod first_start;
mod listeners;
mod metrics;
mod news;
mod open_files;
mod opening;
mod readiness;
pub mod relay;
mod settings;
mod welcome;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::{
    checks::Checks,
    listeners::Listeners,
    news::News,
    open_files::OpenFiles,
    opening::{Opened, Opening},
    readiness::Asked,
    settings::Settings,
    welcome::Welcome,
};
use super::{data::Data, log_level};
use crate::{
    auth::identity::Identity,
    bridge::{self, Revocations},
    camera_watch, clock_watch,
    config::{LockAgent, ServeOptions},
    events::{Announcer, alerts::Alerts, cameras::Cameras, presence::Presence},
    identities::{self, Identities},
    lifecycle::{Lifecycle, Signals, service_manager::ServiceManager},
    lock_desk::{self, LockDesk},
    mqtt::{Front, Hooks},
    publisher,
    recorder::{Recorder, Worker},
    retention, said,
    store::{Gate, private::Private},
    telemetry::{log::Log, metrics::Metrics},
};

/// How many lock commands may wait for the desk, which takes each at once. When it is full the front's clients wait.
const LOCK_REQUESTS: usize = 32;

/// Runs the hub until a signal, or until a part of it dies.
///
/// # Errors
/// What keeps it from starting, or that a part has died.
pub async fn run(options: ServeOptions, log: Log) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let listeners = Listeners::bind(&options).await?;
    let (mut data, gate) = Data::own(&options.data).await?;
    // The base outlives the hub: what the hub's last acts leave to store is stored.
    let base = Lifecycle::default();
    let hub = base.inner();
    base.keep("log", log_level::follow(log.clone(), signals.again(), base.soft.clone()));
    let manager = ServiceManager::from_environment().context("the service manager cannot be told")?.map(Arc::new);
    let private = data.private.take().map(|private| supervise(private, &base));
    let started = tokio::select! {
        started = start(&options, &data, gate, listeners, &log, &base, &hub) => Some(started),
        () = signals.next() => None,
    };
    let mut ended = Ok(());
    match started {
        Some(Ok(realtime)) => {
            if let Some(manager) = &manager {
                told_of_life(manager.clone(), &base);
            }
            tokio::select! {
                () = signals.next() => {}
                () = hub.soft.cancelled() => ended = Err(anyhow::anyhow!("a part of the hub ended; the log says which")),
            }
            if let Some(manager) = &manager {
                manager.stopping();
            }
            hub.soft.cancel();
            // HTTP waits for open long polls; these end here.
            realtime.close().await;
        }
        Some(Err(error)) => ended = Err(error),
        None => {}
    }
    hub.stop(signals.next()).await;
    base.stop(signals.next()).await;
    if let Some(supervision) = private {
        data.private = supervision.await.ok();
    }
    data.close().await?;
    tracing::info!("stopped");
    // A part that died says more than those that it took with it.
    base.failure().map_or(ended, Err)
}

/// Tells the service manager that the hub is ready, and until the base stops that it lives.
fn told_of_life(manager: Arc<ServiceManager>, base: &Lifecycle) {
    manager.ready();
    let stop = base.soft.clone();
    base.keep("service manager", async move { manager.keep_fed(stop).await });
}

/// Keeps the private PostgreSQL running until the base stops, and hands it back to be stopped.
fn supervise(mut private: Private, base: &Lifecycle) -> JoinHandle<Private> {
    let (stop, lifecycle) = (base.soft.clone(), base.clone());
    base.track(async move {
        if let Err(error) = private.supervise(&stop).await {
            tracing::error!("the private PostgreSQL cannot be had, the hub stops: {}", said::all(&error));
            lifecycle.failed(error);
            stop.cancel();
        }
        private
    })
}

/// Starts every part, each with what it needs of the ones before. The database may come later: until then, and whenever
/// it is away, each part does what it can without.
async fn start(
    options: &ServeOptions,
    data: &Data,
    gate: Gate,
    listeners: Listeners,
    log: &Log,
    base: &Lifecycle,
    hub: &Lifecycle,
) -> anyhow::Result<bridge::Realtime> {
    let mut settings = Settings::read(options, data)?;
    let open_files = OpenFiles::raise(options, &mut settings);
    let (opened, first) = oneshot::channel();
    let opening = Opening {
        address: data.address.clone(),
        database: data.database.clone(),
        gate,
        pool: options.data.database_pool,
        accounts: options.accounts.clone(),
        folder: data.folder.clone(),
        opened,
    };
    base.keep("database", opening.run(base.soft.clone()));

    let parts = Parts::start(data, base);
    let identities = Identities::new(data.database.clone(), settings.tokens);
    let (lock_requests, asked) = mpsc::channel(LOCK_REQUESTS);
    let hooks = Hooks {
        authenticate: identities::clients(identities.clone(), settings.rights.clone()),
        submissions: parts.recorder.sender(),
        accounts: parts.recorder.accounts().clone(),
        lock: lock_requests,
        presence: parts.presence.clone(),
        alerts: parts.alerts.clone(),
    };
    let front = Front::start(settings.broker, settings.rights, hooks, hub)?;
    let desk = lock_desk::Parts {
        database: data.database.clone(),
        link: front.link(Identity::Hub, None, &["lock/status", "lock/response"]),
        worker_is_there: front.worker_is_there(),
        requests: asked,
        submissions: parts.recorder.sender(),
        announcer: parts.announcer.clone(),
        folder: data.folder.clone(),
        settings: settings.desk,
        metrics: parts.metrics.clone(),
    };
    let lock = LockDesk::start(desk, hub)?;
    lock.listening().await?;
    if options.hub.lock_agent == LockAgent::Embedded {
        relay::embed(options, &front, hub)?;
    }
    let revocations = Revocations::default();
    let news = parts.watch(options, data, &front, (&revocations, &identities), hub);
    metrics::ask(&parts.metrics, log, data, &parts.recorder, &parts.alerts, &front, &lock);
    let asked = Asked {
        database: data.database.clone(),
        front: front.clone(),
        lock: lock.clone(),
        alerts: parts.alerts,
        submissions: parts.recorder.sender(),
        stalled: parts.stalled,
        folder: data.folder.clone(),
    };
    let health = readiness::watch(asked, hub);

    let bridge = bridge::Parts {
        database: data.database.clone(),
        recorder: parts.recorder,
        lock: lock.clone(),
        announcer: parts.announcer,
        presence: parts.presence,
        cameras: parts.cameras,
        front: Some(front.clone()),
        identities,
        settings: settings.bridge,
        revocations,
        health,
        metrics: parts.metrics.clone(),
        log: log.clone(),
    };
    let bridge = bridge::build(bridge, hub)?;
    let addresses = listeners.addresses()?;
    let told = Told {
        checks: Checks::new(options, addresses, data, &lock, open_files),
        welcome: Welcome { addresses, lock_agent: options.hub.lock_agent, folder: data.folder.clone() },
    };
    hub.keep("news of changes", after_opening(first, told, news, hub.soft.clone()));
    let connections = bridge.connections;
    hub.keep("HTTP", bridge::serve(listeners.http, bridge.router, connections.clone(), hub.soft.clone()));
    if let Some(listener) = listeners.metrics {
        let alone = bridge::metrics_alone(parts.metrics, bridge.settings);
        hub.keep("metrics", bridge::serve(listener, alone, connections, hub.soft.clone()));
    }
    hub.keep("MQTT", front.clone().serve(listeners.mqtt, None, hub.soft.clone()));
    if let Some(listener) = listeners.mqtt_tls {
        hub.keep("MQTT over TLS", front.serve(listener, settings.tls, hub.soft.clone()));
    }
    Ok(bridge.realtime)
}

/// What people are told once the hub is ready: in the log, and on the terminal.
struct Told {
    checks: Checks,
    welcome: Welcome,
}

/// Waits until the database is open for the first time, says so, and carries the news of changes from then on.
async fn after_opening(
    first: oneshot::Receiver<Opened>,
    Told { checks, welcome }: Told,
    news: News,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(Ok(Opened { admin, fingerprints })) = stop.run_until_cancelled(first).await else { return Ok(()) };
    checks.list().await;
    if let Err(error) = welcome.print(admin.as_ref()) {
        tracing::debug!("nobody reads the standard output: {error}");
    }
    news.run(fingerprints, stop).await
}

/// What almost every part works with.
struct Parts {
    recorder: Recorder,
    announcer: Announcer,
    presence: Presence,
    cameras: Cameras,
    metrics: Metrics,
    alerts: Alerts,
    /// Why detections wait, while they do.
    stalled: watch::Receiver<Option<String>>,
}

impl Parts {
    /// Starts the recorder, which lives as long as the base.
    fn start(data: &Data, base: &Lifecycle) -> Self {
        let (announcer, presence, metrics) = (Announcer::default(), Presence::default(), Metrics::default());
        let (stalled, is_stalled) = watch::channel(None);
        let (recorder, queue) = Recorder::new();
        let worker = Worker::new(&data.database, announcer.clone(), stalled).measured(metrics.clone());
        base.keep("recorder", worker.run(queue, base.soft.clone(), base.hard.clone()));
        let alerts = Alerts::kept_in(data.folder.join("alerts-waiting"));
        let cameras = Cameras::default();
        Self { recorder, announcer, presence, cameras, metrics, alerts, stalled: is_stalled }
    }

    /// Starts those who carry news: of events to MQTT, and of cameras that come and go. Those of changed accounts begin
    /// when the database is open.
    fn watch(
        &self,
        options: &ServeOptions,
        data: &Data,
        front: &Front,
        (revocations, identities): (&Revocations, &Identities),
        hub: &Lifecycle,
    ) -> News {
        let will = Some(publisher::hub_status(false));
        let link = front.link(Identity::Hub, will, &[]);
        let (standing, clock) = watch::channel(None);
        let watched = clock_watch::run(data.database.clone(), self.alerts.clone(), standing, hub.soft.clone());
        hub.keep("clock", watched);
        let kept = retention::run(data.database.clone(), options.hub.retention_days, clock, hub.soft.clone());
        hub.keep("months of events", kept);
        hub.keep("publisher", publisher::run(link, self.announcer.clone(), hub.soft.clone()));
        let (cameras_changed, cameras) = watch::channel(0);
        let watched = camera_watch::Parts {
            database: data.database.clone(),
            link: front.link(Identity::Hub, None, &[]),
            announcer: self.announcer.clone(),
            presence: self.presence.clone(),
            alerts: self.alerts.clone(),
            cameras: self.cameras.clone(),
            cameras_changed: cameras,
            stalled: self.stalled.clone(),
            timeout: Duration::from_secs(options.hub.camera_timeout),
            hold: Duration::from_secs(options.hub.occupancy_seconds),
        };
        hub.keep("camera watch", camera_watch::run(watched, hub.soft.clone()));
        News {
            database: data.database.clone(),
            front: front.clone(),
            revocations: revocations.clone(),
            identities: identities.clone(),
            cameras_changed,
            presence: self.presence.clone(),
        }
    }
}
