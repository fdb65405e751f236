//! Tells of changed users, devices and cameras those who must act on it, and notes when devices were seen.
//!
//! Must not know who changed a row: the database tells (LISTEN/NOTIFY), so that the command line and plain SQL count too.
//! A notice may be lost with its connection; so what there is is compared with what was known, now and then.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::Utc;
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::identity::Identity,
    events::{presence::Presence, revocations::Revocations},
    identities::Identities,
    lock_agent::EMBEDDED,
    mqtt::Front,
    store::{
        self, Database,
        changes::{self, Change},
    },
};

/// How many changes may wait here; Postgres keeps the rest.
const WAITING: usize = 256;

/// How often the hub looks for changes that no notice told of, because the connection was lost or hung meanwhile.
const COMPARE: Duration = Duration::from_secs(15);

/// Who has to hear of changes.
#[derive(Debug)]
pub struct ChangeFeed {
    pub database: Database,
    pub front: Front,
    pub revocations: Revocations,
    pub identities: Identities,
    pub cameras_changed: watch::Sender<u64>,
    pub presence: Presence,
}

impl ChangeFeed {
    /// Tells of changes until `stop`. `known` is what the accounts were like before anybody could sign in.
    ///
    /// # Errors
    /// None: a database that is away is waited for.
    pub async fn run(self, mut known: HashMap<Change, String>, stop: CancellationToken) -> anyhow::Result<()> {
        let (sender, mut changes) = mpsc::channel(WAITING);
        let mut sessions = self.presence.listen();
        let listening = changes::listen(&self.database, sender);
        tokio::pin!(listening);
        let mut compare = tokio::time::interval(COMPARE);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut listening => return Ok(()),
                Some(change) = changes.recv() => match change {
                    Change::Anything => {
                        self.carry(change);
                        self.compare(&mut known).await;
                    }
                    change => self.carry(change),
                },
                _ = compare.tick() => self.compare(&mut known).await,
                Ok(change) = sessions.recv() => {
                    if let Err(error) = store::devices::seen(&self.database, change.device, Utc::now()).await {
                        tracing::debug!(device.id = %change.device, "not noted when the device was seen: {error}");
                    }
                }
            }
        }
    }

    /// What is kept of somebody is forgotten before their sessions end: who comes back meanwhile is looked up anew.
    fn carry(&self, change: Change) {
        match change {
            Change::User(id) => {
                self.identities.forget_user(id);
                self.revocations.user_changed(id);
                self.front.end_sessions(|who| matches!(who, Identity::User(user) if user.id == id));
            }
            Change::Device(id) => {
                self.identities.forget_devices();
                self.front.end_sessions(|who| matches!(who, Identity::Device(device) if device.id == id));
            }
            // It may have been asked for in vain before.
            Change::NewDevice => self.identities.forget_devices(),
            Change::Camera(_) => self.cameras_changed.send_modify(|count| *count += 1),
            Change::Anything => {
                self.identities.forget_all();
                self.cameras_changed.send_modify(|count| *count += 1);
            }
        }
    }

    /// Finds out what was changed while the hub could not hear of it, as far as a notice may have been lost.
    async fn compare(&self, known: &mut HashMap<Change, String>) {
        // Asked before: who comes after that may have been added after the accounts were read.
        let there: HashSet<Change> = self.front.identities().iter().filter_map(account).collect();
        match changes::fingerprints(&self.database).await {
            Ok(now) => {
                if now.get(&Change::Anything) != known.get(&Change::Anything) {
                    self.end_everything();
                }
                for (change, _) in known.iter().filter(|(change, print)| now.get(change) != Some(print)) {
                    self.carry(*change);
                }
                self.end_sessions(|account| there.contains(&account) && !now.contains_key(&account));
                *known = now;
            }
            Err(error) => tracing::debug!("what was changed meanwhile is not known yet: {error}"),
        }
    }

    /// Another database is where the known one was: whoever has a session is nobody there, whatever ids say.
    fn end_everything(&self) {
        tracing::warn!("this is another database than before: every session ends");
        self.carry(Change::Anything);
        self.revocations.all_changed();
        self.end_sessions(|_| true);
    }

    /// Ends the sessions of the users and devices that are meant.
    fn end_sessions(&self, is_meant: impl Fn(Change) -> bool) {
        self.front.end_sessions(|who| account(who).is_some_and(&is_meant));
    }
}

/// What a session's owner is in the database. The embedded lock agent is nothing there.
fn account(who: &Identity) -> Option<Change> {
    match who {
        Identity::User(user) => Some(Change::User(user.id)),
        Identity::Device(device) if device.id != EMBEDDED => Some(Change::Device(device.id)),
        Identity::Device(_) | Identity::Hub | Identity::Anonymous => None,
    }
}
