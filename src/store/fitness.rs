//! Whether a database is one that the hub can work with, looked at before anything is done in it; and how many
//! connections it has room for.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Row as _};

use super::{Address, Error};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// What the hub has beside its pool: the claim, the recorder's, the audit's and the listener's connection, places held
/// for these, and one for a command.
const BESIDE: u32 = 8;
/// With fewer connections in its pool the hub would wait for itself.
const FEWEST: u32 = 2;

/// Why the hub does not work with a database, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error(
        "the database \"{database}\" has the encoding {encoding}, and texts of the hub need UTF8: make another, with CREATE \
         DATABASE \"{database}_utf8\" OWNER \"{role}\" ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0, and \
         name it in DATABASE_URL"
    )]
    Encoding { database: String, role: String, encoding: String },
    #[error(
        "the database \"{database}\" hands out texts in {encoding} though UTF8 was asked for: take client_encoding out of the \
         pooler's settings or of DATABASE_URL's options"
    )]
    ClientEncoding { database: String, encoding: String },
    #[error(
        "a pooler stands before the database and gives a connection to others between two {between}, so that the hub cannot \
         hold its claim, hear notices, or keep prepared statements: set pool_mode = session for this database in \
         pgbouncer.ini, or name the PostgreSQL itself in DATABASE_URL"
    )]
    Pooling { between: &'static str },
    #[error(
        "PgBouncer does not let a connection begin with {parameter}: put ignore_startup_parameters = {parameter} into \
         pgbouncer.ini, or take it out of DATABASE_URL and of the variables PG…"
    )]
    Beginning { parameter: String },
    #[error(
        "the role \"{role}\" may not make tables in the database \"{database}\": as its owner or a superuser, in that \
         database, GRANT USAGE, CREATE ON SCHEMA public TO \"{role}\""
    )]
    Create { role: String, database: String },
    #[error(
        "tables of the hub in the database \"{database}\" belong to the role \"{owner}\", and \"{role}\" may not change them: \
         as a superuser, in that database, REASSIGN OWNED BY \"{owner}\" TO \"{role}\", or name \"{owner}\" in DATABASE_URL"
    )]
    Owner { role: String, database: String, owner: String },
    #[error(
        "the database \"{database}\" takes no changes ({why}): name the server in DATABASE_URL that does, or ALTER DATABASE \
         \"{database}\" SET default_transaction_read_only = off"
    )]
    ReadOnly { database: String, why: &'static str },
}

