//! The news that a user, a device or a camera was changed, by whomever: the command line, another client, the hub itself.

use std::{collections::HashMap, time::Duration};

use sqlx::postgres::PgNotification;
use tokio::sync::mpsc;

use super::{Database, Error};
use crate::domain::{camera::CameraId, device::DeviceId, user::UserId};

/// The channel that the triggers of the first migration notify.
const CHANNEL: &str = "portcullis_change";

/// Before listening is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    User(UserId),
    Device(DeviceId),
    /// A device is new. Whoever has a session by it has been let in by what it is now.
    NewDevice,
    Camera(CameraId),
    /// The connection was lost for a while: anything may have changed.
    Anything,
}

/// Passes changes on until the receiver is gone. When the receiver is slow, Postgres keeps what waits. Listens anew
/// when the database was away.
pub async fn listen(database: &Database, changes: mpsc::Sender<Change>) {
    while !changes.is_closed() {
        database.available().await;
        match pass_on(database, &changes).await {
            Ok(()) => {}
            Err(error) => tracing::debug!("no news of changes: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Passes changes on until the connection is lost or the receiver is gone.
async fn pass_on(database: &Database, changes: &mpsc::Sender<Change>) -> Result<(), Error> {
    let mut listener = database.listener().await?;
    listener.listen(CHANNEL).await?;
    // What was changed before is not heard of.
    let mut heard = Some(Change::Anything);
    loop {
        if let Some(change) = heard.take()
            && changes.send(change).await.is_err()
        {
            return Ok(());
        }
        heard = tokio::select! {
            notice = listener.try_recv() => match notice? {
                Some(notice) => read(&notice),
                None => return Ok(()),
            },
            // A server that hangs never says that it is gone.
            () = database.away() => return Ok(()),
        };
    }
}

fn read(notification: &PgNotification) -> Option<Change> {
    let (table, id) = notification.payload().split_once(':')?;
    let id = id.parse().ok()?;
    match table {
        "users" => Some(Change::User(UserId(id))),
        "devices" => Some(Change::Device(DeviceId(id))),
        "devices_added" => Some(Change::NewDevice),
        "cameras" => Some(Change::Camera(CameraId(id))),
        _ => None,
    }
}

/// What decides over each user's and each device's sessions, as a fingerprint, to find out what was changed unheard; and
/// by [`Change::Anything`] which database it is.
///
/// # Errors
/// When the database is away.
pub async fn fingerprints(db: &Database) -> Result<HashMap<Change, String>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT 'users' AS "table!", id AS "id!",
               md5(row(role, is_active, account, token_version, username, email)::text) AS "print!"
        FROM users
        UNION ALL
        SELECT 'devices', id, md5(row(role, camera_id, secret_hash)::text) FROM devices
        UNION ALL
        SELECT 'database', 0, id::text FROM this_database
        "#
    )
    .fetch_all(db)
    .await?;
    let change = |table: &str, id| match table {
        "users" => Change::User(UserId(id)),
        "devices" => Change::Device(DeviceId(id)),
        _ => Change::Anything,
    };
    Ok(rows.into_iter().map(|row| (change(&row.table, row.id), row.print)).collect())
}
