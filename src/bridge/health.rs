//! Whether the hub lives, and whether each of its parts works.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::who::bearer;
use crate::{
    domain::{condition::Condition, user::Role},
    health::{self, Health},
    identities::{Caller, Identities},
    store::{self, Database},
    wire::time,
};

/// How long the database may take for a sign of life before it counts as away: `portcullis healthcheck` waits 4 s.
const ANSWER: Duration = Duration::from_secs(3);

/// A part of the hub, and whether it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Part {
    pub name: &'static str,
    pub up: bool,
    /// `degraded`: it works, and somebody should look. This and what follows is for an ADMIN only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<Condition>,
    /// Since when it is in this state; at most since the hub's start.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time::serialize_option")]
    #[schema(nullable = false)]
    pub since: Option<DateTime<Utc>>,
    /// Why, or how it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
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

/// Each part, up or down: the database, the broker, the recorder, the lock worker, and the disk with the hub's data.
///
/// An ADMIN is told of each in which state it is, since when, and why, also while the database is away.
#[utoipa::path(get, path = "/readyz", tag = "health", security((), ("bearer" = [])),
    responses((status = 200, body = Ready), (status = 503, description = "A part is down", body = Ready)))]
pub async fn ready(
    State(database): State<Database>,
    State(identities): State<Identities>,
    State(health): State<Health>,
    headers: HeaderMap,
) -> (StatusCode, Json<Ready>) {
    let asked = tokio::time::timeout(ANSWER, store::ping(&database));
    let (answered, is_admin) = tokio::join!(asked, is_admin(&headers, &identities));
    let silent = match answered {
        Ok(answered) => answered.err().map(|error| error.to_string()),
        Err(_) => Some(format!("no answer in {ANSWER:?}")),
    };
    let mut parts = health.look();
    if let (Some(why), Some(part)) = (silent, parts.iter_mut().find(|part| part.name == health::DATABASE)) {
        // Noticed here first.
        if part.condition != Condition::Down {
            (part.condition, part.since, part.detail) = (Condition::Down, Utc::now(), why);
        }
    }
    let ready = answer(parts, is_admin);
    let status = if ready.status == "up" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ready))
}

/// The parts as they were found, in full only for an ADMIN.
pub fn answer(parts: Vec<health::State>, is_admin: bool) -> Ready {
    let part = |health::State { name, condition: state, since, detail }| Part {
        name,
        up: state != Condition::Down,
        state: is_admin.then_some(state),
        since: is_admin.then_some(since),
        detail: is_admin.then_some(detail),
    };
    let parts: Vec<_> = parts.into_iter().map(part).collect();
    let up = parts.iter().all(|part| part.up);
    Ready { status: if up { "up" } else { "down" }, parts }
}

/// While the database cannot be asked, what is known of the user is enough to read this answer: it changes nothing and
/// has no secret in it, and whoever has to find out why the database is away needs it then.
async fn is_admin(headers: &HeaderMap, identities: &Identities) -> bool {
    let Some(token) = bearer(headers) else { return false };
    match tokio::time::timeout(ANSWER, identities.by_token(token)).await {
        Ok(Ok(caller)) => matches!(caller, Some(Caller::User(user)) if user.role == Role::Admin),
        Ok(Err(_)) | Err(_) => identities.was_admin(token),
    }
}
