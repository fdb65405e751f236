//! The clock against its witnesses, with time as an argument.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn noted(noted: DateTime<Utc>) -> Traces {
    Traces { noted: Some(noted), ..Traces::default() }
}

fn is_believed(standing: Standing) -> bool {
    standing == Standing::Believed
}

const NOW: &str = "2026-11-27T12:00:00Z";

#[test]
fn a_small_step_back_is_held_and_a_large_one_believed() {
    let now = at(NOW);
    let stored = |ahead| stamp(Some(now + ahead), now);
    assert_eq!(stamp(None, now), now);
    assert_eq!(stored(TimeDelta::milliseconds(1)), now + TimeDelta::milliseconds(1));
    assert_eq!(stored(SLEW), now + SLEW);
    for ahead in [SLEW + TimeDelta::milliseconds(1), TimeDelta::hours(2), TimeDelta::days(400), TimeDelta::days(-1)] {
        assert_eq!(stored(ahead), now, "{ahead}");
    }
    assert_eq!(stamp(Some(DateTime::<Utc>::MAX_UTC), DateTime::<Utc>::MIN_UTC), DateTime::<Utc>::MIN_UTC);
}

#[test]
fn a_jump_is_told_in_both_directions_and_what_only_runs_is_not() {
    let (start, now) = (Instant::now(), at(NOW));
    let before = Reading::new(now, start);
    let after = |seconds| Reading::new(now + TimeDelta::seconds(seconds), start + Duration::from_secs(10));
    assert_eq!([5, 10, 15].map(|seconds| jump(before, after(seconds))), [None; 3]);
    assert_eq!(jump(before, after(16)), Some(TimeDelta::seconds(6)));
    assert_eq!(jump(before, after(4)), Some(TimeDelta::seconds(-6)));
    assert_eq!(jump(before, after(7210)), Some(TimeDelta::hours(2)));
}

#[test]
fn ntp_speaks_for_the_clock_that_it_has_set_and_for_no_other() {
    let now = at(NOW);
    let agrees = |ago| ntp_agrees(now - ago, now);
    assert!(agrees(TimeDelta::zero()) && agrees(TimeDelta::minutes(34)) && agrees(-SLEW));
    for ago in [TimeDelta::hours(3), TimeDelta::days(3650), TimeDelta::minutes(-1), TimeDelta::days(-3650)] {
        assert!(!agrees(ago), "{ago}");
    }
}

#[test]
fn stored_events_are_a_trace_only_where_no_time_is_noted() {
    let (note, wrong) = (at(NOW), Some(at("2036-11-27T12:00:00Z")));
    assert_eq!(Traces { noted: Some(note), event: wrong, audit: wrong }.supported(), Some(note));
    assert_eq!(Traces { noted: None, event: Some(note), audit: wrong }.supported(), wrong);
    assert_eq!(Traces { noted: None, event: Some(note), audit: None }.supported(), Some(note));
    assert_eq!(Traces::default().supported(), None);
    let never_set = Some(at("1970-01-01T01:00:00Z"));
    assert_eq!(Traces { noted: None, event: never_set, audit: never_set }.supported(), None);
}

#[test]
fn an_empty_database_believes_any_clock_that_could_be_right() {
    let look =
        |text, ntp| Trust::new(Traces::default(), Instant::now()).look(Reading::new(at(text), Instant::now()), ntp);
    assert!(is_believed(look(NOW, false)) && is_believed(look("2046-11-27T12:00:00Z", false)));
    for early in ["1970-01-01T00:00:09Z", "2025-12-31T23:59:59Z"] {
        let Standing::Doubted(gap) = look(early, false) else { panic!("{early} is believed") };
        assert_eq!(gap.supported, None);
        assert!(gap.words().ends_with("which cannot be"), "{}", gap.words());
        assert!(!is_believed(look(early, true)), "whoever says so");
    }
}

#[test]
fn a_machine_without_a_clock_of_its_own_is_believed_when_ntp_has_set_it() {
    let start = Instant::now();
    let mut trust = Trust::new(noted(at(NOW)), start);
    assert!(!is_believed(trust.look(Reading::new(at("1970-01-01T00:00:20Z"), start), false)));
    let later = start + Duration::from_secs(40);
    let set = at("2026-12-24T08:00:00Z");
    assert!(!is_believed(trust.look(Reading::new(set, later), false)), "27 days later: who says so?");
    assert!(is_believed(trust.look(Reading::new(set, later), true)));
    // From here on it needs nobody.
    assert!(is_believed(trust.look(Reading::new(set + TimeDelta::seconds(60), later + Duration::from_mins(1)), false)));
    assert_eq!(trust.supported(later + Duration::from_mins(1)), Some(set + TimeDelta::seconds(60)));
}

#[test]
fn whoever_was_away_for_two_years_is_believed_when_a_person_says_so() {
    let (start, now) = (Instant::now(), at("2028-11-27T12:00:00Z"));
    let mut trust = Trust::new(noted(at(NOW)), start);
    let Standing::Doubted(gap) = trust.look(Reading::new(now, start), false) else { panic!("nobody has said so") };
    assert_eq!(
        gap.words(),
        "the clock says 2028-11-27 12:00:00 UTC, 2 y 1 d ahead of the 2026-11-27 12:00:00 UTC that the newest trace of time \
         supports"
    );
    trust.confirm(now, start);
    assert!(is_believed(trust.look(Reading::new(now, start), false)));
    assert!(is_believed(
        Trust::new(noted(trust.supported(start).expect("a time")), start).look(Reading::new(now, start), false)
    ));
}

