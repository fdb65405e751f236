//! When a camera counts as lost, and when it has returned: pure, with time as an argument.
//!
//! A camera is lost when its own device's session has been gone for 30 s, or when one that has ever reported an empty
//! picture is silent for `CAMERA_TIMEOUT`. Others never are: silence of an engine that reports persons only says that
//! nobody is there.

use std::time::{Duration, Instant};

/// How long a camera's device may be without a session: a restart of its engine is no loss.
pub const SESSION_GONE: Duration = Duration::from_secs(30);

/// What is known of one camera since the hub started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attendance {
    /// The last detection, with or without persons.
    seen: Option<Instant>,
    /// Whether its engine reports empty pictures, so that silence says something.
    reports_empty: bool,
    /// Since when its device has had no session; `None` while it has one, or never had one.
    session_gone: Option<Instant>,
    has_session: bool,
    lost: bool,
}

/// What has changed, for all to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Lost,
    Returned,
}

impl Attendance {
    /// A detection came in.
    pub fn sighted(&mut self, person_count: u32, now: Instant) {
        self.seen = Some(now);
        self.reports_empty |= person_count == 0;
    }

    /// Its device's first session began or its last one ended.
    pub fn session(&mut self, online: bool, now: Instant) {
        self.has_session = online;
        self.session_gone = (!online).then_some(now);
    }

    /// Silence from here on counts anew: the hub itself could not listen for a while.
    pub fn excuse(&mut self, now: Instant) {
        self.seen = self.seen.map(|_| now);
        self.session_gone = self.session_gone.map(|_| now);
    }

    /// Whether it is there, as far as can be told.
    #[must_use]
    pub fn is_online(&self) -> bool {
        !self.lost && (self.seen.is_some() || self.has_session)
    }

    /// Judges anew, and says what has changed since the last time.
    pub fn judge(&mut self, now: Instant, timeout: Duration) -> Option<Change> {
        let for_long =
            |since: Option<Instant>, limit| since.is_some_and(|since| now.saturating_duration_since(since) >= limit);
        let silent = self.reports_empty && for_long(self.seen, timeout);
        let lost = silent || for_long(self.session_gone, SESSION_GONE);
        let before = std::mem::replace(&mut self.lost, lost);
        match (before, lost) {
            (false, true) => Some(Change::Lost),
            (true, false) => Some(Change::Returned),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    #[test]
    fn silence_counts_only_for_an_engine_that_reports_empty_pictures() {
        let start = Instant::now();
        let later = start + TIMEOUT;
        let mut persons_only = Attendance::default();
        persons_only.sighted(1, start);
        assert_eq!(persons_only.judge(later, TIMEOUT), None);
        let mut every_picture = Attendance::default();
        every_picture.sighted(0, start);
        assert_eq!(every_picture.judge(start + TIMEOUT / 2, TIMEOUT), None);
        assert_eq!(every_picture.judge(later, TIMEOUT), Some(Change::Lost));
        assert_eq!(every_picture.judge(later, TIMEOUT), None, "told once");
        assert!(!every_picture.is_online());
        every_picture.sighted(3, later);
        assert_eq!(every_picture.judge(later, TIMEOUT), Some(Change::Returned));
    }

    #[test]
    fn a_session_may_be_gone_for_a_while() {
        let start = Instant::now();
        let mut camera = Attendance::default();
        camera.session(true, start);
        assert_eq!(camera.judge(start + TIMEOUT * 9, TIMEOUT), None, "a session that stands is no silence");
        camera.session(false, start);
        assert_eq!(camera.judge(start + SESSION_GONE / 2, TIMEOUT), None);
        assert_eq!(camera.judge(start + SESSION_GONE, TIMEOUT), Some(Change::Lost));
        camera.session(true, start + SESSION_GONE);
        assert_eq!(camera.judge(start + SESSION_GONE, TIMEOUT), Some(Change::Returned));
    }

    #[test]
    fn a_hub_that_could_not_listen_excuses_silence() {
        let start = Instant::now();
        let mut camera = Attendance::default();
        camera.sighted(0, start);
        camera.excuse(start + TIMEOUT);
        assert_eq!(camera.judge(start + TIMEOUT, TIMEOUT), None);
    }
}
