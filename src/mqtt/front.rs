//! The front: the ways in (listeners, byte streams, and links inside the process), and how its rooms are put together.
//!
//! Must not know what is said on a connection.

mod in_process;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::sync::CancellationToken;

use self::in_process::InProcess;
use super::{
    codec::packet::Reason,
    connection::{
        admission::{Admission, ConnectionPermit},
        broker::Broker,
        credentials::Authenticate,
        handshake::{Handshake, Visitor},
    },
    link,
    log_throttle::LogThrottle,
    metrics::FrontMetrics,
    pools::{self, Pools},
    publish::{Publishing, detection::DetectionIntake, lock_command::LockCommandIntake},
    router::{Router, RouterHeartbeat},
    session::{agent_slot::LockAgentSlot, registry::SessionRegistry, shared_groups::SharedGroups},
    settings::Settings,
    subscribe::Subscribing,
    tls,
};
use crate::{
    auth::{holder::Holder, identity::Identity, origin::Origin, rights::Rights},
    domain::places::Places,
    events::{LockRequest, alerts::Alerts, intake::Intake, presence::Presence},
    lifecycle::Lifecycle,
    telemetry::rate::Rate,
};

/// How many log lines there may be within so long a time.
const LOGGED: Duration = Duration::from_secs(10);
/// How many alerts about intruders.
const ALERTED: Duration = Duration::from_mins(1);

/// What the front needs of the rest of the hub.
#[derive(Clone)]
pub struct Hooks {
    pub authenticate: Authenticate,
    /// Detections, read or malformed, to the recorder. Their acknowledgement waits for the reply.
    pub recorder: Intake,
    /// lock/command from clients, to the lock desk, which gives the command itself. The front never routes a client's.
    pub lock: mpsc::Sender<LockRequest>,
    pub presence: Presence,
    /// What somebody should look at.
    pub alerts: Alerts,
}

/// The MQTT front.
#[derive(Clone)]
pub struct Front(Arc<Parts>);

struct Parts {
    settings: Settings,
    rights: Rights,
    lifecycle: Lifecycle,
    router: Router,
    sessions: Arc<SessionRegistry>,
    agent_slot: LockAgentSlot,
    admission: Admission,
    handshake: Arc<Handshake>,
    in_process: Arc<InProcess>,
    metrics: Arc<FrontMetrics>,
}

/// What several rooms have in common, while they are put together.
struct Common {
    rights: Rights,
    lifecycle: Lifecycle,
    router: Router,
    pools: Pools,
    agent_slot: LockAgentSlot,
    refusals: Arc<LogThrottle>,
    metrics: Arc<FrontMetrics>,
}

impl Common {
    fn publishing(&self, settings: &Settings, hooks: &Hooks) -> Publishing {
        let detections = DetectionIntake {
            recorder: hooks.recorder.clone(),
            router: self.router.clone(),
            metrics: self.metrics.clone(),
        };
        let lock_commands = LockCommandIntake {
            rights: self.rights.clone(),
            requests: hooks.lock.clone(),
            plain_lock: settings.plain_lock,
            metrics: self.metrics.clone(),
            refusals: self.refusals.clone(),
        };
        Publishing {
            rights: self.rights.clone(),
            router: self.router.clone(),
            agent_slot: self.agent_slot.clone(),
            detections: Arc::new(detections),
            lock_commands: Arc::new(lock_commands),
            metrics: self.metrics.clone(),
            refusals: self.refusals.clone(),
        }
    }

    fn subscribing(&self, settings: &Settings) -> Subscribing {
        let groups = self.pools.groups.clone();
        Subscribing {
            rights: self.rights.clone(),
            router: self.router.clone(),
            groups: SharedGroups::new(self.router.clone(), self.rights.clone(), groups, self.lifecycle.clone()),
            subscriptions: settings.limits.subscriptions,
            topic_bytes: settings.limits.topic_bytes,
            metrics: self.metrics.clone(),
            refusals: self.refusals.clone(),
            drops: LogThrottle::new(pools::LINES, LOGGED),
        }
    }

