use super::*;
use crate::domain::bolt::order::Hold;
use proptest::prelude::*;
use uuid::Uuid;

const OPEN_FOR: Duration = Duration::from_secs(5);
/// Short, so that a few commands in a row reach it.
const MAX_OPEN: Duration = Duration::from_secs(11);
const HUB_LOST: Duration = Duration::from_secs(8);

fn limits(hold_open: bool) -> Limits {
    Limits { open_for: OPEN_FOR, max_open: MAX_OPEN, hold_open, hub_lost: HUB_LOST }
}

/// A test's two clocks.
#[derive(Debug, Clone, Copy)]
struct Clocks(Moment);

impl Clocks {
    fn start() -> Self {
        Self(Moment { monotonic: Instant::now(), wall: DateTime::from_timestamp(1_795_000_000, 0).expect("a time") })
    }

    fn pass(&mut self, time: Duration) {
        self.0.monotonic += time;
        self.0.wall += time;
    }
}

fn order(id: u128, action: Action, now: Moment) -> Order {
    Order {
        id: Uuid::from_u128(id),
        action,
        issued_at: now.wall,
        expires_at: now.wall + TimeDelta::milliseconds(2500),
        requested_by: "user:1".to_owned(),
        retained: false,
        hold: None,
    }
}

fn bolt(hold_open: bool) -> (Bolt, Clocks) {
    let mut clocks = Clocks::start();
    let mut bolt = Bolt::new(limits(hold_open), clocks.0);
    bolt.hub_found();
    clocks.pass(Duration::from_mins(1));
    (bolt, clocks)
}

#[test]
fn a_new_open_restarts_the_time_up_to_the_longest() {
    let (mut bolt, mut clocks) = bolt(false);
    let begun = clocks.0.monotonic;
    for n in 0..3 {
        assert_eq!(bolt.obey(&order(n, Action::Open, clocks.0), LockStatus::Open, clocks.0), Ok(Position::Open));
        clocks.pass(Duration::from_secs(4));
        let closed = bolt.look(clocks.0.monotonic);
        assert_eq!(closed, (n == 2).then_some(Closing::LongestOpen), "after {n}");
    }
    assert_eq!(clocks.0.monotonic - begun, Duration::from_secs(12));
    assert_eq!(bolt.position(), Position::Closed);
}

#[test]
fn the_clock_must_be_set() {
    let mut clocks = Clocks::start();
    clocks.0.wall = DateTime::from_timestamp(CLOCK_IS_SET - 1, 0).expect("a time");
    let mut bolt = Bolt::new(limits(false), clocks.0);
    assert_eq!(bolt.obey(&order(1, Action::Open, clocks.0), LockStatus::Closed, clocks.0), Err(Refusal::ClockNotSet));
    clocks.pass(Duration::from_secs(1));
    assert_eq!(bolt.obey(&order(2, Action::Open, clocks.0), LockStatus::Closed, clocks.0), Ok(Position::Open));
}

#[test]
fn a_clock_set_after_the_start_takes_the_start_along() {
    let mut clocks = Clocks::start();
    let real = clocks.0.wall;
    clocks.0.wall = DateTime::from_timestamp(0, 0).expect("a time");
    let mut bolt = Bolt::new(limits(false), clocks.0);
    clocks.pass(Duration::from_secs(3));
    clocks.0.wall = real;
    let mut before = order(1, Action::Open, clocks.0);
    before.issued_at -= TimeDelta::seconds(4);
    before.expires_at = before.issued_at + LIFETIME;
    assert_eq!(bolt.obey(&before, LockStatus::Closed, clocks.0), Err(Refusal::BeforeStart));
    assert_eq!(bolt.obey(&order(2, Action::Open, clocks.0), LockStatus::Closed, clocks.0), Ok(Position::Open));
}

#[test]
fn what_was_refused_once_is_never_obeyed_later() {
    let (mut bolt, mut clocks) = bolt(false);
    let mut early = order(1, Action::Open, clocks.0);
    early.issued_at += TimeDelta::seconds(3);
    early.expires_at = early.issued_at + LIFETIME;
    assert_eq!(bolt.obey(&early, LockStatus::Closed, clocks.0), Err(Refusal::Ahead));
    clocks.pass(Duration::from_secs(3));
    assert_eq!(bolt.obey(&early, LockStatus::Closed, clocks.0), Err(Refusal::Replayed));
}

