//! What the hub believes of the machine's clock: pure, with time as an argument. docs/decisions/0009 says why.
//!
//! Two questions. Which time does an event bear that is stored now ([`stamp`])? And is the clock supported by anything but
//! itself, so that things may be dropped by it for being old ([`Trust`])?

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

/// How far a clock may be set back, or differ from the time that was measured beside it, without anybody being told: NTP
/// does that. An event that is stored meanwhile bears the time of the one before.
pub const SLEW: TimeDelta = TimeDelta::seconds(5);
/// How far the clock may be from what its witnesses say before it is in doubt: a power cut of a night needs no word.
pub const AGREES: TimeDelta = TimeDelta::hours(12);
/// How long ago NTP's last word may be: systemd-timesyncd speaks every 34 minutes at the least.
pub const NTP_WITHIN: TimeDelta = TimeDelta::hours(2);
/// 2026-01-01, in seconds: this program was not there before, so a clock that says less was never set.
const EARLIEST: i64 = 1_767_225_600;

/// The time that is stored with what is stored now. `newest` is that of the newest event, by id, not by time. It does not go
/// back by a small correction of the clock; but nothing keeps it from going back by a large one, since the newest event may
/// have been stored by a clock that was ahead.
#[must_use]
pub fn stamp(newest: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
    newest.filter(|newest| *newest > now && *newest - now <= SLEW).unwrap_or(now)
}

/// Whether a clock could be right at all.
#[must_use]
pub fn is_possible(now: DateTime<Utc>) -> bool {
    now.timestamp() >= EARLIEST
}

/// Whether NTP's last word, which bears the time of then by this machine's clock, speaks for what the clock says now. A
/// clock that was set since is far from it.
#[must_use]
pub fn ntp_agrees(last_word: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - last_word <= NTP_WITHIN && last_word - now <= SLEW
}

/// What the clock said, and when by the time that only passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub said: DateTime<Utc>,
    pub at: Instant,
}

impl Reading {
    #[must_use]
    pub fn new(said: DateTime<Utc>, at: Instant) -> Self {
        Self { said, at }
    }

    /// What a clock that runs well says later.
    #[must_use]
    pub fn later(self, at: Instant) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(at.saturating_duration_since(self.at)).unwrap_or(TimeDelta::MAX);
        self.said.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// By how much the clock was set between two readings: above zero, ahead. None if it only ran.
#[must_use]
pub fn jump(before: Reading, now: Reading) -> Option<TimeDelta> {
    let by = now.said - before.later(now.at);
    (by.abs() > SLEW).then_some(by)
}

/// What is stored that tells of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traces {
    /// The time that was noted at the last look: it is at least as late.
    pub noted: Option<DateTime<Utc>>,
    /// Of the newest event, by id.
    pub event: Option<DateTime<Utc>>,
    /// Of the newest row of the lock's audit.
    pub audit: Option<DateTime<Utc>>,
}

impl Traces {
    /// What they say. An event and a row of the audit were stored by whatever the clock said, so they tell nothing where a
    /// time is noted: a clock that is wrong now may have written them. What cannot be says nothing.
    #[must_use]
    pub fn supported(self) -> Option<DateTime<Utc>> {
        let stored = self.event.max(self.audit).filter(|at| is_possible(*at));
        self.noted.or(stored)
    }
}

/// Whether the clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Believed,
    /// It is set apart from all that tells of time, or impossible.
    Doubted(Gap),
}

/// How the clock stands to its witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// What the clock says.
    pub said: DateTime<Utc>,
    /// What the witnesses say; none if there is none, and the clock says what cannot be.
    pub supported: Option<DateTime<Utc>>,
}

