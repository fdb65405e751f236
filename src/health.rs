//! The hub's parts, as `/readyz` shows them: how each is, since when, and why; and the alerts when one is lost or has
//! returned.
//!
//! Must not know the parts: each is asked by a probe that it is given. When something is told is decided in
//! `domain::condition`.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::condition::{Condition, Course, Turn},
    events::alerts::{Alerts, Subject},
};

/// How often the parts are looked at when nobody asks.
const LOOK: Duration = Duration::from_millis(500);

/// The name of the part that the bridge asks by itself as well.
pub const DATABASE: &str = "database";

/// How a part is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub condition: Condition,
    /// For an ADMIN to read; without secrets.
    pub detail: String,
    /// It is down because another part is, which is told of that one.
    pub excused: bool,
}

impl Finding {
    #[must_use]
    pub fn new(condition: Condition, detail: impl Into<String>) -> Self {
        Self { condition, detail: detail.into(), excused: false }
    }
}

/// Says how a part is. Given how it was, and asked often: it must not wait.
pub type Probe = Box<dyn Fn(Condition) -> Finding + Send + Sync>;

/// How an alert about a part begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// The detail follows.
    pub down: &'static str,
    /// The detail follows.
    pub degraded: &'static str,
    /// How long it was not so follows.
    pub up: &'static str,
}

/// How a part was found, and since when it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub name: &'static str,
    pub condition: Condition,
    pub since: DateTime<Utc>,
    pub detail: String,
}

struct Part {
    name: &'static str,
    probe: Probe,
    course: Course,
    words: Option<Words>,
}

/// The parts. Clones are the same.
#[derive(Clone)]
pub struct Health {
    parts: Arc<Mutex<Vec<Part>>>,
    alerts: Alerts,
}

impl Health {
    #[must_use]
    pub fn new(alerts: Alerts) -> Self {
        Self { parts: Arc::default(), alerts }
    }

    /// Adds a part, which counts as not there until it is looked at. One without words raises no alerts: it does so by
    /// itself.
    #[must_use]
    pub fn with(self, name: &'static str, words: Option<Words>, probe: Probe) -> Self {
        let course = Course::new(Condition::Down, Instant::now());
        self.parts.lock().push(Part { name, probe, course, words });
        self
    }

    /// Asks each part, and raises the alerts that are due.
    #[must_use]
    pub fn look(&self) -> Vec<State> {
        let (now, clock) = (Instant::now(), Utc::now());
        let at = |then: Instant| {
            let ago = TimeDelta::from_std(now.saturating_duration_since(then)).unwrap_or(TimeDelta::zero());
            clock - ago
        };
        let mut parts = self.parts.lock();
        let looked = parts.iter_mut().map(|Part { name, probe, course, words }| {
            let Finding { condition, detail, excused } = probe(course.condition);
            let turn = course.observe(condition, excused, now);
            if let (Some(words), Some(turn)) = (words, turn) {
                self.alerts.raise(Subject::Part(name), description(*words, turn, &detail), at(turn.at));
            }
            State { name, condition, since: at(course.since), detail }
        });
        looked.collect()
    }

    /// Looks at the parts until `stop`, so that alerts are raised while nobody asks.
    ///
    /// # Errors
    /// None.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(LOOK);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let _ = self.look();
        }
        Ok(())
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts.lock().iter().map(|part| (part.name, part.course.condition))).finish()
    }
}

fn description(words: Words, turn: Turn, detail: &str) -> String {
    match turn.condition {
        Condition::Down => format!("{}: {detail}", words.down),
        Condition::Degraded => format!("{}: {detail}", words.degraded),
        Condition::Up => format!("{} after {}", words.up, length(turn.before)),
    }
}

/// A time as people say it: `12 s`, `3 min 5 s`, `2 h 10 min`.
fn length(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Item, intake::Intake};

    const WORDS: Words = Words { down: "The part is lost", degraded: "The part limps", up: "The part has returned" };

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = [59, 60, 3599, 7800].map(|seconds| length(Duration::from_secs(seconds)));
        assert_eq!(said, ["59 s", "1 min 0 s", "59 min 59 s", "2 h 10 min"]);
    }

    #[tokio::test]
    async fn a_part_that_is_lost_is_told_with_the_time_at_which_it_was() {
        let (alerts, stop) = (Alerts::default(), CancellationToken::new());
        let found = Arc::new(Mutex::new(Finding::new(Condition::Up, "it answers")));
        let probed = found.clone();
        let part: Probe = Box::new(move |_| probed.lock().clone());
        let health = Health::new(alerts.clone()).with("part", Some(WORDS), part);
        let up = health.look();
        assert_eq!((up[0].name, up[0].condition, up[0].detail.as_str()), ("part", Condition::Up, "it answers"));
        *found.lock() = Finding::new(Condition::Down, "it is silent");
        let down = health.look();
        assert!(down[0].condition == Condition::Down && down[0].since >= up[0].since);
        let (recorder, mut queue) = Intake::with_room(1);
        let tasks =
            [tokio::spawn(health.clone().run(stop.clone())), tokio::spawn(alerts.deliver(recorder, stop.clone()))];
        let told = tokio::time::timeout(Duration::from_secs(30), queue.recv()).await.expect("told").expect("a queue");
        let Item::Occurrence(alert) = told.item else { panic!("no alert") };
        assert_eq!(alert.description, "The part is lost: it is silent");
        assert!(alert.at - down[0].since < TimeDelta::seconds(1), "{} and {}", alert.at, down[0].since);
        drop(told.reply);
        stop.cancel();
        for task in tasks {
            task.await.expect("ends").expect("well");
        }
    }
}
