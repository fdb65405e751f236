//! How often somebody may do something in any stretch of time of one length: a pure decision, with time as an argument.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// At most `limit` in any stretch of `length`, for each key by itself. What is refused does not count: who keeps asking is
/// not locked out for longer.
#[derive(Debug, Clone)]
pub struct SlidingWindow<K> {
    limit: usize,
    length: Duration,
    keys: usize,
    /// When each key's last ones were, oldest first, `limit` at most.
    counted: HashMap<K, VecDeque<Instant>>,
}

impl<K: Eq + Hash + Clone> SlidingWindow<K> {
    /// `limit` is at least 1. So many `keys` are known at a time.
    #[must_use]
    pub fn new(limit: usize, length: Duration, keys: usize) -> Self {
        Self { limit: limit.max(1), length, keys, counted: HashMap::new() }
    }

    /// How long the key has to wait, if there may be no more now.
    #[must_use]
    pub fn wait<Q: ?Sized + Eq + Hash>(&self, key: &Q, now: Instant) -> Option<Duration>
    where
        K: Borrow<Q>,
    {
        let times = self.counted.get(key)?;
        // The newest ones decide.
        let first = times.iter().rev().nth(self.limit - 1)?;
        self.length.checked_sub(now.saturating_duration_since(*first)).filter(|wait| !wait.is_zero())
    }

    /// How many keys are known now.
    #[must_use]
    pub fn known(&self) -> usize {
        self.counted.len()
    }

    /// Whether the key is known, or can be without another being forgotten that still counts.
    pub fn has_room_for<Q: ?Sized + Eq + Hash>(&mut self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
    {
        if self.counted.contains_key(key) {
            return true;
        }
        if self.counted.len() >= self.keys {
            let length = self.length;
            let counts = |at: &Instant| now.saturating_duration_since(*at) < length;
            self.counted.retain(|_, times| times.back().is_some_and(counts));
        }
        self.counted.len() < self.keys
    }

    /// Counts one. Where all keys are known that can be, the one whose last is the oldest is forgotten.
    pub fn count<Q: ?Sized + Eq + Hash + ToOwned<Owned = K>>(&mut self, key: &Q, now: Instant)
    where
        K: Borrow<Q>,
    {
        if !self.has_room_for(key, now) {
            let oldest = self.counted.iter().min_by_key(|(_, times)| times.back().copied());
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.counted.remove(oldest.borrow());
            }
        }
        let times = self.counted.entry(key.to_owned()).or_default();
        if times.len() == self.limit {
            times.pop_front();
        }
        times.push_back(now);
    }

    /// Counts one more, if there may be one.
    ///
    /// # Errors
    /// How long to wait, when there may not.
    pub fn admit<Q: ?Sized + Eq + Hash + ToOwned<Owned = K>>(&mut self, key: &Q, now: Instant) -> Result<(), Duration>
    where
        K: Borrow<Q>,
    {
        if let Some(wait) = self.wait(key, now) {
            return Err(wait);
        }
        self.count(key, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    proptest! {
        #[test]
        fn no_stretch_admits_more_than_the_limit(steps in prop::collection::vec((0..3000_u64, 0..3_usize), 1..200)) {
            let mut window = SlidingWindow::<String>::new(10, LENGTH, 100);
            let (mut now, mut admitted) = (Instant::now(), vec![Vec::new(); 3]);
            for (pause, key) in steps {
                now += Duration::from_millis(pause);
                match window.admit(key.to_string().as_str(), now) {
                    Ok(()) => admitted[key].push(now),
                    Err(wait) => {
                        // A refusal is never without cause, and the wait it names suffices.
                        prop_assert_eq!(admitted[key].iter().filter(|at| now - **at < LENGTH).count(), 10);
                        prop_assert!(wait > Duration::ZERO && wait <= LENGTH);
                        prop_assert!(window.clone().admit(key.to_string().as_str(), now + wait).is_ok());
                    }
                }
            }
            for times in &admitted {
                prop_assert!(times.windows(11).all(|eleven| eleven[10] - eleven[0] >= LENGTH));
            }
        }
    }

    #[test]
    fn keys_are_bounded_and_silent_ones_go_first() {
        let mut window = SlidingWindow::<String>::new(1, LENGTH, 3);
        let start = Instant::now();
        for (second, key) in ["a", "b", "c"].into_iter().enumerate() {
            assert!(window.admit(key, start + Duration::from_secs(second as u64)).is_ok());
        }
        let later = start + Duration::from_secs(5);
        assert!(!window.has_room_for("d", later) && window.has_room_for("a", later));
        window.count("d", later);
        assert_eq!((window.wait("a", later), window.counted.len()), (None, 3), "the oldest is forgotten");
        assert!(window.has_room_for("e", start + Duration::from_secs(12)), "b and c are silent for long enough");
        assert_eq!(window.counted.len(), 1);
    }
}
