//! What happens to every request: an id, a line in the access log, limits, headers, compression, CORS, and an answer
//! even when a handler panics.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use socketioxide::layer::SocketIoLayer;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
};
use uuid::Uuid;

use super::{
    Settings,
    error::{self, ApiError},
    line::Peer,
    realtime::{Upgrades, is_upgrade},
    who::Address,
};

/// The largest body: larger than any description that fits its limit.
const BODY_MAX: usize = 64 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts everything around the routes.
pub fn around(router: Router, socket_io: SocketIoLayer, settings: &Arc<Settings>, upgrades: Upgrades) -> Router {
    router
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(CompressionLayer::new())
        .layer(socket_io)
        .layer(from_fn_with_state(upgrades, note_upgrade))
        .layer(from_fn_with_state(settings.clone(), check_origin))
        .layer(cors(settings))
        .layer(from_fn_with_state(settings.clone(), account))
}

/// Whether a browser on a page of this origin may talk to the hub.
fn is_welcome(settings: &Settings, origin: &HeaderValue) -> bool {
    settings.origins.iter().any(|welcome| welcome == "*" || welcome.as_bytes() == origin.as_bytes())
}

fn cors(settings: &Arc<Settings>) -> CorsLayer {
    let settings = settings.clone();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| is_welcome(&settings, origin)))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER, REQUEST_ID])
        .allow_credentials(true)
}

/// Browsers let any page open a WebSocket anywhere, and only say from where: so this is where pages are turned away that
/// CORS would. A client without an origin is no browser.
async fn check_origin(State(settings): State<Arc<Settings>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_upgrade = is_upgrade(headers);
    match headers.get(header::ORIGIN) {
        Some(origin) if is_upgrade && !is_welcome(&settings, origin) && !is_own(origin, headers) => {
            ApiError::forbidden().into_response()
        }
        _ => next.run(request).await,
    }
}

/// Notes which connection a Socket.io session goes on by when it is upgraded to a WebSocket.
async fn note_upgrade(State(upgrades): State<Upgrades>, request: Request, next: Next) -> Response {
    let query =
        request.uri().query().filter(|_| request.uri().path() == "/socket.io/" && is_upgrade(request.headers()));
    let session = query.and_then(|query| url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "sid"));
    let session = session.and_then(|(_, id)| id.parse().ok());
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    if let (Some(session), Some(ConnectInfo(peer))) = (session, peer) {
        upgrades.note(session, peer.line.clone());
    }
    next.run(request).await
}

/// Whether the page came from the hub itself.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    host.is_some() && host == origin
}

/// Gives the request an id, and the log one line of it; of a detection that was taken, only where `debug` is logged.
async fn account(State(settings): State<Arc<Settings>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = Uuid::now_v7().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (parts, body) = request.into_parts();
    let Address(address) = Address::of(&parts, &settings);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let status = response.status().as_u16();
    if method == Method::POST && path == "/api/events" && response.status().is_success() {
        // As many as detections by MQTT, of which the log has no line either.
        tracing::debug!(request.id = %id, client.address = %address, %method, path, status, latency_ms, "request");
    } else {
        tracing::info!(request.id = %id, client.address = %address, %method, path, status, latency_ms, "request");
    }
    secure(&mut response, &path);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// What a browser may do with an answer: nothing but read it, except for the page of the documentation.
fn secure(response: &mut Response, path: &str) {
    let policy = if path.starts_with("/docs") {
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Answers hold what only this caller may see.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
