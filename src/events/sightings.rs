//! The signs of life of the cameras, on their way from the recorder to the one who watches the cameras. However many
//! detections come, what waits here is one entry for a camera, so that nothing is lost by waiting and a burst costs one look.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::camera::CameraId;

/// How many cameras may wait. More there are none; who reports empty pictures of cameras that do not exist fills no memory.
const WAITING: usize = 65_536;

/// A detection that came in, with or without persons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    pub camera: CameraId,
    pub person_count: u32,
    /// It was not stored before: one that is sent again says that the camera lives, and nothing of who is there now.
    pub is_new: bool,
    /// When it came in.
    pub at: Instant,
}

/// What came in of one camera since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signs {
    /// How many persons the newest one showed, and when it came in; none if all were sent again.
    pub newest: Option<(u32, Instant)>,
    /// When the newest one with a person came in.
    pub person_at: Option<Instant>,
    /// One of them showed no person.
    pub was_empty: bool,
}

/// Where signs of life wait. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Sightings(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<HashMap<CameraId, Signs>>,
    news: Notify,
}

impl Sightings {
    /// Adds one. Never waits.
    pub(super) fn add(&self, sighting: Sighting) {
        let Sighting { camera, person_count, is_new, at } = sighting;
        let mut waiting = self.0.waiting.lock();
        if waiting.len() >= WAITING && !waiting.contains_key(&camera) {
            return;
        }
        let is_first = waiting.is_empty();
        let signs = waiting.entry(camera).or_default();
        signs.was_empty |= person_count == 0;
        if is_new {
            signs.newest = Some((person_count, at));
            signs.person_at = (person_count > 0).then_some(at).or(signs.person_at);
        }
        drop(waiting);
        if is_first {
            self.0.news.notify_one();
        }
    }

    /// Waits for this time, and then until there are some, and takes them. Who is cancelled meanwhile has taken none.
    pub async fn take_after(&self, pause: Duration) -> HashMap<CameraId, Signs> {
        tokio::time::sleep(pause).await;
        loop {
            let news = self.0.news.notified();
            let waiting = std::mem::take(&mut *self.0.waiting.lock());
            if !waiting.is_empty() {
                return waiting;
            }
            news.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(camera: i32, person_count: u32) -> Sighting {
        Sighting { camera: CameraId(camera), person_count, is_new: true, at: Instant::now() }
    }

    #[tokio::test]
    async fn a_burst_is_one_entry_for_a_camera_and_nothing_of_it_is_lost() {
        let sightings = Sightings::default();
        for _ in 0..10_000 {
            sightings.add(sighting(1, 2));
        }
        let (person, empty) = (sighting(2, 1), sighting(2, 0));
        let again = Sighting { is_new: false, ..sighting(3, 4) };
        for one in [person, empty, again] {
            sightings.add(one);
        }
        let taken = sightings.take_after(Duration::ZERO).await;
        assert_eq!(taken.len(), 3);
        assert_eq!(taken[&CameraId(1)].newest.map(|(persons, _)| persons), Some(2));
        let both = Signs { newest: Some((0, empty.at)), person_at: Some(person.at), was_empty: true };
        assert_eq!(taken[&CameraId(2)], both);
        assert_eq!(taken[&CameraId(3)], Signs::default());
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_the_next_one_also_after_it_gave_up_once() {
        let sightings = Sightings::default();
        let gave_up = tokio::time::timeout(Duration::from_millis(5), sightings.take_after(Duration::ZERO)).await;
        assert!(gave_up.is_err());
        let waiting = tokio::spawn({
            let sightings = sightings.clone();
            async move { sightings.take_after(Duration::ZERO).await }
        });
        tokio::task::yield_now().await;
        sightings.add(sighting(7, 1));
        let taken = tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("woken").expect("ends");
        assert!(taken.contains_key(&CameraId(7)));
    }

    #[tokio::test]
    async fn cameras_that_do_not_exist_fill_no_memory() {
        let sightings = Sightings::default();
        for camera in 1..=i32::try_from(WAITING).expect("fits") + 5 {
            sightings.add(sighting(camera, 0));
        }
        assert_eq!(sightings.take_after(Duration::ZERO).await.len(), WAITING);
    }
}
