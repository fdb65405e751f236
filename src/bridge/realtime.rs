//! Socket.io: what dashboards hear as it happens, and how they close a gap.
//!
//! Every socket is in the room of those who hear everything, so that each event is encoded once and sent to each once.
//! A socket whose buffer is full leaves that room and is dropped: it replays by id when it comes back, and neither slows
//! the others nor grows the memory.

mod requests;
mod sessions;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, header},
};
use chrono::Utc;
use serde::{Serialize, Serializer};
use serde_json::{json, value::RawValue};
use socketioxide::{
    SendError, SocketError, SocketIo,
    adapter::LocalAdapter,
    extract::{SocketRef, State, TryData},
    handler::ConnectHandler as _,
    layer::SocketIoLayer,
};
use tokio::sync::{broadcast::error::RecvError, watch};
use tokio_util::sync::CancellationToken;

use self::sessions::{Session, Sessions};
pub use self::sessions::{Upgrades, listed};
use super::{
    Shared,
    line::Peer,
    who::{self, bearer},
};
use crate::{
    events::{Announcer, Arrival, Channel, StoredEvent, revocations::Revocations},
    identities::Identities,
    lifecycle::Lifecycle,
    lock_desk::{LockDesk, LockState},
    store::Database,
    telemetry::metrics::Metrics,
    wire::time,
};

/// How many packets may wait for one socket: four times the recorder's largest group, so that a socket that reads is
/// never dropped, and 200 that do not take less than 80 MB. A packet that waits is a reference to bytes that all sockets
/// share.
const BUFFER: usize = 4 * 1024;
/// For how long somebody may be connected without having come in: who was refused goes on polling otherwise, and holds a
/// connection. More than a slow network needs to send its token.
const ADMITTED_WITHIN: Duration = Duration::from_secs(5);
/// Nothing that a client sends is longer.
const MESSAGE_MAX: usize = 64 * 1024;
/// The room of those who hear everything.
const EVERYBODY: &str = "everybody";

/// What handlers of sockets ask for.
#[derive(Debug, Clone)]
struct Context {
    database: Database,
    identities: Identities,
    lock: LockDesk,
    sessions: Sessions,
}

/// The sockets.
pub struct Realtime {
    io: SocketIo,
    sessions: Sessions,
    stopped: CancellationToken,
}

impl fmt::Debug for Realtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Realtime")
    }
}

impl Realtime {
    /// Closes every socket's transport, so that clients come back by themselves, and waits for it.
    pub async fn close(&self) {
        self.stopped.cancel();
        self.io.close().await;
    }

    /// Where it is to be noted by which connections sessions go on.
    pub(super) fn upgrades(&self) -> Upgrades {
        self.sessions.upgrades()
    }

    /// How many sockets are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.io.sockets().len()
    }
}

/// Makes the layer that answers at /socket.io/, and starts the tasks behind it.
pub fn start(
    shared: &Shared,
    announcer: &Announcer,
    revocations: &Revocations,
    lifecycle: &Lifecycle,
) -> (SocketIoLayer, Realtime) {
    let context = Context {
        database: shared.database.clone(),
        identities: shared.identities.clone(),
        lock: shared.lock.clone(),
        sessions: Sessions::default(),
    };
    let (layer, io) = SocketIo::builder()
        .connect_timeout(ADMITTED_WITHIN)
        .ping_interval(shared.settings.heartbeat.every)
        .ping_timeout(shared.settings.heartbeat.patience)
        .max_buffer_size(BUFFER)
        .max_payload(MESSAGE_MAX as u64)
        .ws_max_message_size(MESSAGE_MAX)
        .ws_max_frame_size(MESSAGE_MAX)
        .with_state(context.clone())
        .build_layer();
    io.ns("/", welcome.with(admit));
    let stopped = lifecycle.soft.child_token();
    let (news, stop) = (announcer.listen(), stopped.clone());
    let (telling, metrics) = (context.sessions.clone(), shared.metrics.clone());
    lifecycle.keep("socket.io events", tell_events(io.clone(), telling, metrics, news, stop));
    let sessions = context.sessions.clone();
    shared.metrics.ask(move || sessions.readings());
    let (lock, stop) = (shared.lock.watch(), stopped.clone());
    lifecycle.keep("socket.io lock", tell_lock(io.clone(), lock, stop));
    let (changes, stop) = (revocations.listen(), stopped.clone());
    let sessions = context.sessions.clone();
    lifecycle.keep("socket.io sessions", sessions::watch(io.clone(), context, changes, stop));
    (layer, Realtime { io, sessions, stopped })
}

/// What the handshake may hold.
#[derive(Debug, Default, serde::Deserialize)]
struct Handshake {
    token: Option<String>,
}

/// The client gets it as `connect_error`.
#[derive(Debug, thiserror::Error)]
#[error("Unauthorized")]
struct Unauthorized;

