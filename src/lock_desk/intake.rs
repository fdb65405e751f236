//! Takes requests in their order, records each, and gives it to the worker. What becomes of a command is waited for
//! beside that, so that the next one need not wait.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    audit::{Audit, RECORD_WITHIN},
    flood::Flood,
    pending::{Expectation, Pending},
    rate::Rate,
    reports::until,
    state::{LockState, clean},
};
use crate::{
    domain::{
        lock::{Action, LockStatus},
        topic::Topic,
    },
    events::{LockDone, LockFailure, Requester},
    mqtt::link::{Message, QoS},
    store::lock_audit::{Entry, Kind},
    telemetry::metrics::Metrics,
    wire::{
        lock::{Command, Outcome},
        time::{millis, text},
    },
};

/// How long a command is good for: less than [`CONFIRM_WITHIN`], so that a late worker refuses it.
const GOOD_FOR: TimeDelta = TimeDelta::milliseconds(2500);
/// How long the worker's answer is waited for, from the command's issue.
const CONFIRM_WITHIN: Duration = Duration::from_secs(3);
/// How long the status may come after the answer that it belongs to: the order between two topics is not promised.
const STATUS_WITHIN: Duration = Duration::from_millis(300);
/// How long a full link is waited for.
const PUBLISH_WITHIN: Duration = Duration::from_millis(500);
/// The contract's limit for one sender.
const COMMANDS: (usize, Duration) = (10, Duration::from_secs(10));
/// More refusals of one sender than this in a minute become one row with a count.
const REFUSALS: (u32, Duration) = (10, Duration::from_mins(1));
/// How many commands may be under way. More wait for their turn, and those that wait too long are not given.
const UNDER_WAY: usize = 128;

/// What somebody asks.
#[derive(Debug)]
pub(super) enum Ask {
    Give {
        action: Action,
        command_id: Option<Uuid>,
        /// Until when to hold the door open, and why.
        hold: Option<(DateTime<Utc>, String)>,
        /// The sender's own end of the command.
        expires_at: Option<DateTime<Utc>>,
    },
    /// The front refused it; it only goes into the audit.
    Refused { what: String, reason: String },
}

impl Ask {
    /// One of the few things that can be asked; what was refused before may be anything, and is `other`.
    fn name(&self) -> &'static str {
        match self {
            Self::Give { action, hold, .. } => name(*action, hold.is_some()),
            Self::Refused { .. } => "other",
        }
    }
}

fn name(action: Action, hold: bool) -> &'static str {
    match (hold, action) {
        (true, _) => "hold",
        (false, Action::Open) => "open",
        (false, Action::Close) => "close",
        (false, Action::Toggle) => "toggle",
    }
}

/// What became of a request.
type Concluded = Result<LockDone, LockFailure>;

/// What somebody asks, and where the answer goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) requester: Requester,
    pub(super) ask: Ask,
    pub(super) arrived: Instant,
    pub(super) reply: oneshot::Sender<Concluded>,
}

/// Takes requests.
#[derive(Debug)]
pub(super) struct Intake {
    outgoing: mpsc::Sender<Message>,
    audit: Audit,
    pending: Pending,
    state: watch::Receiver<LockState>,
    metrics: Metrics,
    hold_open: bool,
    rate: Rate,
    refusals: Flood<String, Entry>,
    under_way: JoinSet<()>,
}

impl Intake {
    pub(super) fn new(
        outgoing: mpsc::Sender<Message>,
        audit: Audit,
        pending: Pending,
        state: watch::Receiver<LockState>,
        metrics: Metrics,
        hold_open: bool,
    ) -> Self {
        Self {
            outgoing,
            audit,
            pending,
            state,
            metrics,
            hold_open,
            rate: Rate::new(COMMANDS.0, COMMANDS.1),
            refusals: Flood::new(REFUSALS.0, REFUSALS.1),
            under_way: JoinSet::new(),
        }
    }

