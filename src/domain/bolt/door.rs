//! The door itself, where a contact tells of it: forced, or held open. The relay says whether the door may be opened,
//! the contact whether it is.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Position;

/// A door that is opened this shortly after the relay closed was opened by the one it had been unlocked for.
const HAND_ON_THE_HANDLE: Duration = Duration::from_secs(1);

/// What is wrong with the door, as `lock/status` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Alarm {
    /// It was opened while the relay was closed.
    DoorForced,
    /// It is still open, long after the relay closed.
    DoorHeldOpen,
}

impl Alarm {
    /// The same id for the alarm of this kind that began then, whoever asks: by it one that is told twice is stored once.
    #[must_use]
    pub fn key(self, since: DateTime<Utc>) -> Uuid {
        let kind = match self {
            Self::DoorForced => 1,
            Self::DoorHeldOpen => 2,
        };
        // RFC 9562's version 8: bytes of one's own, but for the two in which version and variant stand.
        let mut bytes = *b"alarm\0\0\0\0\0\0\0\0\0\0\0";
        bytes[5] = kind;
        bytes[9..].copy_from_slice(&since.timestamp_millis().to_be_bytes()[1..]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

/// What the contact has told, beside what the relay did.
#[derive(Debug)]
pub struct Door {
    held_open_after: Duration,
    open_since: Option<Instant>,
    /// None while the contact can't be read, and before it was.
    contact: Option<Position>,
    /// When it was last seen closed; none once it was seen open since.
    seen_closed: Option<Instant>,
    forced: bool,
    /// Since when the relay is closed; none while it is open.
    locked_since: Option<Instant>,
    /// Whether the relay has been open since the start at all.
    was_unlocked: bool,
}

impl Door {
    /// A door behind a closed relay, of which the contact has told nothing yet. `held_open_after` is how long it may
    /// stand open once the relay has closed.
    #[must_use]
    pub fn new(held_open_after: Duration, now: Instant) -> Self {
        Self {
            held_open_after,
            open_since: None,
            contact: None,
            seen_closed: None,
            forced: false,
            locked_since: Some(now),
            was_unlocked: false,
        }
    }

    /// Where the contact says that the door is; none if it can't be read.
    #[must_use]
    pub fn contact(&self) -> Option<Position> {
        self.contact
    }

    /// What the relay and the contact read now. No contact is one that can't be read: nothing is known of the door
    /// then, neither that it stands open nor that it is shut.
    pub fn observe(&mut self, relay: Position, contact: Option<Position>, now: Instant) {
        match relay {
            Position::Open => {
                self.locked_since = None;
                self.was_unlocked = true;
            }
            Position::Closed => {
                self.locked_since.get_or_insert(now);
            }
        }
        self.contact = contact;
        match contact {
            None => {
                self.open_since = None;
                self.forced = false;
            }
            Some(Position::Closed) => {
                self.seen_closed = Some(now);
                self.open_since = None;
                self.forced = false;
            }
            Some(Position::Open) => {
                self.open_since.get_or_insert(now);
                // Open at the first look tells nothing of how it came to be.
                if let Some(seen_closed) = self.seen_closed.take() {
                    self.forced = self.was_locked(seen_closed, now);
                }
            }
        }
    }

    /// Whether nobody had a right to open the door between these times.
    fn was_locked(&self, from: Instant, to: Instant) -> bool {
        self.locked_since.is_some_and(|since| {
            since <= from && (!self.was_unlocked || to.saturating_duration_since(since) > HAND_ON_THE_HANDLE)
        })
    }

    /// What is wrong at this time. Forced comes first: it says more.
    #[must_use]
    pub fn alarm(&self, now: Instant) -> Option<Alarm> {
        if self.forced {
            return Some(Alarm::DoorForced);
        }
        let since = self.open_since?.max(self.locked_since?);
        (now.saturating_duration_since(since) >= self.held_open_after).then_some(Alarm::DoorHeldOpen)
    }
}

#[cfg(test)]
mod tests {
    use Position::{Closed, Open};

    use super::*;

    #[test]
    fn an_alarms_key_is_its_kind_and_its_beginning() {
        let at = |ms| DateTime::from_timestamp_millis(ms).expect("a time");
        let key = Alarm::DoorForced.key(at(1_795_000_000_123));
        assert_eq!(key, Alarm::DoorForced.key(at(1_795_000_000_123) + chrono::TimeDelta::microseconds(9)));
        for other in [at(1_795_000_000_124), at(0), at(-1), DateTime::<Utc>::MIN_UTC] {
            assert_ne!(key, Alarm::DoorForced.key(other));
        }
        assert_ne!(key, Alarm::DoorHeldOpen.key(at(1_795_000_000_123)));
        assert_eq!(key.get_version_num(), 8);
    }

    /// What the door says after each of (seconds, relay, contact).
    fn alarms(steps: &[(u64, Position, Position)]) -> Vec<Option<Alarm>> {
        let steps: Vec<_> = steps.iter().map(|(second, relay, contact)| (*second, *relay, Some(*contact))).collect();
        seen(&steps)
    }

    fn seen(steps: &[(u64, Position, Option<Position>)]) -> Vec<Option<Alarm>> {
        let start = Instant::now();
        let mut door = Door::new(Duration::from_secs(30), start);
        steps
            .iter()
            .map(|(second, relay, contact)| {
                let now = start + Duration::from_secs(*second);
                door.observe(*relay, *contact, now);
                door.alarm(now)
            })
            .collect()
    }

    #[test]
    fn a_door_that_opens_behind_a_closed_relay_is_forced_until_it_is_closed() {
        let told = alarms(&[(0, Closed, Closed), (1, Closed, Open), (50, Closed, Open), (51, Closed, Closed)]);
        assert_eq!(told, [None, Some(Alarm::DoorForced), Some(Alarm::DoorForced), None]);
    }

    #[test]
    fn a_door_that_opens_while_it_may_or_just_after_is_not_forced() {
        assert_eq!(alarms(&[(0, Closed, Closed), (1, Open, Closed), (2, Open, Open), (6, Closed, Open)]), [None; 4]);
        assert_eq!(
            alarms(&[(0, Closed, Closed), (1, Open, Closed), (6, Closed, Closed), (7, Closed, Open)]),
            [None; 4]
        );
        let late = alarms(&[(0, Closed, Closed), (1, Open, Closed), (6, Closed, Closed), (8, Closed, Open)]);
        assert_eq!(late.last(), Some(&Some(Alarm::DoorForced)));
    }

    #[test]
    fn a_door_that_stands_open_is_told_of_counted_from_the_relays_closing() {
        let told =
            alarms(&[(0, Open, Closed), (1, Open, Open), (100, Open, Open), (101, Closed, Open), (131, Closed, Open)]);
        assert_eq!(told, [None, None, None, None, Some(Alarm::DoorHeldOpen)]);
    }

    #[test]
    fn a_door_that_was_open_at_the_start_is_not_forced_but_held_open() {
        assert_eq!(
            alarms(&[(0, Closed, Open), (29, Closed, Open), (30, Closed, Open)]),
            [None, None, Some(Alarm::DoorHeldOpen)]
        );
    }

    #[test]
    fn a_contact_that_cannot_be_read_tells_nothing_and_hides_nothing() {
        let unseen = |second| (second, Closed, None);
        // It stood open when it was seen last; for how long it did meanwhile nobody knows.
        let told = seen(&[(0, Closed, Some(Open)), unseen(1), unseen(60), (61, Closed, Some(Open))]);
        assert_eq!(told, [None; 4]);
        // Shut, then unseen, then open, and locked all the while.
        let told = seen(&[(0, Closed, Some(Closed)), unseen(1), (5, Closed, Some(Open))]);
        assert_eq!(told, [None, None, Some(Alarm::DoorForced)]);
        // It may have been opened while it was unlocked.
        let told = seen(&[
            (0, Closed, Some(Closed)),
            unseen(1),
            (2, Open, None),
            unseen(4),
            (20, Closed, Some(Open)),
            (50, Closed, Some(Open)),
        ]);
        assert_eq!(told, [None, None, None, None, None, Some(Alarm::DoorHeldOpen)]);
    }
}
