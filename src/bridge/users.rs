//! Users, for ADMINs and for themselves.

use std::{sync::Arc, time::Instant};

use axum::{Json, extract::State, http::StatusCode};
use parking_lot::Mutex;

use super::{
    error::ApiError,
    input::{Checked, Id},
    who::{Address, Admin, SignedIn},
};
use crate::{
    auth::{
        attempts::Logins,
        holder::Holder,
        identity::{Identity, UserIdentity},
        password::{Asker, Passwords},
    },
    domain::{
        name,
        user::{Role, User, UserId},
    },
    identities::Identities,
    store::{
        self, Database,
        users::{Change, NewUser},
    },
    wire::{
        account::{CreateUser, UpdateUser, UserJson, UserStats},
        validation::Faults,
    },
};

/// A user to be stored.
pub fn new_user<'a>(username: &'a str, email: &'a str, password_hash: &'a str, role: Role) -> NewUser<'a> {
    NewUser { username, email, password_hash, first_name: None, last_name: None, role }
}

/// Whether somebody may be given this name.
pub fn check_name(username: &str) -> Result<(), ApiError> {
    name::fault(username).map_or(Ok(()), |fault| Err(Faults::one(fault).into()))
}

/// The name or the address is somebody else's.
pub fn taken() -> ApiError {
    ApiError::conflict("User with this email or username already exists")
}

/// All users.
#[utoipa::path(get, path = "/api/users", tag = "users", security(("bearer" = [])), responses((status = 200, body = Vec<UserJson>)))]
pub async fn list(_: Admin, State(database): State<Database>) -> Result<Json<Vec<UserJson>>, ApiError> {
    let users = store::users::list(&database).await?;
    Ok(Json(users.into_iter().map(UserJson::from).collect()))
}

/// Makes an account.
#[utoipa::path(post, path = "/api/users", tag = "users", security(("bearer" = [])), request_body = CreateUser,
    responses((status = 201, body = UserJson),
        (status = 409, description = "The name or the address is taken, or a name that reads alike")))]
pub async fn create(
    Admin(caller): Admin,
    State(database): State<Database>,
    State(passwords): State<Passwords>,
    Checked(body): Checked<CreateUser>,
) -> Result<(StatusCode, Json<UserJson>), ApiError> {
    check_name(&body.username)?;
    let hash = passwords.hash(&asker(&caller), body.password).await?;
    let new = new_user(&body.username, &body.email, &hash, body.role.unwrap_or(Role::User))
        .named(body.first_name.as_deref(), body.last_name.as_deref());
    match store::users::create(&database, &new).await {
        Ok(user) => Ok((StatusCode::CREATED, Json(user.into()))),
        Err(error) if store::is_taken(&error) => Err(taken()),
        Err(error) => Err(error.into()),
    }
}

/// How many users there are.
#[utoipa::path(get, path = "/api/users/stats", tag = "users", security(("bearer" = [])), responses((status = 200, body = UserStats)))]
pub async fn stats(_: Admin, State(database): State<Database>) -> Result<Json<UserStats>, ApiError> {
    let counts = store::users::counts(&database).await?;
    Ok(Json(UserStats {
        total: counts.total,
        admins: counts.admins,
        active_users: counts.active,
        inactive_users: counts.total - counts.active,
    }))
}

/// Oneself.
#[utoipa::path(get, path = "/api/users/me", tag = "users", security(("bearer" = [])), responses((status = 200, body = UserJson)))]
pub async fn me(SignedIn(user): SignedIn, State(database): State<Database>) -> Result<Json<UserJson>, ApiError> {
    let user = store::users::by_id(&database, user.id).await?.ok_or_else(ApiError::unauthorized)?;
    Ok(Json(user.into()))
}

/// The user an id means, if the caller may see it: oneself, or anybody for an ADMIN.
fn visible(caller: &UserIdentity, id: &Id) -> Result<UserId, ApiError> {
    let number = id.number().map(UserId);
    if caller.role < Role::Admin && number != Some(caller.id) {
        return Err(ApiError::forbidden());
    }
    number.ok_or_else(|| unknown(id))
}

fn unknown(id: &Id) -> ApiError {
    ApiError::not_found("User", id)
}

/// One user.
#[utoipa::path(get, path = "/api/users/{id}", tag = "users", security(("bearer" = [])), params(("id" = i32, Path)),
    responses((status = 200, body = UserJson)))]
pub async fn one(
    SignedIn(caller): SignedIn,
    State(database): State<Database>,
    id: Id,
) -> Result<Json<UserJson>, ApiError> {
    let user = store::users::by_id(&database, visible(&caller, &id)?).await?;
    Ok(Json(user.ok_or_else(|| unknown(&id))?.into()))
}