async fn admit(
    socket: SocketRef,
    TryData(handshake): TryData<Handshake>,
    State(context): State<Context>,
) -> Result<(), Unauthorized> {
    let handshake = handshake.unwrap_or_default();
    let token = handshake.token.as_deref().map(|token| token.strip_prefix("Bearer ").unwrap_or(token));
    let token = token.or_else(|| bearer(&socket.req_parts().headers)).ok_or(Unauthorized)?.to_owned();
    let user = context.identities.by_user_token(&token).await.map_err(|error| {
        tracing::warn!("a socket could not be admitted: {error}");
        // A client that is refused does not come back by itself; one whose connection breaks does.
        if let Some(ConnectInfo(peer)) = socket.req_parts().extensions.get::<ConnectInfo<Peer>>() {
            peer.line.cut();
        }
        Unauthorized
    })?;
    let Some(user) = user else {
        let address = who::origin(&socket.req_parts().extensions).address();
        // It is counted; the client hears the same whether or not it has tried too often.
        let _ = context.identities.refused(None, &token, address);
        return Err(Unauthorized);
    };
    let (id, expires_at) = (user.id, user.expires_at);
    let standing = user.standing();
    if let Some(ConnectInfo(peer)) = socket.req_parts().extensions.get::<ConnectInfo<Peer>>() {
        peer.line.known(standing);
    }
    socket.extensions.insert(Session { user: id, expires_at, token: token.into(), standing });
    // Before the client is told that it is in: it may ask at once, and what nobody answers yet would be dropped.
    requests::answer(&socket);
    Ok(())
}

async fn welcome(socket: SocketRef, State(context): State<Context>) {
    let Some(session) = socket.extensions.get::<Session>() else { return };
    let parts = socket.req_parts();
    let peer = parts.extensions.get::<ConnectInfo<Peer>>().filter(|_| is_upgrade(&parts.headers));
    context.sessions.begin(socket.id, session, peer.map(|ConnectInfo(peer)| peer.line.clone()));
    let sessions = context.sessions.clone();
    socket.on_disconnect(async move |socket: SocketRef| sessions.end(socket.id));
    let greeting = json!({"message": "Connected to Portcullis", "timestamp": time::text(Utc::now())});
    let _ = socket.emit("connection", &greeting);
    let _ = socket.emit("lock:status", &lock_status(&context.lock.state()));
    socket.join(EVERYBODY);
}

fn lock_status(state: &LockState) -> serde_json::Value {
    let status = &state.status;
    json!({
        "status": status.status,
        "metadata": {
            "reason": status.reason,
            "requestedBy": status.requested_by,
            "commandId": status.command_id,
            "pin": status.pin,
            "simulated": status.simulated,
            "online": status.online,
            "opensUntil": status.opens_until.map(time::text),
            "held": status.held,
            "door": status.door,
            "alarm": status.alarm,
            "alarmSince": status.alarm_since.map(time::text),
        },
        "timestamp": time::text(status.timestamp),
    })
}

async fn tell_events(
    io: SocketIo,
    sessions: Sessions,
    metrics: Metrics,
    mut news: tokio::sync::broadcast::Receiver<Arc<StoredEvent>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let event = tokio::select! {
            event = news.recv() => event,
            () = stop.cancelled() => return Ok(()),
        };
        match event {
            Ok(event) => {
                tell(&io, &sessions, "event:detected", &detected(&event)).await;
                let Arrival { channel, at, span } = &event.arrival;
                tracing::debug!(parent: span, "shown to dashboards");
                if *channel != Channel::Internal {
                    metrics.shown(channel.as_str(), at.elapsed());
                }
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "dashboards were told nothing of some events; they can replay them by id");
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// The event's JSON with `broadcastedAt` put in before its last brace, without reading or writing it anew.
fn detected(event: &StoredEvent) -> Box<RawValue> {
    let json = event.json.get();
    let open = json.strip_suffix('}').unwrap_or(json);
    let spliced = format!(r#"{open},"broadcastedAt":"{}"}}"#, time::text(Utc::now()));
    RawValue::from_string(spliced).unwrap_or_else(|_| event.json.clone())
}

async fn tell_lock(io: SocketIo, mut lock: watch::Receiver<LockState>, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            changed = lock.changed() => changed?,
            () = stop.cancelled() => return Ok(()),
        }
        let status = lock_status(&lock.borrow_and_update());
        // Whoever is too slow for this has been too slow for the events, and was found there.
        let _ = io.to(EVERYBODY).emit("lock:status", &status).await;
    }
}

async fn tell(io: &SocketIo, sessions: &Sessions, event: &str, data: &RawValue) {
    if io.to(EVERYBODY).emit(event, &(data,)).await.is_err() {
        for socket in io.to(EVERYBODY).sockets() {
            if is_full(&socket) {
                socket.leave(EVERYBODY);
                sessions.too_slow(socket.id);
            }
        }
    }
}

/// Whether nothing more fits into the socket's buffer. A packet's place is reserved before the packet is written, so one
/// that cannot be written shows whether there is place, and sends nothing.
fn is_full(socket: &SocketRef<LocalAdapter>) -> bool {
    struct Unwritable;
    impl Serialize for Unwritable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("only a probe"))
        }
    }
    matches!(socket.emit("", &Unwritable), Err(SendError::Socket(SocketError::InternalChannelFull)))
}

/// Whether a request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// How often sessions are looked at: less than the second within which a void token must end.
const LOOK_EVERY: Duration = Duration::from_millis(250);
