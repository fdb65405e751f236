//! Users' tokens: JWT, HS256, with the contract's payload `{sub, username, email, role, ver, iat, exp}`, and `account`.
//!
//! A token is good for as long as [`User::accepts`] it; who asks looks the user up.

use std::{fmt, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::domain::user::{Role, User, UserId};

/// The shortest key: as long as what HS256 makes of it.
pub const KEY_MIN: usize = 32;

/// Parts of keys that stand in examples and tutorials, in lower case. Whoever can read those can sign tokens.
const EXAMPLES: &[&str] = &[
    "change-this",
    "change_this",
    "changethis",
    "change-me",
    "change_me",
    "changeme",
    "your-",
    "your_",
    "secret-key",
    "secret_key",
    "default",
];
/// A key with fewer different bytes was typed, not generated.
const DIFFERENT_MIN: usize = 8;

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    #[error("it has {0} bytes and needs at least {KEY_MIN}")]
    Short(usize),
    #[error("it looks like one from an example; make one with `openssl rand -hex 32`")]
    Known,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub sub: UserId,
    pub username: String,
    pub email: String,
    pub role: Role,
    /// [`User::account`]: `sub` may be another's after a restore or in another database, this is nobody else's ever. A
    /// token without it was issued by an older version, and is void.
    pub account: Uuid,
    /// The user's `token_version` when it was issued.
    pub ver: i32,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970.
    pub exp: i64,
}

impl Claims {
    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.exp, 0).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

/// The key that signs and checks tokens, and how long they last.
#[derive(Clone)]
pub struct Keys {
    signing: EncodingKey,
    checking: DecodingKey,
    lifetime: TimeDelta,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

impl Keys {
    /// # Errors
    /// [`WeakKey`] for a key that somebody could guess.
    pub fn new(key: &[u8], lifetime: Duration) -> Result<Self, WeakKey> {
        if key.len() < KEY_MIN {
            return Err(WeakKey::Short(key.len()));
        }
        let text = String::from_utf8_lossy(key).to_lowercase();
        let different = key.iter().collect::<std::collections::HashSet<_>>().len();
        if different < DIFFERENT_MIN || EXAMPLES.iter().any(|example| text.contains(example)) {
            return Err(WeakKey::Known);
        }
        Ok(Self {
            signing: EncodingKey::from_secret(key),
            checking: DecodingKey::from_secret(key),
            lifetime: TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::days(1)),
        })
    }

    /// A token for the user, good from `now`.
    ///
    /// # Errors
    /// None that a user's data can cause.
    pub fn issue(&self, user: &User, now: DateTime<Utc>) -> jsonwebtoken::errors::Result<String> {
        let claims = Claims {
            sub: user.id,
            username: user.username.clone(),
            email: user.email.clone(),
            role: user.role,
            account: user.account,
            ver: user.token_version,
            iat: now.timestamp(),
            exp: (now + self.lifetime).timestamp(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
    }

    /// What the token says, if this key signed it and it has not ended by `now`.
    #[must_use]
    pub fn read(&self, token: &str, now: DateTime<Utc>) -> Option<Claims> {
        self.decode::<Claims>(token).filter(|claims| claims.expires_at() > now)
    }

    /// Whether this key signed it, whatever it says and however old it is.
    #[must_use]
    pub fn has_signed(&self, token: &str) -> bool {
        self.decode::<serde::de::IgnoredAny>(token).is_some()
    }

    fn decode<T: DeserializeOwned + Clone>(&self, token: &str) -> Option<T> {
        let mut validation = Validation::new(Algorithm::HS256);
        // Checked by who asks, against a time that is an argument and without leeway.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Some(jsonwebtoken::decode::<T>(token, &self.checking, &validation).ok()?.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0f8a6c1e9b7d5324a1b2c3d4e5f60718";

    fn user() -> User {
        User {
            id: UserId(7),
            username: "ada".to_owned(),
            email: "ada@example.org".to_owned(),
            first_name: None,
            last_name: None,
            role: Role::Operator,
            is_active: true,
            account: Uuid::from_u128(0x7),
            token_version: 3,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_token_reads_back_until_it_ends() {
        let keys = Keys::new(KEY, Duration::from_mins(1)).expect("a good key");
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        let token = keys.issue(&user(), now).expect("a token");
        let claims = keys.read(&token, now + TimeDelta::seconds(59)).expect("still good");
        assert_eq!((claims.sub, claims.ver, claims.role, claims.exp), (UserId(7), 3, Role::Operator, 1_800_000_060));
        assert_eq!(claims.account, Uuid::from_u128(0x7));
        assert_eq!(keys.read(&token, now + TimeDelta::seconds(60)), None);
        assert!(keys.has_signed(&token), "it has ended, and is no guess");
        assert!(!keys.has_signed(&token[..token.len() - 2]) && !keys.has_signed("guess"));
    }

    #[test]
    fn a_token_of_an_older_version_names_no_account_and_is_void() {
        let keys = Keys::new(KEY, Duration::from_mins(1)).expect("a good key");
        let now = Utc::now();
        let mut claims =
            serde_json::to_value(keys.read(&keys.issue(&user(), now).expect("a token"), now)).expect("JSON");
        claims.as_object_mut().expect("an object").remove("account");
        let old = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &keys.signing).expect("a token");
        assert_eq!((keys.read(&old, now), keys.has_signed(&old)), (None, true));
    }

    #[test]
    fn a_token_of_another_key_or_without_a_signature_is_nothing() {
        let keys = Keys::new(KEY, Duration::from_mins(1)).expect("a good key");
        let other = Keys::new(b"ffffffffa6c1e9b7d5324a1b2c3d4e5f6", Duration::from_mins(1)).expect("a good key");
        let now = Utc::now();
        assert_eq!(keys.read(&other.issue(&user(), now).expect("a token"), now), None);
        let token = keys.issue(&user(), now).expect("a token");
        let payload = token.split('.').nth(1).expect("a payload");
        // {"alg":"none","typ":"JWT"}
        assert_eq!(keys.read(&format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}."), now), None);
    }

    #[test]
    fn a_key_that_can_be_guessed_is_refused() {
        let minute = Duration::from_mins(1);
        assert_eq!(Keys::new(b"short", minute).err(), Some(WeakKey::Short(5)));
        assert_eq!(Keys::new(&[b'a'; 64], minute).err(), Some(WeakKey::Known));
        assert_eq!(Keys::new(b"your-super-secret-jwt-key-change-in-production", minute).err(), Some(WeakKey::Known));
    }
}
