//! Devices, for ADMINs.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    Settings, cameras,
    error::ApiError,
    input::{Checked, Id, Query},
    who::Admin,
};
use crate::{
    auth::{device_token, identity::Identity, rights::Action, secret},
    domain::{
        camera::CameraId,
        device::{Device, DeviceId, DeviceName, DeviceRole},
    },
    events::presence::Presence,
    store::{self, Database},
    wire::{
        device::{AddDevice, DeviceJson, DeviceWithSecret, Explanation},
        validation::Faults,
    },
};

/// The longest topic that is explained, in characters: a request's line has no place for the 65,535 bytes of MQTT.
const TOPIC_MAX: usize = 4096;

/// All devices.
#[utoipa::path(get, path = "/api/devices", tag = "devices", security(("bearer" = [])),
    responses((status = 200, body = Vec<DeviceJson>)))]
pub async fn list(
    _: Admin,
    State(database): State<Database>,
    State(presence): State<Presence>,
) -> Result<Json<Vec<DeviceJson>>, ApiError> {
    let devices = store::devices::list(&database).await?;
    let shown = devices.into_iter().map(|device| {
        let online = presence.is_online(device.id);
        DeviceJson::of(&device, online)
    });
    Ok(Json(shown.collect()))
}

fn with_secret(device: &Device, secret: String, online: bool) -> Json<DeviceWithSecret> {
    Json(DeviceWithSecret {
        username: device.name.as_str().to_owned(),
        token: device_token::format(&device.name, &secret),
        password: secret,
        device: DeviceJson::of(device, online),
    })
}

fn fault(words: &str) -> ApiError {
    Faults::one(words).into()
}

/// Adds a device. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/devices", tag = "devices", security(("bearer" = [])), request_body = AddDevice,
    responses((status = 201, body = DeviceWithSecret), (status = 404, description = "No such camera"),
        (status = 409, description = "The name is taken")))]
pub async fn create(
    _: Admin,
    State(database): State<Database>,
    Checked(body): Checked<AddDevice>,
) -> Result<(StatusCode, Json<DeviceWithSecret>), ApiError> {
    let name: DeviceName = body.name.parse().map_err(|_| fault("name must be a device's name"))?;
    match (body.role, body.camera_id) {
        (DeviceRole::Camera, None) => return Err(fault("cameraId must be an integer number")),
        (role, Some(_)) if role != DeviceRole::Camera => return Err(fault("property cameraId should not exist")),
        _ => {}
    }
    let secret = secret::generate();
    let camera = body.camera_id.map(CameraId);
    match store::devices::add(&database, &name, body.role, camera, &secret::hash(&secret)).await {
        Ok(device) => Ok((StatusCode::CREATED, with_secret(&device, secret, false))),
        Err(error) if store::is_taken(&error) => {
            Err(ApiError::conflict("Device or user with this name already exists"))
        }
        Err(error) if store::is_about_a_reference(&error) => Err(cameras::unknown(camera.map_or(0, |camera| camera.0))),
        Err(error) => Err(error.into()),
    }
}

fn device_id(id: &Id) -> Result<DeviceId, ApiError> {
    id.number().map(DeviceId).ok_or_else(|| unknown(id))
}

fn unknown(id: &Id) -> ApiError {
    ApiError::not_found("Device", id)
}

/// Removes a device.
#[utoipa::path(delete, path = "/api/devices/{id}", tag = "devices", security(("bearer" = [])), params(("id" = i32, Path)),
    responses((status = 200, body = DeviceJson)))]
pub async fn remove(_: Admin, State(database): State<Database>, id: Id) -> Result<Json<DeviceJson>, ApiError> {
    let device = store::devices::remove(&database, device_id(&id)?).await?.ok_or_else(|| unknown(&id))?;
    Ok(Json(DeviceJson::of(&device, false)))
}

/// Gives a device another secret. It is in this answer and nowhere else; the one before is void.
#[utoipa::path(post, path = "/api/devices/{id}/rotate", tag = "devices", security(("bearer" = [])),
    params(("id" = i32, Path)), responses((status = 201, body = DeviceWithSecret)))]
pub async fn rotate(
    _: Admin,
    State(database): State<Database>,
    State(presence): State<Presence>,
    id: Id,
) -> Result<(StatusCode, Json<DeviceWithSecret>), ApiError> {
    let secret = secret::generate();
    let device = store::devices::rotate(&database, device_id(&id)?, &secret::hash(&secret)).await?;
    let device = device.ok_or_else(|| unknown(&id))?;
    let online = presence.is_online(device.id);
    Ok((StatusCode::CREATED, with_secret(&device, secret, online)))
}

/// What a device may do with a topic, and by which rule.
#[utoipa::path(get, path = "/api/devices/{id}/explain", tag = "devices", security(("bearer" = [])),
    params(("id" = i32, Path), super::document::ExplainQuery), responses((status = 200, body = Explanation)))]
pub async fn explain(
    _: Admin,
    State(database): State<Database>,
    State(settings): State<Arc<Settings>>,
    id: Id,
    mut query: Query,
) -> Result<Json<Explanation>, ApiError> {
    let action = query.required("action", 16);
    let topic = query.required("topic", TOPIC_MAX);
    query.finish()?;
    let action: Action =
        action.parse().map_err(|_| fault("action must be one of the following values: publish, subscribe"))?;
    let device = store::devices::by_id(&database, device_id(&id)?).await?.ok_or_else(|| unknown(&id))?;
    let decision = settings.rights.explain(&Identity::Device(device.into()), action, &topic);
    Ok(Json(Explanation { allowed: decision.allowed, rule: decision.rule }))
}
