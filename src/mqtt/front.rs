//! The front: what all connections share, and the ways in: listeners, byte streams, and links inside the process.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use chrono::Utc;
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::sync::CancellationToken;

use super::{
    connect::{self, Visitor},
    gauges::{Gauges, Lines},
    hearers::Hearers,
    link, local,
    packet::Reason,
    pools::{self, Pools},
    publish::Sender,
    router::{Pulse, Router},
    sessions::Sessions,
    settings::Settings,
    shares::Shares,
    tls,
    worker::WorkerPlace,
};
use crate::{
    auth::{
        holder::Holder,
        identity::Identity,
        origin::{Address, Origin},
        rights::Rights,
    },
    domain::{
        event,
        places::{Place, Places},
        pool::{Full, Standing},
    },
    events::{
        LockRequest, Submission,
        accounts::Accounts,
        alerts::{Alerts, Subject},
        presence::Presence,
    },
    lifecycle::Lifecycle,
    telemetry::rate::Rate,
};

/// What a client shows of itself in its CONNECT.
#[derive(Clone)]
pub struct Credentials {
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    pub address: Address,
    /// The name in its certificate, which the TLS handshake has checked.
    pub certificate_name: Option<String>,
}

impl std::fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("address", &self.address)
            .field("certificate_name", &self.certificate_name)
            .finish_non_exhaustive()
    }
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    BadCredentials,
    NotAuthorized,
    /// Nobody can say who it is, since Postgres is away.
    Unavailable,
    /// Too many failed attempts.
    TooMany,
}

/// An answer that takes a while.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Says who a client is.
pub type Authenticate = Arc<dyn Fn(Credentials) -> BoxFuture<Result<Identity, Refusal>> + Send + Sync>;

/// What the front needs of the rest of the hub.
#[derive(Clone)]
pub struct Hooks {
    pub authenticate: Authenticate,
    /// Detections, read or malformed, to the recorder. Their acknowledgement waits for the reply.
    pub submissions: mpsc::Sender<Submission>,
    /// Where detections are counted that the recorder's queue has taken.
    pub accounts: Accounts,
    /// lock/command from clients, to the lock desk, which gives the command itself. The front never routes a client's.
    pub lock: mpsc::Sender<LockRequest>,
    pub presence: Presence,
    /// What somebody should look at.
    pub alerts: Alerts,
}

/// What all connections share.
pub struct Core {
    pub settings: Settings,
    pub rights: Rights,
    pub hooks: Hooks,
    pub lifecycle: Lifecycle,
    pub router: Router,
    pub sessions: Arc<Sessions>,
    pub shares: Shares,
    /// Who subscribes to what now.
    pub hearers: Hearers,
    pub gauges: Arc<Gauges>,
    /// What all of them share.
    pub pools: Pools,
    pub worker: WorkerPlace,
    /// How many subscribers read and fall behind all the same: publishers slow down for them.
    pub pressure: AtomicUsize,
    /// How often refusals are logged.
    pub refusals: Lines,
    /// How often full queues are logged.
    pub drops: Lines,
    alarms: Lines,
    places: Places<Holder>,
}

impl Core {
    /// Counts and logs a PUBLISH that somebody had no right to.
    pub fn refused_publish(&self, sender: &Sender, topic: &str, rule: &str) {
        self.gauges.refused_publishes.one();
        if let Some(held_back) = self.may_log(&sender.who, sender.origin.address()) {
            tracing::warn!(who = %sender.who, topic, rule, held_back, "refused a PUBLISH");
        }
    }

    /// Whether a refusal of theirs is logged; if so, how many of anybody's were not since the last that was.
    pub fn may_log(&self, who: &Identity, address: Address) -> Option<u64> {
        self.refusals.pass(Holder::of(who, address), who.standing(), Instant::now())
    }

    /// Has an alert about somebody stored, at a limited rate, for somebody to look at.
    pub fn alarm(&self, who: &Identity, address: Address, description: String) {
        // Whoever claims to be the lock worker is no more than anybody here.
        if self.alarms.pass(Holder::of(who, address), Standing::Common, Instant::now()).is_some() {
            self.hooks.alerts.raise(Subject::Intruder, event::Kind::LockAgentRefused, description, Utc::now());
        } else {
            tracing::warn!("{description}");
        }
    }
}

/// The MQTT front.
#[derive(Clone)]
pub struct Front(Arc<Core>);

