//! The bridge to people and their programs: REST, Socket.io and MQTT over WebSocket, on one HTTP port.
//!
//! Must not know rumqttd, nor SQL as text: it asks the store, hands detections to the recorder and commands to the lock
//! desk, and shows what the announcer tells.

mod accounts;
mod bare_answer;
mod bodies;
mod cameras;
mod content_encoding;
mod dashboard;
mod devices;
mod document;
mod error;
mod events;
mod health;
mod hosts;
mod input;
mod line;
mod lock;
mod lock_operator;
mod log_level;
mod metrics;
mod middleware;
mod mqtt_socket;
mod realtime;
mod server;
mod stages;
mod trailing_slash;
mod users;
mod who;

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::{Router, extract::FromRef, routing::get};
use chrono_tz::Tz;
use parking_lot::Mutex;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    hosts::Hosts,
    metrics::alone as metrics_alone,
    realtime::Realtime,
    server::{ConnectionLimits, Connections, serve},
    stages::Times,
};
use crate::{
    auth::{
        attempts::Logins,
        origin::Proxies,
        password::{self, Passwords},
        rights::Rights,
    },
    domain::pool::Listed,
    events::{Announcer, cameras::Cameras, intake::Intake, presence::Presence, revocations::Revocations},
    health::Health,
    identities::Identities,
    lifecycle::Lifecycle,
    lock_desk::LockDesk,
    mqtt::Front,
    store::Database,
    telemetry::{log::Log, metrics::Metrics},
};

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registration {
    /// Only an ADMIN.
    #[default]
    Closed,
    /// Anybody gets one as USER.
    Open,
}

/// How a client that has gone without a word is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// How often each Socket.io client is asked for a sign of life.
    pub every: Duration,
    /// How long it may take to give one.
    pub patience: Duration,
}

/// What Socket.io's own server takes.
impl Default for Heartbeat {
    fn default() -> Self {
        Self { every: Duration::from_secs(25), patience: Duration::from_secs(20) }
    }
}

/// What the bridge is told by the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Origins that a browser may come from, such as `http://localhost:3000`, or `*`.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Proxies,
    /// Names that the hub answers for, beside its machine's.
    pub hosts: Hosts,
    pub registration: Registration,
    pub heartbeat: Heartbeat,
    pub connections: ConnectionLimits,
    /// For "today" and for the buckets of the analytics.
    pub time_zone: Tz,
    /// For GET /api/devices/:id/explain.
    pub rights: Rights,
    /// The hub's version.
    pub version: &'static str,
    /// `METRICS_ADDR` is set: then /metrics is there and not here.
    pub metrics_elsewhere: bool,
}

/// What the bridge is built from.
#[derive(Debug)]
pub struct Parts {
    pub database: Database,
    pub recorder: Intake,
    pub lock: LockDesk,
    pub announcer: Announcer,
    pub presence: Presence,
    /// How each camera is.
    pub cameras: Cameras,
    /// For MQTT over WebSocket.
    pub front: Option<Front>,
    pub identities: Identities,
    pub settings: Settings,
    pub revocations: Revocations,
    pub health: Health,
    pub metrics: Metrics,
    pub log: Log,
}

/// What handlers ask for by `State`. Copied several times for each request, so it is one handle.
#[derive(Debug, Clone)]
struct Shared(Arc<AppState>);

impl Deref for Shared {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

/// What a handler can ask for: kept in one place, and had from there by its type.
macro_rules! asked_for {
    ($($part:ident: $kind:ty,)+) => {
        #[derive(Debug)]
        struct AppState {
            $($part: $kind,)+
        }

        $(impl FromRef<Shared> for $kind {
            fn from_ref(shared: &Shared) -> Self {
                shared.$part.clone()
            }
        })+
    };
}

asked_for! {
    database: Database,
    recorder: Intake,
    lock: LockDesk,
    presence: Presence,
    cameras: Cameras,
    front: Option<Front>,
    settings: Arc<Settings>,
    passwords: Passwords,
    logins: Arc<Mutex<Logins>>,
    identities: Identities,
    health: Health,
    metrics: Metrics,
    log: Log,
}

/// The bridge, to be served and closed.
#[derive(Debug)]
pub struct Bridge {
    /// To be served by [`serve`], which tells it who is at the other end.
    pub router: Router,
    /// What the hub is told by the configuration.
    pub settings: Arc<Settings>,
    /// The places that its listeners share.
    pub connections: Connections,
    /// To be closed before the server's graceful shutdown, which would wait for open sockets.
    pub realtime: Realtime,
}

/// Builds the bridge and starts what feeds its sockets.
///
/// # Errors
/// When the system gives no random bytes.
pub fn build(parts: Parts, lifecycle: &Lifecycle) -> Result<Bridge, password::Refused> {
    let settings = Arc::new(parts.settings);
    let connections = Connections::new(settings.connections, settings.trusted_proxies.clone());
    let counted = connections.clone();
    parts.metrics.ask(move || counted.readings());
    let shared = Shared(Arc::new(AppState {
        database: parts.database,
        recorder: parts.recorder,
        lock: parts.lock,
        presence: parts.presence,
        cameras: parts.cameras,
        front: parts.front,
        settings: settings.clone(),
        passwords: Passwords::new()?,
        logins: parts.identities.logins(),
        identities: parts.identities,
        health: parts.health,
        metrics: parts.metrics,
        log: parts.log,
    }));
    let (layer, realtime) = realtime::start(&shared, &parts.announcer, &parts.revocations, lifecycle);
    let (router, document) = routes().split_for_parts();
    let router = router
        .with_state(shared.clone())
        .merge(document::routes(document, &settings))
        .merge(dashboard::routes(&shared));
    let mqtt = get(mqtt_socket::upgrade).with_state(shared.clone());
    let (upgrades, database) = (realtime.upgrades(), shared.database.clone());
    let router = middleware::around(router, layer, mqtt, &settings, upgrades, database, &shared.metrics);
    Ok(Bridge { router, settings, connections, realtime })
}

/// Every route of the REST side, each with its description.
fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(document::frame())
        .routes(routes!(dashboard::about))
        .routes(routes!(accounts::register))
        .routes(routes!(accounts::login))
        .routes(routes!(accounts::profile))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::stats))
        .routes(routes!(users::me))
        .routes(routes!(users::one, users::update, users::delete))
        .routes(routes!(cameras::list, cameras::create))
        .routes(routes!(cameras::stats))
        .routes(routes!(cameras::one, cameras::update, cameras::delete))
        .routes(routes!(events::list, events::create))
        .routes(routes!(events::unresolved))
        .routes(routes!(events::of_camera))
        .routes(routes!(events::stats))
        .routes(routes!(events::analytics))
        .routes(routes!(events::rejected))
        .routes(routes!(events::one, events::delete))
        .routes(routes!(events::resolve))
        .routes(routes!(lock::open))
        .routes(routes!(lock::close))
        .routes(routes!(lock::toggle))
        .routes(routes!(lock::hold))
        .routes(routes!(lock::status))
        .routes(routes!(lock::history))
        .routes(routes!(devices::list, devices::create))
        .routes(routes!(devices::remove))
        .routes(routes!(devices::rotate))
        .routes(routes!(devices::explain))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::scrape))
        .routes(routes!(log_level::show, log_level::change))
}

/// What clients of REST and Socket.io share, for docs/security.md.
#[must_use]
pub fn listed() -> Vec<Listed> {
    vec![server::listed(&ConnectionLimits::default()), realtime::listed()]
}
