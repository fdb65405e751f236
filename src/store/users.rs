//! The users table.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, Postgres, Transaction};
use uuid::Uuid;

use super::{Database, Error, unreadable};
use crate::domain::{
    name,
    user::{Role, User, UserId},
};

struct Row {
    id: i32,
    username: String,
    email: String,
    first_name: Option<String>,
    last_name: Option<String>,
    role: String,
    is_active: bool,
    account: Uuid,
    token_version: i32,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for User {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: UserId(row.id),
            username: row.username,
            email: row.email,
            first_name: row.first_name,
            last_name: row.last_name,
            role: row.role.parse().map_err(unreadable)?,
            is_active: row.is_active,
            account: row.account,
            token_version: row.token_version,
            created_at: row.created_at,
        })
    }
}

/// A user that has no id yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser<'a> {
    pub username: &'a str,
    pub email: &'a str,
    pub password_hash: &'a str,
    pub first_name: Option<&'a str>,
    pub last_name: Option<&'a str>,
    pub role: Role,
}

impl<'a> NewUser<'a> {
    /// With the names that people call them.
    #[must_use]
    pub fn named(self, first_name: Option<&'a str>, last_name: Option<&'a str>) -> Self {
        Self { first_name, last_name, ..self }
    }
}

/// What is changed of a user; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change<'a> {
    /// `Some(None)` clears it.
    pub first_name: Option<Option<&'a str>>,
    /// `Some(None)` clears it.
    pub last_name: Option<Option<&'a str>>,
    pub email: Option<&'a str>,
    pub password_hash: Option<&'a str>,
    pub role: Option<Role>,
    pub is_active: Option<bool>,
}

/// How many users there are, and of which sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub total: i64,
    pub admins: i64,
    pub active: i64,
}

/// # Errors
/// When the name or the address is taken (see [`super::is_taken`]), or the database is away.
pub async fn create(db: impl PgExecutor<'_>, new: &NewUser<'_>) -> Result<User, Error> {
    sqlx::query_as!(
        Row,
        r#"INSERT INTO users (username, name_key, email, password_hash, first_name, last_name, role)
           VALUES ($1, $7, $2, $3, $4, $5, $6::text::user_role)
           RETURNING id, username, email, first_name, last_name, role::text AS "role!", is_active, account,
                     token_version, created_at"#,
        new.username,
        new.email,
        new.password_hash,
        new.first_name,
        new.last_name,
        new.role.to_string(),
        name::key(new.username),
    )
    .fetch_one(db)
    .await?
    .try_into()
}

/// # Errors
/// When the database is away.
pub async fn by_id(db: impl PgExecutor<'_>, id: UserId) -> Result<Option<User>, Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT id, username, email, first_name, last_name, role::text AS "role!", is_active, account, token_version,
                  created_at
           FROM users WHERE id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await?
    .map(User::try_from)
    .transpose()
}

/// The user of this name, and the hash of the password: for a login, and for nothing else.
///
/// # Errors
/// When the database is away.
pub async fn find_by_login(db: impl PgExecutor<'_>, username: &str) -> Result<Option<(User, String)>, Error> {
    let found = sqlx::query!(
        r#"SELECT id, username, email, first_name, last_name, role::text AS "role!", is_active, account, token_version,
                  created_at, password_hash
           FROM users WHERE username = $1"#,
        username,
    )
    .fetch_optional(db)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let row = Row {
        id: found.id,
        username: found.username,
        email: found.email,
        first_name: found.first_name,
        last_name: found.last_name,
        role: found.role,
        is_active: found.is_active,
        account: found.account,
        token_version: found.token_version,
        created_at: found.created_at,
    };
    Ok(Some((row.try_into()?, found.password_hash)))
}

/// The user whose name reads like this one: see [`name::key`].
///
/// # Errors
/// When the database is away.
pub async fn called_like(db: impl PgExecutor<'_>, name: &str) -> Result<Option<String>, Error> {
    let key = name::key(name);
    sqlx::query_scalar!("SELECT username FROM users WHERE name_key = $1 LIMIT 1", key).fetch_optional(db).await
}

/// Brings the keys of all names up to date: of those that are older than keys, came by SQL, or were made by another
/// version's rules.
///
/// # Errors
/// When the database is away.
pub(super) async fn fold_names(database: &Database) -> Result<(), Error> {
    let rows = sqlx::query!("SELECT id, username, name_key FROM users").fetch_all(database).await?;
    for row in rows {
        let key = name::key(&row.username);
        if row.name_key.as_ref() != Some(&key) {
            sqlx::query!("UPDATE users SET name_key = $2 WHERE id = $1", row.id, key).execute(database).await?;
        }
    }
    Ok(())
}

