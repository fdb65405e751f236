//! `/metrics`: for Prometheus on the same machine, for an ADMIN, or on a listener of its own.

use std::sync::Arc;

use axum::{
    Router,
    extract::{OriginalUri, Request, State},
    http::{Method, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::{
    Settings,
    error::{self, ApiError},
    hosts,
    who::{self, Admin, extracted},
};
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

/// Somebody who may read the metrics.
#[derive(Debug, Clone, Copy)]
pub struct Reader;

extracted! {
    Reader(parts, shared) => {
        if who::origin(&parts.extensions).is_local() {
            return Ok(Self);
        }
        Admin::from_request_parts(parts, shared).await.map(|_| Self)
    };
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

/// Only the metrics, for whoever reaches the listener under a name that is the hub's.
pub fn alone(metrics: Metrics, settings: Arc<Settings>) -> Router {
    let answer = async |State(metrics): State<Metrics>| text(&metrics);
    let check = async |State(settings): State<Arc<Settings>>, request: Request, next: Next| {
        hosts::check(&settings, &request)?;
        Ok::<_, ApiError>(next.run(request).await)
    };
    let router = Router::new().route("/metrics", get(answer)).fallback(error::unknown_route).with_state(metrics);
    router.layer(from_fn_with_state(settings, check))
}

fn text(metrics: &Metrics) -> Result<Response, ApiError> {
    let text = metrics.text().map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
