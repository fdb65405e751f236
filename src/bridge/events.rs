//! Events: reported, listed, counted, resolved, deleted.

mod counts;

use axum::Json;
use axum::{
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::Utc;

#[doc(hidden)]
pub use self::counts::{__path_analytics, __path_stats};
pub use self::counts::{analytics, stats};
use super::{
    cameras,
    error::ApiError,
    input::{Id, JsonBytes, Query},
    who::{Admin, Known, Operator, Reporter, SignedIn},
};
use crate::{
    domain::{
        camera::CameraId,
        detection::Detection,
        event::{Event, EventId, EventType},
    },
    events::{Channel, Item, Outcome, StoredEvent, intake::Intake},
    identities::{Caller, Identities},
    store::{self, Database, events::Filter},
    wire::{
        detection,
        event::EventJson,
        rest::{Ignored, RejectedJson},
        time,
    },
};

/// Stores a detection.
#[utoipa::path(post, path = "/api/events", tag = "events", security(("bearer" = []), ("device" = [])),
    request_body = detection::DetectionBody,
    responses((status = 201, body = EventJson), (status = 404, description = "No such camera"),
        (status = 200, description = "Stored before, or no person", body = super::document::Taken)))]
pub async fn create(
    Known(caller): Known,
    State(recorder): State<Intake>,
    State(identities): State<Identities>,
    body: Result<JsonBytes, ApiError>,
) -> Result<Response, ApiError> {
    // What somebody known sends is counted, whatever it is.
    let (reporter, detection) = reported(caller, body).inspect_err(|_| recorder.counters().http.reject())?;
    let camera = detection.camera_id;
    let outcome = recorder.try_submit(Channel::Http, Item::Detection(detection)).await?;
    if let Reporter::Device(device) = &reporter
        && let Err(error) = identities.seen(device).await
    {
        // The detection is stored, and that is the answer.
        tracing::debug!(device.id = %device.id, "not noted when the device was seen: {error}");
    }
    match outcome {
        Outcome::Stored(event) => Ok(encoded(StatusCode::CREATED, &event)),
        Outcome::Duplicate(event) => Ok(encoded(StatusCode::OK, &event)),
        Outcome::Ignored => Ok(Json(Ignored { ignored: "no person" }).into_response()),
        Outcome::UnknownCamera => Err(cameras::unknown(camera)),
        Outcome::Rejected(reason) => Err(ApiError::bad_request(reason)),
    }
}

/// The detection, from somebody who may report it.
fn reported(caller: Caller, body: Result<JsonBytes, ApiError>) -> Result<(Reporter, Detection), ApiError> {
    let reporter = Reporter::of(caller)?;
    let JsonBytes(body) = body?;
    let detection = detection::decode_with_camera(&body)?;
    if reporter.may_report(detection.camera_id) { Ok((reporter, detection)) } else { Err(ApiError::forbidden()) }
}

/// An event whose JSON was made when it was stored.
fn encoded(status: StatusCode, event: &StoredEvent) -> Response {
    let body = Bytes::copy_from_slice(event.json.get().as_bytes());
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn shown(events: &[Event]) -> Response {
    Json(events.iter().map(EventJson::from).collect::<Vec<_>>()).into_response()
}

/// What the queries of lists have in common.
#[derive(Debug)]
struct Page {
    filter: Filter,
    limit: i64,
    offset: i64,
}

fn page(mut query: Query) -> Result<Page, ApiError> {
    let kinds = EventType::ALL.map(EventType::as_str);
    let page = Page {
        filter: Filter {
            camera_id: query.integer("cameraId", i32::MIN.into(), i32::MAX.into()).map(narrowed),
            event_type: query.one_of("eventType", &kinds),
            is_resolved: query.boolean("isResolved"),
            from: query.time("from"),
            to: query.time("to"),
            before: query.integer("before", i64::MIN, i64::MAX).map(EventId),
        },
        limit: query.limit(),
        offset: query.integer("offset", 0, i64::MAX).unwrap_or(0),
    };
    query.finish()?;
    Ok(page)
}

/// The query has seen to it that it fits.
fn narrowed(number: i64) -> CameraId {
    CameraId(i32::try_from(number).unwrap_or(i32::MAX))
}

/// The newest events.
#[utoipa::path(get, path = "/api/events", tag = "events", security(("bearer" = [])), params(super::document::EventQuery),
    responses((status = 200, body = Vec<EventJson>)))]
