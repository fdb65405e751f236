//! The lock worker's place, of which there is one: whoever drives the relay must be alone.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::sessions::Key;

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
        state.holder = Some((holder, number));
        // Under the lock, so that what is watched comes in the order it happened.
        state.is_taken.send_if_modified(|is_taken| !std::mem::replace(is_taken, true));
        Some(Held { place: self.clone(), number })
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
            state.holder = None;
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
}
