//! The door's alarms on their way to the hub. An alarm that begins and ends while the hub can't be reached is told
//! afterwards, with the time at which it began.
//!
//! Must not know how anything is told, only when it was.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Moment, door::Alarm};

/// How long a connection must have stood after an alarm left on it, so that the hub has it for sure: a dead connection
/// is given up after two keep-alives of 5 s, and what left on it before may be lost.
pub const SURE: Duration = Duration::from_secs(15);
/// How many alarms are kept. When there are more, the first ones and the newest stay: how it began, and how it is.
const KEPT: usize = 32;

/// One alarm from its beginning.
#[derive(Debug, Clone, Copy)]
struct Episode {
    alarm: Alarm,
    began: Instant,
    /// The same by the wall clock, once it was told: a repetition says the same time, by which the hub knows it.
    said: Option<DateTime<Utc>>,
    /// When it was told on a connection that still stands, or stood long enough.
    told: Option<Instant>,
    over: bool,
}

/// Alarms that stand, or are not told yet.
#[derive(Debug, Default)]
pub struct Latch {
    /// The oldest first; at most the last one is not over.
    episodes: VecDeque<Episode>,
}

impl Latch {
    /// What is wrong with the door now.
    pub fn observe(&mut self, alarm: Option<Alarm>, now: Instant) {
        self.episodes.retain(|episode| !(episode.over && episode.told.is_some_and(|told| is_sure(told, now))));
        match (self.episodes.back_mut().filter(|episode| !episode.over), alarm) {
            (Some(standing), Some(alarm)) if standing.alarm == alarm => return,
            (Some(standing), _) => standing.over = true,
            (None, _) => {}
        }
        let Some(alarm) = alarm else { return };
        if self.episodes.len() >= KEPT {
            self.episodes.pop_back();
        }
        self.episodes.push_back(Episode { alarm, began: now, said: None, told: None, over: false });
    }

    /// What is to be told next: the oldest alarm that was not told, else the one that stands. With its beginning, by
    /// which two alarms of one kind differ.
    #[must_use]
    pub fn next(&self) -> Option<(Alarm, Instant)> {
        self.next_episode().map(|episode| (episode.alarm, episode.began))
    }

    /// When that began, by the wall clock as it is now: it may have been set since.
    #[must_use]
    pub fn next_since(&self, now: Moment) -> Option<DateTime<Utc>> {
        let episode = self.next_episode()?;
        let ago = TimeDelta::from_std(now.monotonic.saturating_duration_since(episode.began)).unwrap_or_default();
        Some(episode.said.unwrap_or_else(|| now.wall.checked_sub_signed(ago).unwrap_or(now.wall)))
    }

    /// [`Latch::next`] has been told.
    pub fn told(&mut self, now: Moment) {
        let since = self.next_since(now);
        if let Some(episode) = self.episodes.iter_mut().find(|episode| episode.told.is_none()) {
            episode.said = since;
            episode.told = Some(now.monotonic);
        }
    }

    /// The connection is gone, and with it perhaps what was told last.
    pub fn lost(&mut self, now: Instant) {
        for episode in &mut self.episodes {
            episode.told = episode.told.filter(|told| is_sure(*told, now));
        }
    }

    fn next_episode(&self) -> Option<&Episode> {
        let untold = self.episodes.iter().find(|episode| episode.told.is_none());
        untold.or_else(|| self.episodes.back().filter(|last| !last.over))
    }
}

fn is_sure(told: Instant, now: Instant) -> bool {
    now.saturating_duration_since(told) >= SURE
}

#[cfg(test)]
mod tests {
    use Alarm::{DoorForced, DoorHeldOpen};
    use proptest::prelude::*;

    use super::*;

    fn moment(start: Moment, seconds: u64) -> Moment {
        let time = Duration::from_secs(seconds);
        Moment { monotonic: start.monotonic + time, wall: start.wall + time }
    }

    fn start() -> Moment {
        Moment { monotonic: Instant::now(), wall: DateTime::from_timestamp(1_795_000_000, 0).expect("a time") }
    }

