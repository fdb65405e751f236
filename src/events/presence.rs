//! Which devices have a session now, and the news of their coming and going.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::domain::{
    camera::CameraId,
    device::{DeviceId, DeviceRole},
};

/// How many comings and goings a slow listener may be behind; one that is further behind looks at
/// [`Presence::is_online`] instead.
const BEHIND: usize = 1024;

/// A device that came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub device: DeviceId,
    pub role: DeviceRole,
    /// The camera it reports for, if it is a camera.
    pub camera: Option<CameraId>,
    /// Its first session began, or its last one ended.
    pub online: bool,
}

/// Which devices have a session now.
#[derive(Debug, Clone)]
pub struct Presence {
    sessions: Arc<Mutex<HashMap<DeviceId, usize>>>,
    changes: broadcast::Sender<Change>,
}

impl Default for Presence {
    fn default() -> Self {
        Self { sessions: Arc::default(), changes: broadcast::channel(BEHIND).0 }
    }
}

impl Presence {
    /// Counts a session of the device for as long as the answer lives.
    #[must_use]
    pub fn arrive(&self, device: DeviceId, role: DeviceRole, camera: Option<CameraId>) -> Attendance {
        let mut sessions = self.sessions.lock();
        let count = sessions.entry(device).or_default();
        *count += 1;
        let change = Change { device, role, camera, online: true };
        if *count == 1 {
            // Nobody listening is no fault. Sent under the lock, so that changes come in the order they happened.
            let _ = self.changes.send(change);
        }
        drop(sessions);
        Attendance { presence: self.clone(), change }
    }

    #[must_use]
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.sessions.lock().contains_key(&device)
    }

    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

/// A session that counts until this is dropped.
#[derive(Debug)]
pub struct Attendance {
    presence: Presence,
    change: Change,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut sessions = self.presence.sessions.lock();
        let Some(count) = sessions.get_mut(&self.change.device) else { return };
        *count -= 1;
        if *count == 0 {
            sessions.remove(&self.change.device);
            let _ = self.presence.changes.send(Change { online: false, ..self.change });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_there_until_its_last_session_ends() {
        let presence = Presence::default();
        let mut news = presence.listen();
        let device = DeviceId(3);
        let first = presence.arrive(device, DeviceRole::Camera, Some(CameraId(1)));
        let second = presence.arrive(device, DeviceRole::Camera, Some(CameraId(1)));
        drop(first);
        assert!(presence.is_online(device));
        drop(second);
        assert!(!presence.is_online(device));
        assert!(news.try_recv().expect("came").online);
        assert!(!news.try_recv().expect("went").online);
        assert!(news.try_recv().is_err());
    }
}