impl Gap {
    /// For a person: what the clock says, what the witnesses say, and how far apart.
    #[must_use]
    pub fn words(&self) -> String {
        let text = |time: DateTime<Utc>| time.format("%F %H:%M:%S UTC").to_string();
        match self.supported {
            Some(supported) => format!(
                "the clock says {}, {} the {} that the newest trace of time supports",
                text(self.said),
                apart(self.said - supported),
                text(supported)
            ),
            None => format!("the clock says {}, which cannot be", text(self.said)),
        }
    }
}

/// `9 y 364 d ahead of`, `3 h 2 min behind`.
#[must_use]
pub fn apart(by: TimeDelta) -> String {
    format!("{} {}", length(by), if by < TimeDelta::zero() { "behind" } else { "ahead of" })
}

/// As people say it, without its sign.
#[must_use]
pub fn length(by: TimeDelta) -> String {
    let seconds = rounded((by.num_milliseconds().abs() + 500) / 1000);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days / 365, days, hours, minutes) {
        (0, 0, 0, 0) => format!("{seconds} s"),
        (0, 0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, 0, _, _) => format!("{hours} h {} min", minutes % 60),
        (0, _, _, _) => format!("{days} d {} h", hours % 24),
        (years, ..) => format!("{years} y {} d", days % 365),
    }
}

/// To the smaller of the two units in which it is shown: a moment less than 40 days is 40 days.
fn rounded(seconds: i64) -> i64 {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let to = |unit: i64| (seconds + unit / 2) / unit * unit;
    match seconds {
        ..HOUR => seconds,
        HOUR..DAY => to(MINUTE),
        _ if seconds < 365 * DAY => to(HOUR),
        _ => to(DAY),
    }
}

/// Holds the clock against its witnesses, from one look to the next.
#[derive(Debug, Clone, Copy)]
pub struct Trust {
    /// As late as it is by the witnesses, and when that was so.
    supported: Option<Reading>,
    /// This is the first look of the process: how long it was away is told by the clock alone.
    first: bool,
}

impl Trust {
    /// At the start, with what is stored.
    #[must_use]
    pub fn new(traces: Traces, at: Instant) -> Self {
        Self { supported: traces.supported().map(|said| Reading { said, at }), first: true }
    }

    /// At the start of a process, where it was measured how long ago the noted time was: the machine ran on.
    #[must_use]
    pub fn measured(said: DateTime<Utc>, at: Instant) -> Self {
        Self { supported: Some(Reading { said, at }), first: false }
    }

    /// What the clock is worth now. `ntp` is whether NTP speaks for it. In doubt the support goes on by the time that has
    /// passed, and never by what the doubted clock says: so a wrong clock is as wrong in the 25th hour as in the first, and
    /// after a restart.
    pub fn look(&mut self, now: Reading, ntp: bool) -> Standing {
        let expected = self.supported.map(|supported| supported.later(now.at));
        let gap = expected.map(|expected| now.said - expected);
        let agrees = gap.is_none_or(|gap| gap.abs() <= AGREES);
        if !is_possible(now.said) || !(agrees || ntp) {
            self.supported = expected.map(|said| Reading { said, at: now.at });
            self.first = false;
            return Standing::Doubted(Gap { said: now.said, supported: expected });
        }
        // Beside a running process time is measured, so that only small corrections are followed without a witness: many
        // that were let pass would add up to a large one.
        let follows = ntp || self.first || gap.is_none_or(|gap| gap.abs() <= SLEW);
        let said = expected.filter(|_| !follows).unwrap_or(now.said);
        *self = Self { supported: Some(Reading { said, at: now.at }), first: false };
        Standing::Believed
    }

    /// A person says that the clock is right.
    pub fn confirm(&mut self, said: DateTime<Utc>, at: Instant) {
        self.supported = Some(Reading { said, at });
    }

    /// What is supported at this time: to be noted, so that a later process knows.
    #[must_use]
    pub fn supported(&self, at: Instant) -> Option<DateTime<Utc>> {
        self.supported.map(|supported| supported.later(at))
    }
}

#[cfg(test)]
mod tests;