#[test]
fn a_clock_set_back_makes_no_old_command_fresh() {
    let (mut bolt, mut clocks) = bolt(false);
    let old = order(1, Action::Open, clocks.0);
    assert_eq!(bolt.obey(&old, LockStatus::Closed, clocks.0), Ok(Position::Open));
    clocks.pass(Duration::from_hours(1));
    bolt.look(clocks.0.monotonic);
    clocks.0.wall -= TimeDelta::hours(1);
    assert_eq!(bolt.obey(&old, LockStatus::Closed, clocks.0), Err(Refusal::Replayed));
}

#[test]
fn a_toggle_opens_only_what_is_known_to_be_closed() {
    let (mut bolt, clocks) = bolt(false);
    for (n, reads, then) in [
        (1, LockStatus::Unknown, Position::Closed),
        (2, LockStatus::Open, Position::Closed),
        (3, LockStatus::Closed, Position::Open),
    ] {
        assert_eq!(bolt.obey(&order(n, Action::Toggle, clocks.0), reads, clocks.0), Ok(then));
    }
}

#[test]
fn times_from_the_ends_of_the_calendar_are_refused_and_never_panic() {
    let (mut bolt, clocks) = bolt(true);
    let ends = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];
    let mut n = 0;
    for issued_at in ends {
        for expires_at in ends {
            for until in ends {
                n += 1;
                let hold = Some(Hold { until, reason: "why".to_owned() });
                let far = Order { issued_at, expires_at, hold, ..order(n, Action::Open, clocks.0) };
                bolt.obey(&far, LockStatus::Closed, clocks.0).expect_err("refused");
                let near =
                    Order { issued_at: clocks.0.wall, expires_at: order(n, Action::Open, clocks.0).expires_at, ..far };
                let near = Order { id: Uuid::from_u128(n + 100), ..near };
                bolt.obey(&near, LockStatus::Closed, clocks.0).expect_err("refused");
            }
        }
    }
}

/// Something that can happen to a lock worker. Times are in milliseconds.
#[derive(Debug, Clone)]
enum Happening {
    Command { new_id: bool, action: Action, issued: i64, life: i64, retained: bool, hold: Option<i64>, sender: u8 },
    Time(u64),
    Jump(i64),
    HubLost,
    HubFound,
    RelayFails,
}

fn happening() -> impl Strategy<Value = Happening> {
    let action = prop_oneof![3 => Just(Action::Open), 1 => Just(Action::Close), 2 => Just(Action::Toggle)];
    // Mostly good commands, so that the door does open; around every limit, so that each is met from both sides.
    let issued = prop_oneof![5 => -500..=0_i64, 1 => 1990..2010_i64, 1 => -12_000..12_000_i64];
    let life = prop_oneof![5 => Just(2500_i64), 1 => 9990..10_010_i64, 1 => -10..20_000_i64];
    let hold = prop_oneof![4 => Just(None), 1 => (-1000..90_000_i64).prop_map(Some)];
    let command = (prop::bool::weighted(0.8), action, issued, life, prop::bool::weighted(0.1), hold, 0..2_u8).prop_map(
        |(new_id, action, issued, life, retained, hold, sender)| Happening::Command {
            new_id,
            action,
            issued,
            life,
            retained,
            hold,
            sender,
        },
    );
    prop_oneof![
        6 => command,
        4 => (1..4000_u64).prop_map(Happening::Time),
        1 => (1..15_000_u64).prop_map(Happening::Time),
        1 => (-7_200_000..7_200_000_i64).prop_map(Happening::Jump),
        1 => Just(Happening::HubLost),
        1 => Just(Happening::HubFound),
        1 => Just(Happening::RelayFails),
    ]
}

/// What the test itself holds to be right, kept apart from the bolt's own books.
struct Witness {
    /// How long the worker has run.
    running: Duration,
    ids: Vec<u128>,
    /// Since when it is open, by `running`.
    open_since: Option<Duration>,
    /// Until when it may be open at the latest, by `running`.
    allowed_until: Duration,
    lost_since: Option<Duration>,
}

impl Witness {
    fn check(&self, bolt: &Bolt) {
        let Some(since) = self.open_since else {
            assert_eq!(bolt.position(), Position::Closed);
            return;
        };
        assert!(since <= self.running);
        assert!(self.running < self.allowed_until, "open at {:?}, allowed to {:?}", self.running, self.allowed_until);
        if let Some(lost) = self.lost_since {
            assert!(self.running < lost + HUB_LOST, "open without a hub for too long");
        }
    }
}

