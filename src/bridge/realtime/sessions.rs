//! Whose socket it is and until when: the end of a token is the end of its sockets.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::json;
use socketioxide::{SocketIo, socket::Sid};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{super::line::Line, Context, LOOK_EVERY};
use crate::{domain::user::UserId, telemetry::reading::Reading, wire::time};

/// Whose socket it is.
#[derive(Debug, Clone)]
pub struct Session {
    pub user: UserId,
    pub expires_at: DateTime<Utc>,
    pub token: Arc<str>,
}

#[derive(Debug, Clone)]
struct Entry {
    session: Session,
    too_slow: bool,
    /// How far [`Sessions::gone`] has to come until all answers are gone that it asked for.
    owed: u64,
}

/// How much of what a client has asked for may wait for it, in bytes: a few of the longest answers. One that asks and
/// does not read is dropped above it, as one that does not read events is when its buffer is full.
const OWED_MAX: u64 = 16 << 20;

/// By which connections sessions go on, and how much has gone out to those that poll.
#[derive(Debug, Clone, Default)]
pub struct Upgrades {
    lines: Arc<Mutex<HashMap<Sid, Line>>>,
    /// In bytes, for each socket that is connected.
    polled: Arc<Mutex<HashMap<Sid, u64>>>,
}

impl Upgrades {
    /// The session goes on by this connection.
    pub fn note(&self, socket: Sid, line: Line) {
        self.lines.lock().insert(socket, line);
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
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    sockets: Arc<Mutex<HashMap<Sid, Entry>>>,
    upgrades: Upgrades,
    /// How many were ended because they did not read.
    cut: Arc<AtomicU64>,
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
        self.sockets.lock().insert(socket, Entry { session, too_slow: false, owed: 0 });
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
        entry.owed - gone <= OWED_MAX
    }

    /// Whether it is about to be dropped, and need not be answered any more.
    pub fn is_too_slow(&self, socket: Sid) -> bool {
        self.sockets.lock().get(&socket).is_some_and(|entry| entry.too_slow)
    }

    /// The socket's buffer is full, or it is owed too much. Its WebSocket is cut, so that it comes back and replays. One
    /// that polls is dropped as soon as the packet that says so fits in, or by its missing pong.
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

    /// Forgets connections that are gone.
    fn tidy(&self) {
        self.upgrades.lines.lock().retain(|_, line| line.is_there());
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
    mut changes: broadcast::Receiver<UserId>,
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
                for (socket, _) in context.sessions.of(|entry| entry.too_slow) {
                    drop_slow(&io, &context.sessions, socket);
                }
            }
            change = changes.recv() => match change {
                Ok(user) => {
                    context.identities.forget(user);
                    check(&io, &context, |entry| entry.session.user == user).await;
                }
                Err(RecvError::Lagged(_)) => check(&io, &context, |_| true).await,
                Err(RecvError::Closed) => stop.cancelled().await,
            },
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Looks again whether tokens are good, and ends the sockets of those that are not.
async fn check(io: &SocketIo, context: &Context, wanted: impl Fn(&Entry) -> bool) {
    for (socket, session) in context.sessions.of(wanted) {
        match context.identities.user(&session.token).await {
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
