//! What the bolt remembers of commands: their ids, so that none is obeyed twice, and how many each sender gave. Both
//! are bounded, and both refuse rather than forget what matters.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// How many ids are remembered: the busiest ten senders' commands of more than six minutes.
const IDS: usize = 4096;
/// How many senders are counted at a time. When so many gave commands within [`WINDOW`], a further one is refused.
const SENDERS: usize = 256;
/// How many commands one sender may give within [`WINDOW`].
pub const COMMANDS: usize = 10;
/// Over how long a sender's commands are counted.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The ids of the newest commands. Of older ones it knows up to when they were issued, and takes everything from
/// before that as seen: so a clock that is set back can't make a forgotten command fresh again.
#[derive(Debug, Default)]
pub struct Seen {
    ids: HashSet<Uuid>,
    oldest_first: VecDeque<(Uuid, DateTime<Utc>)>,
    forgotten_up_to: Option<DateTime<Utc>>,
}

impl Seen {
    /// Whether the id is new; from now on it is not. `issued_at` must not be later than now, or else one command from
    /// far in the future would, once forgotten, make every other look old.
    pub fn is_new(&mut self, id: Uuid, issued_at: DateTime<Utc>) -> bool {
        if self.forgotten_up_to.is_some_and(|forgotten| issued_at <= forgotten) || !self.ids.insert(id) {
            return false;
        }
        self.oldest_first.push_back((id, issued_at));
        if self.oldest_first.len() > IDS
            && let Some((oldest, issued_at)) = self.oldest_first.pop_front()
        {
            self.ids.remove(&oldest);
            self.forgotten_up_to = self.forgotten_up_to.max(Some(issued_at));
        }
        true
    }
}

/// How many commands each sender gave lately.
#[derive(Debug, Default)]
pub struct Rates(HashMap<String, VecDeque<Instant>>);

impl Rates {
    /// Whether the sender may give one more command now; if so, it is counted.
    pub fn admits(&mut self, sender: &str, now: Instant) -> bool {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= WINDOW;
        if !self.0.contains_key(sender) {
            if self.0.len() >= SENDERS {
                self.0.retain(|_, given| given.back().is_some_and(|last| !is_old(last)));
            }
            if self.0.len() >= SENDERS {
                return false;
            }
        }
        let given = self.0.entry(sender.to_owned()).or_default();
        while given.front().is_some_and(is_old) {
            given.pop_front();
        }
        let admitted = given.len() < COMMANDS;
        if admitted {
            given.push_back(now);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_id_stays_old_by_its_time() {
        let mut seen = Seen::default();
        let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time");
        let first = Uuid::from_u128(1);
        assert!(seen.is_new(first, at(0)));
        assert!(!seen.is_new(first, at(0)));
        for n in 2..=5000_u32 {
            assert!(seen.is_new(Uuid::from_u128(n.into()), at(n.into())));
        }
        assert!(seen.ids.len() <= IDS);
        assert!(!seen.is_new(first, at(0)), "its id is forgotten, its time is not");
        assert!(seen.is_new(Uuid::from_u128(9999), at(4999)));
    }

    #[test]
    fn a_sender_has_ten_in_ten_seconds_and_senders_do_not_disturb_each_other() {
        let mut rates = Rates::default();
        let start = Instant::now();
        for n in 0..10 {
            assert!(rates.admits("user:1", start + Duration::from_millis(n * 100)));
        }
        assert!(!rates.admits("user:1", start + Duration::from_secs(9)));
        assert!(rates.admits("user:2", start + Duration::from_secs(9)));
        assert!(rates.admits("user:1", start + Duration::from_secs(10)));
        assert!(!rates.admits("user:1", start + Duration::from_secs(10)), "only the first of the ten is over");
    }

    #[test]
    fn the_number_of_senders_is_bounded() {
        let mut rates = Rates::default();
        let start = Instant::now();
        for n in 0..SENDERS {
            assert!(rates.admits(&format!("device:{n}"), start));
        }
        assert!(!rates.admits("device:more", start + Duration::from_secs(9)));
        assert!(rates.admits("device:more", start + Duration::from_secs(10)));
        assert_eq!(rates.0.len(), 1);
    }
}