/// All users, in the order they came.
///
/// # Errors
/// When the database is away.
pub async fn list(db: impl PgExecutor<'_>) -> Result<Vec<User>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, username, email, first_name, last_name, role::text AS "role!", is_active, account, token_version,
                  created_at
           FROM users ORDER BY id"#,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(User::try_from).collect()
}

/// # Errors
/// When the database is away.
pub async fn counts(db: impl PgExecutor<'_>) -> Result<Counts, Error> {
    sqlx::query_as!(
        Counts,
        r#"SELECT count(*) AS "total!", count(*) FILTER (WHERE role = 'ADMIN') AS "admins!",
                  count(*) FILTER (WHERE is_active) AS "active!" FROM users"#,
    )
    .fetch_one(db)
    .await
}

/// Changes a user. A new password, a lower role or being disabled voids every token issued so far.
///
/// # Errors
/// When the address is taken (see [`super::is_taken`]), or the database is away.
pub async fn change(db: impl PgExecutor<'_>, id: UserId, change: &Change<'_>) -> Result<Option<User>, Error> {
    let role = change.role.map(|role| role.to_string());
    sqlx::query_as!(
        Row,
        r#"UPDATE users SET
               first_name = CASE WHEN $2 THEN $3 ELSE first_name END,
               last_name = CASE WHEN $4 THEN $5 ELSE last_name END,
               email = coalesce($6, email),
               password_hash = coalesce($7, password_hash),
               role = coalesce($8::text::user_role, role),
               is_active = coalesce($9, is_active),
               token_version = token_version + CASE
                   WHEN $7 IS NOT NULL OR $8::text::user_role < role OR (is_active AND NOT $9) THEN 1 ELSE 0 END
           WHERE id = $1
           RETURNING id, username, email, first_name, last_name, role::text AS "role!", is_active, account,
                     token_version, created_at"#,
        id.0,
        change.first_name.is_some(),
        change.first_name.flatten(),
        change.last_name.is_some(),
        change.last_name.flatten(),
        change.email,
        change.password_hash,
        role,
        change.is_active,
    )
    .fetch_optional(db)
    .await?
    .map(User::try_from)
    .transpose()
}

/// Gives the user of this name a new password and voids every token issued so far.
///
/// # Errors
/// When the database is away.
pub async fn set_password(
    db: impl PgExecutor<'_>,
    username: &str,
    password_hash: &str,
) -> Result<Option<UserId>, Error> {
    let id = sqlx::query_scalar!(
        "UPDATE users SET password_hash = $2, token_version = token_version + 1 WHERE username = $1 RETURNING id",
        username,
        password_hash,
    );
    Ok(id.fetch_optional(db).await?.map(UserId))
}

/// # Errors
/// When the database is away.
pub async fn delete(db: impl PgExecutor<'_>, id: UserId) -> Result<Option<User>, Error> {
    sqlx::query_as!(
        Row,
        r#"DELETE FROM users WHERE id = $1
           RETURNING id, username, email, first_name, last_name, role::text AS "role!", is_active, account,
                     token_version, created_at"#,
        id.0,
    )
    .fetch_optional(db)
    .await?
    .map(User::try_from)
    .transpose()
}

/// Whether this user is the only active ADMIN. Until the transaction ends nobody else can answer the same question, so
/// that two ADMINs cannot remove each other at once.
///
/// # Errors
/// When the database is away.
pub async fn is_last_admin(transaction: &mut Transaction<'_, Postgres>, id: UserId) -> Result<bool, Error> {
    let admins = sqlx::query_scalar!("SELECT id FROM users WHERE role = 'ADMIN' AND is_active ORDER BY id FOR UPDATE");
    let admins = admins.fetch_all(&mut **transaction).await?;
    Ok(admins == [id.0])
}

/// Creates the first ADMIN, if there is no user at all: at the very first start only.
///
/// # Errors
/// When the database is away.
pub async fn first_admin(
    db: impl PgExecutor<'_>,
    username: &str,
    email: &str,
    password_hash: &str,
) -> Result<Option<UserId>, Error> {
    let id = sqlx::query_scalar!(
        "INSERT INTO users (username, name_key, email, password_hash, role)
         SELECT $1, $4, $2, $3, 'ADMIN' WHERE NOT EXISTS (SELECT FROM users) RETURNING id",
        username,
        email,
        password_hash,
        name::key(username),
    );
    Ok(id.fetch_optional(db).await?.map(UserId))
}
