//! One hub for one database: an advisory lock that lives as long as the hub's connection.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::{Database, Error};

/// Any number, but always the same: `portcull` in ASCII.
const KEY: i64 = 0x706f_7274_6375_6c6c;
/// How long the lock of a hub whose machine has just died may linger: longer than the server takes to notice.
const LINGERS: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(250);
/// How often the database is asked for a sign of life.
const BEAT: Duration = Duration::from_millis(500);
/// How long it may take for one. A busy small machine needs a while.
const ANSWER: Duration = Duration::from_secs(5);

/// Why this hub cannot have the database.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("another hub uses this database; stop it, or give this one a DATABASE_URL or DATA_DIR of its own")]
    Taken,
    #[error(transparent)]
    Database(#[from] Error),
}

/// Who claims: a name that no other process has. A hub that lost its connection finds its own old session by it, which
/// the server may not have missed yet, and ends it rather than taking itself for another hub.
#[derive(Debug, Clone)]
pub struct Claimant(String);

impl Default for Claimant {
    fn default() -> Self {
        Self(format!("portcullis claim {:016x}", rand::random::<u64>()))
    }
}

/// The hub's claim on its database.
#[derive(Debug)]
pub struct Claim(PgConnection);

impl Claim {
    /// Takes the database, waiting a while for a hub that has just died.
    ///
    /// # Errors
    /// When another hub has it, or the database is away.
    pub async fn take(database: &Database, claimant: &Claimant) -> Result<Self, ClaimError> {
        let deadline = tokio::time::Instant::now() + LINGERS;
        let mut connection = in_time(connect(database, claimant)).await?;
        let mut waits = false;
        while !in_time(try_lock(&mut connection)).await? {
            if in_time(end_own_session(&mut connection, claimant)).await? {
                tracing::info!("ended an old session of this hub that still held its claim on the database");
            } else if tokio::time::Instant::now() >= deadline {
                return Err(ClaimError::Taken);
            } else if !std::mem::replace(&mut waits, true) {
                tracing::warn!("another hub has the database; waiting {LINGERS:?} for it to go");
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(Self(connection))
    }

    /// Waits until the claim is lost: the connection broke, or the server does not answer. Then another hub may take
    /// the database, so nothing may be written before it is claimed anew.
    pub async fn lost(mut self) -> Error {
        loop {
            tokio::time::sleep(BEAT).await;
            if let Err(error) = in_time(self.0.ping()).await {
                return error;
            }
        }
    }
}

async fn in_time<T>(question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer in {ANSWER:?}")));
    tokio::time::timeout(ANSWER, question).await.unwrap_or_else(|_| Err(late()))
}

/// A connection that the server gives up, and its lock with it, some 10 s after this machine is not heard any more.
async fn connect(database: &Database, claimant: &Claimant) -> Result<PgConnection, Error> {
    let options = database.pool().connect_options().as_ref().clone().application_name(&claimant.0);
    let mut connection = PgConnection::connect_with(&options).await?;
    sqlx::query!(
        "SELECT set_config(setting, value, false)
         FROM (VALUES ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'),
                      ('tcp_user_timeout', '10s')) AS wanted (setting, value)"
    )
    .fetch_all(&mut connection)
    .await?;
    Ok(connection)
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, Error> {
    sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "taken!""#, KEY).fetch_one(connection).await
}

/// Ends this process's own older sessions, if there are any. Nobody else's session has the name.
async fn end_own_session(connection: &mut PgConnection, claimant: &Claimant) -> Result<bool, Error> {
    let ended = sqlx::query_scalar!(
        r#"SELECT pg_terminate_backend(pid) AS "ended!" FROM pg_stat_activity
           WHERE application_name = $1 AND pid <> pg_backend_pid()"#,
        claimant.0,
    );
    Ok(ended.fetch_all(connection).await?.contains(&true))
}
