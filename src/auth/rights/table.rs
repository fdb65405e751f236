//! The contract's table of the hub's own topics: which roles publish each, and which hear of it.

use crate::{
    auth::identity::Identity,
    domain::{
        camera::CameraId,
        device::DeviceRole,
        topic::{self, Topic},
        user::Role,
    },
};

/// The topics of the table that a filter below one of the hub's roots matches, one for each line of the table: where
/// the filter leaves the camera open, camera 1 stands for all.
pub(super) fn reached(filter: &str) -> Vec<Topic> {
    let id = filter.split('/').nth(1).and_then(|level| level.parse().ok()).unwrap_or(CameraId(1));
    let mut table = vec![
        Topic::Detections(id),
        Topic::CameraEvents(id),
        Topic::CameraStatus(id),
        Topic::CameraOccupancy(id),
        Topic::LockCommand,
        Topic::LockStatus,
        Topic::LockResponse,
        Topic::HubEvents,
        Topic::HubStatus,
    ];
    table.retain(|topic| topic::matches(filter, &topic.to_string()));
    table
}

/// As which role `who` publishes this topic, if at all.
pub(super) fn publisher(who: &Identity, topic: Topic) -> Option<&'static str> {
    match (who, topic) {
        (Identity::Hub, _) => Some("the hub"),
        (Identity::Device(device), Topic::Detections(camera)) => match device.role {
            DeviceRole::AiEngine => Some("role ai-engine"),
            DeviceRole::Camera if device.camera_id == Some(camera) => Some("role camera (its own camera)"),
            _ => None,
        },
        (Identity::Device(device), Topic::LockStatus | Topic::LockResponse) => {
            (device.role == DeviceRole::LockAgent).then_some("role lock-agent")
        }
        (_, Topic::LockCommand) => lock_command(who),
        _ => None,
    }
}

/// As which role `who` hears of this topic, if at all.
pub(super) fn reader(who: &Identity, topic: Topic) -> Option<&'static str> {
    match topic {
        _ if *who == Identity::Hub => Some("the hub"),
        Topic::Detections(_) => matches!(who, Identity::Device(_)).then(|| events_read(who)).flatten(),
        Topic::CameraEvents(_) | Topic::CameraStatus(_) | Topic::CameraOccupancy(_) | Topic::HubEvents => {
            events_read(who)
        }
        Topic::LockCommand => match who {
            Identity::Device(device) if device.role == DeviceRole::LockAgent => Some("role lock-agent"),
            _ => None,
        },
        Topic::LockStatus | Topic::LockResponse => lock_read(who),
        Topic::HubStatus => match who {
            Identity::Device(_) => Some("any device"),
            _ => None,
        },
    }
}

/// The right `events:read`.
fn events_read(who: &Identity) -> Option<&'static str> {
    match who {
        Identity::Device(device) => match device.role {
            DeviceRole::AiEngine => Some("role ai-engine"),
            DeviceRole::Controller => Some("role controller"),
            DeviceRole::Camera | DeviceRole::LockAgent | DeviceRole::Sensor => None,
        },
        Identity::User(_) => Some("any user"),
        Identity::Hub | Identity::Anonymous => None,
    }
}

/// The right `lock:read`.
fn lock_read(who: &Identity) -> Option<&'static str> {
    match who {
        Identity::Device(device) => (device.role == DeviceRole::Controller).then_some("role controller"),
        Identity::User(_) => Some("any user"),
        Identity::Hub | Identity::Anonymous => None,
    }
}

/// The right `lock:command`.
fn lock_command(who: &Identity) -> Option<&'static str> {
    match who {
        Identity::Device(device) => (device.role == DeviceRole::Controller).then_some("role controller"),
        Identity::User(user) => match user.role {
            Role::User => None,
            Role::Operator => Some("role OPERATOR"),
            Role::Admin => Some("role ADMIN"),
        },
        Identity::Hub | Identity::Anonymous => None,
    }
}

/// A line of the table, as a person writes it.
pub(super) fn pattern(topic: Topic) -> &'static str {
    match topic {
        Topic::Detections(_) => "camera/+/detections",
        Topic::CameraEvents(_) => "camera/+/events",
        Topic::CameraStatus(_) => "camera/+/status",
        Topic::CameraOccupancy(_) => "camera/+/occupancy",
        Topic::LockCommand => "lock/command",
        Topic::LockStatus => "lock/status",
        Topic::LockResponse => "lock/response",
        Topic::HubEvents => "hub/events",
        Topic::HubStatus => "hub/status",
    }
}
