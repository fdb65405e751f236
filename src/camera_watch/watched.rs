//! What is known of one camera, and how what is heard changes it. Pure, with time as an argument.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    domain::{
        attendance::{Attendance, Change},
        camera::Camera,
        occupancy::{Differs, Occupancy, Pace},
    },
    events::{Signs, cameras::CameraState},
    store::attendance::{Known, Newest},
};

/// Now, by the time that only passes and by the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub at: Instant,
    pub clock: DateTime<Utc>,
}

impl Now {
    pub fn read() -> Self {
        Self { at: Instant::now(), clock: Utc::now() }
    }

    /// What the clock says of a time that has passed.
    fn clock_at(self, then: Instant) -> DateTime<Utc> {
        let ago = TimeDelta::from_std(self.at.saturating_duration_since(then)).unwrap_or_default();
        self.clock.checked_sub_signed(ago).unwrap_or(self.clock)
    }
}

/// What is known of one camera.
#[derive(Debug, Clone)]
pub struct Watched {
    pub camera: Arc<Camera>,
    attendance: Attendance,
    occupancy: Occupancy,
    last_seen: Option<DateTime<Utc>>,
    last_person: Option<DateTime<Utc>>,
    told: Told,
}

/// What was told last, of each notice.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    status: Last,
    occupancy: Last,
    notice: Last,
}

/// What a notice said last.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    pace: Pace,
    state: CameraState,
}

/// What is to be told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// `camera/<id>/status`
    pub status: bool,
    /// `camera/<id>/occupancy`
    pub occupancy: bool,
    /// To dashboards.
    pub notice: bool,
}

impl Watched {
    /// A camera that was not known before, as far as its newest event tells of it.
    pub fn new(known: Known, now: Now, hold: Duration) -> Self {
        let Known { camera, newest } = known;
        let last_person = newest.filter(|newest| newest.persons > 0).map(|newest| newest.at);
        Self {
            occupancy: restored(newest.filter(|_| camera.is_active), now, hold),
            camera: Arc::new(camera),
            attendance: Attendance::default(),
            last_seen: newest.map(|newest| newest.at),
            last_person,
            told: Told::default(),
        }
    }

    /// Takes over what is in the database now, and says whether it is otherwise than before. Who was switched off or on
    /// begins anew.
    pub fn renew(&mut self, known: Known, now: Now, hold: Duration) -> bool {
        let Known { camera, newest } = known;
        self.last_seen = self.last_seen.or(newest.map(|newest| newest.at));
        if camera.is_active != self.camera.is_active {
            self.attendance = Attendance::default();
            self.occupancy = restored(newest.filter(|_| camera.is_active), now, hold);
            self.told = Told::default();
        }
        let is_changed = camera != *self.camera;
        if is_changed {
            self.camera = Arc::new(camera);
        }
        is_changed
    }

    /// Signs of life have come in. Of one that is switched off they say nothing.
    pub fn sighted(&mut self, signs: Signs, now: Now) {
        if !self.camera.is_active {
            return;
        }
        if signs.was_empty {
            self.attendance.sighted(0, now.at);
        }
        let persons = signs.newest.map(|(persons, _)| persons);
        self.attendance.sighted(persons.unwrap_or(1), now.at);
        self.last_seen = Some(now.clock);
        if let Some((persons, at)) = signs.newest {
            self.occupancy.reported(persons, at);
        }
        if let Some(at) = signs.person_at {
            self.last_person = Some(now.clock_at(at));
        }
    }

    /// Its device's first session began, or its last one ended.
    pub fn session(&mut self, online: bool, now: Now) {
        self.attendance.session(online, now.at);
        if online {
            self.last_seen = Some(now.clock);
        }
    }

    /// The hub itself could not listen.
    pub fn excuse(&mut self, now: Now) {
        self.attendance.excuse(now.at);
    }

    /// Judges whether it is there, and says what has changed since the last time.
    pub fn judge(&mut self, now: Now, timeout: Duration) -> Option<Change> {
        if !self.camera.is_active {
            return None;
        }
        let change = self.attendance.judge(now.at, timeout);
        if change == Some(Change::Lost) {
            self.occupancy.clear();
        }
        change
    }

    /// How it is.
    pub fn state(&self, now: Now, hold: Duration) -> CameraState {
        let Self { last_seen, last_person, .. } = *self;
        if !self.camera.is_active {
            return CameraState { last_seen, last_person, ..CameraState::default() };
        }
        let persons = self.occupancy.persons(now.at, hold);
        CameraState { online: self.attendance.is_online(), last_seen, persons, last_person }
    }

    /// What is to be told, now that it is so: what has changed at once, within the bounds of [`Pace`].
    pub fn due(&mut self, state: CameraState, now: Now) -> Due {
        let Told { status, occupancy, notice } = &mut self.told;
        Due {
            status: status.is_due(state, now, |one| one.online, |one| one.last_seen),
            occupancy: occupancy.is_due(state, now, |one| one.persons, |one| one.last_person),
            notice: notice.is_due(state, now, |one| (one.online, one.persons), |one| one.last_seen),
        }
    }
}

impl Last {
    /// Whether a notice of this state is due, by what it says and by the time that stands in it; then it is the last.
    fn is_due<S: PartialEq>(
        &mut self,
        state: CameraState,
        now: Now,
        says: impl Fn(&CameraState) -> S,
        time: impl Fn(&CameraState) -> Option<DateTime<Utc>>,
    ) -> bool {
        let differs = if says(&self.state) != says(&state) {
            Differs::Truly
        } else if time(&self.state) != time(&state) {
            Differs::InItsTimes
        } else {
            Differs::Not
        };
        let is_due = self.pace.is_due(differs, now.at);
        if is_due {
            self.state = state;
        }
        is_due
    }
}

fn restored(newest: Option<Newest>, now: Now, hold: Duration) -> Occupancy {
    let restored = |Newest { at, persons }| Occupancy::restored(persons, now.clock - at, now.at, hold);
    newest.map(restored).unwrap_or_default()
}