/// Changes a user.
#[utoipa::path(put, path = "/api/users/{id}", tag = "users", security(("bearer" = [])), params(("id" = i32, Path)),
    request_body = UpdateUser,
    responses((status = 200, body = UserJson), (status = 401, description = "No token, or a wrong current password"),
        (status = 409, description = "The address is taken, or it is the last active ADMIN"),
        (status = 429, description = "Too many wrong current passwords")))]
#[expect(clippy::too_many_arguments, reason = "each is a part that the handler needs")]
pub async fn update(
    SignedIn(caller): SignedIn,
    State(database): State<Database>,
    State(passwords): State<Passwords>,
    State(logins): State<Arc<Mutex<Logins>>>,
    State(identities): State<Identities>,
    address: Address,
    id: Id,
    Checked(body): Checked<UpdateUser>,
) -> Result<Json<UserJson>, ApiError> {
    let target = visible(&caller, &id)?;
    if caller.role < Role::Admin && (body.role.is_some() || body.is_active.is_some()) {
        return Err(ApiError::forbidden());
    }
    let new_email = body.email.as_deref().filter(|email| *email != caller.email);
    if target == caller.id && (new_email.is_some() || body.password.is_some()) {
        let Some(current) = body.current_password else {
            return Err(Faults::one("currentPassword must be a string").into());
        };
        confirm(&database, &passwords, &logins, &caller, address, current).await?;
    }
    let hash = match body.password {
        Some(password) => Some(passwords.hash(&asker(&caller), password).await?),
        None => None,
    };
    let change = Change {
        first_name: body.first_name.as_ref().map(Option::as_deref),
        last_name: body.last_name.as_ref().map(Option::as_deref),
        email: body.email.as_deref(),
        password_hash: hash.as_deref(),
        role: body.role,
        is_active: body.is_active,
    };
    let user = apply(&database, target, &change).await?.ok_or_else(|| unknown(&id))?;
    identities.forget_user(target);
    Ok(Json(user.into()))
}

/// Somebody who has signed in, and has a password worked on.
fn asker(caller: &UserIdentity) -> Asker {
    let who = Identity::User(caller.clone());
    Asker { holder: Holder::User(caller.id), account: caller.username.clone(), standing: who.standing() }
}

/// Makes sure that it is the user who asks, and not somebody at an unlocked screen.
async fn confirm(
    database: &Database,
    passwords: &Passwords,
    logins: &Mutex<Logins>,
    caller: &UserIdentity,
    address: Address,
    password: String,
) -> Result<(), ApiError> {
    logins.lock().check_own_password(&caller.username, address.0, Instant::now())?;
    let stored = store::users::find_by_login(database, &caller.username).await?.map(|(_, hash)| hash);
    let right = passwords.verify(&asker(caller), password, stored).await?;
    let mut logins = logins.lock();
    logins.check_own_password(&caller.username, address.0, Instant::now())?;
    if right {
        logins.succeeded(&caller.username, address.0, Instant::now());
        return Ok(());
    }
    logins.failed(&caller.username, address.0, Instant::now());
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "Invalid credentials"))
}

async fn apply(database: &Database, id: UserId, change: &Change<'_>) -> Result<Option<User>, ApiError> {
    let mut transaction = database.begin().await?;
    let steps_down = change.role.is_some_and(|role| role < Role::Admin) || change.is_active == Some(false);
    if steps_down && store::users::is_last_admin(&mut transaction, id).await? {
        return Err(last_admin());
    }
    match store::users::change(&mut *transaction, id, change).await {
        Ok(user) => {
            transaction.commit().await?;
            Ok(user)
        }
        Err(error) if store::is_taken(&error) => Err(taken()),
        Err(error) => Err(error.into()),
    }
}

fn last_admin() -> ApiError {
    ApiError::conflict("The last active ADMIN cannot be deleted, demoted or deactivated")
}

/// Deletes a user.
#[utoipa::path(delete, path = "/api/users/{id}", tag = "users", security(("bearer" = [])), params(("id" = i32, Path)),
    responses((status = 200, body = UserJson), (status = 409, description = "It is the last active ADMIN")))]
pub async fn delete(
    _: Admin,
    State(database): State<Database>,
    State(identities): State<Identities>,
    id: Id,
) -> Result<Json<UserJson>, ApiError> {
    let target = id.number().map(UserId).ok_or_else(|| unknown(&id))?;
    let mut transaction = database.begin().await?;
    if store::users::is_last_admin(&mut transaction, target).await? {
        return Err(last_admin());
    }
    let user = store::users::delete(&mut *transaction, target).await?.ok_or_else(|| unknown(&id))?;
    transaction.commit().await?;
    identities.forget_user(target);
    Ok(Json(user.into()))
}
