//! What the hub knows of the lock, and what is news in what the worker says. Pure, with time as an argument.

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        event::{EventType, Occurrence},
        lock::LockStatus,
    },
    wire::lock::Status,
};

/// What the lock worker said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockState {
    pub status: Status,
    /// When the status changed last, by the hub's clock; none before the worker has spoken.
    pub changed_at: Option<DateTime<Utc>>,
}

impl LockState {
    /// Before the worker has spoken.
    #[must_use]
    pub fn unknown(pin: u32, now: DateTime<Utc>) -> Self {
        let status = Status {
            status: LockStatus::Unknown,
            online: false,
            pin,
            simulated: false,
            reason: Some("no lock worker has spoken yet".to_owned()),
            command_id: None,
            requested_by: None,
            timestamp: now,
        };
        Self { status, changed_at: None }
    }
}

/// Follows the worker's words.
#[derive(Debug)]
pub struct Follower {
    state: LockState,
    /// What the relay was last read to be, also while the worker is away.
    relay: LockStatus,
    /// The worker was there and is not.
    lost: bool,
}

impl Follower {
    #[must_use]
    pub fn new(state: LockState) -> Self {
        Self { state, relay: LockStatus::Unknown, lost: false }
    }

    #[must_use]
    pub fn state(&self) -> &LockState {
        &self.state
    }

    /// Takes what the worker says, and answers with what of it is worth an event.
    pub fn take(&mut self, mut status: Status, now: DateTime<Utc>) -> Vec<Occurrence> {
        if !status.online {
            // Nobody is there to know.
            status.status = LockStatus::Unknown;
        }
        let mut news = Vec::new();
        news.extend(self.presence(&status));
        news.extend(self.movement(&status));
        let same = status.status == self.state.status.status && self.state.changed_at.is_some();
        let untold = !status.online && self.state.changed_at.is_none();
        let changed_at = if same || untold { self.state.changed_at } else { Some(now) };
        self.state = LockState { status, changed_at };
        news
    }

    /// The hub can't hear the worker any more.
    pub fn deaf(&mut self, reason: &str, now: DateTime<Utc>) -> Vec<Occurrence> {
        let status = Status {
            online: false,
            reason: Some(format!("the hub cannot hear the lock worker: {reason}")),
            command_id: None,
            requested_by: None,
            timestamp: now,
            ..self.state.status.clone()
        };
        self.take(status, now)
    }

    fn presence(&mut self, status: &Status) -> Option<Occurrence> {
        let description = match (self.state.status.online, status.online) {
            (true, false) => {
                self.lost = true;
                format!("The lock worker is lost{}; the door is as its hardware leaves it", because(status))
            }
            (false, true) if std::mem::take(&mut self.lost) => {
                format!("The lock worker is back; the lock is {}", status.status)
            }
            _ => return None,
        };
        Some(Occurrence { event_type: EventType::SystemAlert, description })
    }

    fn movement(&mut self, status: &Status) -> Option<Occurrence> {
        let before = self.relay;
        if status.status == LockStatus::Unknown {
            return None;
        }
        self.relay = status.status;
        let (event_type, verb) = match (before, status.status) {
            (LockStatus::Closed, LockStatus::Open) => (EventType::DoorOpened, "Door opened"),
            // So that no closing stands there without its opening.
            (LockStatus::Unknown, LockStatus::Open) => (EventType::DoorOpened, "Door found open"),
            (LockStatus::Open, LockStatus::Closed) => (EventType::DoorClosed, "Door closed"),
            _ => return None,
        };
        let by = status.requested_by.as_deref().map(|name| format!(" by {}", clean(name))).unwrap_or_default();
        Some(Occurrence { event_type, description: format!("{verb}{by}{}", because(status)) })
    }
}

fn because(status: &Status) -> String {
    status
        .reason
        .as_deref()
        .filter(|reason| !reason.is_empty())
        .map(|reason| format!(": {}", clean(reason)))
        .unwrap_or_default()
}

/// How much of somebody else's words is kept.
const WORDS: usize = 200;

/// Somebody else's words in a form that any table and any line of the log takes.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().take(WORDS).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(status: LockStatus, online: bool) -> Status {
        Status {
            status,
            online,
            reason: Some("because".to_owned()),
            ..LockState::unknown(17, DateTime::UNIX_EPOCH).status
        }
    }

    fn words() -> impl Strategy<Value = Status> {
        let relay = prop_oneof![Just(LockStatus::Open), Just(LockStatus::Closed), Just(LockStatus::Unknown)];
        (relay, any::<bool>()).prop_map(|(relay, online)| status(relay, online))
    }

    fn kinds(news: &[Occurrence]) -> Vec<EventType> {
        news.iter().map(|occurrence| occurrence.event_type).collect()
    }

    proptest! {
        #[test]
        fn openings_and_closings_take_turns_and_end_as_the_relay_is(words in prop::collection::vec(words(), 0..60)) {
            let mut follower = Follower::new(LockState::unknown(17, DateTime::UNIX_EPOCH));
            let (mut open, mut last) = (false, None);
            for status in words {
                if status.online && status.status != LockStatus::Unknown {
                    last = Some(status.status);
                }
                for occurrence in follower.take(status, Utc::now()) {
                    match occurrence.event_type {
                        EventType::DoorOpened => prop_assert!(!std::mem::replace(&mut open, true)),
                        EventType::DoorClosed => prop_assert!(std::mem::replace(&mut open, false)),
                        _ => {}
                    }
                }
                prop_assert_eq!(open, last == Some(LockStatus::Open));
            }
        }

        #[test]
        fn losses_and_returns_take_turns(words in prop::collection::vec(words(), 0..60)) {
            let mut follower = Follower::new(LockState::unknown(17, DateTime::UNIX_EPOCH));
            let mut lost = false;
            for status in words {
                for occurrence in follower.take(status, Utc::now()) {
                    if occurrence.event_type == EventType::SystemAlert {
                        prop_assert_eq!(occurrence.description.contains("lost"), !lost);
                        lost = !lost;
                    }
                }
                let now = &follower.state().status;
                prop_assert!(now.online || now.status == LockStatus::Unknown);
            }
        }
    }

    #[test]
    fn the_first_word_is_no_news_and_a_repeated_one_neither() {
        let mut follower = Follower::new(LockState::unknown(17, DateTime::UNIX_EPOCH));
        assert_eq!(follower.take(status(LockStatus::Unknown, false), Utc::now()), []);
        assert_eq!(follower.state().changed_at, None);
        assert_eq!(follower.take(status(LockStatus::Closed, true), Utc::now()), []);
        let changed_at = follower.state().changed_at;
        assert!(changed_at.is_some());
        assert_eq!(follower.take(status(LockStatus::Closed, true), Utc::now()), []);
        assert_eq!(follower.state().changed_at, changed_at);
    }

    #[test]
    fn a_door_that_moved_while_the_worker_was_away_is_told_on_its_return() {
        let mut follower = Follower::new(LockState::unknown(17, DateTime::UNIX_EPOCH));
        follower.take(status(LockStatus::Open, true), Utc::now());
        assert_eq!(kinds(&follower.deaf("gone", Utc::now())), [EventType::SystemAlert]);
        let news = follower.take(status(LockStatus::Closed, true), Utc::now());
        assert_eq!(kinds(&news), [EventType::SystemAlert, EventType::DoorClosed]);
    }

    #[test]
    fn words_are_kept_short_and_printable() {
        assert_eq!(clean("a\0b\nc"), "a b c");
        assert_eq!(clean(&"é".repeat(500)).chars().count(), 200);
    }
}
