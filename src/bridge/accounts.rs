//! Signing in and registering.

use std::{sync::Arc, time::Instant};

use axum::{Json, extract::State, http::StatusCode};
use parking_lot::Mutex;

use super::{
    Registration,
    error::ApiError,
    input::Checked,
    users::{check_name, new_user, taken},
    who::{Address, SignedIn as Caller, extracted},
};
use crate::{
    auth::{
        attempts::Logins,
        holder::Holder,
        password::{Asker, Passwords},
    },
    domain::{
        pool::Standing,
        user::{Role, User},
    },
    identities::Identities,
    store::{self, Database},
    wire::account::{Login, Profile, Register, SignedIn},
};

/// Only where the policy is open, and before anything else is looked at: who may not register learns nothing.
#[derive(Debug)]
pub struct MayRegister;

extracted! {
    MayRegister(_parts, shared) => match shared.settings.registration {
        Registration::Open => Ok(Self),
        Registration::Closed => Err(ApiError::forbidden()),
    };
}

/// Makes an account, where the policy is open.
#[utoipa::path(post, path = "/auth/register", tag = "auth", request_body = Register,
    responses((status = 201, body = SignedIn), (status = 403, description = "Registration is closed"),
        (status = 409, description = "The name or the address is taken"), (status = 429, description = "Too many attempts")))]
pub async fn register(
    _: MayRegister,
    State(database): State<Database>,
    State(identities): State<Identities>,
    State(passwords): State<Passwords>,
    State(logins): State<Arc<Mutex<Logins>>>,
    address: Address,
    Checked(register): Checked<Register>,
) -> Result<(StatusCode, Json<SignedIn>), ApiError> {
    check_name(&register.username)?;
    logins.lock().check_password(&register.username, address.0, Instant::now())?;
    let asker = Asker { holder: Holder::at(address.0), account: register.username.clone(), standing: Standing::Common };
    let hash = passwords.hash(&asker, register.password).await?;
    logins.lock().check_password(&register.username, address.0, Instant::now())?;
    let new = new_user(&register.username, &register.email, &hash, Role::User)
        .named(register.first_name.as_deref(), register.last_name.as_deref());
    match store::users::create(&database, &new).await {
        Ok(user) => {
            logins.lock().succeeded(&register.username, address.0, Instant::now());
            tracing::info!(user.id = %user.id, "registered a user");
            Ok((StatusCode::CREATED, Json(signed_in(&identities, user)?)))
        }
        Err(error) if store::is_taken(&error) => {
            logins.lock().failed(&register.username, address.0, Instant::now());
            Err(taken())
        }
        Err(error) => Err(error.into()),
    }
}

/// Signs in.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, body = SignedIn), (status = 401, description = "Wrong name or password, or a disabled account"),
        (status = 429, description = "Too many attempts")))]
pub async fn login(
    State(database): State<Database>,
    State(identities): State<Identities>,
    State(passwords): State<Passwords>,
    State(logins): State<Arc<Mutex<Logins>>>,
    address: Address,
    Checked(login): Checked<Login>,
) -> Result<Json<SignedIn>, ApiError> {
    logins.lock().check_password(&login.username, address.0, Instant::now())?;
    let found = store::users::find_by_login(&database, &login.username).await?;
    let (user, stored) = found.unzip();
    let is_admin = user.as_ref().is_some_and(|user| user.role == Role::Admin && user.is_active);
    let standing = if is_admin { Standing::Trusted } else { Standing::Common };
    let asker = Asker { holder: Holder::at(address.0), account: login.username, standing };
    let right = passwords.verify(&asker, login.password, stored).await?;
    let user = user.filter(|_| right);
    let now = Instant::now();
    {
        let mut logins = logins.lock();
        // Once more: others may have failed while this one waited for its turn.
        logins.check_password(&asker.account, address.0, now)?;
        match &user {
            Some(user) if user.is_active => logins.succeeded(&asker.account, address.0, now),
            // Of a disabled account, the right password is good for nothing, and costs as much as a wrong one.
            _ => logins.failed(&asker.account, address.0, now),
        }
    }
    match user {
        Some(user) if user.is_active => Ok(Json(signed_in(&identities, user)?)),
        Some(_) => Err(ApiError::new(StatusCode::UNAUTHORIZED, "Account is disabled")),
        None => {
            tracing::info!(client.address = %address.0, "a login failed");
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "Invalid credentials"))
        }
    }
}

/// Who the token belongs to.
#[utoipa::path(get, path = "/auth/profile", tag = "auth", security(("bearer" = [])), responses((status = 200, body = Profile)))]
pub async fn profile(Caller(user): Caller) -> Json<Profile> {
    Json(Profile { id: user.id.0, username: user.username, email: user.email, role: user.role })
}

fn signed_in(identities: &Identities, user: User) -> Result<SignedIn, ApiError> {
    let access_token = identities.token_for(&user).map_err(ApiError::internal)?;
    Ok(SignedIn { access_token, user: user.into() })
}
