//! The description of the REST side: `OpenAPI` 3.1, made from the routes themselves, and the page that shows it.
//!
//! A route says what only it can answer. What follows from its shape (a body can be too large, an id unknown, a token
//! void) is added here for all of them.

mod queries;

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{OpenApi, OpenApiBuilder},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use self::queries::{AnalyticsQuery, CursorQuery, EventQuery, ExplainQuery, LockFailures, Taken};
use super::Settings;
use crate::wire::{rest::ErrorBody, validation};

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
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "What a user gets by signing in"},
        "device": {"type": "http", "scheme": "bearer", "description": "A device's token, for POST /api/events only"},
    });
    if let Some(paths) = document["paths"].as_object_mut() {
        let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
        for operation in operations.filter(|operation| operation.is_object()) {
            name(operation);
            bound_parameters(operation);
            add_answers(operation);
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        // Bodies that are read are closed to unknown fields; only their texts are limited.
        let read = schemas.values_mut().filter(|schema| schema["additionalProperties"] == json!(false));
        read.for_each(validation::publish_no_nul);
    }
    document
}

/// Names the operation by its subject too: handlers of one name are told apart by their modules.
fn name(operation: &mut Value) {
    let parts = [&operation["tags"][0], &operation["operationId"]].map(|part| part.as_str().unwrap_or_default());
    operation["operationId"] = parts.join("_").into();
}

/// States the limits of whole numbers that no narrower limit is stated for.
fn bound_parameters(operation: &mut Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let in_path = parameter["in"] == "path";
        let Some(schema) = parameter["schema"].as_object_mut() else { continue };
        let (least, most) = match schema.get("format").and_then(Value::as_str) {
            Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Some("int64") => (i64::MIN, i64::MAX),
            _ => continue,
        };
        schema.entry("minimum").or_insert(if in_path { 1.into() } else { least.into() });
        schema.entry("maximum").or_insert(most.into());
    }
}

/// What may go wrong with an operation of this shape.
fn errors_of(operation: &Value) -> Vec<(&'static str, &'static str)> {
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let signed_in = operation["security"].as_array().is_some_and(|ways| !ways.contains(&json!({})));
    let mut errors = Vec::new();
    if operation["requestBody"].is_object() {
        errors.push(("413", "The body is too large"));
        errors.push(("415", "The body is not said to be JSON"));
    }
    if operation["requestBody"].is_object() || !parameters.is_empty() {
        errors.push(("400", "Something is not as described: a sentence, or one for each fault"));
    }
    if parameters.iter().any(|parameter| parameter["in"] == "path") {
        errors.push(("404", "Nothing has this id"));
    }
    if signed_in {
        errors.push(("401", "There is no token, or it is void"));
        errors.push(("403", "Not for whoever asks"));
    }
    errors.push(("421", "The hub does not answer for the name that it was called by"));
    if operation["tags"] != json!(["health"]) {
        errors.push(("500", "A fault of the hub's own, which its log tells"));
        errors.push(("503", "The database or another part is away or busy"));
    }
    errors
}

/// Documents each error for itself, gives all of them the one body, and no answer is without a description.
fn add_answers(operation: &mut Value) {
    let errors = errors_of(operation);
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, description) in errors {
        responses.entry(status).or_insert_with(|| json!({"description": description}));
    }
    for (status, words) in [("200", "Done"), ("201", "Made")] {
        if let Some(response) = responses.get_mut(status).and_then(Value::as_object_mut) {
            response.entry("description").or_insert(words.into());
        }
    }
    let errors = responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5']));
    for (status, response) in errors.filter(|(_, response)| response["content"].is_null()) {
        response["content"] = json!({"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}});
        if matches!(status.as_str(), "429" | "503") {
            let wait = json!({"type": "integer", "minimum": 1});
            response["headers"] =
                json!({"Retry-After": {"description": "Seconds to wait", "required": true, "schema": wait}});
        }
    }
}

/// /openapi.json and /docs.
pub fn routes(document: OpenApi, settings: &Arc<Settings>) -> Router {
    let document = Arc::new(complete(document, settings.version));
    let page = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
    Router::new().route("/openapi.json", get(move || async move { Json(Value::clone(&document)) })).merge(page)
}
