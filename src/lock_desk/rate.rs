//! How often one sender may ask: a pure decision, with time as an argument.

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
    #[must_use]
    pub fn new(limit: usize, window: Duration) -> Self {
        Self { limit, window, senders: HashMap::new() }
    }

    /// Whether the sender may ask now.
    ///
    /// # Errors
    /// How long to wait, when it may not.
    pub fn admit(&mut self, now: Instant, sender: &str) -> Result<(), Duration> {
        let window = self.window;
        let over = |at: &Instant| now.saturating_duration_since(*at) >= window;
        if self.senders.len() >= SENDERS {
            self.senders.retain(|_, times| times.back().is_some_and(|last| !over(last)));
        }
        let times = self.senders.entry(sender.to_owned()).or_default();
        while times.front().is_some_and(over) {
            times.pop_front();
        }
        match times.front() {
            Some(first) if times.len() >= self.limit => {
                Err(window.saturating_sub(now.saturating_duration_since(*first)))
            }
            _ => {
                times.push_back(now);
                Ok(())
            }
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
