//! What the camera watch has to know when it starts: the cameras, and when each was heard of last.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Error;
use crate::domain::camera::CameraId;

/// A camera, and when its newest event was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub id: CameraId,
    pub name: String,
    pub last_seen: Option<DateTime<Utc>>,
}

/// All active cameras.
///
/// # Errors
/// When the database is away.
pub async fn cameras(db: impl PgExecutor<'_>) -> Result<Vec<Known>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT id, name,
               (SELECT created_at FROM events WHERE camera_id = cameras.id ORDER BY events.id DESC LIMIT 1) AS last_seen
        FROM cameras WHERE is_active ORDER BY id
        "#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| Known { id: CameraId(row.id), name: row.name, last_seen: row.last_seen }).collect())
}
