//! The hub's side of the lock: every request is recorded, given to the lock worker, and answered by what the worker
//! confirms.
//!
//! A request's way: rate → audit (the attempt is committed before anything leaves) → `lock/command` → the worker's
//! `lock/response` and `lock/status` → audit (the outcome) → answer. What the worker says of the relay is the only
//! source of the lock's state. Must not know HTTP, nor who may do what: whoever asks here is allowed to.

mod audit;
mod command;
mod dispatcher;
pub mod flood;
mod hearing;
mod ledger;
mod pending;
pub mod reports;
mod rule;
pub mod state;

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::{audit::verify, rule::closes, state::LockState};
use self::{
    audit::{Backlog, Writer},
    command::refusal,
    dispatcher::{Dispatcher, Tools},
    hearing::Hearing,
    pending::Pending,
    reports::Reports,
    state::Follower,
};
use crate::{
    domain::{
        event::EventType,
        lock::{Action, LockStatus},
        topic::Topic,
    },
    events::{Announcer, Channel, LockAsk, LockDone, LockFailure, LockRequest, Requester, intake::Intake},
    lifecycle::Lifecycle,
    mqtt::link::{Link, Message, QoS},
    store::{self, Database},
    telemetry::metrics::Metrics,
    wire::lock::Status,
};

/// How many requests may be on their way to the desk, which takes each at once. When it is full who asks waits.
const REQUESTS: usize = 64;
/// Before the database is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// Who has shown nothing that says who they are, as the audit has it.
const STRANGER: &str = "unknown";

/// What a detection does to the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnDetection {
    #[default]
    Off,
    /// A person closes an open door.
    Close,
}

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeskSettings {
    /// The relay's GPIO line, as it is shown until the worker has spoken.
    pub pin: u32,
    pub on_detection: OnDetection,
    /// The least confidence, from 0 to 1, with which a person closes the door.
    pub threshold: f64,
    /// Whether the door may be held open.
    pub hold_open: bool,
}

/// The one queue of requests to the desk.
#[derive(Debug)]
pub struct Requests {
    sender: mpsc::Sender<LockRequest>,
    receiver: mpsc::Receiver<LockRequest>,
}

impl Default for Requests {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(REQUESTS);
        Self { sender, receiver }
    }
}

impl Requests {
    /// The end for those who ask, as the front does for MQTT clients. What is asked here is recorded, whatever becomes
    /// of it.
    #[must_use]
    pub fn sender(&self) -> mpsc::Sender<LockRequest> {
        self.sender.clone()
    }
}

/// What the desk works with.
#[derive(Debug)]
pub struct Parts {
    pub database: Database,
    /// Of [`crate::auth::identity::Identity::Hub`], subscribed to `lock/status` and `lock/response`. No lock worker
    /// may speak before the desk has started: its first word is that nobody has.
    pub link: Link,
    /// Whether a lock worker has a session now, by those who would know without its word.
    pub worker_is_there: watch::Receiver<bool>,
    /// Of every way in, the front has an end of it.
    pub requests: Requests,
    pub recorder: Intake,
    pub announcer: Announcer,
    /// `DATA_DIR`: the audit's key and newest head are there.
    pub folder: PathBuf,
    pub settings: DeskSettings,
    pub metrics: Metrics,
}

/// A handle by which the lock is worked and looked at.
#[derive(Debug, Clone)]
pub struct LockDesk {
    requests: mpsc::Sender<LockRequest>,
    state: watch::Receiver<LockState>,
    backlog: Backlog,
    metrics: Metrics,
    hold_open: bool,
}

impl LockDesk {
    /// Starts the desk's tasks and publishes that no worker has spoken yet.
    ///
    /// # Errors
    /// When the audit's key or head can't be read or made, or the link is closed.
    pub fn start(parts: Parts, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        let unknown = LockState::unknown(parts.settings.pin, Utc::now());
        parts.link.outgoing.try_send(hubs_word(&unknown.status)).context("the lock desk's link")?;
        let (stored, remembered) = oneshot::channel();
        let asking = newest_movement(parts.database.clone(), stored);
        drop(lifecycle.track(lifecycle.soft.clone().run_until_cancelled_owned(asking)));
        let (reports, reported) = Reports::new();
        let (audit, writer) = Writer::new(parts.database, parts.announcer.clone(), &parts.folder, reports.clone())?;
        let Requests { sender, receiver } = parts.requests;
        let (state, watched) = watch::channel(unknown.clone());
        let desk = Self {
            requests: sender,
            state: watched,
            backlog: audit.backlog(),
            metrics: parts.metrics.clone(),
            hold_open: parts.settings.hold_open,
        };
        let (pending, settled) = (Pending::default(), CancellationToken::new());
        let hearing = Hearing {
            incoming: parts.link.incoming,
            outgoing: parts.link.outgoing.clone(),
            worker_is_there: parts.worker_is_there,
            gone_at: None,
            is_gone: false,
            follower: Follower::new(unknown),
            remembered: Some(remembered),
            state,
            pending: pending.clone(),
            reports,
            stopping: lifecycle.soft.clone(),
            settled: settled.clone(),
        };
        let (state, metrics) = (desk.state.clone(), parts.metrics);
        let tools = Tools { outgoing: parts.link.outgoing, audit, pending, state, metrics };
        let dispatcher = Dispatcher::new(tools, parts.settings.hold_open);
        lifecycle.keep("the lock's audit", writer.run(lifecycle.hard.clone()));
        lifecycle.keep("the lock's events", reports::run(reported, parts.recorder));
        lifecycle.keep("the lock worker's words", hearing.run());
        lifecycle.keep("the lock's commands", dispatcher.run(receiver, lifecycle.soft.clone(), settled));
        if parts.settings.on_detection == OnDetection::Close {
            let soft = lifecycle.soft.clone();
            lifecycle.keep("the lock's rule", rule::run(desk.clone(), parts.announcer, parts.settings.threshold, soft));
        }
        Ok(desk)
    }

