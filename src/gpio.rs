//! The relay's line and the door contact's: real, on a GPIO character device, or simulated.
//!
//! Must not know who may open the door or when it closes: only positions, levels and pins.

mod chip;
pub mod simulated;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use chip::Lines;
use simulated::SimulatedRelay;

use crate::domain::bolt::Position;

/// What the lines are called in the kernel's list of who uses what (`gpioinfo`).
const CONSUMER: &str = "portcullis lock";
const CONTACT_CONSUMER: &str = "portcullis contact";

/// Whether there is a relay at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Simulated {
    /// Real where a chip with a Raspberry Pi's label exists or one is named, and then an error is an error.
    #[default]
    Auto,
    Yes,
    No,
}

/// What the door does without power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum FailMode {
    /// Locked: the relay is energised to unlock, as for an electric strike.
    #[default]
    FailSecure,
    /// Unlocked: the relay is energised to lock, as for a magnet on an escape route.
    FailSafe,
}

/// Which lines there are and what their levels mean.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    pub simulated: Simulated,
    /// The chip's device, or none: then it is found by its label.
    pub chip: Option<PathBuf>,
    pub pin: u32,
    /// The relay is energised by a low level.
    pub active_low: bool,
    /// A contact that pulls its line low while the door is closed.
    pub contact_pin: Option<u32>,
    pub fail_mode: FailMode,
}

/// Why a line can't be had, moved or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no GPIO chip of a Raspberry Pi here (labels {labels:?}); name one with GPIO_CHIP")]
    NoChip { labels: &'static [&'static str] },
    #[error("{} can't be opened: {source}; is this user in the group gpio?", path.display())]
    Chip { path: PathBuf, source: gpio_cdev::Error },
    #[error("{} has {lines} lines, so there is no line {pin}", path.display())]
    NoLine { path: PathBuf, pin: u32, lines: u32 },
    #[error("line {pin} of {} can't be had: {source}; does another program hold it?", path.display())]
    Line { path: PathBuf, pin: u32, source: gpio_cdev::Error },
    #[error("line {pin} is both the relay's and the contact's")]
    SamePin { pin: u32 },
    #[error("the relay's line did not take its level: {0}")]
    Set(gpio_cdev::Error),
    #[error("a line can't be read: {0}")]
    Read(gpio_cdev::Error),
    /// What a test has asked for.
    #[error("the simulated line is broken")]
    Broken,
}

/// The relay, closed from the moment it is opened as a device, and closed again when it is dropped, however that comes.
pub struct Relay {
    pin: u32,
    lines: Kind,
}

enum Kind {
    Chip(Lines),
    Simulated(SimulatedRelay),
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("pin", &self.pin).field("simulated", &self.is_simulated()).finish_non_exhaustive()
    }
}

/// Takes the lines, with the relay's at its secure level in the same call.
///
/// # Errors
/// When there is a real relay to be had, by the settings, and it can't be.
pub fn open(settings: &RelaySettings) -> Result<Relay, Error> {
    if settings.contact_pin == Some(settings.pin) {
        return Err(Error::SamePin { pin: settings.pin });
    }
    let chip = match (settings.simulated, &settings.chip) {
        (Simulated::Yes, _) => None,
        (_, Some(path)) => Some(path.clone()),
        (wanted, None) => chip::find(wanted == Simulated::No)?,
    };
    let lines = match chip {
        Some(path) => Kind::Chip(Lines::request(&path, settings)?),
        None => Kind::Simulated(SimulatedRelay::default()),
    };
    Ok(Relay { pin: settings.pin, lines })
}

impl Relay {
    /// A relay that is not there; its clones are windows on it for a test.
    #[must_use]
    pub fn simulated(pin: u32, relay: SimulatedRelay) -> Self {
        Self { pin, lines: Kind::Simulated(relay) }
    }

    /// The relay's GPIO line.
    #[must_use]
    pub fn pin(&self) -> u32 {
        self.pin
    }

    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(self.lines, Kind::Simulated(_))
    }

    /// The chip's device, if there is one.
    #[must_use]
    pub fn chip(&self) -> Option<&Path> {
        match &self.lines {
            Kind::Chip(lines) => Some(lines.path()),
            Kind::Simulated(_) => None,
        }
    }

    /// Moves the relay. Whether it went is for [`Relay::read`] to say.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set(&self, position: Position) -> Result<(), Error> {
        match &self.lines {
            Kind::Chip(lines) => lines.set(position),
            Kind::Simulated(relay) => relay.set(position),
        }
    }

    /// Reads the relay's line back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(&self) -> Result<Position, Error> {
        match &self.lines {
            Kind::Chip(lines) => lines.read(),
            Kind::Simulated(relay) => relay.read(),
        }
    }

    /// Reads the door's contact, if there is one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn contact(&self) -> Result<Option<Position>, Error> {
        match &self.lines {
            Kind::Chip(lines) => lines.contact(),
            Kind::Simulated(relay) => relay.contact(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Err(error) = self.set(Position::Closed) {
            tracing::error!(pin = self.pin, "the relay could not be closed at the end: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RelaySettings {
        RelaySettings {
            simulated: Simulated::Auto,
            chip: None,
            pin: 17,
            active_low: false,
            contact_pin: None,
            fail_mode: FailMode::FailSecure,
        }
    }

    #[test]
    fn a_named_chip_that_is_not_there_is_an_error_and_no_simulation() {
        for simulated in [Simulated::Auto, Simulated::No] {
            let named = RelaySettings { simulated, chip: Some("/dev/no-such-gpiochip".into()), ..settings() };
            assert!(matches!(open(&named), Err(Error::Chip { .. })));
        }
    }

    #[test]
    fn simulation_is_closed_at_first_and_closed_again_when_dropped() {
        let relay = open(&RelaySettings { simulated: Simulated::Yes, ..settings() }).expect("a simulated relay");
        assert!(relay.is_simulated());
        assert_eq!(relay.read().expect("read"), Position::Closed);
        drop(relay);
        let window = SimulatedRelay::default();
        let relay = Relay::simulated(17, window.clone());
        relay.set(Position::Open).expect("set");
        assert_eq!(window.read().expect("read"), Position::Open);
        drop(relay);
        assert_eq!(window.read().expect("read"), Position::Closed);
    }

    #[test]
    fn one_line_cannot_be_both_relay_and_contact() {
        let twice = RelaySettings { contact_pin: Some(17), simulated: Simulated::Yes, ..settings() };
        assert!(matches!(open(&twice), Err(Error::SamePin { pin: 17 })));
    }
}
