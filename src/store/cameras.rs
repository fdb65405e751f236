//! The cameras table.

use sqlx::PgExecutor;

use super::Error;
use crate::domain::camera::{Camera, CameraId};

/// A camera that has no id yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewCamera<'a> {
    pub name: &'a str,
    pub location: Option<&'a str>,
    pub stream_url: Option<&'a str>,
    pub webrtc_url: Option<&'a str>,
    pub description: Option<&'a str>,
}

/// What is changed of a camera; `None` leaves it as it is, `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change<'a> {
    pub name: Option<&'a str>,
    pub location: Option<Option<&'a str>>,
    pub stream_url: Option<Option<&'a str>>,
    pub webrtc_url: Option<Option<&'a str>>,
    pub description: Option<Option<&'a str>>,
    pub is_active: Option<bool>,
}

/// How many cameras there are, and how many of them are active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub total: i64,
    pub active: i64,
}

struct Row {
    id: i32,
    name: String,
    location: Option<String>,
    stream_url: Option<String>,
    webrtc_url: Option<String>,
    description: Option<String>,
    is_active: bool,
    created_at: chrono::DateTime<chrono::Utc>,
    updated_at: chrono::DateTime<chrono::Utc>,
}

impl From<Row> for Camera {
    fn from(row: Row) -> Self {
        Self {
            id: CameraId(row.id),
            name: row.name,
            location: row.location,
            stream_url: row.stream_url,
            webrtc_url: row.webrtc_url,
            description: row.description,
            is_active: row.is_active,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// # Errors
/// When the database is away.
pub async fn create(db: impl PgExecutor<'_>, new: &NewCamera<'_>) -> Result<Camera, Error> {
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO cameras (name, location, stream_url, webrtc_url, description) VALUES ($1, $2, $3, $4, $5)
         RETURNING id, name, location, stream_url, webrtc_url, description, is_active, created_at, updated_at",
        new.name,
        new.location,
        new.stream_url,
        new.webrtc_url,
        new.description,
    );
    Ok(row.fetch_one(db).await?.into())
}

/// # Errors
/// When the database is away.
pub async fn by_id(db: impl PgExecutor<'_>, id: CameraId) -> Result<Option<Camera>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, name, location, stream_url, webrtc_url, description, is_active, created_at, updated_at
         FROM cameras WHERE id = $1",
        id.0,
    );
    Ok(row.fetch_optional(db).await?.map(Camera::from))
}

/// All cameras, in the order they came.
///
/// # Errors
/// When the database is away.
pub async fn list(db: impl PgExecutor<'_>) -> Result<Vec<Camera>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, name, location, stream_url, webrtc_url, description, is_active, created_at, updated_at
         FROM cameras ORDER BY id",
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(Camera::from).collect())
}

/// # Errors
/// When the database is away.
pub async fn counts(db: impl PgExecutor<'_>) -> Result<Counts, Error> {
    sqlx::query_as!(
        Counts,
        r#"SELECT count(*) AS "total!", count(*) FILTER (WHERE is_active) AS "active!" FROM cameras"#
    )
    .fetch_one(db)
    .await
}

/// # Errors
/// When the database is away.
pub async fn change(db: impl PgExecutor<'_>, id: CameraId, change: &Change<'_>) -> Result<Option<Camera>, Error> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE cameras SET
             name = coalesce($2, name),
             location = CASE WHEN $3 THEN $4 ELSE location END,
             stream_url = CASE WHEN $5 THEN $6 ELSE stream_url END,
             webrtc_url = CASE WHEN $7 THEN $8 ELSE webrtc_url END,
             description = CASE WHEN $9 THEN $10 ELSE description END,
             is_active = coalesce($11, is_active),
             updated_at = greatest(date_trunc('milliseconds', now()), updated_at)
         WHERE id = $1
         RETURNING id, name, location, stream_url, webrtc_url, description, is_active, created_at, updated_at",
        id.0,
        change.name,
        change.location.is_some(),
        change.location.flatten(),
        change.stream_url.is_some(),
        change.stream_url.flatten(),
        change.webrtc_url.is_some(),
        change.webrtc_url.flatten(),
        change.description.is_some(),
        change.description.flatten(),
        change.is_active,
    );
    Ok(row.fetch_optional(db).await?.map(Camera::from))
}

/// Deletes a camera that nothing refers to.
///
/// # Errors
/// When events or a device refer to it (see [`super::is_about_a_reference`]), or the database is away.
pub async fn delete(db: impl PgExecutor<'_>, id: CameraId) -> Result<Option<Camera>, Error> {
    let row = sqlx::query_as!(
        Row,
        "DELETE FROM cameras WHERE id = $1
         RETURNING id, name, location, stream_url, webrtc_url, description, is_active, created_at, updated_at",
        id.0,
    );
    Ok(row.fetch_optional(db).await?.map(Camera::from))
}
