//! The commands that are under way: which answers and movements belong to which.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{domain::lock::LockStatus, wire::lock::Response};

/// What was heard of a command so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// The worker's answer.
    pub(super) response: Option<Response>,
    /// What the relay was before and after it, by the status that names the command.
    pub(super) moved: Option<(LockStatus, LockStatus)>,
}

/// The commands that are under way. As many as the intake lets be, which bounds them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending(Arc<Mutex<HashMap<Uuid, watch::Sender<Heard>>>>);

impl Pending {
    /// Listens for what becomes of a command, until the answer is dropped. None if a command of that id is under way.
    pub(super) fn expect(&self, command: Uuid) -> Option<Expectation> {
        let mut commands = self.0.lock();
        if commands.contains_key(&command) {
            return None;
        }
        let (sender, heard) = watch::channel(Heard::default());
        commands.insert(command, sender);
        Some(Expectation { pending: self.clone(), command, heard })
    }

    /// The worker has answered: whether somebody waited for it.
    pub(super) fn responded(&self, response: Response) -> bool {
        let commands = self.0.lock();
        let Some(command) = commands.get(&response.command_id) else { return false };
        command.send_modify(|heard| heard.response = Some(response));
        true
    }

    /// A status that names a command came; the relay was `before` until then. Only the first one counts: later ones
    /// repeat it.
    pub(super) fn moved(&self, command: Uuid, before: LockStatus, after: LockStatus) {
        if let Some(command) = self.0.lock().get(&command) {
            command.send_if_modified(|heard| {
                let first = heard.moved.is_none();
                heard.moved.get_or_insert((before, after));
                first
            });
        }
    }
}

/// A command that is waited for.
#[derive(Debug)]
pub(super) struct Expectation {
    pending: Pending,
    command: Uuid,
    pub(super) heard: watch::Receiver<Heard>,
}

impl Drop for Expectation {
    fn drop(&mut self) {
        self.pending.0.lock().remove(&self.command);
    }
}
