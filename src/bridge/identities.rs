//! Which user or device a token belongs to, now: a token is good only while its user is active and under the version it
//! was issued for.
//!
//! A request would cost a query each; instead an answer is kept for half a second. So even where the news of a change
//! gets lost, a token ends within that time.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use parking_lot::Mutex;

use crate::{
    auth::{
        device_token,
        identity::{DeviceIdentity, UserIdentity},
        secret,
        token::Keys,
    },
    domain::{
        device::{Device, DeviceId, DeviceName},
        pool::Standing,
        user::{Role, User, UserId},
    },
    store::{self, Database},
};

const FRESH: Duration = Duration::from_millis(500);
/// How many answers are kept; when there are more, all are forgotten and asked for again.
const KEPT: usize = 10_000;
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

/// Looks up whom tokens belong to.
#[derive(Debug, Clone)]
pub struct Identities {
    database: Database,
    keys: Keys,
    users: Arc<Mutex<HashMap<UserId, Remembered>>>,
    devices: Kept<DeviceName, Known>,
    /// When each device's last sign of life was written down.
    seen: Arc<Mutex<HashMap<DeviceId, Instant>>>,
}

/// What is remembered of a user.
#[derive(Debug, Clone)]
enum Remembered {
    /// The answer, and when it was asked for.
    Answer(Instant, Option<User>),
    /// The row has changed since, and nobody has asked again.
    Changed,
}

/// Answers, and when they were asked for.
type Kept<K, V> = Arc<Mutex<HashMap<K, (Instant, V)>>>;

/// A device and the hash of its secret, or none of that name.
type Known = Option<(Device, Vec<u8>)>;

impl Identities {
    pub fn new(database: Database, keys: Keys) -> Self {
        Self { database, keys, users: Arc::default(), devices: Arc::default(), seen: Arc::default() }
    }

    /// Whom the token belongs to; nobody, if it is void.
    pub async fn caller(&self, token: &str) -> Result<Option<Caller>, store::Error> {
        if let Some((name, secret)) = device_token::parse(token) {
            return Ok(self.device(&name, secret).await?.map(Caller::Device));
        }
        Ok(self.user(token).await?.map(Caller::User))
    }

    /// The user the token belongs to. What it says of the role may be old; what the database says counts.
    pub async fn user(&self, token: &str) -> Result<Option<UserIdentity>, store::Error> {
        let Some(claims) = self.keys.read(token, Utc::now()) else { return Ok(None) };
        let user = self.look_up(claims.sub).await?;
        let valid = user.filter(|user| user.is_active && user.token_version == claims.ver);
        Ok(valid.map(|user| UserIdentity {
            id: user.id,
            username: user.username,
            email: user.email,
            role: user.role,
            expires_at: claims.expires_at(),
        }))
    }

    /// Whether the token is an ADMIN's as far as can be told without the database: by the last answer about the user, or,
    /// where nobody has asked yet, by what the token itself says under the hub's signature. Not enough for anything but
    /// looking at the hub's health: a user who was demoted while this hub was not running still counts, until the token ends.
    pub fn was_admin(&self, token: &str) -> bool {
        let Some(claims) = self.keys.read(token, Utc::now()) else { return false };
        match self.users.lock().get(&claims.sub) {
            Some(Remembered::Answer(_, user)) => user
                .as_ref()
                .is_some_and(|user| user.is_active && user.token_version == claims.ver && user.role == Role::Admin),
            Some(Remembered::Changed) => false,
            None => claims.role == Role::Admin,
        }
    }

    /// What was known of a user is not true any more.
    pub fn forget(&self, id: UserId) {
        self.remember(id, Remembered::Changed);
    }

    fn remember(&self, id: UserId, remembered: Remembered) {
        let mut users = self.users.lock();
        if users.len() >= KEPT {
            users.clear();
        }
        users.insert(id, remembered);
    }

    async fn look_up(&self, id: UserId) -> Result<Option<User>, store::Error> {
        let asked = Instant::now();
        if let Some(Remembered::Answer(at, user)) = self.users.lock().get(&id)
            && asked.duration_since(*at) < FRESH
        {
            return Ok(user.clone());
        }
        let user = store::users::by_id(&self.database, id).await?;
        self.remember(id, Remembered::Answer(asked, user.clone()));
        Ok(user)
    }

    async fn device(&self, name: &DeviceName, secret: &str) -> Result<Option<DeviceIdentity>, store::Error> {
        let known = self.look_up_device(name).await?;
        let device = known.filter(|(_, hash)| secret::matches(secret, hash)).map(|(device, _)| device);
        Ok(device.map(|device| DeviceIdentity {
            id: device.id,
            name: device.name,
            role: device.role,
            camera_id: device.camera_id,
        }))
    }

    async fn look_up_device(&self, name: &DeviceName) -> Result<Known, store::Error> {
        let asked = Instant::now();
        let kept = self.devices.lock().get(name).filter(|(at, _)| asked.duration_since(*at) < FRESH).cloned();
        if let Some((_, known)) = kept {
            return Ok(known);
        }
        let known = store::devices::by_name(&self.database, name).await?;
        let mut devices = self.devices.lock();
        if devices.len() >= KEPT {
            devices.clear();
        }
        devices.insert(name.clone(), (asked, known.clone()));
        Ok(known)
    }

    /// Notes that a device was there, at most every half a minute.
    pub async fn seen(&self, device: &DeviceIdentity) -> Result<(), store::Error> {
        let now = Instant::now();
        {
            let mut seen = self.seen.lock();
            if seen.get(&device.id).is_some_and(|at| now.duration_since(*at) < SEEN_EVERY) {
                return Ok(());
            }
            if seen.len() >= KEPT {
                seen.clear();
            }
            seen.insert(device.id, now);
        }
        store::devices::seen(&self.database, device.id, crate::wire::time::millis(Utc::now())).await
    }
}
