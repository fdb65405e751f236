//! Whose socket it is and until when: the end of a token is the end of its sockets.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{Router, body::Body, extract::Request};
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::json;
use socketioxide::{SocketIo, socket::Sid};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{super::line::Line, Context, LOOK_EVERY};
use crate::{
    domain::{
        pool::{Bounds, Full, Listed, Pool, Share, Standing, Unit},
        user::UserId,
    },
    events::revocations::Revoked,
    telemetry::reading::Reading,
    wire::time,
};

/// Whose socket it is.
#[derive(Debug, Clone)]
pub struct Session {
    pub user: UserId,
    pub expires_at: DateTime<Utc>,
    pub token: Arc<str>,
    pub standing: Standing,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    too_slow: bool,
    /// How far [`Sessions::gone`] has to come until all answers are gone that it asked for.
    owed: u64,
    /// What waits for it, of what may wait for all.
    waiting: Share<UserId>,
    /// It does not read its answers, which are not to wait for its next sign of life.
    is_to_be_closed: bool,
}

impl Entry {
    /// Notes what still waits, now that so much is gone.
    fn settle(&mut self, gone: u64) -> Result<(), Full> {
        let waits = self.owed.saturating_sub(gone);
        let noted = self.waiting.amount();
        self.waiting.shrink(noted.saturating_sub(waits));
        self.waiting.grow(waits.saturating_sub(noted))
    }
}

/// How much of what a client has asked for may wait for it, in bytes: a few of the longest answers. One that asks and
/// does not read is dropped above it, as one that does not read events is when its buffer is full.
const OWED_MAX: u64 = 16 << 20;
/// How much may wait for all clients, and for all of one user, in bytes.
const OWED: Bounds = Bounds { in_all: 96 << 20, each: 32 << 20, reserve: 32 << 20 };

/// For docs/security.md.
pub fn listed() -> Listed {
    Listed {
        what: "Answers that dashboards have asked for and not read",
        unit: Unit::Bytes,
        bounds: OWED,
        holder: "user",
        settings: "",
        when_full: "the dashboard is dropped",
    }
}

/// By which connections sessions go on, and how much has gone out to those that poll.
#[derive(Debug, Clone, Default)]
pub struct Upgrades {
    lines: Arc<Mutex<HashMap<Sid, Line>>>,
    /// In bytes, for each socket that is connected.
    polled: Arc<Mutex<HashMap<Sid, u64>>>,
    /// Where Socket.io answers.
    server: Arc<OnceLock<Router>>,
}

impl Upgrades {
    /// The session goes on by this connection.
    pub fn note(&self, socket: Sid, line: Line) {
        self.lines.lock().insert(socket, line);
    }

    /// Requests to Socket.io are answered here.
    pub fn answered_by(&self, server: Router) {
        // There is one for a hub.
        let _ = self.server.set(server);
    }

    /// Closes a session that polls as its own client would, with all that waits for it. Socket.io has no other way to do so
    /// before the next sign of life is missing.
    async fn close(&self, socket: Sid) {
        let Some(server) = self.server.get().cloned() else { return };
        let request = Request::post(format!("/socket.io/?EIO=4&transport=polling&sid={socket}")).body(Body::from("1"));
        let Ok(request) = request else { return };
        let Ok(response) = server.oneshot(request).await;
        tracing::debug!(socket.id = %socket, status = %response.status(), "closed a session that does not read");
    }

    /// Whether somebody who is signed in has the session.
    pub fn is_known(&self, socket: Sid) -> bool {
        self.polled.lock().contains_key(&socket)
    }

    /// The session was polled, and that much was answered.
    pub fn polled(&self, socket: Sid, bytes: u64) {
        if let Some(polled) = self.polled.lock().get_mut(&socket) {
            *polled += bytes;
        }
    }
}

/// All sockets that are connected.
#[derive(Debug, Clone)]
pub struct Sessions {
    sockets: Arc<Mutex<HashMap<Sid, Entry>>>,
    upgrades: Upgrades,
    /// How many were ended because they did not read.
    cut: Arc<AtomicU64>,
    owed: Pool<UserId>,
}

impl Default for Sessions {
    fn default() -> Self {
        let (sockets, upgrades, cut) = Default::default();
        Self { sockets, upgrades, cut, owed: Pool::new(OWED) }
    }
}

impl Sessions {
    pub fn upgrades(&self) -> Upgrades {
        self.upgrades.clone()
    }

    /// A socket is connected; by a WebSocket from the start, if there is a line.
    pub fn begin(&self, socket: Sid, session: Session, line: Option<Line>) {
        if let Some(line) = line {
            self.upgrades.note(socket, line);
        }
        self.upgrades.polled.lock().insert(socket, 0);
        let Ok(waiting) = self.owed.take(session.user, session.standing, 0) else { return };
        let entry = Entry { session, too_slow: false, owed: 0, waiting, is_to_be_closed: false };
        self.sockets.lock().insert(socket, entry);
    }

    pub fn end(&self, socket: Sid) {
        self.sockets.lock().remove(&socket);
        self.upgrades.lines.lock().remove(&socket);
        self.upgrades.polled.lock().remove(&socket);
    }

    /// How much has gone out to the socket, in bytes, whatever it was.
    fn gone(&self, socket: Sid) -> u64 {
        let by_line = self.upgrades.lines.lock().get(&socket).map_or(0, Line::written);
        by_line + self.upgrades.polled.lock().get(&socket).copied().unwrap_or(0)
    }

