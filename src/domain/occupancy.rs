//! How many persons stand before a camera, as far as its engine says: pure, with time as an argument.
//!
//! A detection says so until a report shows no person, until nothing was heard for a while (`OCCUPANCY_SECONDS`), or until
//! the camera is lost. The while is measured by the time that only passes, whatever becomes of the machine's clock; only at
//! the start of a process has the newest stored event to be dated by the clock.

use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::trusted_clock::SLEW;

/// The least time between two notices of one camera. What changes within it is told at its end, as it is then.
pub const PACE: Duration = Duration::from_millis(500);
/// After how long a camera is told of anew of which only the times have changed.
pub const REFRESH: Duration = Duration::from_secs(30);

/// What was reported of the persons before one camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// How many the newest report showed, and when it came; none while nobody is there.
    shown: Option<(u32, Instant)>,
}

impl Occupancy {
    /// As it is by the newest stored detection, which is `age` old by the clock. One that the clock has not reached yet says
    /// nothing: either was the clock wrong when it was stored, or it is now.
    #[must_use]
    pub fn restored(persons: u32, age: TimeDelta, now: Instant, hold: Duration) -> Self {
        if age < -SLEW {
            return Self::default();
        }
        let age = age.to_std().unwrap_or_default();
        let since = now.checked_sub(age).filter(|_| age < hold);
        Self { shown: since.filter(|_| persons > 0).map(|since| (persons, since)) }
    }

    /// A report came in. One that was sent again and was stored before is none.
    pub fn reported(&mut self, persons: u32, now: Instant) {
        self.shown = (persons > 0).then_some((persons, now));
    }

    /// Nobody can say any more: the camera is lost, or switched off.
    pub fn clear(&mut self) {
        self.shown = None;
    }

    /// How many persons are there.
    #[must_use]
    pub fn persons(&self, now: Instant, hold: Duration) -> u32 {
        match self.shown {
            Some((persons, since)) if now.saturating_duration_since(since) < hold => persons,
            _ => 0,
        }
    }
}

/// Decides when something is told that may change as often as it likes: a change at once, but none within [`PACE`] of the
/// one before; what differs only in its times after [`REFRESH`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    told: Option<Instant>,
}

/// How something differs from what was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    Not,
    InItsTimes,
    Truly,
}

impl Pace {
    /// Whether it is to be told now. The first time it is, whatever it is.
    pub fn is_due(&mut self, differs: Differs, now: Instant) -> bool {
        let after = |least| self.told.is_none_or(|told| now.saturating_duration_since(told) >= least);
        let is_due = match differs {
            Differs::Not => self.told.is_none(),
            Differs::InItsTimes => after(REFRESH),
            Differs::Truly => after(PACE),
        };
        if is_due {
            self.told = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_secs(30);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn persons_stay_until_an_empty_picture_or_long_silence_or_a_loss() {
        let start = Instant::now();
        let mut camera = Occupancy::default();
        assert_eq!(camera.persons(start, HOLD), 0);
        camera.reported(2, start);
        assert_eq!([0, 29, 30, 31].map(|after| camera.persons(start + seconds(after), HOLD)), [2, 2, 0, 0]);
        camera.reported(1, start + seconds(20));
        assert_eq!([20, 49, 50].map(|after| camera.persons(start + seconds(after), HOLD)), [1, 1, 0]);
        camera.reported(0, start + seconds(21));
        assert_eq!(camera.persons(start + seconds(21), HOLD), 0);
        camera.reported(3, start + seconds(22));
        camera.clear();
        assert_eq!(camera.persons(start + seconds(22), HOLD), 0);
    }

    #[test]
    fn after_a_restart_the_newest_detection_counts_for_the_rest_of_its_time() {
        let now = Instant::now() + seconds(3600);
        for (age, persons, later, expected) in [
            (0, 2, 29, 2),
            (10, 2, 19, 2),
            (10, 2, 20, 0),
            (30, 2, 0, 0),
            (i64::from(i32::MAX), 2, 0, 0),
            (10, 0, 0, 0),
            // A clock that was set back a little, and one that is wrong.
            (-3, 1, 0, 1),
            (-60, 1, 0, 0),
        ] {
            let camera = Occupancy::restored(persons, TimeDelta::seconds(age), now, HOLD);
            assert_eq!(camera.persons(now + seconds(later), HOLD), expected, "{age} s, {persons}");
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Report(u32),
        Clear,
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4_u32).prop_map(Step::Report),
            1 => Just(Step::Clear),
            3 => (0..40_000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn it_is_the_newest_report_while_that_is_young(steps in prop::collection::vec(step(), 0..60)) {
            let mut camera = Occupancy::default();
            let mut now = Instant::now();
            let mut newest: Option<(u32, Instant)> = None;
            for step in steps {
                match step {
                    Step::Report(persons) => {
                        camera.reported(persons, now);
                        newest = Some((persons, now));
                    }
                    Step::Clear => {
                        camera.clear();
                        newest = None;
                    }
                    Step::Wait(millis) => now += Duration::from_millis(millis),
                }
                let expected = newest.filter(|(_, at)| now - *at < HOLD).map_or(0, |(persons, _)| persons);
                prop_assert_eq!(camera.persons(now, HOLD), expected);
            }
        }

        #[test]
        fn what_was_stored_never_counts_for_longer_than_a_fresh_report(
            persons in 0..5_u32, age in -100_000..100_000_i64, later in 0..100_000_u64,
        ) {
            let now = Instant::now() + seconds(3600);
            let restored = Occupancy::restored(persons, TimeDelta::milliseconds(age), now, HOLD);
            let mut fresh = Occupancy::default();
            fresh.reported(persons, now);
            let at = now + Duration::from_millis(later);
            prop_assert!(restored.persons(at, HOLD) <= fresh.persons(at, HOLD));
        }

        #[test]
        fn changes_are_told_no_faster_than_the_pace_and_the_last_one_always(
            steps in prop::collection::vec((0..3_u8, 0..400_u64), 1..100),
        ) {
            let mut pace = Pace::default();
            let mut now = Instant::now();
            let (mut told, mut told_at): (Option<u8>, Option<Instant>) = (None, None);
            let mut last = 0;
            let mut look = |value: u8, now: Instant| {
                let differs = if told.is_some_and(|told| told == value) { Differs::Not } else { Differs::Truly };
                if pace.is_due(differs, now) {
                    assert!(told_at.is_none_or(|before| now - before >= PACE));
                    (told, told_at) = (Some(value), Some(now));
                }
                told
            };
            for (value, wait) in steps {
                look(value, now);
                last = value;
                now += Duration::from_millis(wait);
            }
            prop_assert_eq!(look(last, now + PACE), Some(last));
        }
    }

    #[test]
    fn what_differs_in_its_times_alone_is_told_now_and_then() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!(pace.is_due(Differs::Not, start));
        let told = [1, 29, 30, 31, 59, 60].map(|after| pace.is_due(Differs::InItsTimes, start + seconds(after)));
        assert_eq!(told, [false, false, true, false, false, true]);
        assert!(!pace.is_due(Differs::Not, start + seconds(3600)));
    }
}
