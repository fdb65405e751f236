//! Postgres: all SQL of the hub, in named functions, a file for each table; the private PostgreSQL; the news of changes.
//!
//! Must not know HTTP, MQTT or GPIO.

mod address;
pub mod attendance;
pub mod baseline;
pub mod cameras;
pub mod changes;
pub mod claim;
pub mod clock;
pub mod database;
pub mod devices;
pub mod dump;
mod event_row;
pub mod events;
pub mod fitness;
pub mod lock_audit;
pub mod months;
pub mod private;
pub mod recording;
pub mod rejected;
pub mod retention;
pub mod totals;
pub mod users;

pub use self::{
    address::Address,
    database::{Availability, Database, Gate, Kept},
};

/// A connection to the hub's database.
pub type Connection = sqlx::PgConnection;
/// Why the database did not answer, or would not.
pub type Error = sqlx::Error;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Brings the schema up to what this version of the hub needs, and with it what is kept of names; it only ever goes
/// forward.
///
/// # Errors
/// When the database is away, or its schema is newer than this version knows.
pub async fn migrate(database: &Database) -> Result<(), sqlx::migrate::MigrateError> {
    MIGRATIONS.run(&database.pool()).await?;
    Ok(users::fold_names(database).await?)
}

/// Whether this version knows a migration.
#[must_use]
pub fn knows(migration: i64) -> bool {
    MIGRATIONS.version_exists(migration)
}

/// Makes another database on the same server.
///
/// # Errors
/// When the server is away or has one of this name.
pub async fn create_database(database: &Database, name: &str) -> Result<(), Error> {
    // A name cannot be a parameter; quoted, it is a name whatever is in it.
    let name = name.replace('"', "\"\"");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE \"{name}\""))).execute(database).await.map(|_| ())
}

/// What a column holds was written by this program; if it cannot be read back, the database is another version's.
fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Decode(Box::new(error))
}

/// Whether the database refused a row because its name or address is taken.
#[must_use]
pub fn is_taken(error: &Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether the database refused because of a row that is referred to: one that is not there, or one still in use.
#[must_use]
pub fn is_about_a_reference(error: &Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}

/// Whether the database could not be reached at all, so that the same may well work soon.
#[must_use]
pub fn is_away(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::PoolTimedOut | Error::PoolClosed | Error::Tls(_) | Error::Protocol(_) => true,
        // 08: the connection failed; 53: too few resources; 57P: it is shutting down or starting.
        Error::Database(error) => {
            error.code().is_some_and(|code| ["08", "53", "57P"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

/// Whether the server refused the connection itself: who asks (28) or the database's name (3D) is not known there.
#[must_use]
pub fn is_refused_entry(error: &Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["28", "3D"].iter().any(|class| code.starts_with(class)))
}

/// Whether others were at work on the same rows or tables for too long, so that the same may well work soon.
#[must_use]
pub fn is_busy(error: &Error) -> bool {
    // lock_not_available, deadlock_detected, serialization_failure.
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["55P03", "40P01", "40001"].contains(&&*code))
}

/// Asks the database for a sign of life.
///
/// # Errors
/// When it gives none.
pub async fn ping(database: &Database) -> Result<(), Error> {
    sqlx::query_scalar!(r#"SELECT 1 AS "one!""#).fetch_one(database).await.map(|_| ())
}

/// What a database server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub version: String,
    /// By its own clock.
    pub now: chrono::DateTime<chrono::Utc>,
}

/// Asks the server what it is.
///
/// # Errors
/// When it does not answer.
pub async fn server(database: &Database) -> Result<Server, Error> {
    sqlx::query_as!(Server, r#"SELECT current_setting('server_version') AS "version!", clock_timestamp() AS "now!""#)
        .fetch_one(database)
        .await
}

/// The newest migration's number: the schema that this version of the hub works with.
#[must_use]
pub fn schema() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}
