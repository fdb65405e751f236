//! The news that a user, a device or a camera was changed, by whomever: the command line, another client, the hub itself.

use std::collections::HashMap;

use sqlx::postgres::{PgListener, PgNotification};
use tokio::sync::mpsc;

use super::{Database, Error};
use crate::domain::{camera::CameraId, device::DeviceId, user::UserId};

/// The channel that the triggers of the first migration notify.
const CHANNEL: &str = "portcullis_change";

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    User(UserId),
    Device(DeviceId),
    Camera(CameraId),
    /// The connection was lost for a while: anything may have changed.
    Anything,
}

/// Passes changes on until the receiver is gone. When the receiver is slow, Postgres keeps what waits.
///
/// # Errors
/// Only at first, when the database is away; later it reconnects by itself.
pub async fn listen(database: &Database, changes: mpsc::Sender<Change>) -> Result<(), Error> {
    let mut listener = PgListener::connect_with(database).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let change = match listener.try_recv().await {
            Ok(Some(notification)) => read(&notification),
            Ok(None) => Some(Change::Anything),
            Err(error) => {
                tracing::debug!("no news of changes: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                Some(Change::Anything)
            }
        };
        let Some(change) = change else { continue };
        if changes.send(change).await.is_err() {
            return Ok(());
        }
    }
}

fn read(notification: &PgNotification) -> Option<Change> {
    let (table, id) = notification.payload().split_once(':')?;
    let id = id.parse().ok()?;
    match table {
        "users" => Some(Change::User(UserId(id))),
        "devices" => Some(Change::Device(DeviceId(id))),
        "cameras" => Some(Change::Camera(CameraId(id))),
        _ => None,
    }
}

/// What decides over each user's and each device's sessions, as a fingerprint, to find out what was changed unheard.
///
/// # Errors
/// When the database is away.
pub async fn fingerprints(db: &Database) -> Result<HashMap<Change, String>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT 'users' AS "table!", id AS "id!", md5(row(role, is_active, token_version, username, email)::text) AS "print!"
        FROM users
        UNION ALL
        SELECT 'devices', id, md5(row(role, camera_id, secret_hash)::text) FROM devices
        "#
    )
    .fetch_all(db)
    .await?;
    let change =
        |table: &str, id| if table == "users" { Change::User(UserId(id)) } else { Change::Device(DeviceId(id)) };
    Ok(rows.into_iter().map(|row| (change(&row.table, row.id), row.print)).collect())
}
