//! Cameras.

use std::collections::HashMap;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    error::ApiError,
    input::{Checked, Id},
    who::{Operator, SignedIn},
};
use crate::{
    domain::{
        camera::{Camera, CameraId},
        user::Role,
    },
    events::cameras::{CameraState, Cameras},
    store::{
        self, Database,
        cameras::{Change, NewCamera},
        events::Filter,
    },
    wire::camera::{CameraJson, CameraStats, CameraWithEvents, CreateCamera, EventOfCamera, Now, UpdateCamera},
};

/// How many events a camera shows in the list.
const EVENTS_IN_LIST: i64 = 5;
/// How many it shows by itself.
const EVENTS_ALONE: i64 = 10;

/// The camera as a user of this role may see it, as it is now.
pub fn shown(camera: Camera, state: CameraState, reader: Role) -> CameraJson {
    let CameraState { online, last_seen, persons, .. } = state;
    CameraJson::of(camera, Now { online, last_seen, persons }, reader)
}

/// How the camera is; of one that is not looked at yet nothing is known.
fn now(cameras: &Cameras, camera: Camera, reader: Role) -> CameraJson {
    let state = cameras.get(camera.id).unwrap_or_default();
    shown(camera, state, reader)
}

/// All cameras, each with its newest 5 events.
#[utoipa::path(get, path = "/api/cameras", tag = "cameras", security(("bearer" = [])),
    responses((status = 200, body = Vec<CameraWithEvents>)))]
pub async fn list(
    SignedIn(caller): SignedIn,
    State(database): State<Database>,
    State(cameras): State<Cameras>,
) -> Result<Json<Vec<CameraWithEvents>>, ApiError> {
    let found = store::cameras::list(&database).await?;
    let mut events = HashMap::<CameraId, Vec<EventOfCamera>>::new();
    for event in store::events::newest_of_each_camera(&database, EVENTS_IN_LIST).await? {
        if let Some(id) = event.camera.as_ref().map(|camera| camera.id) {
            events.entry(id).or_default().push(event.into());
        }
    }
    let with_events = found.into_iter().map(|camera| {
        let events = events.remove(&camera.id).unwrap_or_default();
        CameraWithEvents { camera: now(&cameras, camera, caller.role), events }
    });
    Ok(Json(with_events.collect()))
}

/// How many cameras there are.
#[utoipa::path(get, path = "/api/cameras/stats", tag = "cameras", security(("bearer" = [])),
    responses((status = 200, body = CameraStats)))]
pub async fn stats(_: SignedIn, State(database): State<Database>) -> Result<Json<CameraStats>, ApiError> {
    let counts = store::cameras::counts(&database).await?;
    Ok(Json(CameraStats { total: counts.total, active: counts.active, inactive: counts.total - counts.active }))
}

/// No camera of this id.
pub fn unknown(id: impl std::fmt::Display) -> ApiError {
    ApiError::not_found("Camera", id)
}

fn camera_id(id: &Id) -> Result<CameraId, ApiError> {
    id.number().map(CameraId).ok_or_else(|| unknown(id))
}

/// One camera with its newest 10 events.
#[utoipa::path(get, path = "/api/cameras/{id}", tag = "cameras", security(("bearer" = [])), params(("id" = i32, Path)),
    responses((status = 200, body = CameraWithEvents)))]
pub async fn one(
    SignedIn(caller): SignedIn,
    State(database): State<Database>,
    State(cameras): State<Cameras>,
    id: Id,
) -> Result<Json<CameraWithEvents>, ApiError> {
    let number = camera_id(&id)?;
    let camera = store::cameras::by_id(&database, number).await?.ok_or_else(|| unknown(&id))?;
    let filter = Filter { camera_id: Some(number), ..Filter::default() };
    let events = store::events::list(&database, &filter, EVENTS_ALONE, 0).await?;
    let events = events.into_iter().map(EventOfCamera::from).collect();
    Ok(Json(CameraWithEvents { camera: now(&cameras, camera, caller.role), events }))
}

/// Adds a camera.
#[utoipa::path(post, path = "/api/cameras", tag = "cameras", security(("bearer" = [])), request_body = CreateCamera,
    responses((status = 201, body = CameraJson)))]
pub async fn create(
    Operator(caller): Operator,
    State(database): State<Database>,
    State(cameras): State<Cameras>,
    Checked(body): Checked<CreateCamera>,
) -> Result<(StatusCode, Json<CameraJson>), ApiError> {
    let new = NewCamera {
        name: &body.name,
        location: body.location.as_deref(),
        stream_url: body.stream_url.as_deref(),
        webrtc_url: body.webrtc_url.as_deref(),
        description: body.description.as_deref(),
    };
    let camera = store::cameras::create(&database, &new).await?;
    Ok((StatusCode::CREATED, Json(now(&cameras, camera, caller.role))))
}

/// Changes a camera.
#[utoipa::path(put, path = "/api/cameras/{id}", tag = "cameras", security(("bearer" = [])), params(("id" = i32, Path)),
    request_body = UpdateCamera, responses((status = 200, body = CameraJson)))]
pub async fn update(
    Operator(caller): Operator,
    State(database): State<Database>,
    State(cameras): State<Cameras>,
    id: Id,
    Checked(body): Checked<UpdateCamera>,
) -> Result<Json<CameraJson>, ApiError> {
    let change = Change {
        name: body.name.as_deref(),
        location: body.location.as_ref().map(Option::as_deref),
        stream_url: body.stream_url.as_ref().map(Option::as_deref),
        webrtc_url: body.webrtc_url.as_ref().map(Option::as_deref),
        description: body.description.as_ref().map(Option::as_deref),
        is_active: body.is_active,
    };
    let camera = store::cameras::change(&database, camera_id(&id)?, &change).await?;
    Ok(Json(now(&cameras, camera.ok_or_else(|| unknown(&id))?, caller.role)))
}

/// Deletes a camera that has no events.
#[utoipa::path(delete, path = "/api/cameras/{id}", tag = "cameras", security(("bearer" = [])), params(("id" = i32, Path)),
    responses((status = 200, body = CameraJson), (status = 409, description = "It has events or a device")))]
pub async fn delete(
    Operator(caller): Operator,
    State(database): State<Database>,
    State(cameras): State<Cameras>,
    id: Id,
) -> Result<Json<CameraJson>, ApiError> {
    let number = camera_id(&id)?;
    match store::cameras::delete(&database, number).await {
        Ok(camera) => Ok(Json(now(&cameras, camera.ok_or_else(|| unknown(&id))?, caller.role))),
        Err(error) if store::is_about_a_reference(&error) => {
            Err(still_in_use(store::totals::of_camera(&database, number).await?, number))
        }
        Err(error) => Err(error.into()),
    }
}

fn still_in_use(events: i64, id: CameraId) -> ApiError {
    match events {
        0 => ApiError::conflict(format!("Camera with ID {id} has a device; remove the device first")),
        1 => ApiError::conflict(format!("Camera with ID {id} has 1 event; deactivate the camera instead")),
        _ => ApiError::conflict(format!("Camera with ID {id} has {events} events; deactivate the camera instead")),
    }
}
