//! What the database keeps of the time that has passed: a noted time, and what was stored while the clock was in doubt.
//! When a clock is believed is decided elsewhere.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Database, Error};
use crate::domain::trusted_clock::Traces;

/// How long a machine has run since which of its starts, and what its clock said then.
#[derive(Debug, Clone, PartialEq)]
pub struct Uptime {
    /// Names the start.
    pub boot: String,
    /// In seconds, with those in which the machine slept.
    pub seconds: f64,
    pub said: DateTime<Utc>,
}

/// The newest event and the newest rejected message; 0 where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Newest {
    pub event: i64,
    pub message: i64,
}

/// What is stored that tells of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub traces: Traces,
    /// When the noted time was noted, by the machine that did.
    pub uptime: Option<Uptime>,
    /// When the clock was found to be in doubt, while it is.
    pub doubted: Option<DateTime<Utc>>,
    /// The newest that were stored before the clock may have been wrong, while it is in doubt.
    pub sound: Newest,
    pub newest: Newest,
}

/// # Errors
/// When the database is away.
pub async fn read(db: &Database) -> Result<Kept, Error> {
    let row = sqlx::query!(
        r#"SELECT supported, said, boot, uptime, doubted, sound_event, sound_message,
                  (SELECT created_at FROM events ORDER BY id DESC LIMIT 1) AS event,
                  (SELECT at FROM lock_audit ORDER BY number DESC LIMIT 1) AS audit,
                  coalesce((SELECT id FROM events ORDER BY id DESC LIMIT 1), 0) AS "newest_event!",
                  coalesce((SELECT max(id) FROM rejected_messages), 0) AS "newest_message!"
           FROM clock_state"#
    )
    .fetch_one(db)
    .await?;
    Ok(Kept {
        traces: Traces { noted: row.supported, event: row.event, audit: row.audit },
        uptime: row.boot.zip(row.uptime).zip(row.said).map(|((boot, seconds), said)| Uptime { boot, seconds, said }),
        doubted: row.doubted,
        sound: Newest { event: row.sound_event, message: row.sound_message },
        newest: Newest { event: row.newest_event, message: row.newest_message },
    })
}

/// The noted time; none where nobody has looked yet.
///
/// # Errors
/// When the database is away.
pub async fn noted(db: impl PgExecutor<'_>) -> Result<Option<DateTime<Utc>>, Error> {
    sqlx::query_scalar!("SELECT supported FROM clock_state").fetch_one(db).await
}

/// Notes that it is at least so late, unless somebody else has noted anything since `before`. Says whether it did.
///
/// # Errors
/// When the database is away.
pub async fn note(
    db: impl PgExecutor<'_>,
    before: Option<DateTime<Utc>>,
    supported: DateTime<Utc>,
    uptime: Option<&Uptime>,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "UPDATE clock_state SET supported = $2, boot = $3, uptime = $4, said = $5 WHERE supported IS NOT DISTINCT FROM $1",
        before,
        supported,
        uptime.map(|uptime| uptime.boot.as_str()),
        uptime.map(|uptime| uptime.seconds),
        uptime.map(|uptime| uptime.said),
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// A person has said that it is so late.
///
/// # Errors
/// When the database is away.
pub async fn confirm(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("UPDATE clock_state SET supported = $1, boot = NULL, uptime = NULL", now).execute(db).await.map(|_| ())
}

/// The clock is in doubt from now on; what has higher ids than `sound` may have been stored by a clock that was wrong. A
/// doubt that is there goes on as it began.
///
/// # Errors
/// When the database is away.
pub async fn doubt(db: impl PgExecutor<'_>, at: DateTime<Utc>, sound: Newest) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE clock_state SET doubted = $1, sound_event = $2, sound_message = $3 WHERE doubted IS NULL",
        at,
        sound.event,
        sound.message,
    )
    .execute(db)
    .await
    .map(|_| ())
}

/// The clock is believed: what was stored after `sound` is at most as old as `until`, whatever its times say. In one
/// transaction with the end of the doubt, if there was one.
///
/// # Errors
/// When the database is away.
pub async fn believe(db: impl PgExecutor<'_>, until: DateTime<Utc>, sound: Newest) -> Result<(), Error> {
    sqlx::query!(
        "WITH over AS (UPDATE clock_state SET doubted = NULL)
         INSERT INTO clock_doubts (until, after_event, last_event, after_message, last_message)
         SELECT $1, $2, event, $3, message
         FROM (SELECT coalesce((SELECT id FROM events ORDER BY id DESC LIMIT 1), 0) AS event,
                      coalesce((SELECT max(id) FROM rejected_messages), 0) AS message) AS newest
         WHERE event > $2 OR message > $3",
        until,
        sound.event,
        sound.message,
    )
    .execute(db)
    .await
    .map(|_| ())
}
