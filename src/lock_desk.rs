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
    audit::{Audit, Backlog, Writer, Written},
    hearing::{Hearing, Remembered},
    intake::{Intake, Request, conclude},
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
    events::{Announcer, Channel, LockAsk, LockDone, LockFailure, LockRequest, Requester, Submission},
    lifecycle::Lifecycle,
    mqtt::link::{Link, Message, QoS},
    store::{self, Database},
    telemetry::metrics::Metrics,
    wire::lock::Status,
};

/// How many requests may wait. When it is full the next is refused, and recorded: it would be too old when its turn came.
const WAITING: usize = 64;
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
    pub metrics: Metrics,
}

/// A handle by which the lock is worked and looked at.
#[derive(Debug, Clone)]
pub struct LockDesk {
    asks: mpsc::Sender<Request>,
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
        let (asks, asked) = mpsc::channel(WAITING);
        let (state, watched) = watch::channel(unknown.clone());
        let desk = Self {
            asks,
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
        let (state, metrics) = (desk.state.clone(), parts.metrics.clone());
        let intake = Intake::new(parts.link.outgoing, audit.clone(), pending, state, metrics, parts.settings.hold_open);
        lifecycle.keep("the lock's audit", writer.run(lifecycle.hard.clone()));
        lifecycle.keep("the lock's events", reports::run(reported, parts.submissions));
        lifecycle.keep("the lock worker's words", hearing.run());
        lifecycle.keep("the lock's commands", intake.run(asked, lifecycle.soft.clone(), settled));
        lifecycle.keep("lock/command", forward(desk.clone(), parts.requests, audit, lifecycle.soft.clone()));
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

    /// Records that somebody was refused who had no right to ask, or asked for what can't be read.
    pub async fn refused(&self, requester: Requester, what: &str, reason: String) {
        self.record_refused(&requester, what, &LockFailure::Refused(reason)).wait().await;
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
        self.ask(requester, Order { hold: Some((until, reason)), ..Order::new(Action::Open) }).await
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

    async fn ask(&self, requester: Requester, order: Order) -> Result<LockDone, LockFailure> {
        let (reply, answer) = oneshot::channel();
        self.take_in(Request { requester, order, arrived: Instant::now(), reply }).wait().await;
        answer.await.unwrap_or(Err(LockFailure::TooLate))
    }

    /// Passes a request on; what there is no room for is refused, and recorded.
    fn take_in(&self, request: Request) -> Written {
        let Err(refused) = self.asks.try_send(request) else { return Written::nothing() };
        let Request { requester, order, reply, .. } = refused.into_inner();
        conclude(&self.metrics, order.name(), Err(LockFailure::Full), reply);
        self.backlog.refusal(order.refusal(&requester, &LockFailure::Full))
    }

    /// What was refused may have asked for anything, so it counts as `other`.
    fn record_refused(&self, requester: &Requester, what: &str, failure: &LockFailure) -> Written {
        self.metrics.lock_command("other", "refused");
        self.backlog.refusal(refusal(requester, what, failure))
    }
}

/// What the hub says on `lock/status` in the place of a worker that is not there.
fn hubs_word(nobody: &Status) -> Message {
    debug_assert!(!nobody.online && nobody.status == LockStatus::Unknown);
    // Plain text and numbers; that JSON can't hold them is not possible, and not worth a panic.
    let payload = Bytes::from(serde_json::to_vec(nobody).unwrap_or_default());
    Message { topic: Topic::LockStatus.to_string(), payload, qos: QoS::AtLeastOnce, retain: true }
}

/// Finds out what the newest stored movement left the relay as, and who opened the door last, once the database is there.
async fn newest_movement(database: Database, stored: oneshot::Sender<Remembered>) {
    let (movement, opened_by) = loop {
        database.available().await;
        let found = async {
            let movement = store::events::newest_movement(&database).await?;
            Ok::<_, store::Error>((movement, store::events::newest_opener(&database).await?))
        };
        match found.await {
            Ok(found) => break found,
            Err(error) => tracing::warn!("the lock's newest movement cannot be read yet: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    // Nobody listens any more when the hub stops.
    let relay = match movement {
        Some(EventType::DoorOpened) => LockStatus::Open,
        Some(EventType::DoorClosed) => LockStatus::Closed,
        _ => LockStatus::Unknown,
    };
    let _ = stored.send(Remembered { relay, opened_by });
}

/// Takes the requests of MQTT clients. Never waits, so that none is ever left with the front and lost; holds the audit
/// open until the last of them has its row.
async fn forward(
    desk: LockDesk,
    mut requests: mpsc::Receiver<LockRequest>,
    _open: Audit,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            () = stop.cancelled() => break,
        };
        match request {
            Some(request) => take(request, &desk),
            // No front in this process: requests come over HTTP alone.
            None => stop.cancelled().await,
        }
    }
    requests.close();
    while let Some(request) = requests.recv().await {
        take(request, &desk);
    }
    Ok(())
}

fn take(request: LockRequest, desk: &LockDesk) {
    let LockRequest { requester, ask, arrived, expires_at, reply } = request;
    let (action, command_id) = match ask {
        LockAsk::Command { action, command_id } => (action, command_id),
        LockAsk::Refused { what, reason } => {
            let failure = LockFailure::Refused(reason);
            desk.record_refused(&requester, &what, &failure);
            // Nobody waiting any more is no fault.
            let _ = reply.send(Err(failure));
            return;
        }
    };
    let order = Order { expires_at, ..Order::new(action) };
    let order = Order { command_id: command_id.unwrap_or(order.command_id), ..order };
    desk.take_in(Request { requester, order, arrived, reply });
}
