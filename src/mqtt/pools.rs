//! What the clients of the front share, each a [`Pool`](crate::domain::pool::Pool): its numbers, and what they are for.

use super::settings::Limits;
use crate::domain::pool::{Bounds, Listed, Unit};

/// The front's pools, for docs/security.md.
#[must_use]
pub fn listed(limits: &Limits) -> Vec<Listed> {
    vec![Listed {
        what: "MQTT sessions, those without a connection among them",
        unit: Unit::Pieces,
        bounds: sessions(limits),
        holder: "identity",
        settings: "`limits.sessions`, `limits.sessions_per_identity`",
        when_full: "CONNACK 3, 0x97",
    }]
}

/// What is kept for controllers, ADMINs and the lock agent, on top of what everybody may have: a sixteenth of that, and
/// never so little that a small setting shuts them out.
const RESERVE: u64 = 16;
const LEAST_PIECES: u64 = 16;

fn bounds(everybody: usize, each: usize, least: u64) -> Bounds {
    let everybody = everybody as u64;
    let reserve = (everybody / RESERVE).max(least);
    Bounds { in_all: everybody + reserve, each: each as u64, reserve }
}

/// Of sessions.
#[must_use]
pub fn sessions(limits: &Limits) -> Bounds {
    bounds(limits.sessions, limits.sessions_per_identity, LEAST_PIECES)
}
