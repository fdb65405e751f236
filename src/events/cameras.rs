//! How each camera is now, as the one who watches them has found it, for everybody who shows it; and the news of it.
//!
//! Must not know how that is found, nor who asks.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::domain::camera::{Camera, CameraId};

/// How many news a slow listener may be behind. One that is further behind is told so, and looks at [`Cameras::all`]; what
/// it has missed of edits is in the list of cameras.
const BEHIND: usize = 4096;

/// How a camera is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CameraState {
    /// As far as can be told.
    pub online: bool,
    /// When the hub last heard of it.
    pub last_seen: Option<DateTime<Utc>>,
    /// How many persons are before it; it is occupied while it is not 0.
    pub persons: u32,
    /// When the newest detection of a person came in.
    pub last_person: Option<DateTime<Utc>>,
}

/// What is told of a camera.
#[derive(Debug, Clone)]
pub enum News {
    /// It is otherwise than it was.
    State(CameraId, CameraState),
    /// It is new, or somebody has changed it.
    Changed(Arc<Camera>, CameraState),
    /// It was deleted.
    Removed(Arc<Camera>, CameraState),
}

/// How each camera is. Clones are the same.
#[derive(Debug, Clone)]
pub struct Cameras {
    states: Arc<Mutex<BTreeMap<CameraId, CameraState>>>,
    news: broadcast::Sender<News>,
}

impl Default for Cameras {
    fn default() -> Self {
        Self { states: Arc::default(), news: broadcast::channel(BEHIND).0 }
    }
}

impl Cameras {
    /// None of a camera that is not known, or not known yet.
    #[must_use]
    pub fn get(&self, camera: CameraId) -> Option<CameraState> {
        self.states.lock().get(&camera).copied()
    }

    /// All that are known, in the order they came.
    #[must_use]
    pub fn all(&self) -> Vec<(CameraId, CameraState)> {
        self.states.lock().iter().map(|(camera, state)| (*camera, *state)).collect()
    }

    /// From now on it is so, for whoever asks; nobody is told.
    pub fn set(&self, camera: CameraId, state: CameraState) {
        self.states.lock().insert(camera, state);
    }

    /// It is there no more.
    pub fn remove(&self, camera: CameraId) {
        self.states.lock().remove(&camera);
    }

    /// Tells whoever listens. That nobody does is no fault.
    pub fn tell(&self, news: News) {
        let _ = self.news.send(news);
    }

    /// Hears of changes from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_had_in_the_order_of_the_cameras() {
        let cameras = Cameras::default();
        let state = CameraState { persons: 2, ..CameraState::default() };
        for id in [3, 1, 2] {
            cameras.set(CameraId(id), state);
        }
        cameras.remove(CameraId(2));
        assert_eq!(cameras.get(CameraId(1)), Some(state));
        assert_eq!(cameras.get(CameraId(2)), None);
        assert_eq!(cameras.all(), [(CameraId(1), state), (CameraId(3), state)]);
    }
}
