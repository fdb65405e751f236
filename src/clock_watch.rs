//! Watches the machine's clock: holds it against what else tells of time, says whether it is believed, and raises alerts
//! when it is set and when it is in doubt. What is decided by that stands in `domain::trusted_clock`.
//!
//! Must not know who asks, nor what is done with the answer.

pub mod machine;

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        event::Kind,
        trusted_clock::{AGREES, Gap, Reading, SLEW, Standing, Trust, jump, length, ntp_agrees},
    },
    events::alerts::{Alerts, Subject},
    store::{
        self, Database,
        clock::{self, Kept, Newest, Uptime},
    },
    wire::time::millis,
};

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the time is noted in the database.
const NOTE: Duration = Duration::from_mins(10);
/// How long the last note may take when the hub stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a person does about a clock in doubt.
const CURE: &str = "Nothing is dropped for its age meanwhile. Set the machine's clock, or let NTP do it; if the clock is right, \
                    say so with `portcullis clock confirm`";

/// Watches until `stop`, and shows how the clock stands; nothing before the database was first asked.
///
/// # Errors
/// None: while the database is away the clock stands as it stood.
pub async fn run(
    database: Database,
    alerts: Alerts,
    standing: watch::Sender<Option<Standing>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(LOOK);
    let mut last = reading();
    let mut watched: Option<Watched> = None;
    let mut was_here = false;
    loop {
        // And at once when the database opens: a hub that stops soon has noted the time all the same.
        let next = async {
            tokio::select! {
                _ = tick.tick() => {}
                () = database.available(), if !was_here => was_here = true,
            }
        };
        if stop.run_until_cancelled(next).await.is_none() {
            break;
        }
        let now = reading();
        if let Some(by) = jump(last, now) {
            tell_of_jump(&alerts, by, now.said);
        }
        last = now;
        if !database.is_here() {
            continue;
        }
        let looked = async {
            let watched = match &mut watched {
                Some(watched) => watched,
                None => watched.insert(Watched::begin(&database, &alerts, now).await?),
            };
            watched.look(&database, &alerts, now).await
        };
        match stop.run_until_cancelled(looked).await {
            Some(Ok(found)) => {
                standing.send_if_modified(|shown| turned(shown, found));
            }
            Some(Err(error)) => tracing::debug!("the clock is looked at again soon: {error}"),
            None => {}
        }
    }
    if let Some(watched) = &mut watched
        && database.is_here()
    {
        let _ = tokio::time::timeout(FAREWELL, watched.note(&database, reading())).await;
    }
    Ok(())
}

/// Shows how the clock stands, and says whether it stands otherwise than before: that a doubt goes on is no news.
fn turned(shown: &mut Option<Standing>, now: Standing) -> bool {
    let is_news = !matches!(
        (&shown, now),
        (Some(Standing::Believed), Standing::Believed) | (Some(Standing::Doubted(_)), Standing::Doubted(_))
    );
    *shown = Some(now);
    is_news
}

fn reading() -> Reading {
    Reading::new(Utc::now(), Instant::now())
}

fn tell_of_jump(alerts: &Alerts, by: TimeDelta, said: DateTime<Utc>) {
    let direction = if by > TimeDelta::zero() { "ahead" } else { "back" };
    let description = format!(
        "The clock was set {direction} by {} and says {} now. Events bear that time from here on; their order is that of \
         their ids",
        length(by),
        said.format("%F %H:%M:%S UTC")
    );
    alerts.raise(Subject::Part("clock"), Kind::ClockSet, description, said);
}

/// Whether the clock is believed, as far as a command can tell that looks once.
///
/// # Errors
/// When the database is away.
pub async fn examine(database: &Database) -> Result<(Standing, Kept), store::Error> {
    let kept = clock::read(database).await?;
    let now = reading();
    let mut trust = trust(&kept, now).0;
    Ok((trust.look(now, ntp_speaks_for(now.said)), kept))
}

fn ntp_speaks_for(said: DateTime<Utc>) -> bool {
    machine::ntp().is_some_and(|word| ntp_agrees(word, said))
}

/// What is known at the start; and by how much the clock was set since the last note, where that can be measured.
fn trust(kept: &Kept, now: Reading) -> (Trust, Option<TimeDelta>) {
    let passed = kept.uptime.as_ref().and_then(|then| passed(then, &machine::uptime(now.said)?));
    let Some((passed, then)) = passed.zip(kept.uptime.as_ref()) else {
        return (Trust::new(kept.traces, now.at), None);
    };
    let trust = match kept.traces.noted {
        Some(noted) => Trust::measured(noted + passed, now.at),
        None => Trust::new(kept.traces, now.at),
    };
    let by = now.said - (then.said + passed);
    (trust, (by.abs() > SLEW).then_some(by))
}

/// How long ago that was, if the machine has run since.
fn passed(then: &Uptime, now: &Uptime) -> Option<TimeDelta> {
    let passed = Duration::try_from_secs_f64(now.seconds - then.seconds).ok()?;
    TimeDelta::from_std(passed).ok().filter(|_| then.boot == now.boot)
}

/// What is known from one look to the next.
struct Watched {
    trust: Trust,
    /// The note that is in the database, as far as is known.
    noted: Option<DateTime<Utc>>,
    noted_at: Option<Instant>,
    in_doubt: bool,
    /// The newest that were stored by a clock that was right beyond doubt.
    sound: Newest,
}