    /// Takes requests until `stop`, then waits for the commands that are under way and cancels `settled`.
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<Request>,
        stop: CancellationToken,
        settled: CancellationToken,
    ) -> anyhow::Result<()> {
        let _settled = settled.drop_guard();
        loop {
            let due = self.refusals.next_due();
            tokio::select! {
                () = stop.cancelled() => break,
                request = asked.recv(), if self.under_way.len() < UNDER_WAY => match request {
                    Some(request) => self.take(request).await,
                    None => break,
                },
                Some(ended) = self.under_way.join_next() => noted(ended),
                () = until(due), if due.is_some() => self.tell_of_refusals().await,
            }
        }
        while let Some(ended) = self.under_way.join_next().await {
            noted(ended);
        }
        for (entry, times) in self.refusals.rest() {
            self.audit.lasting(Entry { times, ..entry }).await;
        }
        Ok(())
    }

    async fn take(&mut self, request: Request) {
        let Request { requester, ask, arrived, reply } = request;
        let action = ask.name();
        let failure = match ask {
            Ask::Refused { what, reason } => self.refuse(&requester, &what, None, reason).await,
            // Too old, or its sender was told already that it failed.
            Ask::Give { .. } if arrived.elapsed() > RECORD_WITHIN || reply.is_closed() => LockFailure::NotRecorded,
            Ask::Give { action, command_id, hold, expires_at } => {
                let order = Order { command_id: command_id.unwrap_or_else(Uuid::now_v7), action, hold, expires_at };
                if let Err(wait) = self.rate.admit(Instant::now(), &requester.name) {
                    let failure = too_often(wait);
                    self.refuse(&requester, order.name(), Some(order.command_id), failure.to_string()).await;
                    failure
                } else if let Some(reason) = self.objection(&order) {
                    self.refuse(&requester, order.name(), Some(order.command_id), reason).await
                } else {
                    return self.give(&requester, order, arrived, reply).await;
                }
            }
        };
        self.conclude(action, Err(failure), reply);
    }

    /// Counts what became of a request and says it. Whoever asked may have gone.
    fn conclude(&self, action: &'static str, result: Concluded, reply: oneshot::Sender<Concluded>) {
        self.metrics.lock_command(action, outcome(&result));
        let _ = reply.send(result);
    }

    /// Why the hub itself refuses an order, before the worker hears of it.
    fn objection(&self, order: &Order) -> Option<String> {
        let (until, reason) = order.hold.as_ref()?;
        if !self.hold_open {
            return Some("Holding the door open is switched off (LOCK_HOLD_OPEN)".to_owned());
        }
        if *until <= Utc::now() {
            return Some("The time until which to hold the door open is over".to_owned());
        }
        reason.trim().is_empty().then(|| "Holding the door open needs a reason".to_owned())
    }

    /// Records the attempt and publishes the command. The rest of its way is followed beside.
    async fn give(&mut self, requester: &Requester, order: Order, arrived: Instant, reply: oneshot::Sender<Concluded>) {
        let Some(expectation) = self.pending.expect(order.command_id) else {
            let reason = "A command with this commandId is under way".to_owned();
            let failure = self.refuse(requester, order.name(), Some(order.command_id), reason).await;
            self.conclude(order.name(), Err(failure), reply);
            return;
        };
        let attempt = order.entry(requester);
        let Some(number) = self.audit.attempt(attempt.clone()).await else {
            tracing::error!(requested_by = requester.name, action = order.name(), "not recorded, so not given");
            self.conclude(order.name(), Err(LockFailure::NotRecorded), reply);
            return;
        };
        let issued = Instant::now();
        let failure = if self.state.borrow().status.online {
            self.publish(&order.command(requester)).await.err()
        } else {
            Some(LockFailure::NoWorker)
        };
        let (audit, state) = (self.audit.clone(), self.state.clone());
        let metrics = self.metrics.clone();
        let course = Course { order, attempt, number, arrived, issued, audit, state };
        self.under_way.spawn(async move {
            let result = match failure {
                Some(failure) => Err(failure),
                None => course.confirmed(expectation).await,
            };
            course.close(&result).await;
            metrics.lock_command(course.order.name(), outcome(&result));
            let _ = reply.send(result);
        });
    }

    async fn publish(&self, command: &Command) -> Result<(), LockFailure> {
        let payload = serde_json::to_vec(command).map_err(|error| LockFailure::Refused(error.to_string()))?;
        let topic = Topic::LockCommand.to_string();
        let message = Message { topic, payload: Bytes::from(payload), qos: QoS::AtLeastOnce, retain: false };
        self.outgoing.send_timeout(message, PUBLISH_WITHIN).await.map_err(|error| {
            tracing::error!("a lock command cannot leave: {error}");
            LockFailure::NoWorker
        })
    }

    /// Records that the hub refused something; what comes too often from one sender is only counted.
    async fn refuse(
        &mut self,
        requester: &Requester,
        what: &str,
        command_id: Option<Uuid>,
        reason: String,
    ) -> LockFailure {
        self.tell_of_refusals().await;
        let entry = Entry {
            kind: Kind::Refusal,
            command_id,
            outcome: Some("refused".into()),
            message: Some(clean(&reason)),
            ..asked(requester, what)
        };
        if let Some(entry) = self.refusals.offer(Instant::now(), requester.name.clone(), entry) {
            self.audit.lasting(entry).await;
        }
        LockFailure::Refused(reason)
    }

    async fn tell_of_refusals(&mut self) {
        for (entry, times) in self.refusals.due(Instant::now()) {
            self.audit.lasting(Entry { times, ..entry }).await;
        }
    }
}

/// What became of a request, in the word of the audit and the metrics.
fn outcome(result: &Concluded) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(LockFailure::NoWorker) => "no-worker",
        Err(LockFailure::Refused(_) | LockFailure::TooOften { .. }) => "refused",
        Err(LockFailure::NoConfirmation) => "no-confirmation",
        Err(LockFailure::NotRecorded) => "not-given",
    }
}

