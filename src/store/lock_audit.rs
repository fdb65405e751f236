//! The table `lock_audit`: rows are added and read, nothing else. Who adds them keeps the chain.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Connection, Database, Error};
use crate::{
    auth::chain::{ChainKey, Field, Hash, Head, Sealed},
    wire::lock_audit::LockAttempt,
};

/// What a row says. Times have millisecond precision.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub kind: Kind,
    pub command_id: Option<Uuid>,
    pub action: String,
    pub detail: Option<String>,
    pub requested_by: String,
    pub channel: Cow<'static, str>,
    pub address: Option<String>,
    /// Attempt, refusal: when it was asked. Outcome: when it was known.
    pub at: DateTime<Utc>,
    pub outcome: Option<Cow<'static, str>>,
    pub message: Option<String>,
    pub duration_ms: Option<f64>,
    /// How many requests the row stands for.
    pub times: i64,
    pub witness: Option<Witness>,
}

/// What sort of row it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Committed before the command leaves.
    Attempt,
    /// What became of the attempt of this number.
    Outcome(i64),
    /// What the hub itself refused.
    Refusal,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Outcome(_) => "outcome",
            Self::Refusal => "refusal",
        }
    }

    fn attempt(self) -> Option<i64> {
        match self {
            Self::Outcome(attempt) => Some(attempt),
            Self::Attempt | Self::Refusal => None,
        }
    }
}

/// The detection that shows who stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    pub event_id: i64,
    pub camera_id: Option<i32>,
}

/// An entry with its place in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub number: i64,
    pub previous: Hash,
    pub hash: Hash,
    pub entry: Entry,
}

impl Row {
    /// The row that follows `head`.
    #[must_use]
    pub fn seal(key: &ChainKey, head: &Head, entry: Entry) -> Self {
        let number = head.number + 1;
        let hash = entry.sealed(key, number, &head.hash);
        Self { number, previous: head.hash, hash, entry }
    }

    #[must_use]
    pub fn head(&self) -> Head {
        Head { number: self.number, hash: self.hash }
    }
}

impl Entry {
    /// The seal of this content at this place: every column, in the table's order.
    fn sealed(&self, key: &ChainKey, number: i64, previous: &Hash) -> Hash {
        let command_id = self.command_id.map(Uuid::into_bytes);
        let fields = [
            Field::Text(self.kind.name()),
            self.kind.attempt().into(),
            command_id.as_ref().map_or(Field::Absent, |id| Field::Bytes(id)),
            Field::Text(&self.action),
            self.detail.as_deref().into(),
            Field::Text(&self.requested_by),
            Field::Text(&self.channel),
            self.address.as_deref().into(),
            Field::Integer(self.at.timestamp_micros()),
            self.outcome.as_deref().into(),
            self.message.as_deref().into(),
            self.duration_ms.map_or(Field::Absent, Field::Real),
            Field::Integer(self.times),
            self.witness.map(|witness| witness.event_id).into(),
            self.witness.and_then(|witness| witness.camera_id).map(i64::from).into(),
        ];
        key.seal(number, previous, &fields)
    }
}

/// A connection beside the pool, so that no other work of the hub delays the one who writes. A statement that the
/// database has not done after 5 s is undone by it, so that no row comes long after it was given up.
///
/// # Errors
/// When the database is away.
pub async fn connect(database: &Database) -> Result<Connection, Error> {
    let mut connection = database.connect().await?;
    sqlx::query!("SET statement_timeout = '5s'").execute(&mut connection).await?;
    Ok(connection)
}

