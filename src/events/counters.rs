//! The counters of detections: each that was taken in is in flight until exactly one thing has become of it, so that at
//! every moment, for each channel, received = stored + duplicate + rejected + ignored + in flight.
//!
//! A detection is received once the recorder's queue has taken it, or once it was refused for what it is. One that the
//! hub has no room for is not received: over MQTT it waits unread, over HTTP it is turned away and counted as such.

use std::sync::Arc;

use parking_lot::Mutex;

/// What became of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
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
pub struct Counts {
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

impl Counts {
    fn settle(&mut self, disposition: Disposition) {
        let count = match disposition {
            Disposition::Stored => &mut self.stored,
            Disposition::Duplicate => &mut self.duplicate,
            Disposition::Rejected => &mut self.rejected,
            Disposition::Ignored => &mut self.ignored,
        };
        *count += 1;
    }
}

/// The counters of one channel. A handle: all clones count together.
#[derive(Debug, Clone, Default)]
pub struct ChannelCounters(Arc<Mutex<Counts>>);

impl ChannelCounters {
    /// Takes a detection in; it is in flight until the answer is settled.
    pub fn receive(&self) -> InFlight {
        let mut counts = self.0.lock();
        counts.received += 1;
        counts.in_flight += 1;
        InFlight(self.clone())
    }

    /// Counts one that was refused for what it is, before the recorder saw it.
    pub fn reject(&self) {
        self.receive().settle(Disposition::Rejected);
    }

    /// Counts one that there was no room for.
    pub fn turn_away(&self) {
        self.0.lock().turned_away += 1;
    }

    /// All counts of one moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.0.lock()
    }
}

/// The counters of both channels that detections come by.
#[derive(Debug, Clone, Default)]
pub struct DetectionCounters {
    pub mqtt: ChannelCounters,
    pub http: ChannelCounters,
}

/// A detection in flight. Dropped unsettled, it stays in flight for good: then the hub is ending, and its sender has
/// no acknowledgement.
#[derive(Debug)]
#[must_use = "a detection in flight has to be settled"]
pub struct InFlight(ChannelCounters);

impl InFlight {
    /// Says what became of it.
    pub fn settle(self, disposition: Disposition) {
        let mut counts = self.0.0.lock();
        counts.in_flight -= 1;
        counts.settle(disposition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_detection_has_one_fate() {
        let counters = ChannelCounters::default();
        let [first, second, third] = [(); 3].map(|()| counters.receive());
        first.settle(Disposition::Stored);
        second.settle(Disposition::Duplicate);
        counters.reject();
        counters.turn_away();
        let counts = counters.counts();
        assert_eq!(
            counts,
            Counts { received: 4, stored: 1, duplicate: 1, rejected: 1, ignored: 0, in_flight: 1, turned_away: 1 }
        );
        third.settle(Disposition::Ignored);
        assert_eq!((counters.counts().in_flight, counters.counts().ignored), (0, 1));
    }

    #[test]
    fn a_lost_detection_stays_in_flight() {
        let counters = ChannelCounters::default();
        drop(counters.receive());
        assert_eq!((counters.counts().received, counters.counts().in_flight), (1, 1));
    }
}
