//! Which session is whose, and how a client takes its session over from an older connection of its own.
//!
//! Sessions are keyed by identity and client id, so that nobody can take over a session of somebody else by using its
//! client id. Each entry leads to the task that owns the session now.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::Session;
use crate::{
    auth::{holder::Holder, identity::Identity, origin::Address},
    domain::{
        device::DeviceId,
        pool::{Full, Pool, Share},
        user::UserId,
    },
    mqtt::{codec::packet::Reason, metrics::FrontMetrics, pools, settings::Limits},
};

/// Orders that wait for a session's task. When it is full the session is being ended or handed over anyway.
const CONTROLS: usize = 4;

/// Whose a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionOwner {
    Hub,
    Device(DeviceId),
    User(UserId),
    Anonymous,
}

impl From<&Identity> for SessionOwner {
    fn from(who: &Identity) -> Self {
        match who {
            Identity::Hub => Self::Hub,
            Identity::Device(device) => Self::Device(device.id),
            Identity::User(user) => Self::User(user.id),
            Identity::Anonymous => Self::Anonymous,
        }
    }
}

/// What names a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub owner: SessionOwner,
    pub client_id: String,
}

/// What a session's task can be told.
#[derive(Debug)]
pub enum SessionControl {
    /// Give the session to a newer connection of the same client; or end it, if that one starts clean.
    HandOver { clean: bool, reply: oneshot::Sender<Option<Box<Session>>> },
    /// End connection and session.
    End { reason: Reason, why: &'static str },
}

#[derive(Debug)]
struct Entry {
    number: u64,
    control: mpsc::Sender<SessionControl>,
    who: Identity,
    /// Its place among all sessions, which goes on to whoever takes the session over.
    place: Share<Holder>,
}

/// All sessions.
#[derive(Debug)]
pub struct SessionRegistry {
    table: Mutex<HashMap<SessionKey, Entry>>,
    last_number: AtomicU64,
    /// How often sessions were ended from outside: who signs in meanwhile has to be asked again.
    endings: AtomicU64,
    places: Pool<Holder>,
    metrics: Arc<FrontMetrics>,
}

impl SessionRegistry {
    #[must_use]
    pub fn new(limits: &Limits, metrics: Arc<FrontMetrics>) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            last_number: AtomicU64::new(0),
            endings: AtomicU64::new(0),
            places: Pool::new(pools::sessions(limits)),
            metrics,
        })
    }

    /// A number that no other session has, for [`Session::number`].
    pub fn new_number(&self) -> u64 {
        self.last_number.fetch_add(1, Relaxed) + 1
    }

    /// Makes the caller the owner of the session of this key, and gives the way to the task that owned it until now.
    ///
    /// # Errors
    /// When there is no such session and no room for one more.
    pub fn claim(
        self: &Arc<Self>,
        key: SessionKey,
        who: Identity,
        address: Address,
    ) -> Result<(SessionLease, Option<mpsc::Sender<SessionControl>>), Full> {
        let mut table = self.table.lock();
        let (place, previous) = match table.remove(&key) {
            Some(entry) => (entry.place, Some(entry.control)),
            None => (self.places.take(Holder::of(&who, address), who.standing(), 1)?, None),
        };
        let number = self.new_number();
        let (sender, control) = mpsc::channel(CONTROLS);
        table.insert(key.clone(), Entry { number, control: sender, who, place });
        if previous.is_none() {
            self.metrics.sessions.shift(1);
        }
        Ok((SessionLease { key, number, control, sessions: self.clone() }, previous))
    }

    /// Whose they are, each as often as it has one.
    pub fn identities(&self) -> Vec<Identity> {
        self.table.lock().values().map(|entry| entry.who.clone()).collect()
    }

    /// Ends the sessions of those whom `whose` names.
    pub fn end(&self, whose: impl Fn(&Identity) -> bool, reason: Reason, why: &'static str) {
        self.endings.fetch_add(1, Relaxed);
        let table = self.table.lock();
        for entry in table.values().filter(|entry| whose(&entry.who)) {
            // A full channel holds an end or a hand-over to somebody whose own entry is here.
            let _ = entry.control.try_send(SessionControl::End { reason, why });
        }
    }

    /// Changes whenever sessions were ended from outside.
    pub fn endings(&self) -> u64 {
        self.endings.load(Relaxed)
    }

    fn leave(&self, key: &SessionKey, number: u64) {
        let mut table = self.table.lock();
        if table.get(key).is_none_or(|entry| entry.number != number) {
            return;
        }
        table.remove(key);
        self.metrics.sessions.shift(-1);
    }
}

/// The right to own a session: dropped, the session is gone, unless somebody newer has claimed it.
#[derive(Debug)]
pub struct SessionLease {
    pub key: SessionKey,
    number: u64,
    pub control: mpsc::Receiver<SessionControl>,
    sessions: Arc<SessionRegistry>,
}

impl Drop for SessionLease {
    fn drop(&mut self) {
        self.sessions.leave(&self.key, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const HERE: Address = Address::Known(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn sessions(limits: &Limits) -> Arc<SessionRegistry> {
        SessionRegistry::new(limits, Arc::default())
    }

    fn key(owner: SessionOwner, client_id: &str) -> SessionKey {
        SessionKey { owner, client_id: client_id.to_owned() }
    }

    #[test]
    fn a_newer_claim_finds_the_older_one_and_outlives_it() {
        let sessions = sessions(&Limits::default());
        let one = key(SessionOwner::Device(DeviceId(1)), "c");
        let (first, none) = sessions.claim(one.clone(), Identity::Anonymous, HERE).expect("room");
        assert!(none.is_none());
        let (second, previous) = sessions.claim(one.clone(), Identity::Anonymous, HERE).expect("room");
        assert!(previous.is_some());
        drop(first);
        assert_eq!(sessions.metrics.sessions.get(), 1);
        drop(second);
        assert_eq!(sessions.metrics.sessions.get(), 0);
        assert_eq!(sessions.places.taken(), 0);
    }

    #[test]
    fn the_same_client_id_of_somebody_else_is_another_session() {
        let sessions = sessions(&Limits::default());
        let _first =
            sessions.claim(key(SessionOwner::Device(DeviceId(1)), "c"), Identity::Anonymous, HERE).expect("room");
        let (_, previous) =
            sessions.claim(key(SessionOwner::Device(DeviceId(2)), "c"), Identity::Anonymous, HERE).expect("room");
        assert!(previous.is_none());
    }

    #[test]
    fn there_is_an_end_to_sessions() {
        let sessions = sessions(&Limits { sessions: 2, sessions_per_identity: 1, ..Limits::default() });
        let first = sessions.claim(key(SessionOwner::Anonymous, "a"), Identity::Anonymous, HERE).expect("room");
        let second = sessions.claim(key(SessionOwner::Anonymous, "b"), Identity::Anonymous, HERE);
        assert_eq!(second.expect_err("full"), Full::Holder(1));
        assert!(
            sessions.claim(key(SessionOwner::Anonymous, "a"), Identity::Anonymous, HERE).is_ok(),
            "a takeover needs no room"
        );
        drop(first);
    }
}
