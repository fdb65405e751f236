//! The detections of a measurement: numbered, with the number in the detection id, so that whoever hears of one knows
//! when it was sent.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    domain::{camera::CameraId, detection::classify},
    store::recording::NewEvent,
};

/// Odd, so that multiplying by it loses nothing, and near the golden ratio, so that neighbours land far apart: random ids
/// are what AI engines send, and what an index finds hardest.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Its inverse modulo 2^64.
const GATHER: u64 = inverse(SPREAD);
/// A version 4 id begins with 48 free bits.
const NUMBER: u64 = (1 << 48) - 1;

const fn inverse(odd: u64) -> u64 {
    // Newton's iteration: each step doubles the bits that are right.
    let (mut inverse, mut step) = (odd, 0);
    while step < 6 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// The detection id with this number in it.
#[must_use]
pub fn id_of(number: u64) -> Uuid {
    let spread = number.wrapping_mul(SPREAD);
    let high = (spread & NUMBER) << 16 | 0x4000 | (spread >> 52);
    Uuid::from_u64_pair(high, 1 << 63 | (!spread & (u64::MAX >> 2)))
}

/// The number in a detection id of ours.
#[must_use]
pub fn number_of(id: Uuid) -> u64 {
    (id.as_u64_pair().0 >> 16).wrapping_mul(GATHER) & NUMBER
}

/// One to three persons, by the number.
fn persons(number: u64) -> u32 {
    u32::try_from(number % 3 + 1).unwrap_or(1)
}

fn snapshot(out: &mut String, camera: CameraId, number: u64) {
    let _ = write!(out, "/snapshots/camera-{camera}/{number:010}.jpg");
}

/// Writes the JSON that an AI engine would send, over what is in `out`; with the camera in it for HTTP. `at` is the time
/// as RFC 3339.
pub fn write_json(out: &mut String, camera: CameraId, in_body: bool, number: u64, at: &str) {
    out.clear();
    out.push('{');
    if in_body {
        let _ = write!(out, r#""cameraId":{camera},"#);
    }
    let _ = write!(out, r#""personCount":{},"confidence":0.92,"snapshotPath":""#, persons(number));
    snapshot(out, camera, number);
    let _ = write!(out, r#"","detectionId":"{}","detectedAt":"{at}"}}"#, id_of(number));
}

/// The row that the hub makes of it.
#[must_use]
pub fn row(camera: CameraId, number: u64, at: DateTime<Utc>) -> Option<NewEvent> {
    let (person_count, mut path) = (persons(number), String::with_capacity(48));
    snapshot(&mut path, camera, number);
    Some(NewEvent {
        camera_id: Some(camera),
        event_type: classify(person_count)?,
        person_count,
        confidence: Some(0.92),
        snapshot_path: Some(path),
        description: None,
        is_resolved: false,
        detection_id: Some(id_of(number)),
        detected_at: Some(at),
        key: id_of(number),
    })
}

/// Gives out the numbers of one measurement, and remembers when each was sent.
#[derive(Debug)]
pub struct Ledger {
    epoch: Instant,
    first: u64,
    given: AtomicU64,
    /// Microseconds since the epoch.
    sent: Box<[AtomicU32]>,
}

impl Ledger {
    /// For at most `most` detections, numbered from `first` on.
    #[must_use]
    pub fn new(first: u64, most: usize) -> Self {
        let sent = (0..most).map(|_| AtomicU32::new(0)).collect();
        Self { epoch: Instant::now(), first, given: AtomicU64::new(0), sent }
    }

    /// The next number, sent at this time; none when all are given out.
    pub fn send(&self, at: Instant) -> Option<u64> {
        let index = self.given.fetch_add(1, Relaxed);
        let sent = self.sent.get(usize::try_from(index).ok()?)?;
        sent.store(self.micros(at), Relaxed);
        Some(self.first + index)
    }

    /// How long ago a detection of this measurement was sent, in microseconds; none if it is another's.
    #[must_use]
    pub fn since(&self, number: u64, now: Instant) -> Option<u32> {
        let index = number.checked_sub(self.first).filter(|index| *index < self.given.load(Relaxed))?;
        let sent = self.sent.get(usize::try_from(index).ok()?)?.load(Relaxed);
        Some(self.micros(now).saturating_sub(sent))
    }

    /// The first number that is free after this measurement.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.given.load(Relaxed)
    }

    fn micros(&self, at: Instant) -> u32 {
        u32::try_from(at.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u32::MAX)
    }
}

/// When a sender sends.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// When the next is due; at full speed always now.
    due: Instant,
    /// Zero at full speed.
    each: Duration,
    until: Instant,
}

/// A timer wakes a little late, which is not the hub's doing; what is later than this has waited for the hub.
const SLACK: Duration = Duration::from_millis(2);

impl Schedule {
    /// Sender `index` of `senders`, who together send `rate` a second from now on, each in its turn; at full speed if there
    /// is no rate.
    #[must_use]
    pub fn new(rate: Option<u32>, senders: u32, index: u32, lasting: Duration) -> Self {
        let now = Instant::now();
        let each = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * senders / rate.max(1));
        Self { due: now + each * index / senders.max(1), each, until: now + lasting }
    }

    /// From when the next detection's latency counts, if it is due.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.until || self.due > now {
            return None;
        }
        if self.each.is_zero() {
            return Some(now);
        }
        let due = self.due;
        self.due += self.each;
        Some(if now.duration_since(due) > SLACK { due } else { now })
    }

    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// When to look again; at full speed at once.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        self.due.min(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_number_and_is_a_version_4_uuid() {
        let mut seen = std::collections::HashSet::new();
        for number in (0..10_000).chain([NUMBER - 1, NUMBER]) {
            let id = id_of(number);
            assert_eq!(number_of(id), number);
            assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn what_is_sent_is_what_the_hub_reads() {
        let mut body = String::new();
        let at = "2026-11-22T09:30:00.000Z";
        write_json(&mut body, CameraId(2), true, 7, at);
        let read = crate::wire::detection::decode_with_camera(body.as_bytes()).expect("a detection");
        let row = row(CameraId(2), 7, at.parse().expect("a time")).expect("a row");
        assert_eq!((Some(read.camera_id), read.person_count), (row.camera_id, row.person_count));
        assert_eq!((read.detection_id, read.snapshot_path), (row.detection_id, row.snapshot_path));
        assert_eq!((read.detected_at, read.confidence), (row.detected_at, row.confidence));
    }

    #[test]
    fn a_ledger_knows_its_own() {
        let ledger = Ledger::new(100, 2);
        let begun = Instant::now();
        assert_eq!([ledger.send(begun), ledger.send(begun)], [Some(100), Some(101)]);
        assert_eq!(ledger.send(begun), None);
        assert_eq!(ledger.since(100, begun + Duration::from_micros(250)), Some(250));
        assert_eq!(ledger.since(99, begun), None);
        assert_eq!(ledger.since(103, begun), None);
    }

    #[test]
    fn a_schedule_keeps_its_rate_and_its_end() {
        let mut schedule = Schedule::new(Some(1000), 2, 0, Duration::from_secs(1));
        let begin = schedule.wake_at();
        assert_eq!(schedule.take(begin), Some(begin));
        assert_eq!(schedule.take(begin), None, "the next is due in 2 ms");
        let late = begin + Duration::from_millis(10);
        assert_eq!(schedule.take(late), Some(begin + Duration::from_millis(2)), "it has waited since it was due");
        assert!(schedule.is_over(begin + Duration::from_secs(1)));
        assert_eq!(schedule.take(begin + Duration::from_secs(1)), None);
        let mut full = Schedule::new(None, 2, 1, Duration::from_secs(1));
        let now = full.wake_at();
        assert_eq!([full.take(now), full.take(now)], [Some(now), Some(now)]);
    }
}
