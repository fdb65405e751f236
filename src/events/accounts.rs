//! The accounts of detections: each that was taken in is in flight until exactly one thing has become of it, so that at
//! every moment, for each channel, received = stored + duplicate + rejected + ignored + in flight.
//!
//! A detection is received once the recorder's queue has taken it, or once it was refused for what it is. One that the
//! hub has no room for is not received: over MQTT it waits unread, over HTTP it is turned away and counted as such.

use std::sync::Arc;

use parking_lot::Mutex;

/// What became of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Committed as an event.
    Stored,
    /// Committed before, under the same detection id.
    Duplicate,
    /// Unreadable, without a right, or of an unknown camera.
    Rejected,
    /// It shows no person.
    Ignored,
}

/// The counts of one channel since the process's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    pub received: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub ignored: u64,
    /// Received, and nothing became of it yet.
    pub in_flight: u64,
    /// Not received: there was no room, and the sender was told to try again.
    pub turned_away: u64,
}

impl Balance {
    fn settle(&mut self, fate: Fate) {
        let count = match fate {
            Fate::Stored => &mut self.stored,
            Fate::Duplicate => &mut self.duplicate,
            Fate::Rejected => &mut self.rejected,
            Fate::Ignored => &mut self.ignored,
        };
        *count += 1;
    }
}

/// The account of one channel. A handle: all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Mutex<Balance>>);

impl Account {
    /// Takes a detection in; it is in flight until the answer is settled.
    pub fn receive(&self) -> Ticket {
        let mut balance = self.0.lock();
        balance.received += 1;
        balance.in_flight += 1;
        Ticket(self.clone())
    }

    /// Counts one that was refused for what it is, before the recorder saw it.
    pub fn reject(&self) {
        self.receive().settle(Fate::Rejected);
    }

    /// Counts one that there was no room for.
    pub fn turn_away(&self) {
        self.0.lock().turned_away += 1;
    }

    /// All counts of one moment.
    #[must_use]
    pub fn balance(&self) -> Balance {
        *self.0.lock()
    }
}

/// The accounts of both channels that detections come by.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    pub mqtt: Account,
    pub http: Account,
}

/// A detection in flight. Dropped unsettled, it stays in flight for good: then the hub is ending, and its sender has
/// no acknowledgement.
#[derive(Debug)]
#[must_use = "a detection in flight has to be settled"]
pub struct Ticket(Account);

impl Ticket {
    /// Says what became of it.
    pub fn settle(self, fate: Fate) {
        let mut balance = self.0.0.lock();
        balance.in_flight -= 1;
        balance.settle(fate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_detection_has_one_fate() {
        let account = Account::default();
        let [first, second, third] = [(); 3].map(|()| account.receive());
        first.settle(Fate::Stored);
        second.settle(Fate::Duplicate);
        account.reject();
        account.turn_away();
        let balance = account.balance();
        assert_eq!(
            balance,
            Balance { received: 4, stored: 1, duplicate: 1, rejected: 1, ignored: 0, in_flight: 1, turned_away: 1 }
        );
        third.settle(Fate::Ignored);
        assert_eq!((account.balance().in_flight, account.balance().ignored), (0, 1));
    }

    #[test]
    fn a_lost_detection_stays_in_flight() {
        let account = Account::default();
        drop(account.receive());
        assert_eq!((account.balance().received, account.balance().in_flight), (1, 1));
    }
}
