//! `/metrics`: for Prometheus on the same machine, for an ADMIN, or on a listener of its own.

use std::sync::Arc;

use axum::{
    Router,
    extract::{OriginalUri, State},
    http::{HeaderMap, Method, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::{
    Settings,
    error::{self, ApiError},
    who::{self, Address, Admin, extracted},
};
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

/// What a proxy adds to what it passes on.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Somebody who may read the metrics.
#[derive(Debug, Clone, Copy)]
pub struct Reader;

extracted! {
    Reader(parts, shared) => {
        if is_local(parts, &shared.settings) {
            return Ok(Self);
        }
        Admin::from_request_parts(parts, shared).await.map(|_| Self)
    };
}

/// Whether the request was made on this machine: its connection comes from here, and no proxy that nobody trusts has
/// brought it, since behind one everybody seems to be here.
fn is_local(parts: &Parts, settings: &Settings) -> bool {
    let peer = who::peer(&parts.extensions).to_canonical();
    let Address(client) = Address::of(&parts.headers, &parts.extensions, settings);
    let trusted = settings.trusted_proxies.iter().any(|proxy| proxy.contains(peer));
    peer.is_loopback() && client.is_loopback() && (trusted || !is_forwarded(&parts.headers))
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

/// The metrics, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health", security((), ("bearer" = [])),
    responses((status = 200, description = "From this machine, or for an ADMIN", body = String, content_type = "text/plain"),
        (status = 401, description = "From elsewhere, without a token"), (status = 403, description = "Not for whoever asks"),
        (status = 404, description = "METRICS_ADDR is set, and they are there"), (status = 500, description = "A fault of the hub's own"),
        (status = 503, description = "From elsewhere, and whose token it is cannot be looked up")))]
pub async fn scrape(
    State(settings): State<Arc<Settings>>,
    State(metrics): State<Metrics>,
    method: Method,
    uri: OriginalUri,
    reader: Result<Reader, ApiError>,
) -> Result<Response, ApiError> {
    if settings.metrics_elsewhere {
        return Err(error::unknown_route(method, uri).await);
    }
    reader?;
    text(&metrics)
}

/// Only the metrics, for whoever reaches the listener.
pub fn alone(metrics: Metrics) -> Router {
    let answer = async |State(metrics): State<Metrics>| text(&metrics);
    Router::new().route("/metrics", get(answer)).fallback(error::unknown_route).with_state(metrics)
}

fn text(metrics: &Metrics) -> Result<Response, ApiError> {
    let text = metrics.text().map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