    /// Tells everything, as a worker does that is connected: what it said.
    fn tell(latch: &mut Latch, now: Moment) -> Vec<(Alarm, DateTime<Utc>)> {
        let mut said = Vec::new();
        while let Some((alarm, began)) = latch.next() {
            said.push((alarm, latch.next_since(now).expect("a time")));
            latch.told(now);
            if latch.next() == Some((alarm, began)) {
                break;
            }
        }
        said
    }

    #[test]
    fn what_began_and_ended_unheard_is_told_afterwards_with_its_time() {
        let (mut latch, start) = (Latch::default(), start());
        for (second, alarm) in [(1, Some(DoorForced)), (3, None), (50, Some(DoorHeldOpen)), (60, None)] {
            latch.observe(alarm, moment(start, second).monotonic);
        }
        let told = tell(&mut latch, moment(start, 3600));
        assert_eq!(told, [(DoorForced, moment(start, 1).wall), (DoorHeldOpen, moment(start, 50).wall)]);
        assert_eq!(latch.next(), None);
    }

    #[test]
    fn what_was_told_just_before_the_connection_was_lost_is_told_again_as_the_same() {
        let (mut latch, start) = (Latch::default(), start());
        latch.observe(Some(DoorForced), start.monotonic);
        let told = tell(&mut latch, start);
        latch.observe(None, moment(start, 1).monotonic);
        assert_eq!(latch.next(), None, "told, and over");
        latch.lost(moment(start, 14).monotonic);
        // The clock was set meanwhile.
        let later = Moment { wall: start.wall + TimeDelta::days(1), ..moment(start, 20) };
        assert_eq!(tell(&mut latch, later), told);
        latch.observe(None, moment(start, 36).monotonic);
        latch.lost(moment(start, 36).monotonic);
        assert_eq!(latch.next(), None, "the connection stood long enough");
    }

    #[test]
    fn of_too_many_the_first_and_the_newest_stay() {
        let (mut latch, start) = (Latch::default(), start());
        for second in 0..100 {
            latch.observe(Some(DoorForced), moment(start, 2 * second).monotonic);
            latch.observe(None, moment(start, 2 * second + 1).monotonic);
        }
        let told = tell(&mut latch, moment(start, 500));
        assert_eq!((told.len(), told[0].1, told[KEPT - 1].1), (KEPT, start.wall, moment(start, 198).wall));
    }

    proptest! {
        #[test]
        fn every_alarm_reaches_the_hub(steps in prop::collection::vec((0..40_u64, 0..5_u8), 0..25)) {
            let (mut latch, start) = (Latch::default(), start());
            let (mut second, mut connected, mut stands) = (0, false, None);
            // What was said on the connection since it stands, what the hub has for sure, and what there was.
            let (mut said, mut heard, mut all) = (Vec::new(), Vec::new(), Vec::new());
            let settle = |said: &mut Vec<(u64, _)>, heard: &mut Vec<_>, until: u64| {
                said.retain(|(at, what)| {
                    let old = at + 10 <= until;
                    if old { heard.push(*what); }
                    !old
                });
            };
            for (pause, what) in steps {
                second += pause;
                let now = moment(start, second);
                match what {
                    0 => { connected = true; }
                    1 => {
                        // Everything of the last 10 s is lost with the connection.
                        settle(&mut said, &mut heard, second);
                        said.clear();
                        latch.lost(now.monotonic);
                        connected = false;
                    }
                    2 => stands = None,
                    3 => stands = Some(DoorForced),
                    _ => stands = Some(DoorHeldOpen),
                }
                let before = latch.episodes.len();
                latch.observe(stands, now.monotonic);
                if latch.episodes.back().is_some_and(|last| last.began == now.monotonic) && what >= 3 && latch.episodes.len() > before {
                    all.push(stands.expect("an alarm"));
                }
                if connected {
                    said.extend(tell(&mut latch, now).into_iter().map(|what| (second, what)));
                }
            }
            let now = moment(start, second + 100);
            latch.lost(now.monotonic);
            settle(&mut said, &mut heard, second + 100);
            heard.extend(tell(&mut latch, now));
            let mut kinds: Vec<_> = heard.clone();
            kinds.sort_by_key(|(_, since)| *since);
            kinds.dedup();
            prop_assert!(kinds.len() >= all.len(), "{kinds:?} of {all:?}");
        }
    }
}
