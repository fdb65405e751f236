//! Who may work the lock over HTTP. Whoever may not is refused like everywhere, and the lock's audit keeps the attempt.

use axum::http::request::Parts;

use super::{
    Shared,
    error::ApiError,
    identities::Caller,
    who::{Address, caller, extracted},
};
use crate::{
    domain::user::Role,
    events::{Channel, Requester},
};

/// An OPERATOR or an ADMIN, who opens and closes.
#[derive(Debug, Clone)]
pub struct Keyholder(pub Requester);

/// An ADMIN, who holds the door open.
#[derive(Debug, Clone)]
pub struct Doorkeeper(pub Requester);

extracted! {
    Keyholder(parts, shared) => admit(parts, shared, Role::Operator).await.map(Self);
    Doorkeeper(parts, shared) => admit(parts, shared, Role::Admin).await.map(Self);
}

async fn admit(parts: &Parts, shared: &Shared, least: Role) -> Result<Requester, ApiError> {
    let address = Address::of(parts, &shared.settings);
    let (name, may) = match caller(parts, shared).await? {
        Caller::User(user) => (format!("user:{}", user.id), user.role >= least),
        Caller::Device(device) => (format!("device:{}", device.name), false),
    };
    let requester = Requester { name, channel: Channel::Http, address: Some(address.0) };
    if may {
        return Ok(requester);
    }
    let what = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    shared.lock.refused(requester, what, "no right to work the lock over HTTP".to_owned()).await;
    Err(ApiError::forbidden())
}
