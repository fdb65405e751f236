//! Who somebody is, for MQTT, REST and sockets alike: a user by a token, a device by its secret or its certificate.
//!
//! A token is good only while [`User::accepts`] it. Each question would cost a query; instead an answer is kept for half
//! a second. So even where the news of a change gets lost, a token ends within that time. Only a row that was read for
//! the question refuses: what is kept may be older than the token or the secret.
//!
//! Must not know how a request, a socket or a packet is read, nor what somebody may do.

mod clients;
mod kept;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use parking_lot::Mutex;

pub use self::clients::clients;
use self::kept::{KEPT, Kept, Last};
use crate::{
    auth::{
        attempts::{Logins, TooMany},
        device_token,
        identity::{DeviceIdentity, UserIdentity},
        origin::Address,
        secret,
        token::{Claims, Keys},
    },
    domain::{
        device::{Device, DeviceId, DeviceName},
        pool::Standing,
        user::{Role, User, UserId},
    },
    store::{self, Database},
};

/// A device's last sign of life is written down no more often than this.
const SEEN_EVERY: Duration = Duration::from_secs(30);

/// Whoever a token belongs to.
#[derive(Debug, Clone)]
pub enum Caller {
    User(UserIdentity),
    Device(DeviceIdentity),
}

impl Caller {
    /// How much of what is shared is open to them.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::User(user) => user.standing(),
            Self::Device(device) => device.standing(),
        }
    }
}

/// Says who somebody is. Its clones share what is kept, and the count of failed logins.
#[derive(Debug, Clone)]
pub struct Identities(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    keys: Keys,
    logins: Arc<Mutex<Logins>>,
    users: Kept<UserId, User>,
    /// Each with the hash of its secret.
    devices: Kept<DeviceName, (Device, Vec<u8>)>,
    /// When each device's last sign of life was written down.
    seen: Mutex<HashMap<DeviceId, Instant>>,
}

impl Identities {
    #[must_use]
    pub fn new(database: Database, keys: Keys) -> Self {
        Self(Arc::new(Inner {
            database,
            keys,
            logins: Arc::default(),
            users: Kept::default(),
            devices: Kept::default(),
            seen: Mutex::default(),
        }))
    }

    /// The one count of failed logins, whatever they came by.
    #[must_use]
    pub fn logins(&self) -> Arc<Mutex<Logins>> {
        self.0.logins.clone()
    }

    /// A token for a user who has shown the password.
    ///
    /// # Errors
    /// None that a user's data can cause.
    pub fn token_for(&self, user: &User) -> Result<String, impl std::fmt::Display + use<>> {
        self.0.keys.issue(user, Utc::now())
    }