    fn broker(&self, settings: &Settings, publishing: Arc<Publishing>) -> Broker {
        Broker {
            limits: settings.limits.clone(),
            lifecycle: self.lifecycle.clone(),
            publishing,
            subscribing: self.subscribing(settings),
            arriving: self.pools.arriving.clone(),
            pressure: AtomicUsize::new(0),
            metrics: self.metrics.clone(),
        }
    }

    fn handshake(
        &self,
        settings: &Settings,
        hooks: Hooks,
        sessions: Arc<SessionRegistry>,
        broker: Arc<Broker>,
    ) -> Handshake {
        Handshake {
            broker,
            authenticate: hooks.authenticate,
            rights: self.rights.clone(),
            sessions,
            agent_slot: self.agent_slot.clone(),
            presence: hooks.presence,
            pools: self.pools.clone(),
            plain_lock: settings.plain_lock,
            refusals: self.refusals.clone(),
            alerts: hooks.alerts,
            alert_throttle: LogThrottle::new(pools::ALARMS, ALERTED),
        }
    }

    fn in_process(&self, sessions: Arc<SessionRegistry>, publishing: Arc<Publishing>) -> InProcess {
        InProcess {
            lifecycle: self.lifecycle.clone(),
            rights: self.rights.clone(),
            router: self.router.clone(),
            publishing,
            agent_slot: self.agent_slot.clone(),
            sessions,
            pools: self.pools.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

impl Front {
    /// Starts the router and what watches over it: if it dies, the hub stops.
    ///
    /// # Errors
    /// When the router cannot be started.
    pub fn start(settings: Settings, rights: Rights, hooks: Hooks, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        let metrics = Arc::new(FrontMetrics::default());
        let router = Router::start(&settings.limits, metrics.clone())?;
        let (watched, stop) = (router.clone(), lifecycle.soft.clone());
        lifecycle.keep("mqtt router", async move {
            tokio::select! {
                dead = watched.watch() => dead,
                () = stop.cancelled() => Ok(()),
            }
        });
        let common = Common {
            rights,
            lifecycle: lifecycle.clone(),
            router,
            pools: Pools::new(&settings.limits),
            agent_slot: LockAgentSlot::default(),
            refusals: Arc::new(LogThrottle::new(pools::LINES, LOGGED)),
            metrics: metrics.clone(),
        };
        let sessions = SessionRegistry::new(&settings.limits, metrics.clone());
        let publishing = Arc::new(common.publishing(&settings, &hooks));
        let broker = Arc::new(common.broker(&settings, publishing.clone()));
        Ok(Self(Arc::new(Parts {
            admission: Admission::new(&settings.limits, metrics.clone(), common.refusals.clone()),
            handshake: Arc::new(common.handshake(&settings, hooks, sessions.clone(), broker)),
            in_process: Arc::new(common.in_process(sessions.clone(), publishing)),
            rights: common.rights,
            lifecycle: common.lifecycle,
            router: common.router,
            agent_slot: common.agent_slot,
            sessions,
            metrics,
            settings,
        })))
    }

    /// Accepts clients until `stop`. Handshakes run beside each other and never hold up the next accept.
    ///
    /// # Errors
    /// Never while it runs: an accept that fails is logged and tried again, since its cause (no file descriptors, say)
    /// passes.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        const AFTER_AN_ERROR: Duration = Duration::from_millis(50);
        let limits = &self.0.settings.limits;
        let every = Duration::from_secs(1) / limits.accepts_per_second;
        let pace = Rate::new((limits.accepts_per_second / 10).max(1), every);
        let acceptor = tls.map(TlsAcceptor::from);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return Ok(()),
            };
            match accepted {
                Ok((stream, address)) => self.welcome(stream, address.ip(), acceptor.clone()),
                Err(error) => {
                    tracing::warn!("accepting an MQTT client failed: {error}");
                    tokio::time::sleep(AFTER_AN_ERROR).await;
                }
            }
            while pace.pass(Instant::now()).is_none() {
                tokio::select! {
                    () = tokio::time::sleep(every.max(Duration::from_millis(1))) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, address: IpAddr, acceptor: Option<TlsAcceptor>) {
        let origin = Origin::direct(address, acceptor.is_some());
        let Some(permit) = self.admit(origin) else { return };
        let parts = self.0.clone();
        // For the TLS handshake and the CONNECT together.
        let deadline = tokio::time::Instant::now() + parts.settings.limits.connect_time();
        self.0.lifecycle.track(async move {
            if let Err(error) = tune(&stream) {
                tracing::debug!(%address, "a socket takes no options: {error}");
            }
            match acceptor {
                None => {
                    let visitor = Visitor { origin, certificate_name: None, permit };
                    parts.handshake.clone().serve(stream, visitor, deadline).await;
                }
                // In a box, so that it costs those nothing who come without.
                Some(acceptor) => Box::pin(serve_tls(parts, stream, acceptor, origin, permit, deadline)).await,
            }
        });
    }

    /// Serves a client whose bytes come by a stream that somebody else has accepted, such as a WebSocket, until its
    /// connection ends.
    pub async fn serve_stream(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, origin: Origin) {
        if let Some(permit) = self.admit(origin) {
            self.serve_admitted(stream, origin, permit).await;
        }
    }

    /// The same for somebody who was let in already.
    pub async fn serve_admitted(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: Origin,
        permit: ConnectionPermit,
    ) {
        let parts = self.0.clone();
        let visitor = Visitor { origin, certificate_name: None, permit };
        let deadline = tokio::time::Instant::now() + parts.settings.limits.connect_time();
        // A task of its own, so that the session survives its caller.
        let served = self.0.lifecycle.track(parts.handshake.clone().serve(stream, visitor, deadline));
        let _ = served.await;
    }

    /// Counts a connection, if there is room for it: for a stranger, another who has waited for longer may have to go.
    #[must_use]
    pub fn admit(&self, origin: Origin) -> Option<ConnectionPermit> {
        self.0.admission.admit(origin)
    }

    /// The places for connections.
    #[must_use]
    pub fn places(&self) -> &Places<Holder> {
        self.0.admission.places()
    }

    /// A session inside the process, with the rights of `who`. Its will goes out if its worker goes while the hub runs.
    #[must_use]
    pub fn link(&self, who: Identity, will: Option<link::Message>, filters: &[&str]) -> link::Link {
        self.0.in_process.start(who, will, filters)
    }

    /// Whether a lock agent has a session now, whatever it says of itself.
    #[must_use]
    pub fn worker_is_there(&self) -> watch::Receiver<bool> {
        self.0.agent_slot.watch()
    }

    /// Whose sessions there are, each as often as it has one.
    #[must_use]
    pub fn identities(&self) -> Vec<Identity> {
        self.0.sessions.identities()
    }

    /// Ends the sessions of those whom `whose` names, with all that waits in them.
    pub fn end_sessions(&self, whose: impl Fn(&Identity) -> bool) {
        self.0.sessions.end(whose, Reason::AdministrativeAction, "the rights of this session have ended");
    }

    /// The router's signs of life.
    #[must_use]
    pub fn heartbeat(&self) -> RouterHeartbeat {
        self.0.router.heartbeat()
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    #[must_use]
    pub fn rights(&self) -> &Rights {
        &self.0.rights
    }

    #[must_use]
    pub fn metrics(&self) -> &FrontMetrics {
        &self.0.metrics
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("metrics", &self.0.metrics).finish_non_exhaustive()
    }
}

async fn serve_tls(
    parts: Arc<Parts>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    origin: Origin,
    permit: ConnectionPermit,
    deadline: tokio::time::Instant,
) {
    let address = origin.address();
    let handshake = tokio::time::timeout_at(deadline, acceptor.accept(stream));
    let handshake = tokio::select! {
        done = handshake => done,
        () = permit.sent_away() => return,
        () = parts.lifecycle.soft.cancelled() => return,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let certificate_name = tls::peer_name(stream.get_ref().1);
            parts.handshake.clone().serve(stream, Visitor { origin, certificate_name, permit }, deadline).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, "a TLS handshake failed: {error}"),
        Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
    }
}

/// Small packets do not wait for each other, and TCP itself looks whether a client is still there: the only one that
/// does for a 3.1.1 client without a keep-alive.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    const SILENCE: Duration = Duration::from_mins(1);
    const BETWEEN: Duration = Duration::from_secs(15);
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, SILENCE)?;
    sockopt::set_tcp_keepintvl(stream, BETWEEN)?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    Ok(())
}
