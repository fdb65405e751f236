//! Who a client of the MQTT front is: a device by its secret or certificate, a user by a token.
//!
//! A device's secret has 256 random bits and is looked up by its SHA-256, so that 5,000 devices that come back at once
//! cost 5,000 queries and no argon2. A user brings a token, never the password. Neither can be guessed, so whoever shows
//! the right one is let in however many have failed at the same address: nobody keeps a lock agent out by failing beside
//! it. Failures count all the same, with those of REST and sockets, where passwords are guessed.

use std::sync::Arc;

use super::Identities;
use crate::{
    auth::{identity::Identity, rights::Rights},
    domain::device::DeviceName,
    mqtt::{Authenticate, Credentials, Refusal},
    store,
};

/// The function that the front asks.
#[must_use]
pub fn clients(identities: Identities, rights: Rights) -> Authenticate {
    Arc::new(move |credentials| {
        let (identities, rights) = (identities.clone(), rights.clone());
        Box::pin(async move { admit(&identities, &rights, &credentials).await })
    })
}

async fn admit(identities: &Identities, rights: &Rights, credentials: &Credentials) -> Result<Identity, Refusal> {
    if let Some(found) = identify(identities, rights, credentials).await.map_err(|error| away(&error))? {
        return Ok(found);
    }
    let account = credentials.username.as_ref().or(credentials.certificate_name.as_ref());
    let shown = credentials.password.as_deref().unwrap_or_default();
    match identities.refused(account.map(String::as_str), shown, credentials.address) {
        Ok(()) => Err(Refusal::BadCredentials),
        Err(_) => Err(Refusal::TooMany),
    }
}

async fn identify(
    identities: &Identities,
    rights: &Rights,
    credentials: &Credentials,
) -> Result<Option<Identity>, store::Error> {
    let Credentials { certificate_name, username, password, .. } = credentials;
    match (certificate_name, username, password) {
        (Some(name), username, _) if username.as_ref().is_none_or(|username| username == name) => {
            let Ok(name) = name.parse() else { return Ok(None) };
            Ok(identities.by_certificate(&name).await?.map(Identity::Device))
        }
        (None, Some(username), Some(password)) => {
            // A name is a user's or a device's, never both.
            if let Ok(name) = username.parse::<DeviceName>()
                && let Some(device) = identities.by_device_secret(&name, password).await?
            {
                return Ok(Some(Identity::Device(device)));
            }
            let user = identities.by_user_token(password).await?;
            Ok(user.filter(|user| user.username == *username).map(Identity::User))
        }
        (None, None, None) if rights.admits_anonymous() => Ok(Some(Identity::Anonymous)),
        _ => Ok(None),
    }
}

/// A database that is away says nothing about the credentials.
fn away(error: &store::Error) -> Refusal {
    tracing::warn!("a client could not be signed in: {error}");
    Refusal::Unavailable
}
