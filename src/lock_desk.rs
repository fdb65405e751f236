//! The hub's side of the lock: every request is recorded, given to the lock worker, and answered by what the worker
//! confirms.
//!
//! A request's way: rate → audit (the attempt is committed before anything leaves) → `lock/command` → the worker's
//! `lock/response` and `lock/status` → audit (the outcome) → answer. What the worker says of the relay is the only
//! source of the lock's state. Must not know HTTP, nor who may do what: whoever asks here is allowed to.

mod audit;
pub mod flood;
mod hearing;
mod intake;
mod ledger;
mod order;
mod pending;
pub mod rate;
mod reports;
mod rule;
pub mod state;

use std::{path::PathBuf, time::Instant};

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot, watch,
};
use tokio_util::sync::CancellationToken;

pub use self::{audit::verify, rule::closes, state::LockState};
use self::{
    audit::{Audit, Backlog, Writer, Written},
    hearing::Hearing,
    intake::{Intake, Request},
    order::{Order, refusal},
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
    events::{Announcer, LockAsk, LockDone, LockFailure, LockRequest, Requester, Submission},
    lifecycle::Lifecycle,
    mqtt::link::{Link, Message, QoS},
    store::{self, Database},
    wire::lock::Status,
};

/// How many requests may wait. When it is full the next is refused, and recorded: it would be too old when its turn came.
const WAITING: usize = 64;

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

/// What the desk works with.
#[derive(Debug)]
pub struct Parts {
    pub database: Database,
    /// Of [`crate::auth::identity::Identity::Hub`], subscribed to `lock/status` and `lock/response`. No lock worker
    /// may speak before the desk has started: its first word is that nobody has.
    pub link: Link,
    /// Whether a lock worker has a session now, by those who would know without its word.
    pub worker_is_there: watch::Receiver<bool>,
    /// From MQTT clients, through the front.
    pub requests: mpsc::Receiver<LockRequest>,
    pub submissions: mpsc::Sender<Submission>,
    pub announcer: Announcer,
    /// `DATA_DIR`: the audit's key and newest head are there.
    pub folder: PathBuf,
    pub settings: DeskSettings,
}

/// A handle by which the lock is worked and looked at.
#[derive(Debug, Clone)]
pub struct LockDesk {
    asks: mpsc::Sender<Request>,
    state: watch::Receiver<LockState>,
    backlog: Backlog,
}

impl LockDesk {
    /// Starts the desk's tasks and publishes that no worker has spoken yet.
    ///
    /// # Errors
    /// When the audit's key or head can't be read or made, the link is closed, or the database is away.
    pub async fn start(parts: Parts, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        let unknown = LockState::unknown(parts.settings.pin, Utc::now());
        parts.link.outgoing.try_send(hubs_word(&unknown.status)).context("the lock desk's link")?;
        let relay = match store::events::newest_movement(&parts.database).await.context("the lock's newest movement")? {
            Some(EventType::DoorOpened) => LockStatus::Open,
            Some(EventType::DoorClosed) => LockStatus::Closed,
            _ => LockStatus::Unknown,
        };
        let (reports, reported) = Reports::new();
        let (audit, writer) = Writer::new(parts.database, &parts.folder, reports.clone())?;
        let (asks, asked) = mpsc::channel(WAITING);
        let (state, watched) = watch::channel(unknown.clone());
        let desk = Self { asks, state: watched, backlog: audit.backlog() };
        let (pending, settled) = (Pending::default(), CancellationToken::new());
        let hearing = Hearing {
            incoming: parts.link.incoming,
            outgoing: parts.link.outgoing.clone(),
            worker_is_there: parts.worker_is_there,
            gone_at: None,
            is_gone: false,
            follower: Follower::new(unknown, relay),
            state,
            pending: pending.clone(),
            reports,
            stopping: lifecycle.soft.clone(),
            settled: settled.clone(),
        };
        let intake =
            Intake::new(parts.link.outgoing, audit.clone(), pending, desk.state.clone(), parts.settings.hold_open);
        lifecycle.keep("the lock's audit", writer.run(lifecycle.hard.clone()));
        lifecycle.keep("the lock's events", reports::run(reported, parts.submissions));
        lifecycle.keep("the lock worker's words", hearing.run());
        lifecycle.keep("the lock's commands", intake.run(asked, lifecycle.soft.clone(), settled));
        lifecycle.keep("lock/command", forward(desk.asks.clone(), parts.requests, audit, lifecycle.soft.clone()));
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
        self.ask(requester, Order::new(action)).await
    }

