//! What becomes of a camera by what is heard of it.

use chrono::{DateTime, TimeDelta};

use super::{
    watched::{Due, Now, Watched},
    *,
};
use crate::{domain::camera::Camera, store::attendance::Newest};

const HOLD: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_mins(1);

fn now() -> Now {
    Now { at: Instant::now() + Duration::from_hours(1), clock: "2026-11-28T10:00:00Z".parse().expect("a time") }
}

fn later(now: Now, millis: u64) -> Now {
    let passed = Duration::from_millis(millis);
    Now { at: now.at + passed, clock: now.clock + TimeDelta::from_std(passed).expect("short") }
}

fn camera(is_active: bool, newest: Option<Newest>) -> Known {
    let camera = Camera {
        id: CameraId(1),
        name: "Front door".to_owned(),
        location: None,
        stream_url: None,
        webrtc_url: None,
        description: None,
        is_active,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
    };
    Known { camera, newest }
}

fn shows(persons: u32, now: Now) -> Signs {
    let person_at = (persons > 0).then_some(now.at);
    Signs { newest: Some((persons, now.at)), person_at, was_empty: persons == 0 }
}

fn persons(camera: &Watched, now: Now) -> u32 {
    camera.state(now, HOLD).persons
}

#[test]
fn who_was_there_when_the_hub_stopped_is_there_when_it_starts_for_the_rest_of_the_time() {
    let now = now();
    let newest = Newest { at: now.clock - TimeDelta::seconds(10), persons: 2 };
    let found = Watched::new(camera(true, Some(newest)), now, HOLD);
    let state = found.state(now, HOLD);
    assert_eq!((state.persons, state.last_person, state.last_seen), (2, Some(newest.at), Some(newest.at)));
    assert_eq!((persons(&found, later(now, 19_999)), persons(&found, later(now, 20_000))), (2, 0));
    let off = Watched::new(camera(false, Some(newest)), now, HOLD);
    assert_eq!((persons(&off, now), off.state(now, HOLD).last_seen), (0, Some(newest.at)));
}

#[test]
fn a_clock_that_is_set_changes_nothing_of_who_is_there() {
    let begun = now();
    let mut found = Watched::new(camera(true, None), begun, HOLD);
    found.sighted(shows(1, begun), begun);
    for days in [-4000, 4000] {
        let set = |millis| Now { clock: begun.clock + TimeDelta::days(days), ..later(begun, millis) };
        assert_eq!((persons(&found, set(29_999)), persons(&found, set(30_000))), (1, 0), "{days}");
    }
}

#[test]
fn a_detection_that_was_sent_again_says_that_the_camera_lives_and_not_who_is_there() {
    let now = now();
    let mut found = Watched::new(camera(true, None), now, HOLD);
    found.sighted(Signs::default(), now);
    let state = found.state(now, HOLD);
    assert_eq!((state.online, state.persons, state.last_person, state.last_seen), (true, 0, None, Some(now.clock)));
    // One that has waited for the database counts from when it came.
    let waited = later(now, 31_000);
    found.sighted(shows(3, now), waited);
    assert_eq!((persons(&found, waited), found.state(waited, HOLD).last_person), (0, Some(now.clock)));
}

#[test]
fn a_lost_camera_shows_nobody_until_it_is_heard_again() {
    let start = now();
    let mut found = Watched::new(camera(true, None), start, Duration::from_hours(1));
    let persons = |found: &Watched, now| found.state(now, Duration::from_hours(1)).persons;
    found.sighted(Signs { was_empty: true, ..shows(2, start) }, start);
    assert_eq!((found.judge(start, TIMEOUT), persons(&found, start)), (None, 2));
    let gone = later(start, 60_000);
    assert_eq!((found.judge(gone, TIMEOUT), persons(&found, gone)), (Some(Change::Lost), 0));
    found.sighted(shows(1, gone), gone);
    assert_eq!((found.judge(gone, TIMEOUT), persons(&found, gone)), (Some(Change::Returned), 1));
}

#[test]
fn who_is_switched_off_hears_and_shows_nothing_and_begins_anew_afterwards() {
    let start = now();
    let mut found = Watched::new(camera(true, None), start, HOLD);
    found.sighted(shows(1, start), start);
    assert!(!found.renew(camera(true, None), start, HOLD), "nothing has changed");
    assert!(found.renew(camera(false, None), start, HOLD));
    found.sighted(shows(2, start), start);
    let state = found.state(start, HOLD);
    assert_eq!((state.online, state.persons, state.last_seen), (false, 0, Some(start.clock)));
    assert_eq!(found.judge(later(start, 3_600_000), TIMEOUT), None);
    let newest = Newest { at: start.clock, persons: 2 };
    assert!(found.renew(camera(true, Some(newest)), later(start, 5000), HOLD));
    let state = found.state(later(start, 5000), HOLD);
    assert_eq!((state.online, state.persons), (false, 2));
}

#[test]
fn what_changes_is_told_at_once_and_then_twice_a_second_at_most() {
    let start = now();
    let mut found = Watched::new(camera(true, None), start, HOLD);
    let told = |found: &mut Watched, now: Now| found.due(found.state(now, HOLD), now);
    let (all, none) =
        (Due { status: true, occupancy: true, notice: true }, Due { status: false, occupancy: false, notice: false });
    assert_eq!(told(&mut found, start), all, "the first word");
    assert_eq!(told(&mut found, later(start, 499)), none);
    let mut counts = (0, 0);
    for millis in (1000..11_000).step_by(5) {
        let at = later(start, millis);
        found.sighted(shows(u32::try_from(millis / 5 % 3).expect("small"), at), at);
        let Due { occupancy, notice, .. } = told(&mut found, at);
        counts = (counts.0 + u32::from(occupancy), counts.1 + u32::from(notice));
    }
    assert_eq!(counts, (20, 20));
    // The last one is told, however it was.
    let at = later(start, 11_500);
    let state = found.state(at, HOLD);
    told(&mut found, at);
    assert_eq!(told(&mut found, later(at, 500)), none);
    // Times alone are told now and then.
    found.sighted(shows(state.persons.max(1), at), at);
    told(&mut found, at);
    let mut refreshed = 0;
    for second in 12..=72 {
        let at = later(start, second * 1000);
        found.sighted(shows(state.persons.max(1), at), at);
        refreshed += u32::from(told(&mut found, at).status);
    }
    assert!((1..=3).contains(&refreshed), "{refreshed}");
}