impl Watched {
    async fn begin(database: &Database, alerts: &Alerts, now: Reading) -> Result<Self, store::Error> {
        let kept = clock::read(database).await?;
        let (trust, set) = trust(&kept, now);
        let newest = kept.traces.event.map(|event| event - now.said).filter(|ahead| *ahead > SLEW);
        if let Some(by) = set.or(newest.map(|ahead| -ahead)) {
            tell_of_jump(alerts, by, now.said);
        }
        let in_doubt = kept.doubted.is_some();
        if in_doubt {
            tracing::warn!("the clock was in doubt when the hub stopped");
        }
        let sound = if in_doubt { kept.sound } else { kept.newest };
        Ok(Self { trust, noted: kept.traces.noted, noted_at: None, in_doubt, sound })
    }

    /// Holds the clock against its witnesses, and keeps what came of it. Nothing is taken for done that is not stored.
    async fn look(&mut self, database: &Database, alerts: &Alerts, now: Reading) -> Result<Standing, store::Error> {
        let mut trust = self.trust;
        if self.in_doubt {
            let noted = clock::noted(database).await?;
            if let Some(confirmed) = noted.filter(|_| noted != self.noted) {
                trust.confirm(confirmed, now.at);
                self.noted = noted;
            }
        }
        let ntp = ntp_speaks_for(now.said);
        let gap = trust.supported(now.at).map(|supported| now.said - supported);
        let standing = trust.look(now, ntp);
        match standing {
            Standing::Doubted(gap) if !self.in_doubt => {
                clock::doubt(database, millis(gap.supported.unwrap_or(gap.said)), self.sound).await?;
                self.in_doubt = true;
                alerts.raise(Subject::Part("clock"), Kind::ClockWrong, doubt(&gap), now.said);
            }
            Standing::Believed if self.in_doubt || gap.is_some_and(|gap| gap.abs() > AGREES) => {
                clock::believe(database, millis(now.said), self.sound).await?;
                if self.in_doubt {
                    alerts.raise(Subject::Part("clock"), Kind::ClockRight, believed(now.said, ntp), now.said);
                }
                (self.in_doubt, self.noted_at) = (false, None);
            }
            Standing::Doubted(_) | Standing::Believed => {}
        }
        self.trust = trust;
        if self.noted_at.is_none_or(|at| now.at.saturating_duration_since(at) >= NOTE) {
            self.note(database, now).await?;
            if ntp && standing == Standing::Believed {
                self.sound = clock::read(database).await?.newest;
            }
        }
        Ok(standing)
    }

    /// Notes how late it is at least. What a person has said meanwhile stands.
    async fn note(&mut self, database: &Database, now: Reading) -> Result<(), store::Error> {
        let Some(supported) = self.trust.supported(now.at).map(millis) else { return Ok(()) };
        let uptime = machine::uptime(millis(now.said));
        if clock::note(database, self.noted, supported, uptime.as_ref()).await? {
            (self.noted, self.noted_at) = (Some(supported), Some(now.at));
        } else if !self.in_doubt {
            self.noted = clock::noted(database).await?;
        }
        Ok(())
    }
}

fn doubt(gap: &Gap) -> String {
    format!("The clock is in doubt: {}. {CURE}", gap.words())
}

fn believed(said: DateTime<Utc>, ntp: bool) -> String {
    let why = if ntp { "NTP speaks for it" } else { "it agrees with what else tells of time" };
    format!("The clock is believed again: it says {}, and {why}", said.format("%F %H:%M:%S UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::trusted_clock::Traces;

    fn uptime(boot: &str, seconds: f64) -> Uptime {
        Uptime { boot: boot.to_owned(), seconds, said: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn time_is_measured_within_one_run_of_the_machine_alone() {
        assert_eq!(passed(&uptime("a", 10.0), &uptime("a", 70.5)), Some(TimeDelta::milliseconds(60_500)));
        assert_eq!(passed(&uptime("a", 10.0), &uptime("b", 70.5)), None);
        assert_eq!(passed(&uptime("a", 70.5), &uptime("a", 10.0)), None, "another machine, or a container of its own");
        assert_eq!(passed(&uptime("a", f64::NAN), &uptime("a", 10.0)), None);
    }

    #[test]
    fn that_a_clock_was_set_while_the_hub_was_away_is_known_where_the_machine_ran_on() {
        let now = reading();
        let there = machine::uptime(now.said).expect("an uptime");
        let ago = TimeDelta::milliseconds(500);
        let kept = |by: TimeDelta| Kept {
            traces: Traces { noted: Some(now.said - ago), ..Traces::default() },
            uptime: Some(Uptime {
                seconds: there.seconds - ago.as_seconds_f64(),
                said: now.said - ago - by,
                boot: there.boot.clone(),
            }),
            doubted: None,
            sound: Newest::default(),
            newest: Newest::default(),
        };
        let hours = TimeDelta::hours;
        for (by, told) in [(TimeDelta::zero(), None), (hours(2), Some(2)), (hours(-30), Some(-30))] {
            let found = trust(&kept(by), now).1.map(|by| (by.as_seconds_f64() / 3600.0).round());
            assert_eq!(found, told.map(f64::from), "{by}");
        }
        let elsewhere = Kept { uptime: Some(uptime("another", 1.0)), ..kept(hours(2)) };
        assert_eq!(trust(&elsewhere, now).1, None);
    }

    #[test]
    fn that_a_doubt_goes_on_is_no_news() {
        let gap = |said| Standing::Doubted(Gap { said, supported: None });
        let (first, second) = (gap(DateTime::UNIX_EPOCH), gap(DateTime::UNIX_EPOCH + SLEW));
        let mut shown = None;
        let news = [first, second, Standing::Believed, Standing::Believed, first].map(|now| turned(&mut shown, now));
        assert_eq!(news, [true, false, true, false, true]);
    }
}
