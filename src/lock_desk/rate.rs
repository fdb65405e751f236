//! How often one sender may do something: a pure decision, with time as an argument.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// How many senders are remembered before those who have been silent for a window are forgotten.
const SENDERS: usize = 1024;

/// At most `limit` requests of one sender in any `window`. Refused requests don't count: who keeps asking is not
/// locked out for longer.
#[derive(Debug)]
pub struct Rate {
    limit: usize,
    window: Duration,
    /// When each sender's admitted requests of the last window came, oldest first.
    senders: HashMap<String, VecDeque<Instant>>,
}

impl Rate {
    /// `limit` is at least 1.
    #[must_use]
    pub fn new(limit: usize, window: Duration) -> Self {
        Self { limit: limit.max(1), window, senders: HashMap::new() }
    }

    /// Whether the sender may ask now; if so, it is counted.
    ///
    /// # Errors
    /// How long to wait, when it may not.
    pub fn admit(&mut self, now: Instant, sender: &str) -> Result<(), Duration> {
        if let Some(wait) = self.wait(now, sender) {
            return Err(wait);
        }
        self.count(now, sender);
        Ok(())
    }

    /// How long the sender has to wait, if it may not ask now.
    #[must_use]
    pub fn wait(&self, now: Instant, sender: &str) -> Option<Duration> {
        let times = self.senders.get(sender)?;
        let first = times.iter().rev().nth(self.limit - 1)?;
        self.window.checked_sub(now.saturating_duration_since(*first)).filter(|wait| !wait.is_zero())
    }

    /// Counts one more of the sender.
    pub fn count(&mut self, now: Instant, sender: &str) {
        let window = self.window;
        if self.senders.len() >= SENDERS {
            let over = |at: &Instant| now.saturating_duration_since(*at) >= window;
            self.senders.retain(|_, times| times.back().is_some_and(|last| !over(last)));
        }
        let times = self.senders.entry(sender.to_owned()).or_default();
        times.push_back(now);
        // The newest ones decide.
        if times.len() > self.limit {
            times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    proptest! {
        #[test]
        fn no_window_admits_more_than_the_limit(steps in prop::collection::vec((0..3000_u64, 0..3_usize), 1..200)) {
            let mut rate = Rate::new(10, WINDOW);
            let (mut now, mut admitted) = (Instant::now(), vec![Vec::new(); 3]);
            for (pause, sender) in steps {
                now += Duration::from_millis(pause);
                match rate.admit(now, &sender.to_string()) {
                    Ok(()) => admitted[sender].push(now),
                    Err(wait) => {
                        // A refusal is never without cause, and the wait it names suffices.
                        let recent = admitted[sender].iter().filter(|at| now - **at < WINDOW).count();
                        prop_assert_eq!(recent, 10);
                        prop_assert!(wait > Duration::ZERO && wait <= WINDOW);
                        let mut later = Rate::new(10, WINDOW);
                        later.senders = rate.senders.clone();
                        prop_assert!(later.admit(now + wait, &sender.to_string()).is_ok());
                    }
                }
            }
            for times in &admitted {
                for eleven in times.windows(11) {
                    prop_assert!(eleven[10] - eleven[0] >= WINDOW);
                }
            }
        }
    }

    #[test]
    fn silent_senders_are_forgotten() {
        let mut rate = Rate::new(1, WINDOW);
        let start = Instant::now();
        for sender in 0..SENDERS {
            assert!(rate.admit(start, &sender.to_string()).is_ok());
        }
        assert!(rate.admit(start + WINDOW, "late").is_ok());
        assert_eq!(rate.senders.len(), 1);
    }
}