    /// Waits until the desk has heard its own first word, that no worker has spoken yet. A worker that spoke before
    /// would be contradicted by it, for good.
    ///
    /// # Errors
    /// When the desk's link to the broker ended.
    pub async fn listening(&self) -> anyhow::Result<()> {
        self.state.clone().changed().await.context("the lock desk's link to the broker ended")
    }

    /// Has the worker do it, and answers with what it confirmed.
    ///
    /// # Errors
    /// Says why nothing happened, or that it is not known whether it did.
    pub async fn command(&self, requester: Requester, action: Action) -> Result<LockDone, LockFailure> {
        self.ask(requester, LockAsk::Command { action, command_id: None }).await
    }

    /// Records that somebody was refused who had no right to ask, or asked for what can't be read.
    pub async fn refused(&self, requester: Requester, what: &str, reason: String) {
        self.metrics.lock_command("other", "refused");
        self.backlog.refusal(refusal(&requester, what, &LockFailure::Refused(reason))).wait().await;
    }

    /// Records that somebody asked whom nobody knows, and does not wait for it: who has no credential costs no time.
    pub fn turned_away(&self, address: Option<IpAddr>, what: &str, reason: String) {
        let requester = Requester { name: STRANGER.to_owned(), channel: Channel::Http, address };
        self.metrics.lock_command("other", "refused");
        self.backlog.turned_away(refusal(&requester, what, &LockFailure::Refused(reason)));
    }

    /// Has the door opened and held open until then.
    ///
    /// # Errors
    /// As [`LockDesk::command`]; also when holding is switched off or `until` is over.
    pub async fn hold(
        &self,
        requester: Requester,
        until: DateTime<Utc>,
        reason: String,
    ) -> Result<LockDone, LockFailure> {
        self.ask(requester, LockAsk::Hold { until, reason }).await
    }

    /// What the worker said last.
    #[must_use]
    pub fn state(&self) -> LockState {
        self.state.borrow().clone()
    }

    /// Whether an ADMIN may hold the door open.
    #[must_use]
    pub fn may_be_held(&self) -> bool {
        self.hold_open
    }

    /// The state, and each change of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<LockState> {
        self.state.clone()
    }

    async fn ask(&self, requester: Requester, ask: LockAsk) -> Result<LockDone, LockFailure> {
        let (reply, answer) = oneshot::channel();
        let request = LockRequest { requester, ask, arrived: Instant::now(), expires_at: None, reply };
        // Where the desk is gone the answer says so.
        let _ = self.requests.send(request).await;
        answer.await.unwrap_or(Err(LockFailure::TooLate))
    }
}

/// What the hub says on `lock/status` in the place of a worker that is not there.
fn hubs_word(nobody: &Status) -> Message {
    debug_assert!(!nobody.online && nobody.status == LockStatus::Unknown);
    // Plain text and numbers; that JSON can't hold them is not possible, and not worth a panic.
    let payload = Bytes::from(serde_json::to_vec(nobody).unwrap_or_default());
    Message { topic: Topic::LockStatus.to_string(), payload, qos: QoS::AtLeastOnce, retain: true }
}

/// Finds out what the newest stored movement left the relay as, once the database is there.
async fn newest_movement(database: Database, stored: oneshot::Sender<LockStatus>) {
    let movement = loop {
        database.available().await;
        match store::events::newest_movement(&database).await {
            Ok(movement) => break movement,
            Err(error) => tracing::warn!("the lock's newest movement cannot be read yet: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    // Nobody listens any more when the hub stops.
    let _ = stored.send(match movement {
        Some(EventType::DoorOpened) => LockStatus::Open,
        Some(EventType::DoorClosed) => LockStatus::Closed,
        _ => LockStatus::Unknown,
    });
}
