//! The lock agent's slot, of which there is one: whoever drives the relay must be alone.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::registry::SessionKey;
use crate::{auth::identity::Identity, domain::device::DeviceRole, mqtt::router::message::SessionNumber};

/// Whether a session of this identity is a lock agent's that must have the slot for itself.
#[must_use]
pub fn is_lock_agent(who: &Identity) -> bool {
    matches!(who, Identity::Device(device) if device.role == DeviceRole::LockAgent)
}

/// Who holds the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotOwner {
    /// The lock agent inside the hub's process.
    Embedded,
    /// A session of another machine; the same session may connect anew while its old connection is not yet gone.
    Remote(SessionKey),
}

/// The slot.
#[derive(Debug, Clone, Default)]
pub struct LockAgentSlot(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    holder: Option<(SlotOwner, u64)>,
    /// Which session has told of the lock since the slot was taken last.
    told: Option<SessionNumber>,
    last_number: u64,
    is_taken: watch::Sender<bool>,
}

impl LockAgentSlot {
    /// Whether a lock agent has a session now, whatever it says of itself.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.lock().is_taken.subscribe()
    }

    /// Takes the slot, if it is free or the same session's.
    #[must_use]
    pub fn take(&self, holder: SlotOwner) -> Option<SlotGuard> {
        let mut state = self.0.lock();
        let free = match &state.holder {
            None => true,
            Some((SlotOwner::Embedded, _)) => false,
            Some((current, _)) => *current == holder,
        };
        if !free {
            return None;
        }
        state.last_number += 1;
        let number = state.last_number;
        (state.holder, state.told) = (Some((holder, number)), None);
        // Under the lock, so that what is watched comes in the order it happened.
        state.is_taken.send_if_modified(|is_taken| !std::mem::replace(is_taken, true));
        Some(SlotGuard { slot: self.clone(), number })
    }

    /// This session tells of the lock.
    pub fn tells(&self, session: SessionNumber) {
        let mut state = self.0.lock();
        if state.holder.is_some() {
            state.told = Some(session);
        }
    }

    /// Whether what this session left to be told of its end is out of date: the agent has another session now, and has
    /// told of the lock by it.
    #[must_use]
    pub fn has_moved_on(&self, session: SessionNumber) -> bool {
        self.0.lock().told.is_some_and(|told| told != session)
    }
}

/// The slot, held until this is dropped.
#[derive(Debug)]
pub struct SlotGuard {
    slot: LockAgentSlot,
    number: u64,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let mut state = self.slot.0.lock();
        if state.holder.as_ref().is_some_and(|(_, number)| *number == self.number) {
            (state.holder, state.told) = (None, None);
            state.is_taken.send_replace(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::device::DeviceId, mqtt::session::registry::SessionOwner};

    fn remote(device: i32, client_id: &str) -> SlotOwner {
        SlotOwner::Remote(SessionKey { owner: SessionOwner::Device(DeviceId(device)), client_id: client_id.to_owned() })
    }

    #[test]
    fn there_is_one_place() {
        let slot = LockAgentSlot::default();
        let watched = slot.watch();
        assert!(!*watched.borrow());
        let first = slot.take(remote(1, "a")).expect("free");
        assert!(slot.take(remote(1, "b")).is_none());
        assert!(slot.take(remote(2, "a")).is_none());
        assert!(slot.take(SlotOwner::Embedded).is_none());
        let again = slot.take(remote(1, "a")).expect("its own");
        drop(first);
        assert!(slot.take(remote(2, "a")).is_none(), "the newer connection holds it");
        assert!(*watched.borrow());
        drop(again);
        assert!(!*watched.borrow());
        let embedded = slot.take(SlotOwner::Embedded).expect("free");
        assert!(slot.take(SlotOwner::Embedded).is_none());
        drop(embedded);
        assert!(slot.take(remote(2, "a")).is_some());
    }

    #[test]
    fn a_will_is_out_of_date_once_the_next_session_has_told_of_the_lock() {
        let slot = LockAgentSlot::default();
        let first = slot.take(remote(1, "a")).expect("free");
        slot.tells(1);
        assert!(!slot.has_moved_on(1));
        let again = slot.take(remote(1, "a")).expect("its own");
        drop(first);
        assert!(!slot.has_moved_on(1), "nobody has said anything better yet");
        slot.tells(2);
        assert!(slot.has_moved_on(1) && !slot.has_moved_on(2));
        drop(again);
        assert!(!slot.has_moved_on(1) && !slot.has_moved_on(2), "there is no worker, and that is to be told");
        slot.tells(1);
        assert!(!slot.has_moved_on(2), "who holds no place tells nothing");
    }
}
