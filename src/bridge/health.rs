//! Whether the hub lives, and whether each of its parts works.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Readiness,
    identities::{Caller, Identities},
    who::bearer,
};
use crate::{
    domain::user::Role,
    store::{self, Database},
};

/// A part of the hub, and whether it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Part {
    pub name: &'static str,
    pub up: bool,
    /// For an ADMIN only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The answer of /readyz.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// `up` or `down`.
    pub status: &'static str,
    pub parts: Vec<Part>,
}

/// The answer of /healthz.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// Always `ok`.
    pub status: &'static str,
}

/// The process lives and answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Alive)))]
pub async fn alive() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Each part, up or down.
#[utoipa::path(get, path = "/readyz", tag = "health", security((), ("bearer" = [])),
    responses((status = 200, body = Ready), (status = 503, description = "A part is down", body = Ready)))]
pub async fn ready(
    State(database): State<Database>,
    State(identities): State<Identities>,
    State(readiness): State<Readiness>,
    headers: HeaderMap,
) -> (StatusCode, Json<Ready>) {
    let answered = store::ping(&database).await;
    let mut parts =
        vec![Part { name: "database", up: answered.is_ok(), detail: answered.err().map(|e| e.to_string()) }];
    parts.extend((readiness.0)());
    if !is_admin(&headers, &identities).await {
        for part in &mut parts {
            part.detail = None;
        }
    }
    let up = parts.iter().all(|part| part.up);
    let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { status: if up { "up" } else { "down" }, parts }))
}

async fn is_admin(headers: &HeaderMap, identities: &Identities) -> bool {
    let Some(token) = bearer(headers) else { return false };
    matches!(identities.caller(token).await, Ok(Some(Caller::User(user))) if user.role == Role::Admin)
}
