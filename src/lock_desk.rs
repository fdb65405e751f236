//! The hub's side of the lock: a handle by which commands are given and the lock's state is read.

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    domain::lock::Action,
    events::{LockAsk, LockDone, LockFailure, LockRequest, Requester},
    wire::lock::Status,
};

/// The lock as the worker last told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockState {
    pub status: Status,
    pub changed_at: Option<DateTime<Utc>>,
}

/// A handle to the lock desk.
#[derive(Debug, Clone)]
pub struct LockDesk {
    requests: mpsc::Sender<LockRequest>,
    state: watch::Receiver<LockState>,
}

impl LockDesk {
    #[must_use]
    pub fn new(requests: mpsc::Sender<LockRequest>, state: watch::Receiver<LockState>) -> Self {
        Self { requests, state }
    }

    /// # Errors
    /// Why the command came to nothing, or is not known to have come to something.
    pub async fn command(&self, requester: Requester, action: Action) -> Result<LockDone, LockFailure> {
        let (reply, answer) = oneshot::channel();
        let ask = LockAsk::Command { action, command_id: None };
        let request = LockRequest { requester, ask, reply };
        self.requests.try_send(request).map_err(|_| LockFailure::NotRecorded)?;
        answer.await.unwrap_or(Err(LockFailure::NoWorker))
    }

    #[must_use]
    pub fn state(&self) -> LockState {
        self.state.borrow().clone()
    }

    #[must_use]
    pub fn watch(&self) -> watch::Receiver<LockState> {
        self.state.clone()
    }
}
