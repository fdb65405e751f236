//! Who asks, as extractors: a handler's arguments say whom it serves.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap, header, request::Parts},
};

use super::{Settings, Shared, error::ApiError, line::Peer};
use crate::{
    auth::{
        address, device_token,
        identity::{DeviceIdentity, UserIdentity},
    },
    domain::{camera::CameraId, device::DeviceRole, user::Role},
    identities::Caller,
};

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
pub struct Admin(pub UserIdentity);

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
    pub fn of(headers: &HeaderMap, extensions: &Extensions, settings: &Settings) -> Self {
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let forwarded: Vec<_> = forwarded.filter_map(|value| value.to_str().ok()).collect();
        Self(address::client(peer(extensions), &forwarded, &settings.trusted_proxies))
    }
}

/// Whoever is at the other end of the connection, be it a proxy.
pub fn peer(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<Peer>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.address.ip())
}

/// Whether the client's own connection is encrypted, by the word of a trusted proxy.
pub fn is_secure(parts: &Parts, settings: &Settings) -> bool {
    let peer = peer(&parts.extensions);
    settings.trusted_proxies.iter().any(|proxy| proxy.contains(peer))
        && parts.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}

/// Makes extractors: how each is made of the request's head and the bridge's parts. What comes out of it is the
/// handler's argument, or the answer in the handler's place.
macro_rules! extracted {
    ($($who:ident($parts:ident, $shared:ident) => $made:expr;)+) => {$(
        impl axum::extract::FromRequestParts<$crate::bridge::Shared> for $who {
            type Rejection = $crate::bridge::error::ApiError;

            async fn from_request_parts(
                $parts: &mut axum::http::request::Parts,
                $shared: &$crate::bridge::Shared,
            ) -> Result<Self, Self::Rejection> {
                $made
            }
        }
    )+};
}
pub(super) use extracted;

extracted! {
    SignedIn(parts, shared) => user(parts, shared, Role::User).await.map(Self);
    Operator(parts, shared) => user(parts, shared, Role::Operator).await.map(Self);
    Admin(parts, shared) => user(parts, shared, Role::Admin).await.map(Self);
    Known(parts, shared) => caller(parts, shared).await.map(Self);
    Address(parts, shared) => Ok(Self::of(&parts.headers, &parts.extensions, &shared.settings));
}

/// Whose token it is.
pub async fn caller(parts: &Parts, shared: &Shared) -> Result<Caller, ApiError> {
    let token = bearer(&parts.headers).ok_or_else(ApiError::unauthorized)?;
    if let Some(caller) = shared.identities.by_token(token).await? {
        return Ok(caller);
    }
    if let Some((name, _)) = device_token::parse(token) {
        let address = Address::of(&parts.headers, &parts.extensions, &shared.settings);
        // It is counted; the answer is the same whether or not it has tried too often.
        let _ = shared.identities.refused(Some(name.as_str()), token, address.0);
    }
    Err(ApiError::unauthorized())
}

async fn user(parts: &Parts, shared: &Shared, least: Role) -> Result<UserIdentity, ApiError> {
    match caller(parts, shared).await? {
        Caller::User(user) if user.role >= least => Ok(user),
        // A device's token is good for reporting and for nothing else.
        Caller::User(_) | Caller::Device(_) => Err(ApiError::forbidden()),
    }
}
