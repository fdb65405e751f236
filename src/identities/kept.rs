//! Answers of the database, kept for a moment.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

const FRESH: Duration = Duration::from_millis(500);
/// How many answers are kept; when there are more, all are forgotten and asked for again.
pub const KEPT: usize = 10_000;

/// A question to the database that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    at: Instant,
    /// How much had been forgotten by then.
    era: u64,
}

#[derive(Debug)]
struct Answer<V> {
    asked: Asked,
    value: Option<V>,
}

/// What was found when the question was put last.
#[derive(Debug, PartialEq, Eq)]
pub enum Last<V> {
    /// Nobody has asked.
    Unknown,
    /// There was nothing, or it was forgotten since.
    Nothing,
    Known(V),
}

#[derive(Debug)]
struct State<K, V> {
    /// Raised whenever something is forgotten, so that an answer that is on its way then does not count as fresh.
    era: u64,
    answers: HashMap<K, Answer<V>>,
}

/// Answers by what was asked for.
#[derive(Debug)]
pub struct Kept<K, V>(Mutex<State<K, V>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::new(State { era: 0, answers: HashMap::new() }))
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// To be had before the database is asked.
    pub fn ask(&self) -> Asked {
        Asked { at: Instant::now(), era: self.0.lock().era }
    }

    /// Keeps what the database said.
    pub fn keep(&self, key: K, asked: Asked, value: Option<V>) {
        let mut state = self.0.lock();
        if state.answers.len() >= KEPT {
            state.answers.clear();
        }
        state.answers.insert(key, Answer { asked, value });
    }

    /// What was found half a second ago or later, if nothing has been forgotten since.
    pub fn fresh(&self, key: &K) -> Option<V> {
        let state = self.0.lock();
        let answer = state.answers.get(key)?;
        let is_fresh = answer.asked.era == state.era && answer.asked.at.elapsed() < FRESH;
        answer.value.clone().filter(|_| is_fresh)
    }

    /// The last answer, however old.
    pub fn last(&self, key: &K) -> Last<V> {
        match self.0.lock().answers.get(key) {
            None => Last::Unknown,
            Some(Answer { value: None, .. }) => Last::Nothing,
            Some(Answer { value: Some(value), .. }) => Last::Known(value.clone()),
        }
    }

    /// What is known of this one is not true any more.
    pub fn forget(&self, key: K) {
        self.keep(key, self.ask(), None);
        self.forget_all();
    }

    /// Nothing that is known is sure any more.
    pub fn forget_all(&self) {
        self.0.lock().era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_on_its_way_when_its_row_changed_is_not_fresh() {
        let kept = Kept::default();
        let asked = kept.ask();
        kept.keep(1, asked, Some("one"));
        assert_eq!(kept.fresh(&1), Some("one"));
        let asked = kept.ask();
        kept.forget(1);
        kept.keep(1, asked, Some("one"));
        assert_eq!((kept.fresh(&1), kept.last(&1)), (None, Last::Known("one")));
        kept.keep(1, kept.ask(), Some("two"));
        assert_eq!(kept.fresh(&1), Some("two"));
        kept.forget_all();
        assert_eq!((kept.fresh(&1), kept.last(&1)), (None, Last::Known("two")));
        kept.forget(1);
        assert_eq!((kept.last(&1), kept.last(&2)), (Last::Nothing, Last::Unknown));
    }

    #[test]
    fn memory_is_bounded() {
        let kept = Kept::default();
        for number in 0..KEPT + 5 {
            kept.keep(number, kept.ask(), Some(()));
        }
        assert_eq!(kept.0.lock().answers.len(), 5);
    }
}
