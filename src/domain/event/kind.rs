//! What an event of the hub's own is about, for programs: its description says the same to people.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::super::Invalid;

/// Makes the enum, its names and its list from one table.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal,)+) => {
        /// What an event of the hub's own is about. Others may come; who does not know one shows the description.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind),+];
            /// Their names, in the same order.
            pub const NAMES: &[&str] = &[$($name),+];

            /// Its name in JSON and in Postgres.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    CameraLost "CAMERA_LOST",
    CameraReturned "CAMERA_RETURNED",
    /// The door was opened while it was locked.
    DoorForced "DOOR_FORCED",
    /// The door stood open though it should be locked.
    DoorHeldOpen "DOOR_HELD_OPEN",
    LockAgentLost "LOCK_AGENT_LOST",
    LockAgentReturned "LOCK_AGENT_RETURNED",
    /// Somebody wanted to be the lock worker who must not, or beside one that is there.
    LockAgentRefused "LOCK_AGENT_REFUSED",
    /// The lock worker cannot read the relay.
    RelayUnreadable "RELAY_UNREADABLE",
    /// The door's contact cannot be read.
    ContactLost "CONTACT_LOST",
    ContactReturned "CONTACT_RETURNED",
    /// The lock worker's clock is off the hub's.
    LockClockWrong "LOCK_CLOCK_WRONG",
    LockClockRight "LOCK_CLOCK_RIGHT",
    /// The lock's audit is not intact.
    AuditBroken "AUDIT_BROKEN",
    DatabaseLost "DATABASE_LOST",
    DatabaseReturned "DATABASE_RETURNED",
    BrokerLost "BROKER_LOST",
    BrokerReturned "BROKER_RETURNED",
    /// Detections wait and cannot be stored.
    RecorderStalled "RECORDER_STALLED",
    RecorderReturned "RECORDER_RETURNED",
    DiskLow "DISK_LOW",
    DiskFull "DISK_FULL",
    /// The disk has room again.
    DiskReturned "DISK_RETURNED",
    /// The machine's clock was set.
    ClockSet "CLOCK_SET",
    /// The machine's clock is in doubt.
    ClockWrong "CLOCK_WRONG",
    /// The machine's clock is believed again.
    ClockRight "CLOCK_RIGHT",
    /// A person was seen while the alarm was armed.
    Intruder "INTRUDER",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == text).copied();
        found.ok_or_else(|| Invalid(text.to_owned(), "a kind of the hub's own events, such as CAMERA_LOST"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_one_name_everywhere() {
        assert_eq!(Kind::ALL.len(), Kind::NAMES.len());
        for (kind, name) in Kind::ALL.iter().zip(Kind::NAMES) {
            assert_eq!(name.parse(), Ok(*kind));
            assert_eq!(serde_json::to_value(kind).expect("JSON"), *name);
            assert_eq!(Kind::ALL.iter().filter(|other| other.as_str() == *name).count(), 1, "{name}");
        }
        for wrong in ["", "camera_lost", "CAMERA_LOST ", "PERSON_DETECTED"] {
            assert!(wrong.parse::<Kind>().is_err(), "{wrong}");
        }
    }
}
