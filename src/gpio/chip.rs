//! Lines of a real chip, over the kernel's GPIO character device (uAPI v1, by gpio-cdev).

use std::path::{Path, PathBuf};

use gpio_cdev::{Chip, LineHandle, LineRequestFlags};

use super::{CONSUMER, CONTACT_CONSUMER, Error, FailMode, RelaySettings};
use crate::domain::bolt::Position;

/// The chips that a Raspberry Pi's header is wired to: models 0 to 3, 4, and 5.
pub(super) const LABELS: &[&str] = &["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"];

/// What the board calls itself, where firmware tells.
const MODEL: &str = "/proc/device-tree/model";

/// The chip of a Raspberry Pi's header, if this is one. `must` says that there has to be one.
pub(super) fn find(must: bool) -> Result<Option<PathBuf>, Error> {
    let Ok(devices) = std::fs::read_dir("/dev") else { return Ok(None) };
    let mut paths: Vec<PathBuf> = devices
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gpiochip")))
        .collect();
    paths.sort();
    let mut closed_to_us = None;
    for path in paths {
        match Chip::new(&path) {
            Ok(chip) if LABELS.contains(&chip.label()) => return Ok(Some(path)),
            Ok(_) => {}
            Err(source) => closed_to_us = Some(Error::Chip { path, source }),
        }
    }
    // A chip that won't be opened tells no label. On a Pi that is a missing group, and no reason to simulate.
    match closed_to_us {
        Some(error) if must || is_raspberry_pi() => Err(error),
        None if must => Err(Error::NoChip { labels: LABELS }),
        _ => Ok(None),
    }
}

fn is_raspberry_pi() -> bool {
    std::fs::read(MODEL).is_ok_and(|model| model.starts_with(b"Raspberry Pi"))
}

/// The relay's line, and the contact's if there is one. They are the process's own until dropped.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    relay: LineHandle,
    contact: Option<LineHandle>,
    /// The relay's value while locked.
    locked: u8,
}

impl Lines {
    pub(super) fn request(path: &Path, settings: &RelaySettings) -> Result<Self, Error> {
        let mut chip = Chip::new(path).map_err(|source| Error::Chip { path: path.to_owned(), source })?;
        let locked = match settings.fail_mode {
            FailMode::FailSecure => 0,
            FailMode::FailSafe => 1,
        };
        let output = if settings.active_low {
            LineRequestFlags::OUTPUT | LineRequestFlags::ACTIVE_LOW
        } else {
            LineRequestFlags::OUTPUT
        };
        // The level comes with the request: the line never is an output at the other one.
        let relay = request(&mut chip, settings.pin, output, locked, CONSUMER)?;
        let contact = settings
            .contact_pin
            .map(|pin| request(&mut chip, pin, LineRequestFlags::INPUT, 0, CONTACT_CONSUMER))
            .transpose()?;
        Ok(Self { path: path.to_owned(), relay, contact, locked })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn set(&self, position: Position) -> Result<(), Error> {
        let value = match position {
            Position::Closed => self.locked,
            Position::Open => 1 - self.locked,
        };
        self.relay.set_value(value).map_err(Error::Set)
    }

    pub(super) fn read(&self) -> Result<Position, Error> {
        let value = self.relay.get_value().map_err(Error::Read)?;
        Ok(if value == self.locked { Position::Closed } else { Position::Open })
    }

    /// The contact pulls its line low while the door is closed, so a cut wire reads as an open door.
    pub(super) fn contact(&self) -> Result<Option<Position>, Error> {
        let Some(contact) = &self.contact else { return Ok(None) };
        let value = contact.get_value().map_err(Error::Read)?;
        Ok(Some(if value == 0 { Position::Closed } else { Position::Open }))
    }
}

fn request(chip: &mut Chip, pin: u32, flags: LineRequestFlags, value: u8, consumer: &str) -> Result<LineHandle, Error> {
    let path = chip.path().to_owned();
    if pin >= chip.num_lines() {
        return Err(Error::NoLine { path, pin, lines: chip.num_lines() });
    }
    chip.get_line(pin).and_then(|line| line.request(flags, value, consumer)).map_err(|source| Error::Line {
        path,
        pin,
        source,
    })
}
