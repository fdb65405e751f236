//! Who asks, as extractors: a handler's arguments say whom it serves.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{Extensions, HeaderMap, header, request::Parts},
};

use super::{Settings, Shared, error::ApiError, line::Peer};
use crate::{
    auth::{
        device_token,
        identity::{DeviceIdentity, UserIdentity},
        origin::{self, Origin},
    },
    domain::{camera::CameraId, device::DeviceRole, pool::Standing, user::Role},
    identities::Caller,
};

/// Whether a request has shown a credential that is good; of others the log says less.
#[derive(Debug, Clone, Default)]
pub struct Recognised(Arc<AtomicBool>);

impl Recognised {
    pub fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Notes that somebody of this standing has shown a credential with the request.
pub fn recognise(extensions: &Extensions, standing: Standing) {
    if let Some(Recognised(recognised)) = extensions.get() {
        recognised.store(true, Relaxed);
    }
    if let Some(ConnectInfo(peer)) = extensions.get::<ConnectInfo<Peer>>() {
        peer.line.known(standing);
    }
}

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
pub struct Address(pub origin::Address);

/// From where the request comes. Settled once for each request, which bears it from then on.
pub fn settle_origin(request: &mut Request, settings: &Settings) -> Origin {
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let origin = Origin::of_request(peer(request.extensions()), headers, &settings.trusted_proxies);
    request.extensions_mut().insert(origin);
    origin
}

/// From where a request comes that [`settle_origin`] has seen; of any other nothing is known.
pub fn origin(extensions: &Extensions) -> Origin {
    extensions.get().copied().unwrap_or_else(Origin::unknown)
}

/// Whoever is at the other end of the connection, be it a proxy.
pub fn peer(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<Peer>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.address.ip())
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
    Address(parts, _shared) => Ok(Self(origin(&parts.extensions).address()));
}

/// Whose token it is.
pub async fn caller(parts: &Parts, shared: &Shared) -> Result<Caller, ApiError> {
    let token = bearer(&parts.headers).ok_or_else(ApiError::unauthorized)?;
    if let Some(caller) = shared.identities.by_token(token).await? {
        recognise(&parts.extensions, caller.standing());
        return Ok(caller);
    }
    if let Some((name, _)) = device_token::parse(token) {
        let address = origin(&parts.extensions).address();
        // It is counted; the answer is the same whether or not it has tried too often.
        let _ = shared.identities.refused(Some(name.as_str()), token, address);
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
