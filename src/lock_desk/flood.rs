//! Keeps one sender from filling a table: the first few within a window pass, the rest become one with a count.
//! Pure, with time as an argument.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Lets `limit` items of a sender pass in a window that begins with the first; holds back the newest of the rest and
/// how many they were, for when the window ends. A sender is forgotten when its window ends.
#[derive(Debug)]
pub struct Flood<K, T> {
    limit: u32,
    window: Duration,
    senders: HashMap<K, Seen<T>>,
}

#[derive(Debug)]
struct Seen<T> {
    since: Instant,
    passed: u32,
    held: Option<(T, i64)>,
}

impl<K: Eq + Hash + Clone, T> Flood<K, T> {
    #[must_use]
    pub fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, senders: HashMap::new() }
    }

    /// The item, if it may pass; else it is held back and counted. Ask [`Flood::due`] first.
    pub fn offer(&mut self, now: Instant, sender: K, item: T) -> Option<T> {
        let seen = self.senders.entry(sender).or_insert(Seen { since: now, passed: 0, held: None });
        if seen.passed < self.limit {
            seen.passed += 1;
            return Some(item);
        }
        let count = seen.held.as_ref().map_or(0, |(_, count)| *count);
        seen.held = Some((item, count + 1));
        None
    }

    /// Counts an item that was told elsewhere, as if it had passed here.
    pub fn count(&mut self, now: Instant, sender: K) {
        let window = self.window;
        let seen = self.senders.entry(sender).or_insert(Seen { since: now, passed: 0, held: None });
        if seen.held.is_none() && now.saturating_duration_since(seen.since) >= window {
            (seen.since, seen.passed) = (now, 0);
        }
        seen.passed = seen.passed.saturating_add(1);
    }

    /// Whether this sender's window is still open.
    #[must_use]
    pub fn knows(&self, sender: &K) -> bool {
        self.senders.contains_key(sender)
    }

    /// How many senders' windows are still open.
    #[must_use]
    pub fn senders(&self) -> usize {
        self.senders.len()
    }

    /// What was held back in windows that are over: the newest of each sender, and how many it stands for.
    pub fn due(&mut self, now: Instant) -> Vec<(T, i64)> {
        let window = self.window;
        self.senders
            .extract_if(|_, seen| now.saturating_duration_since(seen.since) >= window)
            .filter_map(|(_, seen)| seen.held)
            .collect()
    }

    /// Everything that is held back, for when nobody will ask again.
    pub fn rest(&mut self) -> Vec<(T, i64)> {
        self.senders.drain().filter_map(|(_, seen)| seen.held).collect()
    }

    /// When [`Flood::due`] has something next.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.senders.values().filter(|seen| seen.held.is_some()).map(|seen| seen.since + self.window).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_mins(1);

    proptest! {
        #[test]
        fn every_item_is_told_once_and_few_are_told(steps in prop::collection::vec((0..20_000_u64, 0..3_u8), 0..300)) {
            let mut flood = Flood::new(10, WINDOW);
            let start = Instant::now();
            let (mut now, mut told, mut rows) = (start, 0, 0_usize);
            for (pause, sender) in &steps {
                now += Duration::from_millis(*pause);
                for ((), count) in flood.due(now) {
                    told += count;
                    rows += 1;
                }
                if flood.offer(now, *sender, ()).is_some() {
                    told += 1;
                    rows += 1;
                }
                prop_assert!(flood.next_due().is_none_or(|due| due > now));
            }
            let rest = flood.rest();
            told += rest.iter().map(|((), count)| count).sum::<i64>();
            rows += rest.len();
            prop_assert_eq!(told, i64::try_from(steps.len()).unwrap());
            // Each sender's windows do not overlap, and a window has 10 rows and the counted one.
            let windows = usize::try_from((now - start).as_secs() / 60 + 1).unwrap();
            prop_assert!(rows <= 3 * windows * 11, "{} rows in {} windows", rows, windows);
        }
    }

    #[test]
    fn the_newest_of_the_rest_is_told_when_the_window_ends() {
        let mut flood = Flood::new(2, WINDOW);
        let start = Instant::now();
        let passed: Vec<_> = (0..5).map(|item| flood.offer(start, "x", item)).collect();
        assert_eq!(passed, [Some(0), Some(1), None, None, None]);
        assert_eq!(flood.next_due(), Some(start + WINDOW));
        assert_eq!(flood.due(start + WINDOW / 2), []);
        assert_eq!(flood.due(start + WINDOW), [(4, 3)]);
        assert_eq!(flood.offer(start + WINDOW, "x", 5), Some(5));
    }

    #[test]
    fn what_was_told_elsewhere_counts_within_its_window() {
        let mut flood = Flood::new(2, WINDOW);
        let start = Instant::now();
        for _ in 0..5 {
            flood.count(start, "x");
        }
        assert_eq!(flood.offer(start, "x", 1), None);
        assert_eq!(flood.due(start + WINDOW), [(1, 1)]);
        flood.count(start + WINDOW, "x");
        flood.count(start + 3 * WINDOW, "x");
        assert_eq!(flood.offer(start + 3 * WINDOW, "x", 2), Some(2));
    }
}
