//! The bolt of the door, as the lock worker thinks of it: which commands it obeys, and when it closes by itself.
//!
//! The one rule: the door never opens unless somebody who may asked for it just now, and it never stays open longer
//! than it must. Time is an argument, twice: a monotonic clock for how long, the wall clock only for what a command
//! says of itself. Must not know MQTT, the relay or how a position is read back.

pub mod clock;
pub mod door;
pub mod latch;
pub mod memory;
pub mod order;

use std::{
    fmt,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use memory::{Rates, Seen};
use order::{Order, Refusal};

use super::lock::{Action, LockStatus};

/// A command's longest life, from `issuedAt` to `expiresAt`.
pub const LIFETIME: TimeDelta = TimeDelta::seconds(10);
/// How far ahead of the worker's clock a command may have been issued: the clocks of hub and worker differ.
pub const AHEAD: TimeDelta = TimeDelta::seconds(2);
/// Times on the wire are cut to the millisecond, so a command can seem that much older than it is.
const GRAIN: TimeDelta = TimeDelta::milliseconds(1);
/// The longest hold. Who wants the door open for longer says so once a day.
pub const LONGEST_HOLD: Duration = Duration::from_hours(24);
/// A clock that shows less has not been set: 2026-01-01T00:00:00Z, in seconds since 1970.
const CLOCK_IS_SET: i64 = 1_767_225_600;

/// Where the relay is, or should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    /// Locked: where the relay is whenever nobody has a right to an open door.
    Closed,
    /// Unlocked.
    Open,
}

impl From<Position> for LockStatus {
    fn from(position: Position) -> Self {
        match position {
            Position::Closed => Self::Closed,
            Position::Open => Self::Open,
        }
    }
}

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Never jumps. Everything that lasts is measured by it.
    pub monotonic: Instant,
    /// May be wrong, and may jump in both directions.
    pub wall: DateTime<Utc>,
}

/// What the installer has set.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long the door stays open after each command to open.
    pub open_for: Duration,
    /// The longest that repeated commands can keep it open without a hold.
    pub max_open: Duration,
    /// Whether a hold, which may outlast `max_open`, is obeyed at all.
    pub hold_open: bool,
    /// How long an open door is left open once the hub is lost.
    pub hub_lost: Duration,
}

/// Why the bolt closes without a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    Elapsed,
    LongestOpen,
    HoldEnded,
    HubLost,
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elapsed => "closed by itself",
            Self::LongestOpen => "closed: open for as long as it may be",
            Self::HoldEnded => "closed: the hold ended",
            Self::HubLost => "closed: the hub is lost",
        })
    }
}

/// One stretch of time in which the door may be open.
#[derive(Debug, Clone, Copy)]
struct Opening {
    since: Instant,
    /// Set anew by each command to open.
    until: Instant,
    held_until: Option<Instant>,
}

/// The lock worker's mind. It says where the relay should be; moving it and reading it back are its caller's.
#[derive(Debug)]
pub struct Bolt {
    limits: Limits,
    started: Instant,
    seen: Seen,
    rates: Rates,
    opening: Option<Opening>,
    hub_lost_since: Option<Instant>,
}

impl Bolt {
    /// A closed bolt that has not heard of the hub yet.
    #[must_use]
    pub fn new(limits: Limits, now: Moment) -> Self {
        // Nothing lasts longer than a day, so that no sum of times can overflow.
        let limits = Limits {
            open_for: limits.open_for.min(LONGEST_HOLD),
            max_open: limits.max_open.min(LONGEST_HOLD),
            hub_lost: limits.hub_lost.min(LONGEST_HOLD),
            ..limits
        };
        Self {
            limits,
            started: now.monotonic,
            seen: Seen::default(),
            rates: Rates::default(),
            opening: None,
            hub_lost_since: Some(now.monotonic),
        }
    }

    /// Where the relay should be.
    #[must_use]
    pub fn position(&self) -> Position {
        if self.opening.is_some() { Position::Open } else { Position::Closed }
    }