    /// Records that somebody was refused who had no right to ask.
    pub async fn refused(&self, requester: Requester, what: String, reason: String) {
        self.backlog.refusal(refusal(&requester, &what, &LockFailure::Refused(reason))).wait().await;
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
        self.ask(requester, Order { hold: Some((until, reason)), ..Order::new(Action::Open) }).await
    }

    /// What the worker said last.
    #[must_use]
    pub fn state(&self) -> LockState {
        self.state.borrow().clone()
    }

    /// The state, and each change of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<LockState> {
        self.state.clone()
    }

    async fn ask(&self, requester: Requester, order: Order) -> Result<LockDone, LockFailure> {
        let (reply, answer) = oneshot::channel();
        let request = Request { requester, order, arrived: Instant::now(), reply };
        if let Err(refused) = self.asks.try_send(request) {
            no_room(refused, &self.backlog).wait().await;
        }
        answer.await.unwrap_or(Err(LockFailure::TooLate))
    }
}

/// Refuses a request that the intake has no room for, and has that recorded.
fn no_room(refused: TrySendError<Request>, backlog: &Backlog) -> Written {
    let Request { requester, order, reply, .. } = refused.into_inner();
    // Nobody waiting any more is no fault.
    let _ = reply.send(Err(LockFailure::TooLate));
    backlog.refusal(order.refusal(&requester, &LockFailure::TooLate))
}

/// What the hub says on `lock/status` in the place of a worker that is not there.
fn hubs_word(nobody: &Status) -> Message {
    debug_assert!(!nobody.online && nobody.status == LockStatus::Unknown);
    // Plain text and numbers; that JSON can't hold them is not possible, and not worth a panic.
    let payload = Bytes::from(serde_json::to_vec(nobody).unwrap_or_default());
    Message { topic: Topic::LockStatus.to_string(), payload, qos: QoS::AtLeastOnce, retain: true }
}

/// Takes the requests of MQTT clients. Never waits, so that none is ever left with the front and lost; holds the audit
/// open until the last of them has its row.
async fn forward(
    asks: mpsc::Sender<Request>,
    mut requests: mpsc::Receiver<LockRequest>,
    audit: Audit,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            () = stop.cancelled() => break,
        };
        match request {
            Some(request) => take_in(request, &asks, &audit),
            // No front in this process: requests come over HTTP alone.
            None => stop.cancelled().await,
        }
    }
    requests.close();
    while let Some(request) = requests.recv().await {
        take_in(request, &asks, &audit);
    }
    Ok(())
}

fn take_in(request: LockRequest, asks: &mpsc::Sender<Request>, audit: &Audit) {
    let LockRequest { requester, ask, arrived, expires_at, reply } = request;
    let (action, command_id) = match ask {
        LockAsk::Command { action, command_id } => (action, command_id),
        LockAsk::Refused { what, reason } => {
            let failure = LockFailure::Refused(reason);
            audit.refusal(refusal(&requester, &what, &failure));
            let _ = reply.send(Err(failure));
            return;
        }
    };
    let order = Order { expires_at, ..Order::new(action) };
    let order = Order { command_id: command_id.unwrap_or(order.command_id), ..order };
    if let Err(refused) = asks.try_send(Request { requester, order, arrived, reply }) {
        no_room(refused, &audit.backlog());
    }
}
