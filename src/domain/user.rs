//! A user: a person who signs in, and what their role lets them do.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Invalid;

/// The id of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub i32);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Roles, each with all that the one before may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Looks.
    User,
    /// Resolves events, edits cameras, works the lock.
    Operator,
    /// Manages users and devices.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "USER",
            Self::Operator => "OPERATOR",
            Self::Admin => "ADMIN",
        })
    }
}

impl FromStr for Role {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::User, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| Invalid(text.to_owned(), "a role: USER, OPERATOR or ADMIN"))
    }
}

/// A user as others may see it: never with the password's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub username: String,
    pub email: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub role: Role,
    pub is_active: bool,
    /// A token issued under an older version is void.
    pub token_version: i32,
    pub created_at: DateTime<Utc>,
}