    /// Whether the door is held open on purpose.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.opening.is_some_and(|opening| opening.held_until.is_some())
    }

    /// Judges a command and, if it is a good one, obeys it: the answer is where the relay should be from now on.
    /// `reads` is what the relay was last read to be; a toggle opens only what is known to be closed.
    ///
    /// # Errors
    /// Says why the command is refused; then nothing has changed.
    pub fn obey(&mut self, order: &Order, reads: LockStatus, now: Moment) -> Result<Position, Refusal> {
        self.judge(order, now)?;
        let opens = match order.action {
            Action::Open => true,
            Action::Close => false,
            Action::Toggle => reads == LockStatus::Closed,
        };
        if !opens {
            self.opening = None;
            return Ok(Position::Closed);
        }
        let held_until = self.hold(order, now)?;
        let opening =
            self.opening.get_or_insert(Opening { since: now.monotonic, until: now.monotonic, held_until: None });
        match held_until {
            Some(_) => opening.held_until = held_until,
            None => opening.until = now.monotonic + self.limits.open_for,
        }
        Ok(Position::Open)
    }

    /// Everything that can be wrong with a command, whatever it asks for. Its id is remembered first, so that what was
    /// refused once can't be obeyed later.
    fn judge(&mut self, order: &Order, now: Moment) -> Result<(), Refusal> {
        let age = now.wall.signed_duration_since(order.issued_at);
        let ahead = age < -AHEAD;
        let new = self.seen.is_new(order.id, order.issued_at.min(now.wall));
        if order.retained {
            return Err(Refusal::Retained);
        }
        if now.wall.timestamp() < CLOCK_IS_SET {
            return Err(Refusal::ClockNotSet);
        }
        let lifetime = order.expires_at.signed_duration_since(order.issued_at);
        if lifetime <= TimeDelta::zero() || lifetime > LIFETIME {
            return Err(Refusal::Lifetime);
        }
        if !new {
            return Err(Refusal::Replayed);
        }
        if now.wall >= order.expires_at {
            return Err(Refusal::Expired);
        }
        if ahead {
            return Err(Refusal::Ahead);
        }
        // By the monotonic clock, so that a wall clock set after the start moves the start along.
        let running = now.monotonic.saturating_duration_since(self.started);
        if TimeDelta::from_std(running).is_ok_and(|running| age > running + GRAIN) {
            return Err(Refusal::BeforeStart);
        }
        if !self.rates.admits(&order.requested_by, now.monotonic) {
            return Err(Refusal::TooMany);
        }
        if order.hold.is_some() && order.action != Action::Open {
            return Err(Refusal::HoldWithoutOpen);
        }
        Ok(())
    }

    /// Until when a command wants the door held open, by the monotonic clock: a jump of the wall clock later on
    /// neither shortens nor lengthens it.
    fn hold(&self, order: &Order, now: Moment) -> Result<Option<Instant>, Refusal> {
        let Some(hold) = &order.hold else { return Ok(None) };
        if !self.limits.hold_open {
            return Err(Refusal::HoldNotAllowed);
        }
        if hold.reason.trim().is_empty() {
            return Err(Refusal::HoldWithoutReason);
        }
        match hold.until.signed_duration_since(now.wall).to_std() {
            Ok(length) if !length.is_zero() && length <= LONGEST_HOLD => Ok(Some(now.monotonic + length)),
            _ => Err(Refusal::HoldLength),
        }
    }

    /// When the bolt closes by itself, if it is open, and why then.
    fn due(&self) -> Option<(Instant, Closing)> {
        let opening = self.opening?;
        let longest = opening.since + self.limits.max_open;
        let mut due =
            if opening.until < longest { (opening.until, Closing::Elapsed) } else { (longest, Closing::LongestOpen) };
        if let Some(held) = opening.held_until.filter(|held| *held >= due.0) {
            due = (held, Closing::HoldEnded);
        }
        if let Some(lost) = self.hub_lost_since.map(|since| since + self.limits.hub_lost).filter(|lost| *lost < due.0) {
            due = (lost, Closing::HubLost);
        }
        Some(due)
    }

    /// When [`Bolt::look`] has to be called next at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due().map(|(at, _)| at)
    }

    /// Closes the bolt if its time is over, and says why.
    pub fn look(&mut self, now: Instant) -> Option<Closing> {
        let (_, why) = self.due().filter(|(at, _)| *at <= now)?;
        self.opening = None;
        Some(why)
    }

    /// The relay did not follow: nothing is open any more, whatever was asked.
    pub fn give_up(&mut self) {
        self.opening = None;
    }

    pub fn hub_lost(&mut self, now: Instant) {
        self.hub_lost_since.get_or_insert(now);
    }

    pub fn hub_found(&mut self) {
        self.hub_lost_since = None;
    }
}

#[cfg(test)]
mod tests;