    /// Whom the token belongs to, be it a user's or a device's; nobody, if it is void.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn by_token(&self, token: &str) -> Result<Option<Caller>, store::Error> {
        if let Some((name, secret)) = device_token::parse(token) {
            return Ok(self.by_device_secret(&name, secret).await?.map(Caller::Device));
        }
        Ok(self.by_user_token(token).await?.map(Caller::User))
    }

    /// The user the token belongs to. What it says of the role may be old; what the database says counts.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn by_user_token(&self, token: &str) -> Result<Option<UserIdentity>, store::Error> {
        let Some(claims) = self.0.keys.read(token, Utc::now()) else { return Ok(None) };
        let accepted = |user: &User| user.accepts(claims.account, claims.ver);
        let user = match self.0.users.fresh(&claims.sub).filter(accepted) {
            Some(user) => Some(user),
            None => self.read_user(claims.sub).await?.filter(accepted),
        };
        Ok(user.map(|user| identity(user, &claims)))
    }

    /// The device of this name, if the secret is its own.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn by_device_secret(
        &self,
        name: &DeviceName,
        secret: &str,
    ) -> Result<Option<DeviceIdentity>, store::Error> {
        let is_own = |(_, hash): &(Device, Vec<u8>)| secret::matches(secret, hash);
        let found = match self.0.devices.fresh(name).filter(is_own) {
            Some(found) => Some(found),
            None => self.read_device(name).await?.filter(is_own),
        };
        Ok(found.map(|(device, _)| device.into()))
    }

    /// The device that a client certificate names. The TLS handshake has checked the certificate.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn by_certificate(&self, name: &DeviceName) -> Result<Option<DeviceIdentity>, store::Error> {
        let found = match self.0.devices.fresh(name) {
            Some(found) => Some(found),
            None => self.read_device(name).await?,
        };
        Ok(found.map(|(device, _)| device.into()))
    }

    /// Counts a try that showed nothing good. A token of a user's that has ended, or that was voided, is no guess: only
    /// this hub's key can have signed it.
    ///
    /// # Errors
    /// [`TooMany`] when the account or the address has tried too often before; then it is not counted.
    pub fn refused(&self, account: Option<&str>, shown: &str, address: Address) -> Result<(), TooMany> {
        if self.0.keys.has_signed(shown) {
            return Ok(());
        }
        let (mut logins, now) = (self.0.logins.lock(), Instant::now());
        match account {
            Some(account) => logins.check(account, address, now).map(|()| logins.failed(account, address, now)),
            None => logins.check_address(address, now).map(|()| logins.failed_at(address, now)),
        }
    }

    /// Whether the token is an ADMIN's as far as can be told without the database: by the last answer about the user, or,
    /// where nobody has asked yet, by what the token itself says under the hub's signature. Not enough for anything but
    /// looking at the hub's health: a user who was demoted while this hub was not running still counts, until the token ends.
    #[must_use]
    pub fn was_admin(&self, token: &str) -> bool {
        let Some(claims) = self.0.keys.read(token, Utc::now()) else { return false };
        match self.0.users.last(&claims.sub) {
            Last::Known(user) => user.accepts(claims.account, claims.ver) && user.role == Role::Admin,
            Last::Nothing => false,
            Last::Unknown => claims.role == Role::Admin,
        }
    }

    /// The user's row has changed: the next question reads it.
    pub fn forget_user(&self, id: UserId) {
        self.0.users.forget(id);
    }

    /// The row of a device has changed. Its name may have been another's.
    pub fn forget_devices(&self) {
        self.0.devices.forget_all();
    }

    /// Any row may have changed.
    pub fn forget_all(&self) {
        self.0.users.forget_all();
        self.0.devices.forget_all();
    }

    /// Notes that a device was there, at most every half a minute.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn seen(&self, device: &DeviceIdentity) -> Result<(), store::Error> {
        let now = Instant::now();
        {
            let mut seen = self.0.seen.lock();
            if seen.get(&device.id).is_some_and(|at| now.duration_since(*at) < SEEN_EVERY) {
                return Ok(());
            }
            if seen.len() >= KEPT {
                seen.clear();
            }
            seen.insert(device.id, now);
        }
        store::devices::seen(&self.0.database, device.id, crate::wire::time::millis(Utc::now())).await
    }

    async fn read_user(&self, id: UserId) -> Result<Option<User>, store::Error> {
        let asked = self.0.users.ask();
        let user = store::users::by_id(&self.0.database, id).await?;
        self.0.users.keep(id, asked, user.clone());
        Ok(user)
    }

    async fn read_device(&self, name: &DeviceName) -> Result<Option<(Device, Vec<u8>)>, store::Error> {
        let asked = self.0.devices.ask();
        let found = store::devices::by_name(&self.0.database, name).await?;
        // One that is not there may be made at any moment, and a name that somebody makes up takes no place.
        if found.is_some() {
            self.0.devices.keep(name.clone(), asked, found.clone());
        }
        Ok(found)
    }
}

fn identity(user: User, claims: &Claims) -> UserIdentity {
    let User { id, username, email, role, .. } = user;
    UserIdentity { id, username, email, role, expires_at: claims.expires_at() }
}
