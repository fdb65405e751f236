//! How far a connection is with its request, since when, and until when it may stay there.

use std::time::Duration;

use tokio::time::Instant;

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// To send a request's head, from its first byte; and to send the first byte at all.
    pub header: Duration,
    /// To send a request's body.
    pub body: Duration,
    /// To ask again after an answer; and to read an answer on.
    pub idle: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { header: seconds(10), body: seconds(30), idle: seconds(120) }
    }
}

impl Times {
    /// How often it is worth to look.
    #[must_use]
    pub fn shortest(&self) -> Duration {
        self.header.min(self.idle).min(self.body).max(Duration::from_millis(100))
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of a request is there; `true` once one was answered.
    Silent(Instant, bool),
    /// A head has begun to arrive.
    Head(Instant),
    /// The head is there.
    Answering,
    /// It is no HTTP any more.
    Upgraded,
}

/// The stages of one connection.
#[derive(Debug)]
pub struct Stages {
    stage: Stage,
    /// Since when the other end has not taken what is written.
    stuck: Option<Instant>,
    /// Whether a body did not arrive in time.
    pub late: bool,
    /// How many bytes have come of requests that are not answered yet.
    unanswered: usize,
}

impl Default for Stages {
    fn default() -> Self {
        Self { stage: Stage::Silent(Instant::now(), false), stuck: None, late: false, unanswered: 0 }
    }
}

impl Stages {
    /// Bytes have come; whether they are a request's.
    pub fn read(&mut self, count: usize) -> bool {
        if matches!(self.stage, Stage::Silent(..)) {
            self.stage = Stage::Head(Instant::now());
        }
        let is_request = self.stage != Stage::Upgraded;
        if is_request {
            self.unanswered += count;
        }
        is_request
    }

    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// How many bytes had come of unanswered requests, which are so no more.
    pub fn take_unanswered(&mut self) -> usize {
        std::mem::take(&mut self.unanswered)
    }

    /// What was to be written went out, or did not.
    pub fn wrote(&mut self, is_stuck: bool) {
        self.stuck = is_stuck.then(|| self.stuck.unwrap_or_else(Instant::now));
    }

    /// A head is whole.
    pub fn begin(&mut self) {
        self.stage = Stage::Answering;
    }

    /// An answer was written. What the request held, in bytes.
    pub fn answered(&mut self) -> usize {
        if self.stage == Stage::Answering {
            self.stage = Stage::Silent(Instant::now(), true);
        }
        self.take_unanswered()
    }

    /// The connection is a socket's from now on. What the request held, in bytes.
    pub fn upgraded(&mut self) -> usize {
        self.stage = Stage::Upgraded;
        self.take_unanswered()
    }

    /// Whether nothing whole was asked that is not answered.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.stage, Stage::Silent(..) | Stage::Head(_))
    }

    /// When it has been where it is for too long, if that can be.
    #[must_use]
    pub fn deadline(&self, times: &Times) -> Option<Instant> {
        let stuck = self.stuck.filter(|_| self.stage != Stage::Upgraded).map(|since| since + times.idle);
        let stage = match self.stage {
            Stage::Silent(since, false) | Stage::Head(since) => Some(since + times.header),
            Stage::Silent(since, true) => Some(since + times.idle),
            Stage::Answering | Stage::Upgraded => None,
        };
        match (stuck, stage) {
            (Some(stuck), Some(stage)) => Some(stuck.min(stage)),
            (stuck, stage) => stuck.or(stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times =
        Times { header: Duration::from_secs(10), body: Duration::from_secs(30), idle: Duration::from_mins(2) };

    #[tokio::test(start_paused = true)]
    async fn each_stage_has_its_end() {
        let mut stages = Stages::default();
        let left = |stages: &Stages| stages.deadline(&TIMES).map(|deadline| (deadline - Instant::now()).as_secs());
        assert_eq!(left(&stages), Some(10), "silent from the beginning");
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(stages.read(1));
        assert_eq!(left(&stages), Some(10), "from the first byte");
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(stages.read(1));
        assert_eq!(left(&stages), Some(6), "and not from each");
        stages.begin();
        assert_eq!(left(&stages), None);
        stages.wrote(true);
        tokio::time::advance(Duration::from_secs(20)).await;
        stages.wrote(true);
        assert_eq!(left(&stages), Some(100), "the answer is not read");
        stages.wrote(false);
        assert_eq!(stages.answered(), 2);
        assert_eq!((left(&stages), stages.unanswered()), (Some(120), 0));
        assert!(stages.read(7));
        assert_eq!((left(&stages), stages.unanswered()), (Some(10), 7));
        assert_eq!(stages.upgraded(), 7);
        assert!(!stages.read(7));
        stages.wrote(true);
        assert_eq!(left(&stages), None);
    }
}
