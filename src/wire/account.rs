//! Accounts as JSON: signing in, and users as ADMINs and they themselves see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    time,
    validation::{checked, given},
};
use crate::domain::user::{Role, User};

/// POST /auth/register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Register {
    /// In one alphabet, without control characters and blanks at its ends, and none that reads like another's.
    #[schema(min_length = 3, max_length = 64)]
    pub username: String,
    #[schema(format = Email, max_length = 254)]
    pub email: String,
    #[schema(format = Password, min_length = 8, max_length = 256)]
    pub password: String,
    #[schema(max_length = 100)]
    pub first_name: Option<String>,
    #[schema(max_length = 100)]
    pub last_name: Option<String>,
}

/// POST /api/users: as for a registration, with a role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateUser {
    /// In one alphabet, without control characters and blanks at its ends, and none that reads like another's.
    #[schema(min_length = 3, max_length = 64)]
    pub username: String,
    #[schema(format = Email, max_length = 254)]
    pub email: String,
    #[schema(format = Password, min_length = 8, max_length = 256)]
    pub password: String,
    #[schema(max_length = 100)]
    pub first_name: Option<String>,
    #[schema(max_length = 100)]
    pub last_name: Option<String>,
    /// USER when left out.
    pub role: Option<Role>,
}

/// PUT /api/users/:id. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateUser {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 100)]
    pub first_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 100)]
    pub last_name: Option<Option<String>>,
    #[schema(format = Email, max_length = 254)]
    pub email: Option<String>,
    #[schema(format = Password, min_length = 8, max_length = 256)]
    pub password: Option<String>,
    /// Needed for one's own new email or password.
    #[schema(format = Password, max_length = 256)]
    pub current_password: Option<String>,
    /// From an ADMIN only.
    pub role: Option<Role>,
    /// From an ADMIN only.
    pub is_active: Option<bool>,
}

/// POST /auth/login.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    #[schema(max_length = 64)]
    pub username: String,
    #[schema(format = Password, max_length = 256)]
    pub password: String,
}
checked!(Register, CreateUser, UpdateUser, Login);

/// The answer to a login and to a registration.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedIn {
    pub access_token: String,
    pub user: SignedInUser,
}

/// The user who has signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedInUser {
    pub id: i32,
    pub username: String,
    pub email: String,
    #[schema(required)]
    pub first_name: Option<String>,
    #[schema(required)]
    pub last_name: Option<String>,
    pub role: Role,
}

impl From<User> for SignedInUser {
    fn from(user: User) -> Self {
        Self {
            id: user.id.0,
            username: user.username,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            role: user.role,
        }
    }
}

/// GET /auth/profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    pub id: i32,
    pub username: String,
    pub email: String,
    pub role: Role,
}

/// A user, without anything of the password.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserJson {
    pub id: i32,
    pub username: String,
    pub email: String,
    #[schema(required)]
    pub first_name: Option<String>,
    #[schema(required)]
    pub last_name: Option<String>,
    pub role: Role,
    pub is_active: bool,
    #[serde(serialize_with = "time::serialize")]
    pub created_at: DateTime<Utc>,
}

impl From<User> for UserJson {
    fn from(user: User) -> Self {
        Self {
            id: user.id.0,
            username: user.username,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            role: user.role,
            is_active: user.is_active,
            created_at: user.created_at,
        }
    }
}

/// GET /api/users/stats.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserStats {
    pub total: i64,
    pub admins: i64,
    pub active_users: i64,
    pub inactive_users: i64,
}
