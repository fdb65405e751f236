//! What the clients of the front share, each a [`Pool`]: its numbers, and what they are for.

use super::settings::Limits;
use crate::{
    auth::holder::Holder,
    domain::pool::{Bounds, Listed, Pool, Unit},
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How many bytes the long packets that have begun to arrive may have, of all clients together: 32 of the longest that
/// the front takes by default; and of one identity, or one address before there is one. Whatever it is, each may always
/// have one.
pub const ARRIVING: (usize, usize) = (8 * MIB, 2 * MIB);
/// How many bytes detections may hold until they are committed, of all clients together and of one identity. Above it a
/// client that has one of them is not read; whatever it is, each client may have one.
pub const UNCOMMITTED: (usize, usize) = (24 * MIB, 12 * MIB);
/// Groups of shared subscriptions.
const GROUPS: (usize, usize) = (512, 64);

/// What is kept for controllers, ADMINs and the lock agent, on top of what everybody may have: a sixteenth of that, and
/// never so little that a small setting shuts them out.
const RESERVE: u64 = 16;
const LEAST_PIECES: usize = 16;

fn pieces((everybody, each): (usize, usize)) -> Bounds {
    bounds(everybody, each, LEAST_PIECES)
}

fn bytes((everybody, each): (usize, usize)) -> Bounds {
    bounds(everybody, each, MIB)
}

fn bounds(everybody: usize, each: usize, least: usize) -> Bounds {
    let everybody = everybody as u64;
    let reserve = (everybody / RESERVE).max(least as u64);
    Bounds { in_all: everybody + reserve, each: each as u64, reserve }
}

/// Of connections: one in eight of them is the reserve, so that no more are open than descriptors were counted for.
#[must_use]
pub fn connections(limits: &Limits) -> Bounds {
    let in_all = limits.connections as u64;
    Bounds { in_all, each: limits.connections_per_address as u64, reserve: in_all / 8 }
}

/// Of sessions, those without a connection among them.
#[must_use]
pub fn sessions(limits: &Limits) -> Bounds {
    pieces((limits.sessions, limits.sessions_per_identity))
}

/// Of the different filters that each identity is subscribed to.
#[must_use]
pub fn filters(limits: &Limits) -> Bounds {
    pieces((limits.filters, limits.filters_per_identity))
}

/// Of retained messages.
#[must_use]
pub fn retained(limits: &Limits) -> Bounds {
    pieces((limits.retained, limits.retained_per_identity))
}

/// Of their bytes.
#[must_use]
pub fn retained_bytes(limits: &Limits) -> Bounds {
    bytes((limits.retained_bytes, limits.retained_bytes_per_identity))
}

/// Of log lines about what was refused, in 10 s.
pub const LINES: Bounds = Bounds { in_all: 50, each: 10, reserve: 10 };
/// Of alerts about somebody who tries to be the lock agent, in a minute.
pub const ALARMS: Bounds = Bounds { in_all: 8, each: 2, reserve: 2 };

/// Those pools that the front's parts have in common.
#[derive(Debug, Clone)]
pub struct Pools {
    /// What waits in queues or is not acknowledged, wills, and what subscriptions take.
    pub bytes: Pool<Holder>,
    /// As in [`ARRIVING`].
    pub arriving: Pool<Holder>,
    /// As in [`UNCOMMITTED`].
    pub uncommitted: Pool<Holder>,
    pub groups: Pool<Holder>,
}

impl Pools {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            bytes: Pool::new(bytes((limits.queue_bytes_in_all, limits.queue_bytes_per_identity))),
            arriving: Pool::new(bytes(ARRIVING)),
            uncommitted: Pool::new(bytes(UNCOMMITTED)),
            groups: Pool::new(pieces(GROUPS)),
        }
    }
}

/// The front's pools, for docs/security.md.
#[must_use]
pub fn listed(limits: &Limits) -> Vec<Listed> {
    let mut listed = of_clients(limits);
    listed.extend(of_messages(limits));
    listed
}

fn counted(what: &'static str, bounds: Bounds, settings: &'static str, when_full: &'static str) -> Listed {
    Listed { what, unit: Unit::Pieces, bounds, holder: "identity", settings, when_full }
}

fn weighed(what: &'static str, bounds: Bounds, settings: &'static str, when_full: &'static str) -> Listed {
    Listed { unit: Unit::Bytes, ..counted(what, bounds, settings, when_full) }
}

/// What clients are and have.
fn of_clients(limits: &Limits) -> Vec<Listed> {
    let Pools { groups, .. } = Pools::new(limits);
    vec![
        Listed {
            holder: "address; none for controllers, ADMINs, lock agent",
            ..counted(
                "MQTT connections",
                connections(limits),
                "`limits.connections`, `limits.connections_per_address`",
                "the one that has waited longest without its CONNECT is closed; where all have shown who they are, the new one",
            )
        },
        counted(
            "MQTT sessions, those without a connection among them",
            sessions(limits),
            "`limits.sessions`, `limits.sessions_per_identity`",
            "CONNACK 3, 0x97",
        ),
        counted(
            "Different filters of each MQTT identity",
            filters(limits),
            "`limits.filters`, `limits.filters_per_identity`",
            "SUBACK 0x80, 0x97",
        ),
        counted("Groups of shared subscriptions", groups.bounds(), "", "SUBACK 0x80, 0x97"),
        Listed {
            holder: "identity, else address",
            ..counted(
                "Log lines in 10 s about MQTT clients: what they were refused; as many about full queues",
                LINES,
                "",
                "counted, and told with the next line",
            )
        },
    ]
}

/// What they send and get.
fn of_messages(limits: &Limits) -> Vec<Listed> {
    let Pools { bytes, arriving, uncommitted, .. } = Pools::new(limits);
    vec![
        weighed(
            "What waits for MQTT subscribers or is not acknowledged, wills, subscriptions",
            bytes.bounds(),
            "`limits.queue_bytes_in_all`, `limits.queue_bytes_per_identity`",
            "the subscriber's own oldest message is dropped; CONNACK 3, 0x97 for a will; SUBACK 0x80, 0x97",
        ),
        Listed {
            holder: "identity; address before CONNECT",
            ..weighed(
                "MQTT packets above 16 KiB that have begun to arrive",
                arriving.bounds(),
                "",
                "who begins another is not read until there is room",
            )
        },
        weighed(
            "Detections by MQTT that wait for their commit",
            uncommitted.bounds(),
            "",
            "a client that has one of them is not read",
        ),
        counted(
            "Retained messages on topics of your own",
            retained(limits),
            "`limits.retained`, `limits.retained_per_identity`",
            "delivered and not retained, 0x97",
        ),
        weighed(
            "Their bytes",
            retained_bytes(limits),
            "`limits.retained_bytes`, `limits.retained_bytes_per_identity`",
            "delivered and not retained, 0x97",
        ),
    ]
}
