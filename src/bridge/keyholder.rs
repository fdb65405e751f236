//! Who may work the lock over HTTP. Whoever may not is refused like everywhere, and the lock's audit keeps the attempt.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};

use super::{
    Settings,
    error::ApiError,
    identities::{Caller, Identities},
    who::{Address, caller},
};
use crate::{
    domain::user::Role,
    events::{Channel, Requester},
    lock_desk::LockDesk,
};

/// An OPERATOR or an ADMIN, who opens and closes.
#[derive(Debug, Clone)]
pub struct Keyholder(pub Requester);

/// An ADMIN, who holds the door open.
#[derive(Debug, Clone)]
pub struct Doorkeeper(pub Requester);

async fn admit<S>(parts: &Parts, state: &S, least: Role) -> Result<Requester, ApiError>
where
    Identities: FromRef<S>,
    Arc<Settings>: FromRef<S>,
    LockDesk: FromRef<S>,
{
    let address = Address::of(parts, &Arc::<Settings>::from_ref(state));
    let (name, may) = match caller(parts, state).await? {
        Caller::User(user) => (format!("user:{}", user.id), user.role >= least),
        Caller::Device(device) => (format!("device:{}", device.name), false),
    };
    let requester = Requester { name, channel: Channel::Http, address: Some(address.0) };
    if may {
        return Ok(requester);
    }
    let what = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    LockDesk::from_ref(state).refused(requester, what, "no right to work the lock over HTTP".to_owned()).await;
    Err(ApiError::forbidden())
}

impl<S: Send + Sync> FromRequestParts<S> for Keyholder
where
    Identities: FromRef<S>,
    Arc<Settings>: FromRef<S>,
    LockDesk: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        admit(parts, state, Role::Operator).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Doorkeeper
where
    Identities: FromRef<S>,
    Arc<Settings>: FromRef<S>,
    LockDesk: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        admit(parts, state, Role::Admin).await.map(Self)
    }
}
