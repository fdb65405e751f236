//! What the bolt remembers of commands: their ids, so that none is obeyed twice, and how many each sender gave. Both
//! are bounded, and both refuse rather than forget what matters.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::window::SlidingWindow;

/// How many ids are remembered: the busiest ten senders' commands of more than six minutes.
const IDS: usize = 4096;
/// How many senders are counted at a time. When so many gave commands lately, a further one is refused.
const SENDERS: usize = 256;
/// How much closer together commands may come here than they left the hub: as long as one may be under way, 2.5 s until it
/// has ended and the 2 s by which the clocks may differ; and what it takes to record one.
const SLACK: Duration = Duration::from_secs(5);
/// The hub gives at most 10 commands of one sender in any 10 s. So no more than that can come within 10 s less the slack,
/// and no more than 60 in a minute less the slack: the first bounds a burst, the second what goes on.
const BOUNDS: [(usize, Duration); 2] = [(10, Duration::from_secs(10)), (60, Duration::from_mins(1))];

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
#[derive(Debug)]
pub struct Rates([SlidingWindow<String>; 2]);

impl Default for Rates {
    fn default() -> Self {
        Self(BOUNDS.map(|(limit, length)| SlidingWindow::new(limit, length.saturating_sub(SLACK), SENDERS)))
    }
}

impl Rates {
    /// Whether the sender may give one more command now; if so, it is counted.
    pub fn admits(&mut self, sender: &str, now: Instant) -> bool {
        let admitted =
            self.0.iter_mut().all(|window| window.has_room_for(sender, now) && window.wait(sender, now).is_none());
        if admitted {
            self.0.iter_mut().for_each(|window| window.count(sender, now));
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        /// Whatever the hub lets through, at its full rate and with any delay up to the slack, is not too much here.
        #[test]
        fn what_the_hub_admitted_is_never_too_often(
            steps in prop::collection::vec((0..1500_u64, 0..=5000_u64), 1..200),
        ) {
            let (mut hub, mut rates) = (SlidingWindow::<String>::new(10, Duration::from_secs(10), 8), Rates::default());
            let (mut now, mut arrivals) = (Instant::now(), Vec::new());
            for (pause, delay) in steps {
                now += Duration::from_millis(pause);
                if hub.admit("user:1", now).is_ok() {
                    arrivals.push(now + Duration::from_millis(delay));
                }
            }
            arrivals.sort();
            for (n, at) in arrivals.iter().enumerate() {
                prop_assert!(rates.admits("user:1", *at), "the {n}th of {arrivals:?}");
            }
        }
    }

    #[test]
    fn a_sender_is_bounded_in_a_burst_and_in_a_minute_and_senders_do_not_disturb_each_other() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for n in 0..10 {
            assert!(rates.admits("user:1", at(n * 100)));
        }
        assert!(!rates.admits("user:1", at(4999)));
        assert!(rates.admits("user:2", at(4999)));
        assert!(rates.admits("user:1", at(5000)));
        assert!(!rates.admits("user:1", at(5000)), "only the first of the ten is over");
        let given = (5001..55_000).step_by(100).filter(|ms| rates.admits("user:1", at(*ms))).count();
        assert_eq!(given, 60 - 11, "no more than 60 in 55 s, however they are spread");
    }

    #[test]
    fn the_number_of_senders_is_bounded() {
        let mut rates = Rates::default();
        let start = Instant::now();
        for n in 0..SENDERS {
            assert!(rates.admits(&format!("device:{n}"), start));
        }
        assert!(!rates.admits("device:more", start + Duration::from_secs(54)));
        assert!(rates.admits("device:more", start + Duration::from_secs(55)));
    }
}
