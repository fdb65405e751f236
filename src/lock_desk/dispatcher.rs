//! Takes the requests of every way in, in their order, records each, and gives it to the lock agent. What becomes of a
//! command is waited for beside that, so that the next one need not wait.
//!
//! The queue of requests is emptied at once, whatever a command waits for, so that nobody waits at its other end: what has
//! been refused already is recorded as it comes, and takes nobody's place; commands wait here for their turn.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::Utc;
use futures_util::{FutureExt as _, future::Fuse};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    audit::{Audit, RECORD_WITHIN},
    command::{Concluded, LockCommand, outcome, refusal},
    pending::{Expectation, Pending},
    state::{LockState, clean},
};
use crate::{
    domain::{
        lock::{Action, LockStatus},
        topic::Topic,
        window::SlidingWindow,
    },
    events::{LockAsk, LockDone, LockFailure, LockRequest, Requester},
    mqtt::link::{Message, QoS},
    store::lock_audit::{Entry, Kind},
    telemetry::metrics::Metrics,
    wire::{
        lock::{Command, Outcome},
        time::millis,
    },
};

/// How many commands may wait for their turn. When there are more the next is refused, and recorded: it would be too old
/// when its turn came.
const WAITING: usize = 64;
/// How long the agent's answer is waited for, from the command's issue.
const CONFIRM_WITHIN: Duration = Duration::from_secs(3);
/// How long the status may come after the answer that it belongs to: the order between two topics is not promised.
const STATUS_WITHIN: Duration = Duration::from_millis(300);
/// How long a full link is waited for.
const PUBLISH_WITHIN: Duration = Duration::from_millis(500);
/// The limit for one sender (`docs/lock.md`).
const COMMANDS: (usize, Duration) = (10, Duration::from_secs(10));
/// How many senders are remembered; beyond that, the one that has been silent for longest is forgotten.
const SENDERS: usize = 1024;
/// How many commands of one sender the agent may refuse within a minute. Each of these has two rows, since the attempt
/// is committed before anybody can know that it will be refused; so the hub refuses what comes after them, and counts.
const REFUSED: (usize, Duration) = (10, Duration::from_mins(1));
/// How many commands may be under way. More wait for their turn, and those that wait too long are not given.
const UNDER_WAY: usize = 128;

/// Somebody's command, and where the answer goes.
#[derive(Debug)]
struct Waiting {
    requester: Requester,
    command: LockCommand,
    arrived: Instant,
    reply: oneshot::Sender<Concluded>,
}

/// What a command is given by.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    /// The link to the agent.
    pub(super) outgoing: mpsc::Sender<Message>,
    pub(super) audit: Audit,
    pub(super) pending: Pending,
    pub(super) state: watch::Receiver<LockState>,
    pub(super) metrics: Metrics,
}

/// Takes requests.
#[derive(Debug)]
pub(super) struct Dispatcher {
    tools: Tools,
    hold_open: bool,
    waiting: VecDeque<Waiting>,
    commands: SlidingWindow<String>,
    /// What the agent refused.
    refused: SlidingWindow<String>,
    /// Each ends with the name of its sender if the agent refused it.
    under_way: JoinSet<Option<String>>,
}

impl Dispatcher {
    pub(super) fn new(tools: Tools, hold_open: bool) -> Self {
        Self {
            tools,
            hold_open,
            waiting: VecDeque::new(),
            commands: SlidingWindow::new(COMMANDS.0, COMMANDS.1, SENDERS),
            refused: SlidingWindow::new(REFUSED.0, REFUSED.1, SENDERS),
            under_way: JoinSet::new(),
        }
    }

