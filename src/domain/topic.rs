//! The hub's own topics. Everything else belongs to the users' own devices.

use std::fmt;

use super::camera::CameraId;

/// A topic that the contract's table names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `camera/<id>/detections`: AI engines to the hub.
    Detections(CameraId),
    /// `camera/<id>/events`: the hub to those who may read events.
    CameraEvents(CameraId),
    /// `camera/<id>/status`, retained.
    CameraStatus(CameraId),
    /// `lock/command`, never retained.
    LockCommand,
    /// `lock/status`, retained, with the lock worker's will.
    LockStatus,
    /// `lock/response`: what became of a command.
    LockResponse,
    /// `hub/events`: events that concern no camera.
    HubEvents,
    /// `hub/status`, retained, with the hub's own will.
    HubStatus,
}

impl Topic {
    /// The topic of this name, if it is one of the hub's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((id, leaf)) = name.strip_prefix("camera/").and_then(|rest| rest.split_once('/')) {
            let id = id.parse().ok()?;
            return match leaf {
                "detections" => Some(Self::Detections(id)),
                "events" => Some(Self::CameraEvents(id)),
                "status" => Some(Self::CameraStatus(id)),
                _ => None,
            };
        }
        match name {
            "lock/command" => Some(Self::LockCommand),
            "lock/status" => Some(Self::LockStatus),
            "lock/response" => Some(Self::LockResponse),
            "hub/events" => Some(Self::HubEvents),
            "hub/status" => Some(Self::HubStatus),
            _ => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detections(id) => write!(f, "camera/{id}/detections"),
            Self::CameraEvents(id) => write!(f, "camera/{id}/events"),
            Self::CameraStatus(id) => write!(f, "camera/{id}/status"),
            Self::LockCommand => f.write_str("lock/command"),
            Self::LockStatus => f.write_str("lock/status"),
            Self::LockResponse => f.write_str("lock/response"),
            Self::HubEvents => f.write_str("hub/events"),
            Self::HubStatus => f.write_str("hub/status"),
        }
    }
}

/// Whether a name lies below one of the hub's own roots, where nobody but the hub's table decides.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    matches!(name.split('/').next(), Some("camera" | "lock" | "hub"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_reads_back() {
        let id = CameraId(12);
        for topic in [
            Topic::Detections(id),
            Topic::CameraEvents(id),
            Topic::CameraStatus(id),
            Topic::LockCommand,
            Topic::LockStatus,
            Topic::LockResponse,
            Topic::HubEvents,
            Topic::HubStatus,
        ] {
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn near_misses_are_no_topics() {
        for name in [
            "camera/1/detections/",
            "camera/1/detections/x",
            "camera/01/detections",
            "camera/x/detections",
            "camera//detections",
            "camera/1/detections//x",
            "/camera/1/detections",
            "camera/1",
            "lock/command/",
            "lock",
            "Lock/command",
            "",
        ] {
            assert_eq!(Topic::parse(name), None, "{name}");
        }
    }
}