    /// The socket has been answered with that many bytes. False when it leaves too much unread.
    pub fn owe(&self, socket: Sid, bytes: usize) -> bool {
        let gone = self.gone(socket);
        let mut sockets = self.sockets.lock();
        let Some(entry) = sockets.get_mut(&socket) else { return true };
        // What goes out after this is this, or was there before it.
        entry.owed = entry.owed.max(gone).saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let is_little = entry.owed - gone <= OWED_MAX && entry.settle(gone).is_ok();
        entry.is_to_be_closed |= !is_little;
        is_little
    }

    /// Whether it is about to be dropped, and need not be answered any more.
    pub fn is_too_slow(&self, socket: Sid) -> bool {
        self.sockets.lock().get(&socket).is_some_and(|entry| entry.too_slow)
    }

    /// The socket's buffer is full, or it is owed too much. Its WebSocket is cut, so that it comes back and replays. One
    /// that polls is closed with all that waits for it when it is owed too much; when it only hears too slowly, it is
    /// dropped as soon as the packet that says so fits in, or by its missing pong: events are shared by all who hear them.
    pub fn too_slow(&self, socket: Sid) {
        let mut sockets = self.sockets.lock();
        let Some(entry) = sockets.get_mut(&socket) else { return };
        if !std::mem::replace(&mut entry.too_slow, true) {
            self.cut.fetch_add(1, Relaxed);
        }
        tracing::warn!(socket.id = %socket, user.id = %entry.session.user, "a dashboard is too slow, it is dropped");
        if let Some(line) = self.upgrades.lines.lock().get(&socket) {
            line.cut();
        }
    }

    /// For the metrics.
    pub fn readings(&self) -> Vec<Reading> {
        let open = u64::try_from(self.sockets.lock().len()).unwrap_or(u64::MAX);
        let help = "Dashboards that were cut because they did not read; each comes back and replays";
        vec![
            Reading::gauge("portcullis_sockets", "Dashboards' sockets that are connected", open),
            Reading::counter("portcullis_sockets_cut", help, self.cut.load(Relaxed)),
        ]
    }

    /// Forgets connections that are gone, and what has been read meanwhile.
    fn tidy(&self) {
        self.upgrades.lines.lock().retain(|_, line| line.is_there());
        for (socket, entry) in self.sockets.lock().iter_mut().filter(|(_, entry)| entry.waiting.amount() > 0) {
            // It only becomes less here.
            let _ = entry.settle(self.gone(*socket));
        }
    }

    fn of(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<(Sid, Session)> {
        let sockets = self.sockets.lock();
        sockets.iter().filter(|(_, entry)| wanted(entry)).map(|(id, entry)| (*id, entry.session.clone())).collect()
    }
}

/// Ends sockets whose token has ended or is void.
pub async fn watch(
    io: SocketIo,
    context: Context,
    mut changes: broadcast::Receiver<Revoked>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut clock = interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {
                let now = Utc::now();
                context.sessions.tidy();
                for (socket, _) in context.sessions.of(|entry| entry.session.expires_at <= now) {
                    expire(&io, &context.sessions, socket);
                }
                for (socket, _) in context.sessions.of(|entry| entry.too_slow && entry.is_to_be_closed) {
                    context.sessions.upgrades.close(socket).await;
                }
                for (socket, _) in context.sessions.of(|entry| entry.too_slow) {
                    drop_slow(&io, &context.sessions, socket);
                }
            }
            change = changes.recv() => match change {
                Ok(Revoked::User(user)) => {
                    context.identities.forget_user(user);
                    check(&io, &context, |entry| entry.session.user == user).await;
                }
                Ok(Revoked::Everybody) | Err(RecvError::Lagged(_)) => {
                    context.identities.forget_all();
                    check(&io, &context, |_| true).await;
                }
                Err(RecvError::Closed) => stop.cancelled().await,
            },
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Looks again whether tokens are good, and ends the sockets of those that are not.
async fn check(io: &SocketIo, context: &Context, wanted: impl Fn(&Entry) -> bool) {
    for (socket, session) in context.sessions.of(wanted) {
        match context.identities.by_user_token(&session.token).await {
            Ok(Some(_)) => {}
            Ok(None) => expire(io, &context.sessions, socket),
            Err(error) => tracing::warn!("whether a socket's token is still good could not be looked up: {error}"),
        }
    }
}

fn expire(io: &SocketIo, sessions: &Sessions, socket: Sid) {
    let Some(socket) = io.get_socket(socket) else { return sessions.end(socket) };
    let said = socket.emit("auth:expired", &json!({"message": "Unauthorized", "timestamp": time::text(Utc::now())}));
    socket.leave(super::EVERYBODY);
    if said.is_ok() && socket.clone().disconnect().is_ok() {
        sessions.end(socket.id);
    } else {
        // Its buffer is full; it hears nothing more, and is ended with the slow ones.
        sessions.too_slow(socket.id);
    }
}

fn drop_slow(io: &SocketIo, sessions: &Sessions, socket: Sid) {
    let Some(socket) = io.get_socket(socket) else { return sessions.end(socket) };
    let id = socket.id;
    if socket.disconnect().is_ok() {
        sessions.end(id);
    }
}
