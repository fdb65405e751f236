//! `portcullis serve`: puts the hub together, from the database up to the listeners, and takes it apart in the opposite
//! order, so that nothing is acknowledged that nobody can store any more.

mod checks;
pub mod embedded_agent;
mod listeners;
mod metrics;
mod open_files;
mod parts;
mod settings;
mod welcome;

use std::sync::Arc;

use anyhow::Context as _;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::{
    checks::Checks, listeners::Listeners, open_files::OpenFiles, parts::Parts, settings::Settings, welcome::Welcome,
};
use super::{data::Data, log_level};
use crate::{
    bridge::Realtime,
    changes::ChangeFeed,
    config::{LockAgent, ServeOptions},
    database_opener::{DatabaseOpener, Opened},
    lifecycle::{Lifecycle, Signals, service_manager::ServiceManager},
    lock_desk, said,
    store::{Gate, private::Private},
    telemetry::log::Log,
};

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
) -> anyhow::Result<Realtime> {
    let mut settings = Settings::read(options, data)?;
    let open_files = OpenFiles::raise(options, &mut settings);
    let first = open_database(options, data, gate, base);
    let parts = Parts::start(data, settings.tokens, base);
    let lock_requests = lock_desk::Requests::default();
    let front = parts.front(settings.broker, settings.rights, &lock_requests, hub)?;
    let lock = parts.lock(lock_requests, &front, settings.desk, hub).await?;
    if options.hub.lock_agent == LockAgent::Embedded {
        embedded_agent::start(options, &front, hub)?;
    }
    let changes = parts.watch(options, &front, hub);
    metrics::ask(&parts.metrics, log, data, &parts.recorder, &parts.alerts, &front, &lock);
    let health = parts.health(&front, &lock, hub);
    let bridge = parts.bridge(&front, &lock, settings.bridge, health, log, hub)?;
    let addresses = listeners.addresses()?;
    let told = FirstWords {
        checks: Checks::new(options, addresses, data, &lock, open_files),
        welcome: Welcome { addresses, lock_agent: options.hub.lock_agent, folder: data.folder.clone() },
    };
    hub.keep("news of changes", after_opening(first, told, changes, hub.soft.clone()));
    listeners.serve(&bridge, &front, parts.metrics, settings.tls, hub);
    Ok(bridge.realtime)
}

/// Opens the database whenever it is there; what comes out says so the first time.
fn open_database(options: &ServeOptions, data: &Data, gate: Gate, base: &Lifecycle) -> oneshot::Receiver<Opened> {
    let (opened, first) = oneshot::channel();
    let database = DatabaseOpener {
        address: data.address.clone(),
        database: data.database.clone(),
        gate,
        pool: options.data.database_pool,
        accounts: options.accounts.clone(),
        folder: data.folder.clone(),
        opened,
    };
    base.keep("database", database.run(base.soft.clone()));
    first
}

/// What people are told once the hub is ready: in the log, and on the terminal.
struct FirstWords {
    checks: Checks,
    welcome: Welcome,
}

/// Waits until the database is open for the first time, says so, and tells of changes from then on.
async fn after_opening(
    first: oneshot::Receiver<Opened>,
    FirstWords { checks, welcome }: FirstWords,
    changes: ChangeFeed,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(Ok(Opened { admin, fingerprints })) = stop.run_until_cancelled(first).await else { return Ok(()) };
    checks.list().await;
    if let Err(error) = welcome.print(admin.as_ref()) {
        tracing::debug!("nobody reads the standard output: {error}");
    }
    changes.run(fingerprints, stop).await
}
