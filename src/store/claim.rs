//! One hub for one database: an advisory lock that lives as long as the hub's connection.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Database, Error};

/// Any number, but always the same: `portcull` in ASCII.
const KEY: i64 = 0x706f_7274_6375_6c6c;
/// How long the lock of a hub that has just died may linger.
const LINGERS: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);
/// How long a connection may not answer before it counts as lost.
const ANSWER: Duration = Duration::from_secs(5);

/// Why this hub cannot have the database.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("another hub uses this database; stop it, or give this one a DATABASE_URL or DATA_DIR of its own")]
    Taken,
    #[error(transparent)]
    Database(#[from] Error),
}

/// The hub's claim on its database.
#[derive(Debug)]
pub struct Claim {
    database: Database,
    connection: PgConnection,
}

impl Claim {
    /// Takes the database, waiting a few seconds for a hub that has just died.
    ///
    /// # Errors
    /// When another hub has it, or the database is away.
    pub async fn take(database: &Database) -> Result<Self, ClaimError> {
        let deadline = tokio::time::Instant::now() + LINGERS;
        let mut connection = PgConnection::connect_with(&database.connect_options()).await?;
        while !try_lock(&mut connection).await? {
            if tokio::time::Instant::now() >= deadline {
                return Err(ClaimError::Taken);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(Self { database: database.clone(), connection })
    }

    /// Holds the claim until `stop`, taking it anew when the connection was lost.
    ///
    /// # Errors
    /// When another hub took it meanwhile: then this one must stop.
    pub async fn hold(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSE * 4) => {}
            }
            // A server that is cut off says nothing at all.
            if timeout(ANSWER, self.connection.ping()).await.is_ok_and(|answer| answer.is_ok()) {
                continue;
            }
            match timeout(LINGERS + ANSWER, Self::take(&self.database)).await {
                Ok(Ok(claim)) => {
                    tracing::info!("the connection that holds the claim on the database was lost; a new one has it");
                    self = claim;
                }
                Ok(Err(ClaimError::Taken)) => return Err(ClaimError::Taken.into()),
                Ok(Err(ClaimError::Database(error))) => tracing::debug!("the claim on the database waits: {error}"),
                Err(_) => tracing::debug!("the claim on the database waits: no answer"),
            }
        }
    }
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, Error> {
    sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "taken!""#, KEY).fetch_one(connection).await
}