    /// Takes requests until `stop`, then waits for the commands that are under way and cancels `settled`.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<LockRequest>,
        stop: CancellationToken,
        settled: CancellationToken,
    ) -> anyhow::Result<()> {
        let _settled = settled.drop_guard();
        // One after the other, so that commands leave in the order in which they came.
        let mut giving = Box::pin(Fuse::terminated());
        loop {
            let is_free = futures_util::future::FusedFuture::is_terminated(&*giving);
            if is_free
                && self.under_way.len() < UNDER_WAY
                && let Some(next) = self.waiting.pop_front()
            {
                if let Some((next, expectation)) = self.admit(next) {
                    giving.set(self.tools.clone().give(next, expectation).fuse());
                }
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                request = requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => break,
                },
                given = &mut giving, if !is_free => self.follow(given),
                Some(ended) = self.under_way.join_next() => self.note(ended),
            }
        }
        if !futures_util::future::FusedFuture::is_terminated(&*giving) {
            let given = giving.await;
            self.follow(given);
        }
        requests.close();
        while let Some(request) = requests.recv().await {
            self.take(request);
        }
        for late in std::mem::take(&mut self.waiting) {
            self.refuse(late, LockFailure::TooLate);
        }
        while let Some(ended) = self.under_way.join_next().await {
            self.note(ended);
        }
        Ok(())
    }

    fn note(&mut self, ended: Result<Option<String>, JoinError>) {
        match ended {
            Ok(Some(sender)) => {
                self.tools.audit.count_refused(&clean(&sender));
                self.refused.count(sender.as_str(), Instant::now());
            }
            Ok(None) => {}
            Err(error) => tracing::error!("a lock command's course broke off: {error}"),
        }
    }

    /// Has a command wait for its turn, if there is room; what the front has refused is recorded, and nothing else.
    fn take(&mut self, request: LockRequest) {
        let LockRequest { requester, ask, arrived, expires_at, reply } = request;
        let command = match ask {
            LockAsk::Command { action, command_id } => LockCommand::new(action).named(command_id).until(expires_at),
            LockAsk::Hold { until, reason } => LockCommand::hold(until, reason).until(expires_at),
            LockAsk::Refused { what, reason } => {
                // It may have asked for anything, so it counts as `other`.
                let failure = LockFailure::Refused(reason);
                drop(self.tools.audit.refusal(refusal(&requester, &what, &failure)));
                return conclude(&self.tools.metrics, "other", Err(failure), reply);
            }
        };
        if self.waiting.len() < WAITING {
            self.waiting.push_back(Waiting { requester, command, arrived, reply });
        } else {
            drop(self.tools.audit.refusal(command.refusal(&requester, &LockFailure::Full)));
            conclude(&self.tools.metrics, command.name(), Err(LockFailure::Full), reply);
        }
    }

    /// The command whose turn it is, unless the hub refuses it.
    fn admit(&mut self, next: Waiting) -> Option<(Waiting, Expectation)> {
        // What its sender was told already that it failed comes too late as well.
        let objection = if next.arrived.elapsed() > RECORD_WITHIN || next.reply.is_closed() {
            Some(LockFailure::TooLate)
        } else {
            self.objection(&next.requester, &next.command, Instant::now())
        };
        if let Some(failure) = objection {
            self.refuse(next, failure);
            return None;
        }
        if let Some(expectation) = self.tools.pending.expect(next.command.command_id) {
            return Some((next, expectation));
        }
        self.refuse(next, LockFailure::Refused("A command with this commandId is under way".to_owned()));
        None
    }

    /// Why the hub itself refuses a command, before the agent hears of it.
    fn objection(&mut self, requester: &Requester, command: &LockCommand, now: Instant) -> Option<LockFailure> {
        if let Some(wait) = self.refused.wait(requester.name.as_str(), now) {
            return Some(too_often("refused commands", REFUSED, wait));
        }
        if let Err(wait) = self.commands.admit(requester.name.as_str(), now) {
            return Some(too_often("lock commands", COMMANDS, wait));
        }
        if !self.tools.state.borrow().status.online {
            return Some(LockFailure::NoWorker);
        }
        let (until, reason) = command.hold.as_ref()?;
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

    /// Records that the hub refused a command, and answers once that is written. The next one need not wait for it.
    fn refuse(&mut self, refused: Waiting, failure: LockFailure) {
        let Waiting { requester, command, reply, .. } = refused;
        let written = self.tools.audit.refusal(command.refusal(&requester, &failure));
        let (metrics, action, result) = (self.tools.metrics.clone(), command.name(), Err(failure));
        self.under_way.spawn(async move {
            written.wait().await;
            conclude(&metrics, action, result, reply);
            None
        });
    }

    /// Follows a command that was given, beside those that come.
    fn follow(&mut self, given: Option<Given>) {
        let Some(Given { course, sender, failure, expectation, reply }) = given else { return };
        let metrics = self.tools.metrics.clone();
        self.under_way.spawn(async move {
            let result = match failure {
                Some(failure) => Err(failure),
                None => course.confirmed(expectation).await,
            };
            course.close(&result).await;
            let is_refused = matches!(result, Err(LockFailure::Refused(_)));
            conclude(&metrics, course.command.name(), result, reply);
            is_refused.then_some(sender)
        });
    }
}

/// A command whose attempt is recorded, and which was published unless there is a failure.
struct Given {
    course: Course,
    sender: String,
    failure: Option<LockFailure>,
    expectation: Expectation,
    reply: oneshot::Sender<Concluded>,
}

impl Tools {
    /// Records the attempt and publishes the command; none where it could not be recorded.
    async fn give(self, next: Waiting, expectation: Expectation) -> Option<Given> {
        let Waiting { requester, command, arrived, reply } = next;
        let attempt = command.entry(&requester);
        let Some(number) = self.audit.attempt(attempt.clone()).await else {
            tracing::error!(requested_by = requester.name, action = command.name(), "not recorded, so not given");
            conclude(&self.metrics, command.name(), Err(LockFailure::NotRecorded), reply);
            return None;
        };
        let issued = Instant::now();
        // It may have gone while the attempt was written.
        let is_there = self.state.borrow().status.online;
        let failure = if is_there {
            self.publish(&command.for_agent(&requester)).await.err()
        } else {
            Some(LockFailure::NoWorker)
        };
        let course = Course { command, attempt, number, arrived, issued, audit: self.audit, state: self.state };
        Some(Given { course, sender: requester.name, failure, expectation, reply })
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
fn conclude(metrics: &Metrics, action: &'static str, result: Concluded, reply: oneshot::Sender<Concluded>) {
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
    command: LockCommand,
    attempt: Entry,
    number: i64,
    arrived: Instant,
    issued: Instant,
    audit: Audit,
    state: watch::Receiver<LockState>,
}

impl Course {
    /// Waits for the agent.
    async fn confirmed(&self, mut expectation: Expectation) -> Concluded {
        let heard = &mut expectation.heard;
        let left = CONFIRM_WITHIN.saturating_sub(self.issued.elapsed());
        let response = timeout(left, heard.wait_for(|heard| heard.response.is_some())).await;
        let response = response.ok().and_then(Result::ok).and_then(|heard| heard.response.clone());
        let Some(response) = response else { return Err(LockFailure::NoConfirmation) };
        if response.outcome == Outcome::Refused {
            return Err(LockFailure::Refused(clean(&response.message)));
        }
        let as_asked = match self.command.action {
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
        let message = self.command.message(current);
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
