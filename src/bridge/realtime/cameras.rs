//! What sockets hear of cameras and of the hub's parts beside the events: how each is, to a new socket too, and what is
//! edited. Secrets in a camera's URLs and the parts' details are for those only who may see them by REST.

use std::time::Duration;

use serde::Serialize;
use serde_json::{json, value::to_raw_value};
use socketioxide::{SocketIo, adapter::LocalAdapter, extract::SocketRef};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use tokio_util::sync::CancellationToken;

use super::{Context, EVERYBODY, Sessions, tell};
use crate::{
    bridge::{cameras, health},
    domain::{
        camera::{Camera, CameraId},
        user::Role,
    },
    events::cameras::{CameraState, Cameras, News},
    health::{Health, State},
    wire::presence::CameraStatusNotice,
};

const ROLES: [Role; 3] = [Role::User, Role::Operator, Role::Admin];
/// How long the present states may take to go out to a new socket that has many cameras to hear of and reads slowly.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a socket whose buffer is full is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// The room of those who have this role.
fn room(role: Role) -> &'static str {
    match role {
        Role::User => "role:USER",
        Role::Operator => "role:OPERATOR",
        Role::Admin => "role:ADMIN",
    }
}

/// From now on the socket hears what is for this role.
pub fn place(socket: &SocketRef<LocalAdapter>, role: Role) {
    for other in ROLES.into_iter().filter(|other| *other != role) {
        socket.leave(room(other));
    }
    socket.join(room(role));
}

/// The socket hears nothing more that is for a role.
pub fn displace(socket: &SocketRef<LocalAdapter>) {
    for role in ROLES {
        socket.leave(room(role));
    }
}

/// Tells a new socket how everything is. It hears of changes already: what it is told of a camera is read when it is told.
pub async fn greet(socket: &SocketRef<LocalAdapter>, context: &Context, role: Role) {
    let given_up = tokio::time::Instant::now() + PATIENCE;
    for (camera, _) in context.cameras.all() {
        while let Some(state) = context.cameras.get(camera) {
            if socket.emit("camera:status", &notice(camera, state)).is_ok() {
                break;
            }
            if !socket.connected() || tokio::time::Instant::now() >= given_up {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    if role == Role::Admin {
        let _ = socket.emit("system:health", &health::answer(context.health.look(), true));
    }
}

fn notice(camera_id: CameraId, state: CameraState) -> CameraStatusNotice {
    let CameraState { online, last_seen, persons: person_count, .. } = state;
    CameraStatusNotice { camera_id, online, last_seen, occupied: person_count > 0, person_count }
}

/// Tells of cameras until `stop`.
pub async fn tell_cameras(
    io: SocketIo,
    sessions: Sessions,
    known: Cameras,
    mut news: broadcast::Receiver<News>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let news = tokio::select! {
            news = news.recv() => news,
            () = stop.cancelled() => return Ok(()),
        };
        match news {
            Ok(News::State(camera, state)) => {
                said(&io, &sessions, EVERYBODY, "camera:status", &notice(camera, state)).await?;
            }
            Ok(News::Changed(camera, state)) => edited(&io, &sessions, "camera:changed", &camera, state).await?,
            Ok(News::Removed(camera, state)) => edited(&io, &sessions, "camera:removed", &camera, state).await?,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    missed,
                    "dashboards were not told of every change of a camera; they are told how each is"
                );
                for (camera, state) in known.all() {
                    said(&io, &sessions, EVERYBODY, "camera:status", &notice(camera, state)).await?;
                }
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Tells each role of an edited camera as GET /api/cameras/:id would show it to them.
async fn edited(
    io: &SocketIo,
    sessions: &Sessions,
    event: &str,
    camera: &Camera,
    state: CameraState,
) -> anyhow::Result<()> {
    for role in ROLES {
        let camera = cameras::shown(camera.clone(), state, role);
        said(io, sessions, room(role), event, &json!({"camera": camera})).await?;
    }
    Ok(())
}

async fn said(
    io: &SocketIo,
    sessions: &Sessions,
    room: &'static str,
    event: &str,
    what: &impl Serialize,
) -> anyhow::Result<()> {
    tell(io, sessions, room, event, &to_raw_value(what)?).await;
    Ok(())
}

/// Tells ADMINs of the hub's parts, whenever one of them is otherwise than before, until `stop`.
pub async fn tell_health(
    io: SocketIo,
    sessions: Sessions,
    health: Health,
    mut parts: watch::Receiver<Vec<State>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            changed = parts.changed() => changed?,
            () = stop.cancelled() => return Ok(()),
        }
        parts.mark_unchanged();
        said(&io, &sessions, room(Role::Admin), "system:health", &health::answer(health.look(), true)).await?;
    }
}
