//! Turns at something scarce: who holds one turn or waits for one is bounded elsewhere; here those who wait are served one
//! holder after the other, so that a crowd behind one holder keeps another waiting for one turn, not for its own length.
//!
//! It knows nothing of what a turn is for.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

#[derive(Debug)]
struct State<K: Eq> {
    free: usize,
    /// Those who wait, by holder, in the order in which holders come to a turn.
    waiting: VecDeque<(K, VecDeque<oneshot::Sender<Turn<K>>>)>,
}

/// Turns that `K`s share; clones share the same ones.
#[derive(Debug)]
pub struct Turns<K: Eq>(Arc<Mutex<State<K>>>);

impl<K: Eq> Clone for Turns<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq> Turns<K> {
    /// With this many turns at once.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: at_once, waiting: VecDeque::new() })))
    }

    /// Waits for a turn. Whoever stops waiting gives it up.
    pub async fn take(&self, holder: K) -> Turn<K>
    where
        K: Clone,
    {
        loop {
            // It fails only if nobody is left who could serve, and then there is a free turn.
            if let Ok(turn) = self.wait(holder.clone()).await {
                return turn;
            }
        }
    }

    /// Gives a turn at once, or the place in the queue by which it comes.
    fn wait(&self, holder: K) -> oneshot::Receiver<Turn<K>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        if state.free > 0 {
            state.free -= 1;
            drop(state);
            // The receiver is here.
            let _ = sender.send(Turn(self.clone()));
        } else if let Some((_, queue)) = state.waiting.iter_mut().find(|(other, _)| *other == holder) {
            queue.push_back(sender);
        } else {
            state.waiting.push_back((holder, VecDeque::from([sender])));
        }
        receiver
    }

    /// The next one that waits; if there is none, the turn is free.
    fn next(&self) -> Option<oneshot::Sender<Turn<K>>> {
        let mut state = self.0.lock();
        while let Some((holder, mut queue)) = state.waiting.pop_front() {
            let next = queue.pop_front();
            if !queue.is_empty() {
                state.waiting.push_back((holder, queue));
            }
            if next.is_some() {
                return next;
            }
        }
        state.free += 1;
        None
    }
}

/// A turn; the next one begins when it is dropped.
#[derive(Debug)]
pub struct Turn<K: Eq>(Turns<K>);

impl<K: Eq> Drop for Turn<K> {
    fn drop(&mut self) {
        if let Some(next) = self.0.next() {
            // One that has stopped waiting gives the turn back, and so it goes on to the next.
            let _ = next.send(Turn(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crowd_behind_one_holder_does_not_keep_another_waiting() {
        let turns = Turns::new(1);
        let first = turns.take("uma").await;
        let mut crowd: Vec<_> = (0..50).map(|_| turns.wait("uma")).collect();
        let mut ada = turns.wait("ada");
        drop(first);
        let second = crowd.remove(0).try_recv().expect("the first of the crowd");
        assert!(ada.try_recv().is_err());
        drop(second);
        let third = ada.try_recv().expect("then the other");
        assert!(crowd[0].try_recv().is_err());
        drop(third);
        crowd[0].try_recv().expect("then the crowd again");
    }

    #[tokio::test]
    async fn who_stops_waiting_gives_the_turn_on() {
        let turns = Turns::new(2);
        let held = (turns.take(1).await, turns.take(1).await);
        let gone: Vec<_> = (0..100).map(|number| turns.wait(number % 7)).collect();
        let mut patient = turns.wait(3);
        drop(gone);
        drop(held.0);
        let turn = patient.try_recv().expect("a turn");
        drop((turn, held.1));
        let state = turns.0.lock();
        assert_eq!((state.free, state.waiting.len()), (2, 0));
    }
}
