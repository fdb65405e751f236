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
}

/// The WebSocket connections that sessions go on by.
#[derive(Debug, Clone, Default)]
pub struct Upgrades(Arc<Mutex<HashMap<Sid, Line>>>);

impl Upgrades {
    pub fn note(&self, socket: Sid, line: Line) {
        self.0.lock().insert(socket, line);
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
        self.sockets.lock().insert(socket, Entry { session, too_slow: false });
    }

    pub fn end(&self, socket: Sid) {
        self.sockets.lock().remove(&socket);
        self.upgrades.0.lock().remove(&socket);
    }

    /// The socket's buffer is full. Its WebSocket is cut, so that it comes back and replays. One that polls is dropped
    /// as soon as the packet that says so fits in, or by its missing pong.
    pub fn too_slow(&self, socket: Sid) {
        let mut sockets = self.sockets.lock();
        let Some(entry) = sockets.get_mut(&socket) else { return };
        if !std::mem::replace(&mut entry.too_slow, true) {
            self.cut.fetch_add(1, Relaxed);
        }
        tracing::warn!(socket.id = %socket, user.id = %entry.session.user, "a dashboard is too slow, it is dropped");
        if let Some(line) = self.upgrades.0.lock().get(&socket) {
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
        self.upgrades.0.lock().retain(|_, line| line.is_there());
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
