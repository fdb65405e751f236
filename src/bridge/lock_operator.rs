//! Who may work the lock over HTTP. Whoever may not is refused like everywhere, and the lock's audit keeps the attempt;
//! of one that can't be read, too.

use std::marker::PhantomData;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use super::{
    Shared,
    error::ApiError,
    who::{bearer, caller, origin},
};
use crate::{
    domain::user::Role,
    events::{Channel, Requester},
    identities::Caller,
};

/// What a handler does to the lock.
pub trait Operation {
    /// As the audit calls it when it is refused.
    const NAME: &'static str;
    /// The least role that may do it.
    const LEAST: Role;
}

/// Opens the door.
#[derive(Debug)]
pub enum Open {}

impl Operation for Open {
    const NAME: &'static str = "open";
    const LEAST: Role = Role::Operator;
}

/// Closes the door.
#[derive(Debug)]
pub enum Close {}

impl Operation for Close {
    const NAME: &'static str = "close";
    const LEAST: Role = Role::Operator;
}

/// Opens or closes the door, whichever it is not.
#[derive(Debug)]
pub enum Toggle {}

impl Operation for Toggle {
    const NAME: &'static str = "toggle";
    const LEAST: Role = Role::Operator;
}

/// Opens the door and holds it open.
#[derive(Debug)]
pub enum Hold {}

impl Operation for Hold {
    const NAME: &'static str = "hold";
    const LEAST: Role = Role::Admin;
}

/// Somebody who may do that.
#[derive(Debug)]
pub struct LockOperator<O> {
    pub requester: Requester,
    operation: PhantomData<O>,
}

impl<O: Operation> FromRequestParts<Shared> for LockOperator<O> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        admit(parts, shared, O::NAME, O::LEAST).await.map(|requester| Self { requester, operation: PhantomData })
    }
}

async fn admit(parts: &Parts, shared: &Shared, what: &str, least: Role) -> Result<Requester, ApiError> {
    let address = origin(&parts.extensions).address().known();
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
