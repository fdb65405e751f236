//! How a part of the hub is, and when somebody is told that it was lost or has returned: pure, with time as an argument.

use std::time::{Duration, Instant};

use serde::Serialize;

/// How long a part must have been worse before that is told: a hiccup is no news.
pub const WORSE_FOR: Duration = Duration::from_secs(2);
/// How long it must have been better: one that comes and goes is told as lost once, until it stays.
pub const BETTER_FOR: Duration = Duration::from_secs(10);
/// Free bytes of a disk below which a person should look after it. A disk has room again with a quarter more, so that
/// one at the very limit is not told again and again.
pub const NEARLY_FULL: u64 = 1 << 30;
/// Free bytes below which nothing can be promised to fit: PostgreSQL writes its log ahead in files of 16 MiB.
pub const FULL: u64 = 64 << 20;

/// How a part is; a later one is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    Up,
    /// It works, and a person should look.
    Degraded,
    Down,
}

impl Condition {
    /// Of a disk with so many bytes free that was `before`.
    #[must_use]
    pub fn of_disk(free: u64, before: Self) -> Self {
        let is_below = |limit: u64, worse| free < if before >= worse { limit + limit / 4 } else { limit };
        if is_below(FULL, Self::Down) {
            Self::Down
        } else if is_below(NEARLY_FULL, Self::Degraded) {
            Self::Degraded
        } else {
            Self::Up
        }
    }
}

/// How a part has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    pub condition: Condition,
    /// Since when it is so.
    pub since: Instant,
    /// From when on its condition counts as its own.
    counts_from: Instant,
    /// What was told last, and since when it was so; none until it was there for the first time.
    told: Option<(Condition, Instant)>,
}

/// Something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub condition: Condition,
    /// When it turned.
    pub at: Instant,
    /// How long it was as it was told before.
    pub before: Duration,
}

impl Course {
    #[must_use]
    pub fn new(condition: Condition, now: Instant) -> Self {
        Self { condition, since: now, counts_from: now, told: None }
    }

    /// Takes note of how the part is, and says what is to be told. That it was not there yet at the start is not told,
    /// nor what is another part's fault (`excused`).
    pub fn observe(&mut self, condition: Condition, excused: bool, now: Instant) -> Option<Turn> {
        if condition != self.condition {
            (self.condition, self.since, self.counts_from) = (condition, now, now);
        }
        if excused {
            self.counts_from = now;
            return None;
        }
        let Some((told, at)) = self.told else {
            // Nearly full at the start is news; so it counts as having been up.
            self.told = (condition != Condition::Down).then_some((Condition::Up, self.since));
            return None;
        };
        let hold = if condition > told { WORSE_FOR } else { BETTER_FOR };
        if condition == told || now.saturating_duration_since(self.counts_from) < hold {
            return None;
        }
        self.told = Some((condition, self.since));
        Some(Turn { condition, at: self.since, before: self.since.saturating_duration_since(at) })
    }
}

#[cfg(test)]
mod tests {
    use Condition::{Degraded, Down, Up};

    use super::*;

    /// What is told when a part is found to be so at these seconds.
    fn told(course: &[(u64, Condition)], excused: bool) -> Vec<(u64, Condition, u64, u64)> {
        let start = Instant::now();
        let mut part = Course::new(Down, start);
        let seconds = |time: Instant| time.duration_since(start).as_secs();
        let mut told = Vec::new();
        for (at, condition) in course {
            if let Some(turn) = part.observe(*condition, excused, start + Duration::from_secs(*at)) {
                told.push((*at, turn.condition, seconds(turn.at), turn.before.as_secs()));
            }
        }
        told
    }

    #[test]
    fn a_loss_and_a_return_are_told_once_with_their_times() {
        let course =
            [(0, Down), (50, Down), (60, Up), (80, Down), (81, Down), (82, Down), (90, Down), (140, Up), (150, Up)];
        assert_eq!(told(&course, false), [(82, Down, 80, 20), (150, Up, 140, 60)]);
        assert_eq!(told(&course, true), []);
    }

    #[test]
    fn a_hiccup_is_not_told() {
        assert_eq!(told(&[(0, Up), (70, Down), (71, Up), (90, Up)], false), []);
    }

    #[test]
    fn one_that_comes_and_goes_is_told_as_lost_once() {
        let mut course = vec![(0, Up)];
        for round in 1..60 {
            course.extend([(round * 8, Down), (round * 8 + 3, Down), (round * 8 + 4, Up), (round * 8 + 7, Up)]);
        }
        assert_eq!(told(&course, false), [(11, Down, 8, 8)]);
    }

    #[test]
    fn what_is_another_parts_fault_is_not_told_the_moment_that_one_is_back() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut part = Course::new(Up, start);
        part.observe(Up, false, start);
        assert_eq!(part.observe(Down, true, at(10)), None);
        assert_eq!(part.observe(Down, true, at(60)), None);
        assert_eq!(part.observe(Down, false, at(61)), None, "it gets the time to return too");
        assert_eq!(part.observe(Down, false, at(62)).map(|turn| turn.at), Some(at(10)), "it did not");
    }

    #[test]
    fn a_disk_that_is_nearly_full_at_the_start_is_told() {
        assert_eq!(told(&[(0, Degraded), (2, Degraded)], false), [(2, Degraded, 0, 0)]);
    }

    #[test]
    fn a_disk_at_the_limit_stays_what_it_was() {
        for (limit, worse, better) in [(FULL, Down, Degraded), (NEARLY_FULL, Degraded, Up)] {
            assert_eq!(Condition::of_disk(limit - 1, Up), worse);
            assert_eq!(Condition::of_disk(limit, Up), better);
            assert_eq!(Condition::of_disk(limit + limit / 5, worse), worse);
            assert_eq!(Condition::of_disk(limit + limit / 4, worse), better);
        }
        assert_eq!(Condition::of_disk(0, Up), Down);
        assert_eq!(Condition::of_disk(u64::MAX, Down), Up);
    }
}
