//! Takes requests in their order, records each, and gives it to the worker. What becomes of a command is waited for
//! beside that, so that the next one need not wait.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    audit::{Audit, RECORD_WITHIN},
    order::{Concluded, Order, outcome},
    pending::{Expectation, Pending},
    state::{LockState, clean},
};
use crate::{
    domain::{
        lock::{Action, LockStatus},
        topic::Topic,
        window::SlidingWindow,
    },
    events::{LockDone, LockFailure, Requester},
    mqtt::link::{Message, QoS},
    store::lock_audit::{Entry, Kind},
    telemetry::metrics::Metrics,
    wire::{
        lock::{Command, Outcome},
        time::millis,
    },
};

/// How long the worker's answer is waited for, from the command's issue.
const CONFIRM_WITHIN: Duration = Duration::from_secs(3);
/// How long the status may come after the answer that it belongs to: the order between two topics is not promised.
const STATUS_WITHIN: Duration = Duration::from_millis(300);
/// How long a full link is waited for.
const PUBLISH_WITHIN: Duration = Duration::from_millis(500);
/// The contract's limit for one sender.
const COMMANDS: (usize, Duration) = (10, Duration::from_secs(10));
/// How many senders are remembered; beyond that, the one that has been silent for longest is forgotten.
const SENDERS: usize = 1024;
/// How many commands of one sender the worker may refuse within a minute. Each of these has two rows, since the attempt
/// is committed before anybody can know that it will be refused; so the hub refuses what comes after them, and counts.
const REFUSED: (usize, Duration) = (10, Duration::from_mins(1));
/// How many commands may be under way. More wait for their turn, and those that wait too long are not given.
const UNDER_WAY: usize = 128;

/// What somebody asks, and where the answer goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) requester: Requester,
    pub(super) order: Order,
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
    commands: SlidingWindow<String>,
    /// What the worker refused.
    refused: SlidingWindow<String>,
    /// Each ends with the name of its sender if the worker refused it.
    under_way: JoinSet<Option<String>>,
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
            commands: SlidingWindow::new(COMMANDS.0, COMMANDS.1, SENDERS),
            refused: SlidingWindow::new(REFUSED.0, REFUSED.1, SENDERS),
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
            tokio::select! {
                () = stop.cancelled() => break,
                request = asked.recv(), if self.under_way.len() < UNDER_WAY => match request {
                    Some(request) => self.take(request).await,
                    None => break,
                },
                Some(ended) = self.under_way.join_next() => self.note(ended),
            }
        }
        asked.close();
        while let Some(Request { requester, order, reply, .. }) = asked.recv().await {
            self.refuse(&requester, &order, LockFailure::TooLate, reply);
        }
        while let Some(ended) = self.under_way.join_next().await {
            self.note(ended);
        }
        Ok(())
    }

    fn note(&mut self, ended: Result<Option<String>, JoinError>) {
        match ended {
            Ok(Some(sender)) => {
                self.audit.count_refused(&clean(&sender));
                self.refused.count(sender.as_str(), Instant::now());
            }
            Ok(None) => {}
            Err(error) => tracing::error!("a lock command's course broke off: {error}"),
        }
    }

    async fn take(&mut self, request: Request) {
        let Request { requester, order, arrived, reply } = request;
        // What its sender was told already that it failed comes too late as well.
        let objection = if arrived.elapsed() > RECORD_WITHIN || reply.is_closed() {
            Some(LockFailure::TooLate)
        } else {
            self.objection(&requester, &order, Instant::now())
        };
        match objection {
            Some(failure) => self.refuse(&requester, &order, failure, reply),
            None => self.give(&requester, order, arrived, reply).await,
        }
    }

    /// Why the hub itself refuses an order, before the worker hears of it.
    fn objection(&mut self, requester: &Requester, order: &Order, now: Instant) -> Option<LockFailure> {
        if let Some(wait) = self.refused.wait(requester.name.as_str(), now) {
            return Some(too_often("refused commands", REFUSED, wait));
        }
        if let Err(wait) = self.commands.admit(requester.name.as_str(), now) {
            return Some(too_often("lock commands", COMMANDS, wait));
        }
        if !self.state.borrow().status.online {
            return Some(LockFailure::NoWorker);
        }
        let (until, reason) = order.hold.as_ref()?;
        let why = if !self.hold_open {
            "Holding the door open is switched off (LOCK_HOLD_OPEN)"
        } else if *until <= Utc::now() {
            "The time until which to hold the door open is over"
        } else if reason.trim().is_empty() {
            "Holding the door open needs a reason"
        } else {
            return None;
        };
        Some(LockFailure::Refused(why.to_owned()))
    }

    /// Records that the hub refused an order, and answers once that is written. The next request need not wait for it.
    fn refuse(
        &mut self,
        requester: &Requester,
        order: &Order,
        failure: LockFailure,
        reply: oneshot::Sender<Concluded>,
    ) {
        let written = self.audit.refusal(order.refusal(requester, &failure));
        let (metrics, action, result) = (self.metrics.clone(), order.name(), Err(failure));
        self.under_way.spawn(async move {
            written.wait().await;
            conclude(&metrics, action, result, reply);
            None
        });
    }

    /// Records the attempt and publishes the command. The rest of its way is followed beside.
    async fn give(&mut self, requester: &Requester, order: Order, arrived: Instant, reply: oneshot::Sender<Concluded>) {
        let Some(expectation) = self.pending.expect(order.command_id) else {
            let failure = LockFailure::Refused("A command with this commandId is under way".to_owned());
            return self.refuse(requester, &order, failure, reply);
        };
        let attempt = order.entry(requester);
        let Some(number) = self.audit.attempt(attempt.clone()).await else {
            tracing::error!(requested_by = requester.name, action = order.name(), "not recorded, so not given");
            conclude(&self.metrics, order.name(), Err(LockFailure::NotRecorded), reply);
            return;
        };
        let issued = Instant::now();
        // It may have gone while the attempt was written.
        let failure = if self.state.borrow().status.online {
            self.publish(&order.command(requester)).await.err()
        } else {
            Some(LockFailure::NoWorker)
        };
        let (audit, state) = (self.audit.clone(), self.state.clone());
        let metrics = self.metrics.clone();
        let course = Course { order, attempt, number, arrived, issued, audit, state };
        let sender = requester.name.clone();
        self.under_way.spawn(async move {
            let result = match failure {
                Some(failure) => Err(failure),
                None => course.confirmed(expectation).await,
            };
            course.close(&result).await;
            let is_refused = matches!(result, Err(LockFailure::Refused(_)));
            conclude(&metrics, course.order.name(), result, reply);
            is_refused.then_some(sender)
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
}

/// Counts what became of a request and says it. Whoever asked may have gone.
pub(super) fn conclude(metrics: &Metrics, action: &'static str, result: Concluded, reply: oneshot::Sender<Concluded>) {
    metrics.lock_command(action, outcome(&result));
    let _ = reply.send(result);
}

fn too_often(what: &str, (limit, window): (usize, Duration), wait: Duration) -> LockFailure {
    let (window, seconds) = (window.as_secs(), wait.as_secs() + 1);
    let words = format!("Too many {what}: {limit} in {window} s at most; try again in {seconds} s");
    LockFailure::TooOften { words, wait }
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
    async fn confirmed(&self, mut expectation: Expectation) -> Concluded {
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
        self.audit.outcome(entry).await;
    }
}
