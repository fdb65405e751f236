//! Who may work the lock over HTTP. Whoever may not is refused like everywhere, and the lock's audit keeps the attempt;
//! of one that can't be read, too.

use axum::http::{StatusCode, request::Parts};

use super::{
    Shared,
    error::ApiError,
    who::{bearer, caller, extracted, origin},
};
use crate::{
    domain::user::Role,
    events::{Channel, Requester},
    identities::Caller,
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
    let address = origin(&parts.extensions).address().known();
    let what = parts.uri.path().rsplit('/').next().unwrap_or_default();
    let (name, may) = match caller(parts, shared).await {
        Ok(Caller::User(user)) => (format!("user:{}", user.id), user.role >= least),
        Ok(Caller::Device(device)) => (format!("device:{}", device.name), false),
        Err(error) => {
            shared.lock.turned_away(address, what, unknown(parts, &error));
            return Err(error);
        }
    };
    let requester = Requester { name, channel: Channel::Http, address };
    if may {
        return Ok(requester);
    }
    shared.lock.refused(requester, what, "no right to work the lock over HTTP".to_owned()).await;
    Err(ApiError::forbidden())
}

/// Why nobody can say who asks.
fn unknown(parts: &Parts, error: &ApiError) -> String {
    match bearer(&parts.headers) {
        None => "no token".to_owned(),
        Some(_) if error.status == StatusCode::UNAUTHORIZED => "a token that is not valid".to_owned(),
        Some(_) => error.message.to_string(),
    }
}
