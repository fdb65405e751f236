//! How long to wait before trying again: longer each time, and never all workers at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
/// A lock that can't be worked is noticed at once, so the longest pause is short.
const LONGEST: Duration = Duration::from_secs(5);
/// A connection that lived this long was a good one; a shorter one may be refused again and again.
const STABLE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The pause after a connection that lived so long: between half of the present length and all of it.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= STABLE {
            self.0 = FIRST;
        }
        let pause = self.0.mul_f64(rand::random_range(0.5..=1.0));
        self.0 = (self.0 * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_anew_after_a_stable_while_only() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..8).map(|_| backoff.after(Duration::from_secs(1))).collect();
        for (pause, longest) in pauses.iter().zip([0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]) {
            assert!((longest / 2.0..=longest).contains(&pause.as_secs_f64()), "{pauses:?}");
        }
        assert!(backoff.after(STABLE) <= FIRST);
    }
}