/// Adds a row.
///
/// # Errors
/// When the database is away, or a row of that number is there ([`is_taken`]).
pub async fn append(db: impl PgExecutor<'_>, row: &Row) -> Result<(), Error> {
    let Row { number, previous, hash, entry } = row;
    sqlx::query!(
        "INSERT INTO lock_audit (number, kind, attempt, command_id, action, detail, requested_by, channel, address, at,
                                 outcome, message, duration_ms, times, event_id, camera_id, previous_hash, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        number,
        entry.kind.name(),
        entry.kind.attempt(),
        entry.command_id,
        entry.action,
        entry.detail,
        entry.requested_by,
        entry.channel.as_ref(),
        entry.address,
        entry.at,
        entry.outcome.as_deref(),
        entry.message,
        entry.duration_ms,
        entry.times,
        entry.witness.map(|witness| witness.event_id),
        entry.witness.and_then(|witness| witness.camera_id),
        &previous.0[..],
        &hash.0[..],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether a row was refused because its number is in use: the chain went on without its writer knowing.
#[must_use]
pub fn is_taken(error: &Error) -> bool {
    error.as_database_error().is_some_and(|error| error.constraint() == Some("lock_audit_pkey"))
}

/// Whether the database took offence at what a row says, so that trying again is no use.
#[must_use]
pub fn is_about_content(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code().map(Cow::into_owned));
    !is_taken(error) && code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// What the chain says of the rows after this number, by rising number, at most `limit` of them.
///
/// # Errors
/// When the database is away.
pub async fn chain_after(
    db: impl PgExecutor<'_>,
    key: &ChainKey,
    number: i64,
    limit: i64,
) -> Result<Vec<Sealed>, Error> {
    let rows = sqlx::query!(
        "SELECT number, kind, attempt, command_id, action, detail, requested_by, channel, address, at, outcome, message,
                duration_ms, times, event_id, camera_id, previous_hash, hash
         FROM lock_audit WHERE number > $1 ORDER BY number LIMIT $2",
        number,
        limit,
    )
    .fetch_all(db)
    .await?;
    let sealed = rows.into_iter().map(|row| {
        // What no row of the hub says seals to nothing that anyone could have stored.
        let kind = match (row.kind.as_str(), row.attempt) {
            ("attempt", None) => Some(Kind::Attempt),
            ("refusal", None) => Some(Kind::Refusal),
            ("outcome", Some(attempt)) => Some(Kind::Outcome(attempt)),
            _ => None,
        };
        let [previous, hash] = [row.previous_hash, row.hash].map(|bytes| Hash(bytes.try_into().unwrap_or_default()));
        let camera_without_event = row.camera_id.is_some() && row.event_id.is_none();
        let expected = kind.filter(|_| !camera_without_event).map(|kind| {
            let entry = Entry {
                kind,
                command_id: row.command_id,
                action: row.action,
                detail: row.detail,
                requested_by: row.requested_by,
                channel: row.channel.into(),
                address: row.address,
                at: row.at,
                outcome: row.outcome.map(Cow::Owned),
                message: row.message,
                duration_ms: row.duration_ms,
                times: row.times,
                witness: row.event_id.map(|event_id| Witness { event_id, camera_id: row.camera_id }),
            };
            entry.sealed(key, row.number, &previous)
        });
        let expected = expected.unwrap_or_else(|| Hash(hash.0.map(|byte| !byte)));
        Sealed { number: row.number, previous, hash, expected }
    });
    Ok(sealed.collect())
}

/// The row of this number, as a head.
///
/// # Errors
/// When the database is away.
pub async fn head_at(db: impl PgExecutor<'_>, number: i64) -> Result<Option<Head>, Error> {
    let hash = sqlx::query_scalar!("SELECT hash FROM lock_audit WHERE number = $1", number).fetch_optional(db).await?;
    Ok(hash.map(|hash| Head { number, hash: Hash(hash.try_into().unwrap_or_default()) }))
}

/// The row with the highest number.
///
/// # Errors
/// When the database is away.
pub async fn newest(db: impl PgExecutor<'_>) -> Result<Option<Head>, Error> {
    let row =
        sqlx::query!("SELECT number, hash FROM lock_audit ORDER BY number DESC LIMIT 1").fetch_optional(db).await?;
    Ok(row.map(|row| Head { number: row.number, hash: Hash(row.hash.try_into().unwrap_or_default()) }))
}

/// An attempt that has no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAttempt {
    pub number: i64,
    pub command_id: Option<Uuid>,
    pub action: String,
    pub requested_by: String,
    pub channel: String,
    pub address: Option<String>,
}

/// Attempts among the newest 1,000 rows up to `number` that have no outcome: the hub died between the two.
///
/// # Errors
/// When the database is away.
pub async fn open_attempts(db: impl PgExecutor<'_>, number: i64) -> Result<Vec<OpenAttempt>, Error> {
    sqlx::query_as!(
        OpenAttempt,
        "SELECT number, command_id, action, requested_by, channel, address FROM lock_audit AS asked
         WHERE kind = 'attempt' AND number <= $1 AND number > $1 - 1000
           AND NOT EXISTS (SELECT FROM lock_audit WHERE attempt = asked.number)
         ORDER BY number",
        number,
    )
    .fetch_all(db)
    .await
}

/// The newest event that shows a person in the time from `since` to `until`, by the stored times; none that was stored before
/// the clock was set back.
///
/// # Errors
/// When the database is away.
pub async fn witness(
    db: impl PgExecutor<'_>,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Witness>, Error> {
    // By time, so that the index bounds the search also when nobody was seen.
    let row = sqlx::query!(
        "SELECT id, camera_id FROM events
         WHERE created_at >= $1 AND created_at <= $2 AND event_type IN ('PERSON_DETECTED', 'MULTIPLE_PERSONS')
           AND NOT EXISTS (SELECT FROM event_runs
                           WHERE first_id > id AND first_at < created_at - interval '5 s')
         ORDER BY created_at DESC, id DESC LIMIT 1",
        since,
        until,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Witness { event_id: row.id, camera_id: row.camera_id }))
}

/// What was asked of the lock, newest first: an element a command, refused ones too.
///
/// # Errors
/// When the database is away.
pub async fn history(db: impl PgExecutor<'_>, before: Option<i64>, limit: i64) -> Result<Vec<LockAttempt>, Error> {
    sqlx::query_as!(
        LockAttempt,
        r#"SELECT asked.number AS id, asked.command_id, asked.action, asked.requested_by, asked.channel, asked.address,
                  asked.at AS requested_at, coalesce(told.outcome, asked.outcome) AS outcome,
                  coalesce(told.message, asked.message) AS message,
                  coalesce(told.duration_ms, asked.duration_ms) AS duration_ms,
                  asked.event_id, asked.camera_id, asked.detail, asked.times
           FROM lock_audit AS asked LEFT JOIN lock_audit AS told ON told.attempt = asked.number
           WHERE asked.kind <> 'outcome' AND asked.number < coalesce($1::bigint, 9223372036854775807)
           ORDER BY asked.number DESC LIMIT $2"#,
        before,
        limit,
    )
    .fetch_all(db)
    .await
}
