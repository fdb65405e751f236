//! The lock.

use std::{sync::Arc, time::Instant};

use axum::{Json, extract::State, http::StatusCode};
use parking_lot::Mutex;

use super::{
    error::ApiError,
    who::{Address, Operator, SignedIn, requester},
};
use crate::{
    auth::{attempts::LockCommands, identity::UserIdentity},
    domain::lock::Action,
    events::{LockDone, LockFailure},
    lock_desk::LockDesk,
    wire::rest::{LockAnswer, LockStatusJson, ToggleAnswer},
};

impl From<LockFailure> for ApiError {
    fn from(failure: LockFailure) -> Self {
        let words = failure.to_string();
        match failure {
            LockFailure::NoWorker | LockFailure::NotRecorded => Self::unavailable(&words),
            LockFailure::Refused(_) => Self::conflict(words),
            LockFailure::NoConfirmation => Self::new(StatusCode::GATEWAY_TIMEOUT, words),
        }
    }
}

async fn command(
    action: Action,
    user: &UserIdentity,
    address: Address,
    lock: &LockDesk,
    commands: &Mutex<LockCommands>,
) -> Result<LockDone, ApiError> {
    let requester = requester(user, address);
    commands.lock().take(&requester.name, Instant::now())?;
    Ok(lock.command(requester, action).await?)
}

fn answer(done: &LockDone, message: &str) -> Json<LockAnswer> {
    Json(LockAnswer { status: "SUCCESS", message: message.to_owned(), pin: done.pin })
}

/// Opens the door; answered once the lock worker has confirmed it.
#[utoipa::path(post, path = "/api/lock/open", tag = "lock", security(("bearer" = [])),
    responses((status = 200, body = LockAnswer)))]
pub async fn open(
    Operator(user): Operator,
    address: Address,
    State(lock): State<LockDesk>,
    State(commands): State<Arc<Mutex<LockCommands>>>,
) -> Result<Json<LockAnswer>, ApiError> {
    let done = command(Action::Open, &user, address, &lock, &commands).await?;
    Ok(answer(&done, "Door opened successfully"))
}

/// Closes the door; answered once the lock worker has confirmed it.
#[utoipa::path(post, path = "/api/lock/close", tag = "lock", security(("bearer" = [])),
    responses((status = 200, body = LockAnswer)))]
pub async fn close(
    Operator(user): Operator,
    address: Address,
    State(lock): State<LockDesk>,
    State(commands): State<Arc<Mutex<LockCommands>>>,
) -> Result<Json<LockAnswer>, ApiError> {
    let done = command(Action::Close, &user, address, &lock, &commands).await?;
    Ok(answer(&done, "Door closed successfully"))
}

/// Opens or closes the door, whichever it is not; answered once the lock worker has confirmed it.
#[utoipa::path(post, path = "/api/lock/toggle", tag = "lock", security(("bearer" = [])),
    responses((status = 200, body = ToggleAnswer)))]
pub async fn toggle(
    Operator(user): Operator,
    address: Address,
    State(lock): State<LockDesk>,
    State(commands): State<Arc<Mutex<LockCommands>>>,
) -> Result<Json<ToggleAnswer>, ApiError> {
    let done = command(Action::Toggle, &user, address, &lock, &commands).await?;
    Ok(Json(ToggleAnswer { previous_status: done.previous, current_status: done.current, pin: done.pin }))
}

/// What the relay was last read to be.
#[utoipa::path(get, path = "/api/lock/status", tag = "lock", security(("bearer" = [])),
    responses((status = 200, body = LockStatusJson)))]
pub async fn status(_: SignedIn, State(lock): State<LockDesk>) -> Json<LockStatusJson> {
    let state = lock.state();
    Json(LockStatusJson::of(&state.status, state.changed_at))
}
