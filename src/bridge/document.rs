//! The description of the REST side: `OpenAPI` 3.1, made from the routes themselves, and the page that shows it.

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};
use utoipa::{
    IntoParams, PartialSchema as _, ToSchema as _,
    openapi::{OpenApi, OpenApiBuilder},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::Settings;
use crate::{
    domain::event::EventType,
    wire::{rest::ErrorBody, validation},
};

/// The parameters of lists of events.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub struct EventQuery {
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<i64>,
    #[param(minimum = 0, default = 0)]
    offset: Option<i64>,
    camera_id: Option<i32>,
    event_type: Option<EventType>,
    is_resolved: Option<bool>,
    /// Made at this time or later.
    from: Option<chrono::DateTime<chrono::Utc>>,
    /// Made at this time or earlier.
    to: Option<chrono::DateTime<chrono::Utc>>,
    /// Only ids below this one, whether or not it exists.
    before: Option<i64>,
}

/// The parameters of lists that are read backwards by id.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub struct CursorQuery {
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<i64>,
    /// Only ids below this one, whether or not it exists.
    before: Option<i64>,
}

/// The parameters of the analytics.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub struct AnalyticsQuery {
    from: Option<chrono::DateTime<chrono::Utc>>,
    to: Option<chrono::DateTime<chrono::Utc>>,
    /// `hour` (when left out) or `day`.
    #[param(pattern = "^(hour|day)$")]
    bucket: Option<String>,
    camera_id: Option<i32>,
}

/// What is to be explained.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub struct ExplainQuery {
    /// `publish` or `subscribe`.
    #[param(pattern = "^(publish|subscribe)$")]
    action: String,
    /// A topic, or for a subscription a filter.
    #[param(min_length = 1, max_length = 65535)]
    topic: String,
}

/// What the routes are added to.
pub fn frame() -> OpenApi {
    OpenApiBuilder::new().build()
}

/// What is true of every route, added to what each says of itself.
fn complete(document: OpenApi, version: &str) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["info"] = json!({
        "title": "Portcullis",
        "version": version,
        "description": "Doors with cameras: detections, events, the lock.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["components"]["schemas"]["ErrorBody"] = serde_json::to_value(ErrorBody::schema()).unwrap_or_default();
    let mut referred = Vec::new();
    ErrorBody::schemas(&mut referred);
    for (name, schema) in referred {
        document["components"]["schemas"][name] = serde_json::to_value(schema).unwrap_or_default();
    }
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "A user's JWT, or a device's token for POST /api/events"},
    });
    let error = json!({
        "description": "What went wrong",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}},
    });
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(|path| path.values_mut());
    for operation in operations.filter(|operation| operation.is_object()) {
        operation["responses"]["default"] = error.clone();
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        // Bodies that are read are closed to unknown fields; only their texts are limited.
        let read = schemas.values_mut().filter(|schema| schema["additionalProperties"] == json!(false));
        read.for_each(validation::publish_no_nul);
    }
    document
}

/// /openapi.json and /docs.
pub fn routes(document: OpenApi, settings: &Arc<Settings>) -> Router {
    let document = Arc::new(complete(document, settings.version));
    let page = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
    Router::new().route("/openapi.json", get(move || async move { Json(Value::clone(&document)) })).merge(page)
}
