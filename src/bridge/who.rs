//! Who asks, as extractors: a handler's arguments say whom it serves.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    extract::{ConnectInfo, FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};

use super::{
    Settings,
    error::ApiError,
    identities::{Caller, Identities},
    line::Peer,
};
use crate::{
    auth::{
        address,
        identity::{DeviceIdentity, UserIdentity},
    },
    domain::{camera::CameraId, device::DeviceRole, user::Role},
};
use std::sync::Arc;

/// The bearer token of the request, if it has one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Any user who has signed in.
#[derive(Debug, Clone)]
pub struct SignedIn(pub UserIdentity);

/// An OPERATOR or an ADMIN.
#[derive(Debug, Clone)]
pub struct Operator(pub UserIdentity);

/// An ADMIN.
#[derive(Debug, Clone)]
pub struct Admin;

/// Whoever has a token, whatever it is good for.
#[derive(Debug, Clone)]
pub struct Known(pub Caller);

/// Somebody who may report detections.
#[derive(Debug, Clone)]
pub enum Reporter {
    Operator,
    Device(DeviceIdentity),
}

impl Reporter {
    /// The caller, if it may report anything at all.
    pub fn of(caller: Caller) -> Result<Self, ApiError> {
        match caller {
            Caller::User(user) if user.role >= Role::Operator => Ok(Self::Operator),
            Caller::Device(device) if matches!(device.role, DeviceRole::Camera | DeviceRole::AiEngine) => {
                Ok(Self::Device(device))
            }
            Caller::User(_) | Caller::Device(_) => Err(ApiError::forbidden()),
        }
    }

    /// Whether a detection of this camera may come from here.
    pub fn may_report(&self, camera: CameraId) -> bool {
        match self {
            Self::Operator => true,
            Self::Device(device) => device.role == DeviceRole::AiEngine || device.camera_id == Some(camera),
        }
    }
}

/// The address of the client, behind trusted proxies.
#[derive(Debug, Clone, Copy)]
pub struct Address(pub IpAddr);

impl Address {
    pub fn of(parts: &Parts, settings: &Settings) -> Self {
        let forwarded = parts.headers.get_all("x-forwarded-for").iter();
        let forwarded: Vec<_> = forwarded.filter_map(|value| value.to_str().ok()).collect();
        Self(address::client(peer(parts), &forwarded, &settings.trusted_proxies))
    }
}

/// Whoever is at the other end of the connection, be it a proxy.
pub fn peer(parts: &Parts) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<Peer>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.address.ip())
}

/// Whether the client's own connection is encrypted, by the word of a trusted proxy.
pub fn is_secure(parts: &Parts, settings: &Settings) -> bool {
    let peer = peer(parts);
    settings.trusted_proxies.iter().any(|proxy| proxy.contains(peer))
        && parts.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}

/// Whose token it is.
pub async fn caller<S>(parts: &Parts, state: &S) -> Result<Caller, ApiError>
where
    Identities: FromRef<S>,
{
    let token = bearer(&parts.headers).ok_or_else(ApiError::unauthorized)?;
    Identities::from_ref(state).caller(token).await?.ok_or_else(ApiError::unauthorized)
}

async fn user<S>(parts: &Parts, state: &S, least: Role) -> Result<UserIdentity, ApiError>
where
    Identities: FromRef<S>,
{
    match caller(parts, state).await? {
        Caller::User(user) if user.role >= least => Ok(user),
        // A device's token is good for reporting and for nothing else.
        Caller::User(_) | Caller::Device(_) => Err(ApiError::forbidden()),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn
where
    Identities: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        user(parts, state, Role::User).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Operator
where
    Identities: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        user(parts, state, Role::Operator).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin
where
    Identities: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        user(parts, state, Role::Admin).await.map(|_| Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Known
where
    Identities: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        caller(parts, state).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Address
where
    Arc<Settings>: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts, &Arc::<Settings>::from_ref(state)))
    }
}