/// Why a database was not found fit.
#[derive(Debug, thiserror::Error)]
pub enum FitnessError {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Database(#[from] Error),
}

/// Looks at a database, and says what it has room for. The hub's own server is fit by its making.
///
/// # Errors
/// When it is not fit, or away.
pub async fn check(address: &Address) -> Result<Room, FitnessError> {
    let mut one = in_time(PgConnection::connect_with(&address.asking())).await.map_err(beginning)?;
    if !address.is_private() {
        // The other connection goes with this, so that no claim is ever made through a pooler that would keep it.
        let mut other = in_time(PgConnection::connect_with(&address.asking())).await?;
        pooling(&mut one, &mut other).await?;
        other.close().await?;
        fit(&mut one).await?;
    }
    let room = in_time(room(&mut one)).await?;
    one.close().await?;
    Ok(room)
}

/// A pooler's refusal of what a connection begins with, in words.
fn beginning(error: Error) -> FitnessError {
    let text = error.to_string();
    match text.split_once("unsupported startup parameter: ") {
        Some((_, parameter)) => Unfit::Beginning { parameter: parameter.to_owned() }.into(),
        None => error.into(),
    }
}

/// Whether the server's process behind a connection stays the same, and is nobody else's.
async fn pooling(one: &mut PgConnection, other: &mut PgConnection) -> Result<(), FitnessError> {
    let pooled = |between| FitnessError::from(Unfit::Pooling { between });
    let first = in_time(process(one)).await?;
    match in_time(sqlx::raw_sql("BEGIN").execute(&mut *other)).await {
        Ok(_) => {}
        // PgBouncer's words for it, in any version.
        Err(error) if error.to_string().contains("statement pooling") => return Err(pooled("statements")),
        Err(error) => return Err(error.into()),
    }
    if in_time(process(other)).await? == first {
        return Err(pooled("transactions"));
    }
    if in_time(process(one)).await? != first {
        return Err(pooled("transactions"));
    }
    in_time(sqlx::raw_sql("ROLLBACK").execute(other)).await?;
    Ok(())
}

/// The server's process behind a connection. Asked without a prepared statement, which a pooler may not know.
async fn process(connection: &mut PgConnection) -> Result<i32, Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

async fn fit(connection: &mut PgConnection) -> Result<(), FitnessError> {
    let facts = sqlx::query!(
        r#"
        SELECT current_user::text AS "role!", current_database()::text AS "database!",
               current_setting('server_encoding') AS "encoding!", current_setting('client_encoding') AS "client!",
               pg_is_in_recovery() AS "is_standby!", current_setting('transaction_read_only') = 'on' AS "is_read_only!",
               current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE') AS "may_create!",
               (SELECT pg_get_userbyid(relowner)::text FROM pg_class
                WHERE relnamespace = to_regnamespace(current_schema()::text)
                      AND relname IN ('_sqlx_migrations', 'users', 'cameras', 'events', 'devices', 'lock_audit')
                      AND NOT pg_has_role(relowner, 'USAGE')
                LIMIT 1) AS owner
        "#
    );
    let facts = in_time(facts.fetch_one(connection)).await?;
    let (role, database) = (facts.role, facts.database);
    if facts.encoding != "UTF8" {
        return Err(Unfit::Encoding { database, role, encoding: facts.encoding }.into());
    }
    if facts.client != "UTF8" {
        return Err(Unfit::ClientEncoding { database, encoding: facts.client }.into());
    }
    if facts.is_standby {
        return Err(Unfit::ReadOnly { database, why: "it is a standby server's" }.into());
    }
    if facts.is_read_only {
        return Err(Unfit::ReadOnly { database, why: "default_transaction_read_only is on" }.into());
    }
    if let Some(owner) = facts.owner {
        return Err(Unfit::Owner { role, database, owner }.into());
    }
    if !facts.may_create {
        return Err(Unfit::Create { role, database }.into());
    }
    Ok(())
}

/// How many connections the server lets this role have in this database, and how many others have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    role: String,
    database: String,
    /// `max_connections`, and what of it is kept for superusers and others with a right to it.
    server: i64,
    reserved: i64,
    /// In use by others than hubs of this role: in all, as this role, in this database.
    others: i64,
    others_of_role: i64,
    others_in_database: i64,
    /// CONNECTION LIMIT; none is no limit.
    of_role: Option<i64>,
    of_database: Option<i64>,
}

async fn room(connection: &mut PgConnection) -> Result<Room, Error> {
    let row = sqlx::query!(
        r#"
        WITH others AS (
            SELECT usesysid, datid FROM pg_stat_activity
            WHERE usesysid IS NOT NULL AND (backend_type IS NULL OR backend_type = 'client backend')
                  AND NOT (usename = current_user AND application_name LIKE 'portcullis%')
        )
        SELECT current_user::text AS "role!", current_database()::text AS "database!",
               current_setting('max_connections')::bigint AS "server!",
               CASE WHEN rolsuper THEN 0
                    ELSE current_setting('superuser_reserved_connections')::bigint
                         + coalesce(current_setting('reserved_connections', true)::bigint, 0)
               END AS "reserved!",
               (SELECT count(*) FROM others) AS "others!",
               (SELECT count(*) FROM others WHERE usesysid = pg_roles.oid) AS "others_of_role!",
               (SELECT count(*) FROM others WHERE datid = pg_database.oid) AS "others_in_database!",
               CASE WHEN rolsuper OR rolconnlimit < 0 THEN NULL ELSE rolconnlimit::bigint END AS of_role,
               CASE WHEN rolsuper OR datconnlimit < 0 THEN NULL ELSE datconnlimit::bigint END AS of_database
        FROM pg_roles, pg_database
        WHERE rolname = current_user AND datname = current_database()
        "#
    );
    let row = row.fetch_one(connection).await?;
    Ok(Room {
        role: row.role,
        database: row.database,
        server: row.server,
        reserved: row.reserved,
        others: row.others,
        others_of_role: row.others_of_role,
        others_in_database: row.others_in_database,
        of_role: row.of_role,
        of_database: row.of_database,
    })
}