/// Lets time pass as the worker does: to each deadline, at which it looks.
fn pass(bolt: &mut Bolt, clocks: &mut Clocks, witness: &mut Witness, time: Duration) {
    let end = clocks.0.monotonic + time;
    while let Some(deadline) = bolt.deadline().filter(|deadline| *deadline <= end) {
        let step = deadline.saturating_duration_since(clocks.0.monotonic);
        clocks.pass(step);
        witness.running += step;
        if bolt.look(clocks.0.monotonic).is_some() {
            witness.open_since = None;
        }
        witness.check(bolt);
    }
    let rest = end - clocks.0.monotonic;
    clocks.pass(rest);
    witness.running += rest;
    witness.check(bolt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The one rule, for any sequence of commands, reconnections, expiries, faults and clock jumps.
    #[test]
    fn nothing_opens_without_a_fresh_command_or_stays_open_too_long(
        happenings in prop::collection::vec(happening(), 1..60),
        hold_open: bool,
    ) {
        let mut clocks = Clocks::start();
        let mut bolt = Bolt::new(limits(hold_open), clocks.0);
        let mut witness = Witness {
            running: Duration::ZERO,
            ids: Vec::new(),
            open_since: None,
            allowed_until: Duration::ZERO,
            lost_since: Some(Duration::ZERO),
        };
        for (n, happening) in happenings.into_iter().enumerate() {
            match happening {
                Happening::Time(ms) => pass(&mut bolt, &mut clocks, &mut witness, Duration::from_millis(ms)),
                Happening::Jump(ms) => clocks.0.wall += TimeDelta::milliseconds(ms),
                Happening::HubLost => {
                    bolt.hub_lost(clocks.0.monotonic);
                    witness.lost_since.get_or_insert(witness.running);
                }
                Happening::HubFound => {
                    bolt.hub_found();
                    witness.lost_since = None;
                }
                Happening::RelayFails => {
                    bolt.give_up();
                    witness.open_since = None;
                }
                Happening::Command { new_id, action, issued, life, retained, hold, sender } => {
                    // As the worker does, before each command.
                    pass(&mut bolt, &mut clocks, &mut witness, Duration::ZERO);
                    let id = if new_id { n as u128 } else { witness.ids.last().copied().unwrap_or(n as u128) };
                    let known = witness.ids.contains(&id);
                    witness.ids.push(id);
                    let issued_at = clocks.0.wall + TimeDelta::milliseconds(issued);
                    let asked = Order {
                        id: Uuid::from_u128(id),
                        action,
                        issued_at,
                        expires_at: issued_at + TimeDelta::milliseconds(life),
                        requested_by: format!("user:{sender}"),
                        retained,
                        hold: hold.map(|ms| Hold {
                            until: clocks.0.wall + TimeDelta::milliseconds(ms),
                            reason: "moving in".to_owned(),
                        }),
                    };
                    let before = bolt.position();
                    let answer = bolt.obey(&asked, before.into(), clocks.0);
                    let running_ms = i64::try_from(witness.running.as_millis()).expect("short");
                    let good = !known && !retained && (1..=10_000).contains(&life) && issued <= 2000
                        && issued + life > 0 && -issued <= running_ms + 1
                        && (hold.is_none() || (action == Action::Open && hold_open && hold > Some(0)));
                    match answer {
                        Ok(Position::Open) => {
                            prop_assert!(good, "obeyed: {asked:?}");
                            prop_assert!(action != Action::Close && (action != Action::Toggle || before == Position::Closed));
                            let since = *witness.open_since.get_or_insert(witness.running);
                            let held = hold.map(|ms| witness.running + Duration::from_millis(ms.unsigned_abs()));
                            if before == Position::Closed {
                                witness.allowed_until = Duration::ZERO;
                            }
                            let plain = if hold.is_none() { (witness.running + OPEN_FOR).min(since + MAX_OPEN) } else { Duration::ZERO };
                            witness.allowed_until = witness.allowed_until.max(plain).max(held.unwrap_or_default());
                        }
                        Ok(Position::Closed) => {
                            prop_assert!(good);
                            witness.open_since = None;
                        }
                        Err(refusal) => {
                            prop_assert!(!good || refusal == Refusal::TooMany, "{refusal}: {asked:?}");
                            prop_assert_eq!(bolt.position(), before);
                        }
                    }
                    if bolt.deadline().is_some_and(|deadline| deadline <= clocks.0.monotonic) {
                        pass(&mut bolt, &mut clocks, &mut witness, Duration::ZERO);
                    }
                    witness.check(&bolt);
                }
            }
            prop_assert_eq!(bolt.position() == Position::Open, witness.open_since.is_some());
        }
    }
}
