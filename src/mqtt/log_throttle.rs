//! How a flood of refusals is kept from becoming a flood of log lines: a stranger's leave room for those of others.
//!
//! Must not know what the lines say.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{
    auth::{holder::Holder, identity::Identity, origin::Address},
    domain::pool::{Bounds, Pool, Share, Standing},
};

/// Lines of one kind, shared by those whom they are about: so many in a while, and the rest is counted.
#[derive(Debug)]
pub struct LogThrottle {
    pool: Pool<Holder>,
    window: Duration,
    state: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// What has been written since then.
    since: Instant,
    lines: Vec<Share<Holder>>,
    held_back: u64,
}

impl LogThrottle {
    /// Within so long a time.
    #[must_use]
    pub fn new(bounds: Bounds, window: Duration) -> Self {
        let state = Written { since: Instant::now(), lines: Vec::new(), held_back: 0 };
        Self { pool: Pool::new(bounds), window, state: Mutex::new(state) }
    }

    /// Whether a line about them may be written now; if so, how many of anybody's were held back since the last that
    /// was.
    pub fn may_log(&self, who: &Identity, address: Address) -> Option<u64> {
        self.pass(Holder::of(who, address), who.standing(), Instant::now())
    }

    /// The same of a holder, at a given time.
    pub fn pass(&self, holder: Holder, standing: Standing, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if now.saturating_duration_since(state.since) >= self.window {
            state.since = now;
            state.lines.clear();
        }
        let Ok(line) = self.pool.take(holder, standing, 1) else {
            state.held_back += 1;
            return None;
        };
        state.lines.push(line);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_uses_up_the_lines_about_others() {
        let window = Duration::from_secs(10);
        let lines = LogThrottle::new(Bounds { in_all: 6, each: 2, reserve: 2 }, window);
        let (now, later) = (Instant::now(), Instant::now() + window);
        let stranger = |host: u8| Holder::at(std::net::IpAddr::from([192, 0, 2, host]));
        let written = |host, times: usize| {
            (0..times).filter(|_| lines.pass(stranger(host), Standing::Common, now).is_some()).count()
        };
        assert_eq!([written(1, 1000), written(2, 1000), written(3, 1000)], [2, 2, 0]);
        assert!(lines.pass(Holder::Hub, Standing::Trusted, now).is_some_and(|held_back| held_back == 1998));
        assert_eq!(lines.pass(stranger(1), Standing::Common, later), Some(0));
    }
}
