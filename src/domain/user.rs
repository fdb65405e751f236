//! A user: a person who signs in, and what their role lets them do.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    /// Made at random with the account, and anew at a restore: an id is another's after a restore or in another
    /// database, this never is.
    pub account: Uuid,
    /// A token issued under an older version is void.
    pub token_version: i32,
    pub created_at: DateTime<Utc>,
}

impl User {
    /// Whether a token that was given to `account` under version `ver` is good. The one place that decides it.
    #[must_use]
    pub fn accepts(&self, account: Uuid, ver: i32) -> bool {
        self.is_active && self.account == account && self.token_version == ver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_account_under_its_own_version_while_that_is_active() {
        let account = Uuid::from_u128(1);
        let user = User {
            id: UserId(2),
            username: "ada".to_owned(),
            email: "ada@example.org".to_owned(),
            first_name: None,
            last_name: None,
            role: Role::Admin,
            is_active: true,
            account,
            token_version: 3,
            created_at: DateTime::UNIX_EPOCH,
        };
        assert!(user.accepts(account, 3));
        for (account, ver) in [(account, 2), (account, 4), (Uuid::from_u128(2), 3), (Uuid::nil(), 3)] {
            assert!(!user.accepts(account, ver), "{account} {ver}");
        }
        assert!(!User { is_active: false, ..user }.accepts(account, 3));
    }
}