impl Front {
    /// Starts the router and what watches over it: if it dies, the hub stops.
    ///
    /// # Errors
    /// When the router cannot be started.
    pub fn start(settings: Settings, rights: Rights, hooks: Hooks, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        const LOGGED: Duration = Duration::from_secs(10);
        const ALARMED: Duration = Duration::from_mins(1);
        let gauges = Arc::new(Gauges::default());
        let router = Router::start(&settings.limits, gauges.clone())?;
        let pools = Pools::new(&settings.limits);
        let (watched, stop) = (router.clone(), lifecycle.soft.clone());
        lifecycle.keep("mqtt router", async move {
            tokio::select! {
                dead = watched.watch() => dead,
                () = stop.cancelled() => Ok(()),
            }
        });
        Ok(Self(Arc::new(Core {
            sessions: Sessions::new(&settings.limits, gauges.clone()),
            shares: Shares::new(router.clone(), rights.clone(), pools.groups.clone(), lifecycle.clone()),
            hearers: Hearers::default(),
            rights,
            hooks,
            lifecycle: lifecycle.clone(),
            router,
            gauges,
            pools,
            worker: WorkerPlace::default(),
            pressure: AtomicUsize::new(0),
            refusals: Lines::new(pools::LINES, LOGGED),
            drops: Lines::new(pools::LINES, LOGGED),
            alarms: Lines::new(pools::ALARMS, ALARMED),
            places: Places::new(pools::connections(&settings.limits)),
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
        let Some(guest) = self.admit(Origin::direct(address, acceptor.is_some())) else { return };
        let core = self.0.clone();
        // For the TLS handshake and the CONNECT together.
        let deadline = tokio::time::Instant::now() + core.settings.limits.connect_time();
        self.0.lifecycle.track(async move {
            if let Err(error) = tune(&stream) {
                tracing::debug!(%address, "a socket takes no options: {error}");
            }
            let origin = Origin::direct(address, acceptor.is_some());
            match acceptor {
                None => connect::serve(core, stream, Visitor { origin, certificate_name: None, guest }, deadline).await,
                // In a box, so that it costs those nothing who come without.
                Some(acceptor) => Box::pin(serve_tls(core, stream, acceptor, origin, guest, deadline)).await,
            }
        });
    }

    /// Serves a client whose bytes come by a stream that somebody else has accepted, such as a WebSocket, until its
    /// connection ends.
    pub async fn serve_stream(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, origin: Origin) {
        if let Some(guest) = self.admit(origin) {
            self.serve_guest(stream, origin, guest).await;
        }
    }

    /// The same for somebody who was let in already.
    pub async fn serve_guest(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: Origin,
        guest: Guest,
    ) {
        let core = self.0.clone();
        let visitor = Visitor { origin, certificate_name: None, guest };
        let deadline = tokio::time::Instant::now() + core.settings.limits.connect_time();
        // A task of its own, so that the session survives its caller.
        let served = self.0.lifecycle.track(connect::serve(core, stream, visitor, deadline));
        let _ = served.await;
    }

    /// Counts a connection, if there is room for it: for a stranger, another who has waited for longer may have to go.
    #[must_use]
    pub fn admit(&self, origin: Origin) -> Option<Guest> {
        let leave = CancellationToken::new();
        let sent_away = leave.clone();
        match self.0.places.enter(Some(Holder::at(origin.address())), move || leave.cancel()) {
            Ok(place) => {
                self.0.gauges.connections.shift(1);
                Some(Guest { core: self.0.clone(), place, sent_away })
            }
            Err(full) => {
                self.0.gauges.turned_away.one();
                let address = origin.address();
                if let Some(held_back) = self.0.may_log(&Identity::Anonymous, address) {
                    tracing::warn!(%address, held_back, "turned an MQTT client away: too many connections: {full}");
                }
                None
            }
        }
    }

    /// The places for connections.
    #[must_use]
    pub fn places(&self) -> &Places<Holder> {
        &self.0.places
    }

    /// A session inside the process, with the rights of `who`. Its will goes out if its worker goes while the hub runs.
    #[must_use]
    pub fn link(&self, who: Identity, will: Option<link::Message>, filters: &[&str]) -> link::Link {
        local::start(&self.0, who, will, filters)
    }

    /// Whether a lock worker has a session now, whatever it says of itself.
    #[must_use]
    pub fn worker_is_there(&self) -> watch::Receiver<bool> {
        self.0.worker.watch()
    }

    /// Ends the sessions of those whom `whose` names, with all that waits in them.
    pub fn end_sessions(&self, whose: impl Fn(&Identity) -> bool) {
        self.0.sessions.end(whose, Reason::AdministrativeAction, "the rights of this session have ended");
    }

    /// The router's signs of life.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.0.router.pulse()
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
    pub fn gauges(&self) -> &Gauges {
        &self.0.gauges
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("gauges", &self.0.gauges).finish_non_exhaustive()
    }
}

async fn serve_tls(
    core: Arc<Core>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    origin: Origin,
    guest: Guest,
    deadline: tokio::time::Instant,
) {
    let address = origin.address();
    let handshake = tokio::time::timeout_at(deadline, acceptor.accept(stream));
    let handshake = tokio::select! {
        done = handshake => done,
        () = guest.sent_away() => return,
        () = core.lifecycle.soft.cancelled() => return,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let certificate_name = tls::peer_name(stream.get_ref().1);
            connect::serve(core, stream, Visitor { origin, certificate_name, guest }, deadline).await;
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

/// A connection that counts until this is dropped.
pub struct Guest {
    core: Arc<Core>,
    place: Place<Holder>,
    sent_away: CancellationToken,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Guest {
    /// Waits until it has to go for another.
    pub async fn sent_away(&self) {
        self.sent_away.cancelled().await;
    }

    /// Its CONNECT is there: others have to go first.
    pub fn has_spoken(&self) {
        self.place.busy();
    }

    /// It has shown who it is, and never has to go for another.
    ///
    /// # Errors
    /// When all connections that are open to people of its standing are taken.
    pub fn known(&self, standing: Standing) -> Result<(), Full> {
        self.place.known(standing)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.core.gauges.connections.shift(-1);
    }
}
