//! How long to wait before trying again: longer each time, up to a bound.

use std::time::Duration;

/// Pauses that double, from the first to the longest.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// The next pause, somewhere between half of its length and all of it: many who have lost the same thing do not all
    /// come back at once.
    pub fn jittered(&mut self) -> Duration {
        self.pause().mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Begins with the first pause again, because it went well.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_anew_only_when_told_so() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
        backoff.reset();
        for longest in [0.5, 1.0, 2.0, 4.0, 5.0, 5.0] {
            let pause = backoff.jittered().as_secs_f64();
            assert!((longest / 2.0..=longest).contains(&pause), "{pause} of {longest}");
        }
    }
}
