//! What somebody asks of the lock, as the audit keeps it and as the agent gets it.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::state::clean;
use crate::{
    domain::lock::{Action, LockStatus},
    events::{LockDone, LockFailure, Requester},
    store::lock_audit::{Entry, Kind},
    wire::{
        lock::Command,
        time::{millis, text},
    },
};

/// How long a command is good for: less than what its answer is waited for, so that a late worker refuses it.
const GOOD_FOR: TimeDelta = TimeDelta::milliseconds(2500);

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

/// The row of something that the hub refused.
pub(super) fn refusal(requester: &Requester, what: &str, failure: &LockFailure) -> Entry {
    let outcome = Some(failed(failure).into());
    Entry { kind: Kind::Refusal, outcome, message: Some(clean(&failure.to_string())), ..asked(requester, what) }
}

/// What became of a request.
pub(super) type Concluded = Result<LockDone, LockFailure>;

/// The same in the word of the audit and the metrics.
pub(super) fn outcome(result: &Concluded) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(failure) => failed(failure),
    }
}

fn failed(failure: &LockFailure) -> &'static str {
    match failure {
        LockFailure::NoWorker => "no-worker",
        LockFailure::Refused(_) | LockFailure::TooOften { .. } => "refused",
        LockFailure::NoConfirmation => "no-confirmation",
        LockFailure::NotRecorded | LockFailure::TooLate | LockFailure::Full => "not-given",
    }
}

/// A command to the lock, as the desk gives it.
#[derive(Debug, Clone)]
pub(super) struct LockCommand {
    pub(super) command_id: Uuid,
    pub(super) action: Action,
    /// Until when to hold the door open, and why.
    pub(super) hold: Option<(DateTime<Utc>, String)>,
    /// The sender's own end of the command.
    pub(super) expires_at: Option<DateTime<Utc>>,
}

impl LockCommand {
    pub(super) fn new(action: Action) -> Self {
        Self { command_id: Uuid::now_v7(), action, hold: None, expires_at: None }
    }

    /// Opens the door and holds it open until then.
    pub(super) fn hold(until: DateTime<Utc>, reason: String) -> Self {
        Self { hold: Some((until, reason)), ..Self::new(Action::Open) }
    }

    /// Under the sender's own id, if it gave one.
    pub(super) fn named(self, id: Option<Uuid>) -> Self {
        Self { command_id: id.unwrap_or(self.command_id), ..self }
    }

    /// Over at the sender's own end, if it gave one.
    pub(super) fn until(self, expires_at: Option<DateTime<Utc>>) -> Self {
        Self { expires_at, ..self }
    }

    pub(super) fn name(&self) -> &'static str {
        match (&self.hold, self.action) {
            (Some(_), _) => "hold",
            (None, Action::Open) => "open",
            (None, Action::Close) => "close",
            (None, Action::Toggle) => "toggle",
        }
    }

    /// The row of the attempt to carry it out.
    pub(super) fn entry(&self, requester: &Requester) -> Entry {
        let detail = self.hold.as_ref().map(|(until, reason)| format!("until {}: {}", text(*until), clean(reason)));
        Entry { command_id: Some(self.command_id), detail, ..asked(requester, self.name()) }
    }

    /// The row of the hub's refusal to carry it out.
    pub(super) fn refusal(&self, requester: &Requester, failure: &LockFailure) -> Entry {
        let Entry { command_id, detail, .. } = self.entry(requester);
        Entry { command_id, detail, ..refusal(requester, self.name(), failure) }
    }

    /// As the agent gets it.
    pub(super) fn for_agent(&self, requester: &Requester) -> Command {
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

    /// What the one who asked is told when it is done.
    pub(super) fn message(&self, current: LockStatus) -> String {
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
