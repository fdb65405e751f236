//! The lock.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    error::ApiError,
    input::{Checked, Query},
    lock_operator::{self, Close, LockOperator, Open, Operation as _, Toggle},
    who::{Operator, SignedIn},
};
use crate::{
    auth::attempts::TooMany,
    domain::lock::Action,
    events::LockFailure,
    lock_desk::LockDesk,
    store::{self, Database},
    wire::{
        lock_audit::LockAttempt,
        rest::{Hold, LockAnswer, LockStatusJson, ToggleAnswer},
    },
};

impl From<LockFailure> for ApiError {
    fn from(failure: LockFailure) -> Self {
        let words = failure.to_string();
        match failure {
            LockFailure::NoWorker | LockFailure::NotRecorded | LockFailure::TooLate | LockFailure::Full => {
                Self::unavailable(&words)
            }
            LockFailure::Refused(_) => Self::conflict(words),
            LockFailure::TooOften { wait, .. } => Self { message: words.into(), ..TooMany(wait).into() },
            LockFailure::NoConfirmation => Self::new(StatusCode::GATEWAY_TIMEOUT, words),
        }
    }
}

/// Opens the door; answered once the lock worker has confirmed it.
#[utoipa::path(post, path = "/api/lock/open", tag = "lock", security(("bearer" = [])),
    responses((status = 200, body = LockAnswer), super::document::LockFailures))]
pub async fn open(
    LockOperator { requester, .. }: LockOperator<Open>,
    State(lock): State<LockDesk>,
) -> Result<Json<LockAnswer>, ApiError> {
    let done = lock.command(requester, Action::Open).await?;
    Ok(Json(LockAnswer { status: "SUCCESS", message: "Door opened successfully", pin: done.pin }))
}

/// Closes the door; answered once the lock worker has confirmed it.
#[utoipa::path(post, path = "/api/lock/close", tag = "lock", security(("bearer" = [])),
    responses((status = 200, body = LockAnswer), super::document::LockFailures))]
pub async fn close(
    LockOperator { requester, .. }: LockOperator<Close>,
    State(lock): State<LockDesk>,
) -> Result<Json<LockAnswer>, ApiError> {
    let done = lock.command(requester, Action::Close).await?;
    Ok(Json(LockAnswer { status: "SUCCESS", message: "Door closed successfully", pin: done.pin }))
}

/// Opens or closes the door, whichever it is not; answered once the lock worker has confirmed it.
#[utoipa::path(post, path = "/api/lock/toggle", tag = "lock", security(("bearer" = [])),
    responses((status = 200, body = ToggleAnswer), super::document::LockFailures))]
pub async fn toggle(
    LockOperator { requester, .. }: LockOperator<Toggle>,
    State(lock): State<LockDesk>,
) -> Result<Json<ToggleAnswer>, ApiError> {
    let done = lock.command(requester, Action::Toggle).await?;
    Ok(Json(ToggleAnswer { previous_status: done.previous, current_status: done.current, pin: done.pin }))
}

/// Opens the door and holds it open, where that is switched on: the only exception to the longest open time.
#[utoipa::path(post, path = "/api/lock/hold", tag = "lock", security(("bearer" = [])), request_body = Hold,
    responses((status = 200, body = LockStatusJson), super::document::LockFailures))]
pub async fn hold(
    LockOperator { requester, .. }: LockOperator<lock_operator::Hold>,
    State(lock): State<LockDesk>,
    body: Result<Checked<Hold>, ApiError>,
) -> Result<Json<LockStatusJson>, ApiError> {
    let hold = match body {
        Ok(Checked(hold)) => hold,
        Err(error) => {
            lock.refused(requester, lock_operator::Hold::NAME, error.message.to_string()).await;
            return Err(error);
        }
    };
    lock.hold(requester, hold.until, hold.reason).await?;
    let state = lock.state();
    Ok(Json(LockStatusJson::of(&state.status, state.changed_at)))
}

/// What the relay was last read to be.
#[utoipa::path(get, path = "/api/lock/status", tag = "lock", security(("bearer" = [])),
    responses((status = 200, body = LockStatusJson)))]
pub async fn status(_: SignedIn, State(lock): State<LockDesk>) -> Json<LockStatusJson> {
    let state = lock.state();
    Json(LockStatusJson::of(&state.status, state.changed_at))
}

/// What was asked of the lock, newest first, refused commands too.
#[utoipa::path(get, path = "/api/lock/history", tag = "lock", security(("bearer" = [])),
    params(super::document::CursorQuery), responses((status = 200, body = Vec<LockAttempt>)))]
pub async fn history(
    _: Operator,
    State(database): State<Database>,
    mut query: Query,
) -> Result<Json<Vec<LockAttempt>>, ApiError> {
    let (limit, before) = (query.limit(), query.integer("before", i64::MIN, i64::MAX));
    query.finish()?;
    Ok(Json(store::lock_audit::history(&database, before, limit).await?))
}
