//! The lock worker's place, of which there is one: whoever drives the relay must be alone.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{router::message::SessionNumber, sessions::Key};

/// Who holds the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The worker inside the hub's process.
    Embedded,
    /// A session of another machine; the same session may connect anew while its old connection is not yet gone.
    Remote(Key),
}

/// The place.
#[derive(Debug, Clone, Default)]
pub struct WorkerPlace(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    holder: Option<(Holder, u64)>,
    /// Which session has told of the lock since the place was taken last.
    told: Option<SessionNumber>,
    last_number: u64,
    is_taken: watch::Sender<bool>,
}

impl WorkerPlace {
    /// Whether a worker has a session now, whatever it says of itself.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.lock().is_taken.subscribe()
    }

    /// Takes the place, if it is free or the same session's.
    #[must_use]
    pub fn take(&self, holder: Holder) -> Option<Held> {
        let mut state = self.0.lock();
        let free = match &state.holder {
            None => true,
            Some((Holder::Embedded, _)) => false,
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
        Some(Held { place: self.clone(), number })
    }

    /// This session tells of the lock.
    pub fn tells(&self, session: SessionNumber) {
        let mut state = self.0.lock();
        if state.holder.is_some() {
            state.told = Some(session);
        }
    }

    /// Whether what this session left to be told of its end is out of date: the worker has another session now, and has
    /// told of the lock by it.
    #[must_use]
    pub fn has_moved_on(&self, session: SessionNumber) -> bool {
        self.0.lock().told.is_some_and(|told| told != session)
    }
}

/// The place, held until this is dropped.
#[derive(Debug)]
pub struct Held {
    place: WorkerPlace,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.place.0.lock();
        if state.holder.as_ref().is_some_and(|(_, number)| *number == self.number) {
            (state.holder, state.told) = (None, None);
            state.is_taken.send_replace(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::device::DeviceId, mqtt::sessions::Owner};

    fn remote(device: i32, client_id: &str) -> Holder {
        Holder::Remote(Key { owner: Owner::Device(DeviceId(device)), client_id: client_id.to_owned() })
    }

    #[test]
    fn there_is_one_place() {
        let place = WorkerPlace::default();
        let watched = place.watch();
        assert!(!*watched.borrow());
        let first = place.take(remote(1, "a")).expect("free");
        assert!(place.take(remote(1, "b")).is_none());
        assert!(place.take(remote(2, "a")).is_none());
        assert!(place.take(Holder::Embedded).is_none());
        let again = place.take(remote(1, "a")).expect("its own");
        drop(first);
        assert!(place.take(remote(2, "a")).is_none(), "the newer connection holds it");
        assert!(*watched.borrow());
        drop(again);
        assert!(!*watched.borrow());
        let embedded = place.take(Holder::Embedded).expect("free");
        assert!(place.take(Holder::Embedded).is_none());
        drop(embedded);
        assert!(place.take(remote(2, "a")).is_some());
    }

    #[test]
    fn a_will_is_out_of_date_once_the_next_session_has_told_of_the_lock() {
        let place = WorkerPlace::default();
        let first = place.take(remote(1, "a")).expect("free");
        place.tells(1);
        assert!(!place.has_moved_on(1));
        let again = place.take(remote(1, "a")).expect("its own");
        drop(first);
        assert!(!place.has_moved_on(1), "nobody has said anything better yet");
        place.tells(2);
        assert!(place.has_moved_on(1) && !place.has_moved_on(2));
        drop(again);
        assert!(!place.has_moved_on(1) && !place.has_moved_on(2), "there is no worker, and that is to be told");
        place.tells(1);
        assert!(!place.has_moved_on(2), "who holds no place tells nothing");
    }
}
