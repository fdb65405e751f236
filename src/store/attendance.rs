//! What the camera watch has to know when it starts: the cameras, and what was heard of each last.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Error;
use crate::domain::camera::{Camera, CameraId};

/// A camera, and its newest event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub camera: Camera,
    pub newest: Option<Newest>,
}

/// When a camera's newest event was stored, and how many persons it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    pub at: DateTime<Utc>,
    pub persons: u32,
}

/// All cameras, also those that are switched off.
///
/// # Errors
/// When the database is away.
pub async fn cameras(db: impl PgExecutor<'_>) -> Result<Vec<Known>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT cameras.id, name, location, stream_url, webrtc_url, cameras.description, is_active, cameras.created_at,
               updated_at, newest.created_at AS "at?", newest.person_count AS "persons?"
        FROM cameras LEFT JOIN LATERAL
            (SELECT created_at, person_count FROM events WHERE camera_id = cameras.id ORDER BY events.id DESC LIMIT 1)
            AS newest ON true
        ORDER BY cameras.id
        "#
    )
    .fetch_all(db)
    .await?;
    let known = rows.into_iter().map(|row| Known {
        camera: Camera {
            id: CameraId(row.id),
            name: row.name,
            location: row.location,
            stream_url: row.stream_url,
            webrtc_url: row.webrtc_url,
            description: row.description,
            is_active: row.is_active,
            created_at: row.created_at,
            updated_at: row.updated_at,
        },
        newest: row.at.zip(row.persons).map(|(at, persons)| Newest { at, persons: persons.try_into().unwrap_or(0) }),
    });
    Ok(known.collect())
}
