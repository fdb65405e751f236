//! A relay that is not there, for a hub without a door, and for tests, which can break it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Error;
use crate::domain::bolt::Position;

/// A simulated relay. Clones are the same one.
#[derive(Debug, Clone)]
pub struct SimulatedRelay(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    position: Position,
    contact: Option<Position>,
    contact_fails: bool,
    fault: Option<Fault>,
}

/// What may be wrong with a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It takes every level and stays where it is.
    Stuck,
    /// It can be neither moved nor read.
    Dead,
}

impl Default for SimulatedRelay {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            position: Position::Closed,
            contact: None,
            contact_fails: false,
            fault: None,
        })))
    }
}

impl SimulatedRelay {
    /// # Errors
    /// While it is dead.
    pub fn set(&self, position: Position) -> Result<(), Error> {
        let mut state = self.0.lock();
        match state.fault {
            Some(Fault::Dead) => return Err(Error::Broken),
            Some(Fault::Stuck) => {}
            None => state.position = position,
        }
        Ok(())
    }

    /// # Errors
    /// While it is dead.
    pub fn read(&self) -> Result<Position, Error> {
        let state = self.0.lock();
        if state.fault == Some(Fault::Dead) { Err(Error::Broken) } else { Ok(state.position) }
    }

    /// # Errors
    /// While the contact fails.
    pub fn contact(&self) -> Result<Option<Position>, Error> {
        let state = self.0.lock();
        if state.contact_fails { Err(Error::Broken) } else { Ok(state.contact) }
    }

    /// Opens or closes the door itself; from then on it has a contact.
    pub fn move_door(&self, position: Position) {
        self.0.lock().contact = Some(position);
    }

    /// Makes the contact unreadable, or readable again.
    pub fn fail_contact(&self, fails: bool) {
        self.0.lock().contact_fails = fails;
    }

    /// Breaks it, or mends it.
    pub fn fail(&self, fault: Option<Fault>) {
        self.0.lock().fault = fault;
    }

    /// Moves the relay by something else than its worker.
    pub fn force(&self, position: Position) {
        self.0.lock().position = position;
    }
}