pub async fn list(_: SignedIn, State(database): State<Database>, query: Query) -> Result<Response, ApiError> {
    let Page { filter, limit, offset } = page(query)?;
    Ok(shown(&store::events::list(&database, &filter, limit, offset).await?))
}

/// The newest events that nobody has resolved.
#[utoipa::path(get, path = "/api/events/unresolved", tag = "events", security(("bearer" = [])),
    params(super::document::EventQuery), responses((status = 200, body = Vec<EventJson>)))]
pub async fn unresolved(_: SignedIn, State(database): State<Database>, query: Query) -> Result<Response, ApiError> {
    let Page { filter, limit, offset } = page(query)?;
    let filter = Filter { is_resolved: Some(false), ..filter };
    Ok(shown(&store::events::list(&database, &filter, limit, offset).await?))
}

/// The newest events of a camera.
#[utoipa::path(get, path = "/api/events/camera/{cameraId}", tag = "events", security(("bearer" = [])),
    params(("cameraId" = i32, Path), super::document::EventQuery), responses((status = 200, body = Vec<EventJson>)))]
pub async fn of_camera(
    _: SignedIn,
    State(database): State<Database>,
    id: Id,
    query: Query,
) -> Result<Response, ApiError> {
    let Page { filter, limit, offset } = page(query)?;
    let camera = id.number().map(CameraId).ok_or_else(|| cameras::unknown(&id))?;
    let filter = Filter { camera_id: Some(camera), ..filter };
    let events = store::events::list(&database, &filter, limit, offset).await?;
    if events.is_empty() && store::cameras::by_id(&database, camera).await?.is_none() {
        return Err(cameras::unknown(id));
    }
    Ok(shown(&events))
}

/// What was sent as a detection and could not be taken.
#[utoipa::path(get, path = "/api/events/rejected", tag = "events", security(("bearer" = [])),
    params(super::document::CursorQuery), responses((status = 200, body = Vec<RejectedJson>)))]
pub async fn rejected(
    _: Admin,
    State(database): State<Database>,
    mut query: Query,
) -> Result<Json<Vec<RejectedJson>>, ApiError> {
    let (limit, before) = (query.limit(), query.integer("before", i64::MIN, i64::MAX));
    query.finish()?;
    let messages = store::rejected::list(&database, before, limit).await?;
    let shown = messages.into_iter().map(|message| RejectedJson {
        id: message.id,
        topic: message.topic,
        payload: String::from_utf8_lossy(&message.payload).into_owned(),
        reason: message.reason,
        source: message.source,
        received_at: message.received_at,
    });
    Ok(Json(shown.collect()))
}

fn event_id(id: &Id) -> Result<EventId, ApiError> {
    id.number().map(EventId).ok_or_else(|| unknown(id))
}

fn unknown(id: &Id) -> ApiError {
    ApiError::not_found("Event", id)
}

/// One event.
#[utoipa::path(get, path = "/api/events/{id}", tag = "events", security(("bearer" = [])), params(("id" = i64, Path)),
    responses((status = 200, body = EventJson)))]
pub async fn one(_: SignedIn, State(database): State<Database>, id: Id) -> Result<Response, ApiError> {
    let event = store::events::by_id(&database, event_id(&id)?).await?.ok_or_else(|| unknown(&id))?;
    Ok(Json(EventJson::from(&event)).into_response())
}

/// Marks an event as resolved. Doing so twice changes nothing.
#[utoipa::path(patch, path = "/api/events/{id}/resolve", tag = "events", security(("bearer" = [])),
    params(("id" = i64, Path)), responses((status = 200, body = EventJson)))]
pub async fn resolve(_: Operator, State(database): State<Database>, id: Id) -> Result<Response, ApiError> {
    let event = store::events::resolve(&database, event_id(&id)?, time::millis(Utc::now())).await?;
    let event = event.ok_or_else(|| unknown(&id))?;
    Ok(Json(EventJson::from(&event)).into_response())
}

/// Deletes an event.
#[utoipa::path(delete, path = "/api/events/{id}", tag = "events", security(("bearer" = [])), params(("id" = i64, Path)),
    responses((status = 200, body = EventJson)))]
pub async fn delete(_: Admin, State(database): State<Database>, id: Id) -> Result<Response, ApiError> {
    let event = store::events::delete(&database, event_id(&id)?).await?.ok_or_else(|| unknown(&id))?;
    Ok(Json(EventJson::from(&event)).into_response())
}
