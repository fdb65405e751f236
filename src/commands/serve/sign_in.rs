//! Who a client of the MQTT front is: a device by its secret or certificate, a user by a token.
//!
//! A device's secret has 256 random bits and is looked up by its SHA-256, so that 5,000 devices that come back at once
//! cost 5,000 queries and no argon2. A user brings a token, never the password.

use std::{sync::Arc, time::Instant};

use chrono::Utc;
use parking_lot::Mutex;

use crate::{
    auth::{
        attempts::Logins,
        identity::{DeviceIdentity, Identity, UserIdentity},
        rights::Rights,
        secret,
        token::Keys,
    },
    domain::device::{Device, DeviceName},
    mqtt::{Authenticate, Credentials, Refusal},
    store::{self, Database},
};

/// The function that the front asks.
pub fn authenticate(database: Database, tokens: Keys, rights: Rights) -> Authenticate {
    let desk = Arc::new(SignIn { database, tokens, rights, attempts: Mutex::new(Logins::default()) });
    Arc::new(move |credentials| {
        let desk = desk.clone();
        Box::pin(async move { desk.admit(credentials).await })
    })
}

struct SignIn {
    database: Database,
    tokens: Keys,
    rights: Rights,
    attempts: Mutex<Logins>,
}

impl SignIn {
    async fn admit(&self, credentials: Credentials) -> Result<Identity, Refusal> {
        let (account, address) = (credentials.username.clone().unwrap_or_default(), credentials.address);
        if self.attempts.lock().check(&account, address, Instant::now()).is_err() {
            return Err(Refusal::TooMany);
        }
        let found = self.identify(&credentials).await;
        if matches!(found, Err(Refusal::BadCredentials)) {
            self.attempts.lock().failed(&account, address, Instant::now());
        }
        found
    }

    async fn identify(&self, credentials: &Credentials) -> Result<Identity, Refusal> {
        match (&credentials.certificate_name, &credentials.username, &credentials.password) {
            (Some(name), username, _) if username.as_ref().is_none_or(|username| username == name) => {
                let (device, _) = self.device(name).await?.ok_or(Refusal::BadCredentials)?;
                Ok(identity(device))
            }
            (None, Some(username), Some(password)) => match self.device(username).await? {
                Some((device, hash)) if secret::matches(password, &hash) => Ok(identity(device)),
                Some(_) => Err(Refusal::BadCredentials),
                None => self.user(username, password).await,
            },
            (None, None, None) if self.rights.admits_anonymous() => Ok(Identity::Anonymous),
            _ => Err(Refusal::BadCredentials),
        }
    }

    async fn device(&self, name: &str) -> Result<Option<(Device, Vec<u8>)>, Refusal> {
        let Ok(name) = name.parse::<DeviceName>() else { return Ok(None) };
        store::devices::by_name(&self.database, &name).await.map_err(|error| away(&error))
    }

    async fn user(&self, username: &str, token: &str) -> Result<Identity, Refusal> {
        let claims = self.tokens.read(token, Utc::now()).filter(|claims| claims.username == username);
        let claims = claims.ok_or(Refusal::BadCredentials)?;
        let user = store::users::by_id(&self.database, claims.sub).await.map_err(|error| away(&error))?;
        let user = user.filter(|user| user.is_active && user.token_version == claims.ver);
        let user = user.ok_or(Refusal::BadCredentials)?;
        Ok(Identity::User(UserIdentity {
            id: user.id,
            username: user.username,
            email: user.email,
            role: user.role,
            expires_at: claims.expires_at(),
        }))
    }
}

/// A database that is away says nothing about the credentials.
fn away(error: &store::Error) -> Refusal {
    tracing::warn!("a client could not be signed in: {error}");
    Refusal::Unavailable
}

fn identity(device: Device) -> Identity {
    let Device { id, name, role, camera_id, .. } = device;
    Identity::Device(DeviceIdentity { id, name, role, camera_id })
}
