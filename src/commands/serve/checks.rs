//! What a person who reads the log after a start wants to know: one line for each part, and a warning where something
//! is not as it should be.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use chrono::Utc;

use super::{listeners::Addresses, open_files::OpenFiles};
use crate::{
    commands::data::Data,
    config::{LockAgent, ServeOptions},
    domain::{condition::NEARLY_FULL, trusted_clock},
    lock_desk::LockDesk,
    readiness::{room, size},
    store::{self, Database},
};

/// How far the database's clock may be from this one before it is said, in milliseconds.
const CLOCKS_APART: i64 = 2000;

/// What is looked at.
pub struct Checks {
    options: ServeOptions,
    addresses: Addresses,
    database: Database,
    folder: PathBuf,
    lock: LockDesk,
    open_files: OpenFiles,
}

impl Checks {
    pub fn new(
        options: &ServeOptions,
        addresses: Addresses,
        data: &Data,
        lock: &LockDesk,
        open_files: OpenFiles,
    ) -> Self {
        let (database, folder) = (data.database.clone(), data.folder.clone());
        Self { options: options.clone(), addresses, database, folder, lock: lock.clone(), open_files }
    }

    /// Writes the list into the log.
    pub async fn list(&self) {
        let Self { options, addresses, database, folder, lock, open_files } = self;
        tracing::info!(
            check = "program",
            "program: Portcullis {}, process {}",
            env!("CARGO_PKG_VERSION"),
            std::process::id()
        );
        told_of_listeners(options, addresses);
        told_of_database(options, database).await;
        told_of_disk(folder);
        open_files.tell();
        let now = Utc::now();
        tracing::info!(check = "clock", "clock: {}, time zone {}", now.format("%FT%TZ"), options.hub.timezone);
        if !trusted_clock::is_possible(now) {
            tracing::warn!(check = "clock", "clock: that cannot be: set this machine's clock");
        }
        let worker = match options.hub.lock_agent {
            LockAgent::Embedded => "in this process",
            LockAgent::Remote => "remote",
        };
        let lock = lock.state().status;
        let relay = if lock.simulated { "simulated" } else { "real" };
        tracing::info!(
            check = "lock",
            "lock: worker {worker}, relay {relay} on line {}, now {}",
            lock.pin,
            lock.status
        );
    }
}

fn told_of_listeners(options: &ServeOptions, addresses: &Addresses) {
    let shown = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |address| address.to_string());
    tracing::info!(
        check = "listeners",
        "listeners: HTTP {}, MQTT {}, MQTT over TLS {}, metrics {}",
        addresses.http,
        addresses.mqtt,
        shown(addresses.mqtt_tls),
        if addresses.metrics.is_some() { shown(addresses.metrics) } else { "with HTTP".to_owned() },
    );
    let far = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
    if far(addresses.http) && options.http.trusted_proxies.is_empty() {
        tracing::warn!(
            check = "listeners",
            "listeners: HTTP is open to other machines without encryption, and no proxy is in TRUSTED_PROXIES: \
             passwords and tokens can be read on the way"
        );
    }
    if far(addresses.mqtt) {
        tracing::warn!(
            check = "listeners",
            "listeners: MQTT is open to other machines without encryption: secrets can be read on the way \
             (MQTT_HOST=127.0.0.1 keeps it to this one, MQTT_TLS_HOST and MQTT_TLS_PORT let the others in)"
        );
    }
    if addresses.metrics.is_some_and(far) {
        tracing::warn!(
            check = "listeners",
            "listeners: METRICS_ADDR is open to other machines, for whoever reaches it"
        );
    }
}

async fn told_of_database(options: &ServeOptions, database: &Database) {
    let is_given = options.data.database_url.is_some() || options.data.database_url_file.is_some();
    let whose = if is_given { "given by DATABASE_URL" } else { "private" };
    match store::server(database).await {
        Ok(server) => {
            let apart = (server.now - Utc::now()).num_milliseconds();
            tracing::info!(
                check = "database",
                "database: PostgreSQL {}, {whose}, schema {}, its clock {apart} ms from this one",
                server.version,
                store::schema()
            );
            if apart.abs() > CLOCKS_APART {
                tracing::warn!(check = "database", "database: its clock and this one are {apart} ms apart: set them");
            }
        }
        Err(error) => tracing::warn!(check = "database", "database: {whose}, does not answer: {error}"),
    }
}

fn told_of_disk(folder: &Path) {
    match room(folder) {
        Ok((free, all)) => {
            tracing::info!(check = "disk", "disk: {} of {} free in {}", size(free), size(all), folder.display());
            if free < NEARLY_FULL {
                tracing::warn!(
                    check = "disk",
                    "disk: less than {} is free: detections are stored only as long as it lasts",
                    size(NEARLY_FULL)
                );
            }
        }
        Err(error) => tracing::warn!(check = "disk", "disk: {} does not say what is free: {error}", folder.display()),
    }
}