/// The limit that leaves the least.
enum Limit {
    Server,
    Role,
    Database,
}

impl Room {
    /// How many connections a pool may have that shall have `wanted`, and, where that is fewer, why and what to do. None
    /// when there is too little room for any.
    #[must_use]
    pub fn pool(&self, wanted: u32) -> (Option<u32>, Option<String>) {
        let (free, limit) = self.free();
        let all = i64::from(wanted) + i64::from(BESIDE);
        if free >= all {
            return (Some(wanted), None);
        }
        let fits = u32::try_from(free - i64::from(BESIDE)).ok().filter(|fits| *fits >= FEWEST);
        let Self { role, database, server, reserved, others, others_of_role, others_in_database, .. } = self;
        let (what, cure) = match limit {
            Limit::Server => (
                format!("max_connections={server}, {reserved} of them reserved, {others} in use by others"),
                format!("set max_connections in postgresql.conf to at least {}", all + reserved + others),
            ),
            Limit::Role => (
                format!(
                    "the role \"{role}\" has CONNECTION LIMIT {}, {others_of_role} in use by others",
                    self.of_role.unwrap_or_default()
                ),
                format!("ALTER ROLE \"{role}\" CONNECTION LIMIT {}", all + others_of_role),
            ),
            Limit::Database => (
                format!(
                    "the database \"{database}\" has CONNECTION LIMIT {}, {others_in_database} in use by others",
                    self.of_database.unwrap_or_default()
                ),
                format!("ALTER DATABASE \"{database}\" CONNECTION LIMIT {}", all + others_in_database),
            ),
        };
        let with_less =
            fits.map_or_else(String::new, |fits| format!(", or DATABASE_POOL={fits}, which it works with meanwhile"));
        let told = format!(
            "DATABASE_POOL={wanted} makes {all} connections with the hub's own, and there is room for {} ({what}): \
             {cure}{with_less}",
            free.max(0)
        );
        (fits, Some(told))
    }

    fn free(&self) -> (i64, Limit) {
        let limits = [
            Some((self.server - self.reserved - self.others, Limit::Server)),
            self.of_role.map(|limit| (limit - self.others_of_role, Limit::Role)),
            self.of_database.map(|limit| (limit - self.others_in_database, Limit::Database)),
        ];
        let least = limits.into_iter().flatten().min_by_key(|(free, _)| *free);
        least.unwrap_or((0, Limit::Server))
    }
}

async fn in_time<T>(question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer in {ANSWER:?}")));
    tokio::time::timeout(ANSWER, question).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room {
            role: "hub".into(),
            database: "door".into(),
            server: 100,
            reserved: 3,
            others: 17,
            others_of_role: 0,
            others_in_database: 0,
            of_role: None,
            of_database: None,
        }
    }

    #[test]
    fn a_pool_that_fits_is_taken_as_it_is() {
        assert_eq!(room().pool(10), (Some(10), None));
        assert_eq!(room().pool(72), (Some(72), None));
    }

    #[test]
    fn a_pool_that_does_not_fit_is_made_smaller_and_the_limit_named() {
        let (fits, told) = room().pool(200);
        let told = told.expect("words");
        assert_eq!(fits, Some(72));
        assert!(told.contains("max_connections=100") && told.contains("at least 228"), "{told}");
        assert!(told.contains("DATABASE_POOL=72"), "{told}");
        let (fits, told) = Room { of_role: Some(20), others_of_role: 2, ..room() }.pool(200);
        assert_eq!(fits, Some(10));
        assert!(told.expect("words").contains("ALTER ROLE \"hub\" CONNECTION LIMIT 210"));
        let (fits, told) = Room { of_database: Some(15), ..room() }.pool(10);
        assert_eq!(fits, Some(7));
        assert!(told.expect("words").contains("ALTER DATABASE \"door\" CONNECTION LIMIT 18"));
    }

    #[test]
    fn too_little_room_is_none() {
        for others in [88, 97, 200] {
            let (fits, told) = Room { others, ..room() }.pool(10);
            assert_eq!(fits, None, "{others}");
            assert!(told.expect("words").contains("max_connections"));
        }
    }
}
