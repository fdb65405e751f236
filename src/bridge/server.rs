//! Serves the router on a listener, to as many connections as there are places for, none of them silent for ever.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{
    bodies::{Answered, Arriving},
    line::{Cuttable, Handle, Peer},
    stages::Times,
};
use crate::{
    auth::{holder::Holder, origin::Proxies},
    domain::{
        places::Places,
        pool::{Bounds, Listed, Unit},
    },
    telemetry::{rate::Rate, reading::Reading},
};

/// How much of a request's head and of its pipelined followers hyper may hold.
const HEAD: usize = 96 * 1024;
/// How many sockets may be open beyond the places while those who were sent away still close theirs.
const CLOSING: usize = 32;
/// How many strangers may come at once at the cost of others, and one in which time after that: a flood that comes back as
/// fast as it is sent away would have the machine do nothing else.
const CROWD: (u32, Duration) = (100, Duration::from_millis(1));
/// How long the accept loop rests after an error, whose cause (no file descriptors, say) passes.
const AFTER_AN_ERROR: Duration = Duration::from_millis(50);

/// How many HTTP connections there may be, and how long each may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all and of one address; and the part that only people of higher standing may use.
    pub places: Bounds,
    pub times: Times,
}

impl Default for ConnectionLimits {
    /// What the settings have when nobody sets them.
    fn default() -> Self {
        Self { places: Bounds { in_all: 2000, each: 1500, reserve: 250 }, times: Times::default() }
    }
}

/// For docs/security.md.
#[must_use]
pub fn listed(limits: &ConnectionLimits) -> Listed {
    Listed {
        what: "HTTP connections, sockets among them",
        unit: Unit::Pieces,
        bounds: limits.places,
        holder: "address; none for those above everybody",
        settings: "`HTTP_CONNECTIONS`, `HTTP_CONNECTIONS_PER_ADDRESS`",
        when_full: "strangers have half of them: the one that has waited longest is closed; people who are signed in stay",
    }
}

/// The places for HTTP connections, of all listeners together.
#[derive(Debug, Clone)]
pub struct Connections {
    places: Places<Holder>,
    open: Arc<Semaphore>,
    times: Times,
    proxies: Proxies,
    /// What their requests hold that are not answered yet, in bytes.
    unanswered: Arc<AtomicUsize>,
    turned_away: Arc<Rate>,
}

impl Connections {
    #[must_use]
    pub fn new(limits: ConnectionLimits, proxies: Proxies) -> Self {
        let most = usize::try_from(limits.places.in_all).unwrap_or(Semaphore::MAX_PERMITS).saturating_add(CLOSING);
        Self {
            places: Places::new(limits.places),
            open: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            times: limits.times,
            proxies,
            unanswered: Arc::default(),
            turned_away: Arc::new(Rate::new(5, Duration::from_secs(10))),
        }
    }

    /// For the metrics.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        vec![
            Reading::gauge("portcullis_http_connections", "HTTP connections, sockets among them", self.places.taken()),
            Reading::counter(
                "portcullis_http_connections_sent_away",
                "HTTP connections without a credential that had to go for newer ones",
                self.places.sent_away(),
            ),
        ]
    }

    /// Gives whoever has connected a place, if there is one.
    fn welcome(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<(Cuttable, Peer)> {
        // Events are small and are to be seen at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, "TCP_NODELAY: {error}");
        }
        let handle = Arc::new(Handle::new(self.unanswered.clone()));
        // A proxy brings many people by many connections; only what there is in all bounds them.
        let holder = (!self.proxies.contain(address.ip())).then(|| Holder::at(address.ip()));
        let cut = handle.cut.clone();
        match self.places.enter(holder, move || cut.cancel()) {
            Ok(place) => {
                handle.take_place(place, permit);
                let peer = Peer { address, line: handle.line() };
                Some((Cuttable::new(stream, handle), peer))
            }
            Err(full) => {
                if let Some(held_back) = self.turned_away.pass(std::time::Instant::now()) {
                    tracing::warn!(%address, held_back, "turned an HTTP client away: {full}, by people who are signed in");
                }
                None
            }
        }
    }
}

/// Serves until `stop`, then until the requests that were begun are answered. Open sockets hold that up: close
/// [`super::Realtime`] first.
///
/// # Errors
/// Never while it runs.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Connections,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let (crowd, mut sent_away) = (Rate::new(CROWD.0, CROWD.1), connections.places.sent_away());
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok(Some((stream, peer))) => {
                let (router, times, stop) = (router.clone(), connections.times, stop.clone());
                tasks.spawn(serve_one(stream, peer, router, times, stop));
                let before = std::mem::replace(&mut sent_away, connections.places.sent_away());
                while before < sent_away && crowd.pass(std::time::Instant::now()).is_none() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("accepting an HTTP client failed: {error}");
                tokio::time::sleep(AFTER_AN_ERROR).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn accept(listener: &TcpListener, connections: &Connections) -> io::Result<Option<(Cuttable, Peer)>> {
    let permit = connections.open.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok(connections.welcome(stream, address, permit))
}

/// Serves one connection to its end, or until its socket belongs to somebody else.
async fn serve_one(stream: Cuttable, peer: Peer, router: Router, times: Times, stop: CancellationToken) {
    let cut = stream.handle().cut.clone();
    // Until it says something, it costs little more than its socket.
    tokio::select! {
        readable = stream.readable() => if readable.is_err() { return },
        () = sleep_until(Instant::now() + times.header) => return,
        () = cut.cancelled() => return,
        () = stop.cancelled() => return,
    }
    Box::pin(converse(stream, peer, router, times, stop)).await;
}

/// Answers requests.
async fn converse(stream: Cuttable, peer: Peer, router: Router, times: Times, stop: CancellationToken) {
    let handle = stream.handle().clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (router, handle, peer) = (router.clone(), handle.clone(), peer.clone());
        async move {
            let body = Arriving::new(handle.clone(), times.body);
            let mut request = request.map(|incoming| Body::new(body.of(incoming)));
            request.extensions_mut().insert(ConnectInfo(peer));
            // Only while it is answered does it need room for all that this takes.
            let response = Box::pin(router.oneshot(request)).await?;
            Ok::<_, Infallible>(Answered::response(response, handle))
        }
    });
    let connection = http1::Builder::new().max_buf_size(HEAD).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection.with_upgrades());
    let mut look = Instant::now() + times.shortest();
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(address = %peer.address, "an HTTP connection ended: {error}");
                }
                return;
            }
            () = handle.cut.cancelled() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                if handle.stages().is_between_requests() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(look) => {
                let now = Instant::now();
                match handle.stages().deadline(&times) {
                    Some(deadline) if deadline <= now => return,
                    deadline => look = deadline.unwrap_or_else(|| now + times.shortest()).min(now + times.shortest()),
                }
            }
        }
    }
}