fn too_often(wait: Duration) -> LockFailure {
    let (limit, window) = COMMANDS;
    let (window, seconds) = (window.as_secs(), wait.as_secs() + 1);
    let words = format!("Too many lock commands: {limit} in {window} s at most; try again in {seconds} s");
    LockFailure::TooOften { words, wait }
}

fn noted(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a lock command's course broke off: {error}");
    }
}

/// The row that every way of asking begins with.
fn asked(requester: &Requester, what: &str) -> Entry {
    Entry {
        kind: Kind::Attempt,
        command_id: None,
        action: clean(what),
        detail: None,
        requested_by: clean(&requester.name),
        channel: requester.channel.to_string().into(),
        address: requester.address.map(|address| address.to_string()),
        at: millis(Utc::now()),
        outcome: None,
        message: None,
        duration_ms: None,
        times: 1,
        witness: None,
    }
}

/// What is to be done.
#[derive(Debug, Clone)]
struct Order {
    command_id: Uuid,
    action: Action,
    hold: Option<(DateTime<Utc>, String)>,
    expires_at: Option<DateTime<Utc>>,
}

impl Order {
    fn name(&self) -> &'static str {
        name(self.action, self.hold.is_some())
    }

    fn entry(&self, requester: &Requester) -> Entry {
        let detail = self.hold.as_ref().map(|(until, reason)| format!("until {}: {}", text(*until), clean(reason)));
        Entry { command_id: Some(self.command_id), detail, ..asked(requester, self.name()) }
    }

    fn command(&self, requester: &Requester) -> Command {
        let issued_at = millis(Utc::now());
        Command {
            action: self.action,
            command_id: self.command_id,
            issued_at,
            expires_at: self.expires_at.map_or(issued_at + GOOD_FOR, |end| end.min(issued_at + GOOD_FOR)),
            requested_by: requester.name.clone(),
            hold_until: self.hold.as_ref().map(|(until, _)| *until),
            reason: self.hold.as_ref().map(|(_, reason)| clean(reason)),
        }
    }

    fn message(&self, current: LockStatus) -> String {
        if let Some((until, _)) = &self.hold {
            return format!("Door is held open until {}", text(*until));
        }
        let opened = match self.action {
            Action::Open => true,
            Action::Close => false,
            Action::Toggle => current == LockStatus::Open,
        };
        format!("Door {} successfully", if opened { "opened" } else { "closed" })
    }
}

/// A command on its way from the attempt's row to its end.
#[derive(Debug)]
struct Course {
    order: Order,
    attempt: Entry,
    number: i64,
    arrived: Instant,
    issued: Instant,
    audit: Audit,
    state: watch::Receiver<LockState>,
}

impl Course {
    /// Waits for the worker.
    async fn confirmed(&self, mut expectation: Expectation) -> Result<LockDone, LockFailure> {
        let heard = &mut expectation.heard;
        let left = CONFIRM_WITHIN.saturating_sub(self.issued.elapsed());
        let response = timeout(left, heard.wait_for(|heard| heard.response.is_some())).await;
        let response = response.ok().and_then(Result::ok).and_then(|heard| heard.response.clone());
        let Some(response) = response else { return Err(LockFailure::NoConfirmation) };
        if response.outcome == Outcome::Refused {
            return Err(LockFailure::Refused(clean(&response.message)));
        }
        let as_asked = match self.order.action {
            Action::Open => Some(LockStatus::Open),
            Action::Close => Some(LockStatus::Closed),
            Action::Toggle => None,
        };
        let now = self.state.borrow().status.status;
        let moved = if heard.borrow().moved.is_some() || Some(now) == as_asked {
            heard.borrow().moved
        } else {
            let moved = timeout(STATUS_WITHIN, heard.wait_for(|heard| heard.moved.is_some())).await;
            moved.ok().and_then(Result::ok).and_then(|heard| heard.moved)
        };
        let status = self.state.borrow().status.clone();
        // Without a status that names the command nothing moved: it was as asked before.
        let (previous, current) = moved.unwrap_or((status.status, status.status));
        let message = self.order.message(current);
        Ok(LockDone { previous, current, pin: status.pin, message })
    }

    /// Records what became of it.
    async fn close(&self, result: &Concluded) {
        let message = match result {
            Ok(done) => done.message.clone(),
            Err(failure) => failure.to_string(),
        };
        let entry = Entry {
            kind: Kind::Outcome(self.number),
            at: millis(Utc::now()),
            outcome: Some(outcome(result).into()),
            message: Some(message),
            duration_ms: Some(self.arrived.elapsed().as_secs_f64() * 1000.0),
            ..self.attempt.clone()
        };
        self.audit.lasting(entry).await;
    }
}
