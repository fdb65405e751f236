//! The devices table.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Error, unreadable};
use crate::domain::{
    camera::CameraId,
    device::{Device, DeviceId, DeviceName, DeviceRole},
    name,
};

struct Row {
    id: i32,
    name: String,
    role: String,
    camera_id: Option<i32>,
    created_at: DateTime<Utc>,
    last_seen: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Device {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: DeviceId(row.id),
            name: row.name.parse().map_err(unreadable)?,
            role: row.role.parse().map_err(unreadable)?,
            camera_id: row.camera_id.map(CameraId),
            created_at: row.created_at,
            last_seen: row.last_seen,
        })
    }
}

/// Adds a device. `secret_hash` is [`crate::auth::secret::hash`] of its secret.
///
/// # Errors
/// When the name is taken (see [`super::is_taken`]), its camera does not exist (see [`super::is_about_a_reference`]),
/// or the database is away.
pub async fn add(
    db: impl PgExecutor<'_>,
    name: &DeviceName,
    role: DeviceRole,
    camera_id: Option<CameraId>,
    secret_hash: &[u8],
) -> Result<Device, Error> {
    sqlx::query_as!(
        Row,
        r#"INSERT INTO devices (name, role, camera_id, secret_hash) VALUES ($1, $2::text::device_role, $3, $4)
           RETURNING id, name, role::text AS "role!", camera_id, created_at, last_seen"#,
        name.as_str(),
        role.to_string(),
        camera_id.map(|id| id.0),
        secret_hash,
    )
    .fetch_one(db)
    .await?
    .try_into()
}

/// All devices, in the order they came.
///
/// # Errors
/// When the database is away.
pub async fn list(db: impl PgExecutor<'_>) -> Result<Vec<Device>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, name, role::text AS "role!", camera_id, created_at, last_seen FROM devices ORDER BY id"#
    );
    rows.fetch_all(db).await?.into_iter().map(Device::try_from).collect()
}

/// # Errors
/// When the database is away.
pub async fn by_id(db: impl PgExecutor<'_>, id: DeviceId) -> Result<Option<Device>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, name, role::text AS "role!", camera_id, created_at, last_seen FROM devices WHERE id = $1"#,
        id.0,
    );
    row.fetch_optional(db).await?.map(Device::try_from).transpose()
}

/// The device of this name and the hash of its secret: for a login.
///
/// # Errors
/// When the database is away.
pub async fn by_name(db: impl PgExecutor<'_>, name: &DeviceName) -> Result<Option<(Device, Vec<u8>)>, Error> {
    let found = sqlx::query!(
        r#"SELECT id, name, role::text AS "role!", camera_id, created_at, last_seen, secret_hash
           FROM devices WHERE name = $1"#,
        name.as_str(),
    )
    .fetch_optional(db)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let row = Row {
        id: found.id,
        name: found.name,
        role: found.role,
        camera_id: found.camera_id,
        created_at: found.created_at,
        last_seen: found.last_seen,
    };
    Ok(Some((row.try_into()?, found.secret_hash)))
}

/// The device whose name differs from this one in case at most.
///
/// # Errors
/// When the database is away.
pub async fn called_like(db: impl PgExecutor<'_>, name: &str) -> Result<Option<String>, Error> {
    let key = name::key(name);
    sqlx::query_scalar!(r#"SELECT name FROM devices WHERE lower(name COLLATE "C") = $1 LIMIT 1"#, key)
        .fetch_optional(db)
        .await
}

/// # Errors
/// When the database is away.
pub async fn remove(db: impl PgExecutor<'_>, id: DeviceId) -> Result<Option<Device>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"DELETE FROM devices WHERE id = $1
           RETURNING id, name, role::text AS "role!", camera_id, created_at, last_seen"#,
        id.0,
    );
    row.fetch_optional(db).await?.map(Device::try_from).transpose()
}

/// Gives the device another secret; the one before is void at once.
///
/// # Errors
/// When the database is away.
pub async fn rotate(db: impl PgExecutor<'_>, id: DeviceId, secret_hash: &[u8]) -> Result<Option<Device>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"UPDATE devices SET secret_hash = $2 WHERE id = $1
           RETURNING id, name, role::text AS "role!", camera_id, created_at, last_seen"#,
        id.0,
        secret_hash,
    );
    row.fetch_optional(db).await?.map(Device::try_from).transpose()
}

/// Notes that the device was there.
///
/// # Errors
/// When the database is away.
pub async fn seen(db: impl PgExecutor<'_>, id: DeviceId, at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("UPDATE devices SET last_seen = greatest(last_seen, $2) WHERE id = $1", id.0, at).execute(db).await?;
    Ok(())
}
