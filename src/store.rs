//! Postgres: all SQL of the hub, in named functions, a file for each table.
//!
//! Must not know HTTP, MQTT or GPIO.

pub mod lock_audit;
pub mod recording;

/// Connections to the hub's database.
pub type Database = sqlx::PgPool;
/// One of them.
pub type Connection = sqlx::PgConnection;
/// Why the database did not answer, or would not.
pub type Error = sqlx::Error;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Brings the schema up to what this version of the hub needs; it only ever goes forward.
///
/// # Errors
/// When the database is away, or its schema is newer than this version knows.
pub async fn migrate(database: &Database) -> Result<(), sqlx::migrate::MigrateError> {
    MIGRATIONS.run(database).await
}
