//! How often something may be said: a few at once, then one in a while, and how many were held back.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets a few through at once and then one in a while, and says how many it held back.
#[derive(Debug)]
pub struct Rate {
    burst: f64,
    per_second: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    at: Instant,
    held_back: u64,
}

impl Rate {
    #[must_use]
    pub fn new(burst: u32, every: Duration) -> Self {
        let burst = f64::from(burst.max(1));
        let state = State { tokens: burst, at: Instant::now(), held_back: 0 };
        Self { burst, per_second: 1.0 / every.as_secs_f64().max(1e-9), state: Mutex::new(state) }
    }

    /// Whether one more may pass now; if so, how many were held back since the last that did.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let grown = now.saturating_duration_since(state.at).as_secs_f64() * self.per_second;
        state.tokens = (state.tokens + grown).min(self.burst);
        state.at = now;
        if state.tokens < 1.0 {
            state.held_back += 1;
            return None;
        }
        state.tokens -= 1.0;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_a_burst_through_and_counts_the_rest() {
        let rate = Rate::new(2, Duration::from_secs(1));
        let now = Instant::now();
        assert_eq!([rate.pass(now), rate.pass(now), rate.pass(now), rate.pass(now)], [Some(0), Some(0), None, None]);
        assert_eq!(rate.pass(now + Duration::from_secs(1)), Some(2));
        assert_eq!(rate.pass(now + Duration::from_secs(1)), None);
    }
}