#[test]
fn a_clock_that_is_behind_is_in_doubt_until_it_is_right() {
    let start = Instant::now();
    let mut trust = Trust::new(noted(at(NOW)), start);
    let later = |hours| start + Duration::from_hours(hours);
    assert!(!is_believed(trust.look(Reading::new(at("2026-11-25T12:00:00Z"), start), false)));
    assert!(!is_believed(trust.look(Reading::new(at("2026-11-26T12:00:00Z"), later(24)), false)));
    assert!(is_believed(trust.look(Reading::new(at("2026-11-28T13:00:00Z"), later(25)), false)));
}

#[test]
fn many_small_steps_beside_a_running_hub_do_not_add_up() {
    let (start, now) = (Instant::now(), at(NOW));
    let mut trust = Trust::new(noted(now), start);
    let believed = (0..10).map(|step| {
        let later = Duration::from_secs(step);
        let by = TimeDelta::hours(4 * i64::try_from(step).expect("few"));
        is_believed(trust.look(Reading::new(now + by, start + later), false))
    });
    assert_eq!(believed.collect::<Vec<_>>(), [true, true, true, true, false, false, false, false, false, false]);
}

#[test]
fn lengths_are_said_as_people_say_them() {
    let said =
        [59, 60, 7260, 90_000, 86_400 * 365 * 10 + 86_400 * 3].map(|seconds| length(TimeDelta::seconds(seconds)));
    assert_eq!(said, ["59 s", "1 min 0 s", "2 h 1 min", "1 d 1 h", "10 y 3 d"]);
    assert_eq!(apart(TimeDelta::seconds(-7200)), "2 h 0 min behind");
}

/// What happens between two looks.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many minutes pass.
    Pass(u32),
    /// The process ends and another one goes on with what was noted; so many minutes later.
    Restart(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(0..4000_u32).prop_map(Step::Pass), (0..700_u32).prop_map(Step::Restart)];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn what_is_stored_is_never_far_from_the_clock(ahead in -10_000_000_i64..10_000_000) {
        let now = at(NOW);
        let stored = stamp(Some(now + TimeDelta::milliseconds(ahead)), now);
        prop_assert!(stored >= now && stored - now <= SLEW);
    }

    /// However long it is wrong, and however often the hub is started with it: what it stores is no witness for it.
    #[test]
    fn a_clock_that_is_wrong_stays_in_doubt(steps in steps(), days in 31..4000_i64, behind: bool) {
        let (begun, truth) = (Instant::now(), at(NOW));
        let by = TimeDelta::days(if behind { -days.min(300) } else { days });
        let (mut trust, mut passed, mut away) = (Trust::new(noted(truth), begun), Duration::ZERO, Duration::ZERO);
        for step in steps {
            let minutes = match step { Step::Pass(minutes) | Step::Restart(minutes) => minutes };
            let noted_before = trust.supported(begun + passed);
            passed += Duration::from_mins(u64::from(minutes));
            let now = begun + passed;
            if let Step::Restart(_) = step {
                away += Duration::from_mins(u64::from(minutes));
                let wrong = Some(truth + by + TimeDelta::from_std(passed).expect("short"));
                trust = Trust::new(Traces { noted: noted_before, event: wrong, audit: wrong }, now);
            }
            let real = truth + TimeDelta::from_std(passed).expect("short");
            let standing = trust.look(Reading::new(real + by, now), false);
            prop_assert!(!is_believed(standing));
            let supported = trust.supported(now).expect("a time");
            prop_assert!(supported <= real, "no later than it is");
            prop_assert!(real - supported <= TimeDelta::from_std(away).expect("short"), "and no earlier than is known");
        }
        // Set right it is believed, if the hub was not away for long in all; else when somebody says so.
        let now = begun + passed;
        let real = truth + TimeDelta::from_std(passed).expect("short");
        let right = trust.look(Reading::new(real, now), false);
        prop_assert_eq!(is_believed(right), TimeDelta::from_std(away).expect("short") <= AGREES);
        trust.confirm(real, now);
        prop_assert!(is_believed(trust.look(Reading::new(real, now), false)));
    }

    /// A clock that is right is believed through all restarts that are not too long.
    #[test]
    fn a_clock_that_is_right_is_never_in_doubt(steps in steps()) {
        let (begun, truth) = (Instant::now(), at(NOW));
        let (mut trust, mut passed) = (Trust::new(noted(truth), begun), Duration::ZERO);
        for step in steps {
            let (Step::Pass(minutes) | Step::Restart(minutes)) = step;
            let before = trust.supported(begun + passed).expect("a time");
            passed += Duration::from_mins(u64::from(minutes));
            let now = begun + passed;
            if let Step::Restart(_) = step {
                trust = Trust::new(noted(before), now);
            }
            let real = truth + TimeDelta::from_std(passed).expect("short");
            prop_assert!(is_believed(trust.look(Reading::new(real, now), false)));
            prop_assert_eq!(trust.supported(now), Some(real));
        }
    }
}
