//! Places for connections, so that a flood of strangers turns away strangers.
//!
//! Whoever connects is a stranger until a credential was shown. When all places are taken, a stranger who comes takes the
//! place of the one who has waited longest without having said anything whole; so the newest always gets a chance, and who
//! only holds connections holds them at the cost of others who do the same. Nobody who is known is ever sent away.
//!
//! It knows nothing of sockets: `leave` is called for whoever has to go.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use parking_lot::Mutex;

use super::pool::{Bounds, Full, Standing};

/// Part of `each` that strangers may have beyond it, so that somebody with a credential gets in beside people of the same
/// address who have filled it.
const STRANGERS_MORE: u64 = 8;

/// So few places are not divided.
const FEW: u64 = 16;

/// The places, shared by clones. `K` says whose a place is: of which address.
pub struct Places<K>(Arc<Inner<K>>);

struct Inner<K> {
    bounds: Bounds,
    state: Mutex<State<K>>,
}

impl<K> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> std::fmt::Debug for Places<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("bounds", &self.0.bounds).finish_non_exhaustive()
    }
}

/// How far somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// Has said nothing whole, or nothing for a while.
    Waiting,
    /// Is being answered.
    Busy,
    Known(Standing),
}

struct Taken<K> {
    /// None for a proxy, whose clients are many.
    holder: Option<K>,
    rank: Rank,
    leave: Box<dyn Fn() + Send>,
}

/// What is taken by one holder, or by all: how many, how many of them by people who are known and of common standing, and
/// the strangers in the order in which they came.
#[derive(Default)]
struct Part {
    all: u64,
    common: u64,
    waiting: BTreeSet<u64>,
    busy: BTreeSet<u64>,
}

impl Part {
    fn add(&mut self, number: u64, rank: Rank) {
        self.all += 1;
        match rank {
            Rank::Waiting => drop(self.waiting.insert(number)),
            Rank::Busy => drop(self.busy.insert(number)),
            Rank::Known(Standing::Common) => self.common += 1,
            Rank::Known(_) => {}
        }
    }

    fn remove(&mut self, number: u64, rank: Rank) {
        self.all -= 1;
        match rank {
            Rank::Waiting => drop(self.waiting.remove(&number)),
            Rank::Busy => drop(self.busy.remove(&number)),
            Rank::Known(Standing::Common) => self.common -= 1,
            Rank::Known(_) => {}
        }
    }

    fn strangers(&self) -> u64 {
        u64::try_from(self.waiting.len() + self.busy.len()).unwrap_or(u64::MAX)
    }

    /// The stranger who has to go first.
    fn first(&self) -> Option<u64> {
        self.waiting.first().or_else(|| self.busy.first()).copied()
    }
}

struct State<K> {
    next: u64,
    taken: HashMap<u64, Taken<K>>,
    all: Part,
    holders: HashMap<K, Part>,
    sent_away: u64,
}

impl<K: Eq + Hash + Clone> State<K> {
    fn put(&mut self, number: u64, taken: Taken<K>) {
        self.all.add(number, taken.rank);
        // Whose standing is above the common takes nothing of their address.
        if let Some(holder) = taken.holder.clone().filter(|_| counts(taken.rank)) {
            self.holders.entry(holder).or_default().add(number, taken.rank);
        }
        self.taken.insert(number, taken);
    }

    fn take_out(&mut self, number: u64) -> Option<Taken<K>> {
        let taken = self.taken.remove(&number)?;
        self.all.remove(number, taken.rank);
        if let Some(holder) = taken.holder.as_ref().filter(|_| counts(taken.rank))
            && let Some(part) = self.holders.get_mut(holder)
        {
            part.remove(number, taken.rank);
            if part.all == 0 {
                self.holders.remove(holder);
            }
        }
        Some(taken)
    }

    fn send_away(&mut self, number: Option<u64>) -> Option<Box<dyn Fn() + Send>> {
        let taken = self.take_out(number?)?;
        self.sent_away += 1;
        Some(taken.leave)
    }

    /// Ranks somebody anew who has not been sent away.
    fn rank(&mut self, number: u64, rank: Rank) {
        if let Some(taken) = self.take_out(number) {
            self.put(number, Taken { rank, ..taken });
        }
    }
}

/// How many of the places strangers may have: half of them, since each costs memory and is worth little; all where there are few.
fn for_strangers(in_all: u64) -> u64 {
    (in_all / 2).max(in_all.min(FEW))
}

fn counts(rank: Rank) -> bool {
    matches!(rank, Rank::Waiting | Rank::Busy | Rank::Known(Standing::Common))
}

impl<K: Eq + Hash + Clone> Places<K> {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let state =
            State { next: 0, taken: HashMap::new(), all: Part::default(), holders: HashMap::new(), sent_away: 0 };
        Self(Arc::new(Inner { bounds, state: Mutex::new(state) }))
    }

    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.state.lock().all.all
    }

    /// How many strangers had to go for others, since the start.
    #[must_use]
    pub fn sent_away(&self) -> u64 {
        self.0.state.lock().sent_away
    }

    /// A place for a stranger, until it is dropped; for that, `leave` of somebody else may be called. No `holder` is a
    /// proxy, whose clients are many: only what is taken in all bounds it.
    ///
    /// # Errors
    /// When everybody there is known, in all or of this holder.
    pub fn enter(&self, holder: Option<K>, leave: impl Fn() + Send + 'static) -> Result<Place<K>, Full> {
        let Bounds { in_all, each, .. } = self.0.bounds;
        let each = each.saturating_add(each / STRANGERS_MORE);
        let mut gone = Vec::new();
        let entered = {
            let mut state = self.0.state.lock();
            let part = holder.as_ref().and_then(|holder| state.holders.get(holder));
            let first = part.filter(|part| part.all >= each).map(Part::first);
            match first {
                Some(None) => return Err(Full::Holder(each)),
                Some(first) => gone.extend(state.send_away(first)),
                None => {}
            }
            if state.all.all >= in_all || state.all.strangers() >= for_strangers(in_all) {
                let first = state.all.first();
                gone.extend(state.send_away(first));
            }
            if state.all.all >= in_all {
                Err(Full::Pool(in_all))
            } else {
                let number = state.next;
                state.next += 1;
                state.put(number, Taken { holder, rank: Rank::Waiting, leave: Box::new(leave) });
                Ok(Place { places: self.clone(), number })
            }
        };
        for leave in gone {
            leave();
        }
        entered
    }
}

/// Somebody's place.
pub struct Place<K: Eq + Hash + Clone> {
    places: Places<K>,
    number: u64,
}

impl<K: Eq + Hash + Clone> std::fmt::Debug for Place<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash + Clone> Place<K> {
    fn state(&self) -> parking_lot::MutexGuard<'_, State<K>> {
        self.places.0.state.lock()
    }

    /// The stranger has said something whole and is being answered: others have to go first.
    pub fn busy(&self) {
        let mut state = self.state();
        if state.taken.get(&self.number).is_some_and(|taken| taken.rank == Rank::Waiting) {
            state.rank(self.number, Rank::Busy);
        }
    }

    /// Whether a credential was shown.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.state().taken.get(&self.number).is_some_and(|taken| matches!(taken.rank, Rank::Known(_)))
    }

    /// The stranger was answered.
    pub fn waits(&self) {
        let mut state = self.state();
        if state.taken.get(&self.number).is_some_and(|taken| taken.rank == Rank::Busy) {
            state.rank(self.number, Rank::Waiting);
        }
    }

    /// The stranger has shown a credential of this standing, and is one no more. Somebody known keeps the highest standing
    /// that was shown.
    ///
    /// # Errors
    /// When all that is open to people of this standing is taken: then they stay a stranger.
    pub fn known(&self, standing: Standing) -> Result<(), Full> {
        let Bounds { in_all, each, reserve } = self.places.0.bounds;
        let mut state = self.state();
        let Some(taken) = state.taken.get(&self.number) else { return Err(Full::Pool(in_all)) };
        match taken.rank {
            Rank::Known(before) if before >= standing => return Ok(()),
            _ => {}
        }
        if standing == Standing::Common {
            let of_holder = taken.holder.as_ref().and_then(|holder| state.holders.get(holder));
            if of_holder.is_some_and(|part| part.common >= each) {
                return Err(Full::Holder(each));
            }
            let open = in_all.saturating_sub(reserve);
            if state.all.common >= open {
                return Err(Full::Pool(open));
            }
        }
        state.rank(self.number, Rank::Known(standing));
        Ok(())
    }
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        // Nobody's code runs under the lock.
        let taken = self.state().take_out(self.number);
        drop(taken);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { in_all: 16, each: 8, reserve: 4 };

    /// Who had to leave, by number.
    type Gone = Arc<Mutex<Vec<u32>>>;

    fn enter(places: &Places<u8>, holder: u8, number: u32, gone: &Gone) -> Result<Place<u8>, Full> {
        let gone = gone.clone();
        places.enter(Some(holder), move || gone.lock().push(number))
    }

    #[test]
    fn the_newest_stranger_takes_the_place_of_who_has_waited_longest() {
        let (places, gone) = (Places::new(BOUNDS), Gone::default());
        let all: Vec<_> =
            (0..40).map(|n| enter(&places, u8::try_from(n).expect("few"), n, &gone).expect("in")).collect();
        assert_eq!((places.taken(), places.sent_away()), (16, 24));
        assert_eq!(*gone.lock(), (0..24).collect::<Vec<_>>());
        drop(all);
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn who_is_answered_or_known_stays() {
        let (places, gone) = (Places::new(BOUNDS), Gone::default());
        let busy = enter(&places, 0, 0, &gone).expect("in");
        busy.busy();
        let known = enter(&places, 1, 1, &gone).expect("in");
        known.known(Standing::Common).expect("known");
        let flood: Vec<_> =
            (2..100).map(|n| enter(&places, u8::try_from(n % 50).expect("few") + 2, n, &gone).expect("in")).collect();
        assert!(!gone.lock().contains(&0) && !gone.lock().contains(&1));
        // Answered, it is the one that came first.
        busy.waits();
        let _next = enter(&places, 200, 200, &gone).expect("in");
        assert_eq!(gone.lock().last(), Some(&0));
        // Even where all strangers are busy there is a place for one more.
        flood.iter().for_each(Place::busy);
        assert!(enter(&places, 201, 201, &gone).is_ok() && enter(&places, 202, 202, &gone).is_ok());
        assert!(!gone.lock().contains(&1));
        assert!(known.known(Standing::Vital).is_ok());
    }

    #[test]
    fn a_holder_sends_away_its_own_and_common_people_leave_a_reserve() {
        let (places, gone) = (Places::new(BOUNDS), Gone::default());
        let of_one: Vec<_> = (0..20).map(|n| enter(&places, 7, n, &gone).expect("in")).collect();
        assert_eq!(places.taken(), 9, "its part, and one in eight more for strangers");
        let known = of_one.iter().filter(|place| place.known(Standing::Common).is_ok()).count();
        assert_eq!(known, 8, "its part");
        // The ninth is a stranger still, and goes for the next; an ADMIN takes nothing of the address.
        let admin = enter(&places, 7, 100, &gone).expect("in");
        admin.known(Standing::Trusted).expect("above");
        let again = enter(&places, 7, 101, &gone).expect("in");
        assert!(again.known(Standing::Common).is_err() && again.known(Standing::Vital).is_ok());
        drop((admin, again));
        let others: Vec<_> = (0..8).map_while(|n| enter(&places, 8, 200 + n, &gone).ok()).collect();
        let known = others.iter().filter(|place| place.known(Standing::Common).is_ok()).count();
        assert_eq!(known, 4, "twelve in all, and four places are kept for those above and for strangers");
        let agent = enter(&places, 9, 300, &gone).expect("in");
        assert!(agent.known(Standing::Common).is_err() && agent.known(Standing::Vital).is_ok());
        drop((of_one, others, agent));
        assert_eq!(places.taken(), 0);
        assert!(places.0.state.lock().holders.is_empty());
    }

    #[test]
    fn strangers_have_half_of_many_places() {
        let (places, gone) = (Places::new(Bounds { in_all: 100, each: 100, reserve: 0 }), Gone::default());
        let all: Vec<_> = (0..60).map(|n| enter(&places, 1, n, &gone).expect("in")).collect();
        assert_eq!((places.taken(), gone.lock().len()), (50, 10));
        for place in &all[10..] {
            place.known(Standing::Common).expect("known");
        }
        let more: Vec<_> = (60..110).map(|n| enter(&places, 1, n, &gone).expect("in")).collect();
        assert_eq!((places.taken(), gone.lock().len(), more.len()), (100, 10, 50));
    }

    #[test]
    fn where_everybody_is_known_nobody_comes_in() {
        let places: Places<u8> = Places::new(Bounds { in_all: 2, each: 2, reserve: 0 });
        let gone = Gone::default();
        let both = [0, 1].map(|n| enter(&places, 1, n, &gone).expect("in"));
        for place in &both {
            place.known(Standing::Common).expect("known");
        }
        assert_eq!(enter(&places, 1, 2, &gone).expect_err("full"), Full::Holder(2));
        assert_eq!(enter(&places, 2, 3, &gone).expect_err("full"), Full::Pool(2));
        assert!(gone.lock().is_empty());
    }

    #[test]
    fn beside_the_known_of_an_address_there_is_room_for_one_who_may_be_more() {
        let (places, gone) = (Places::new(Bounds { in_all: 20, each: 8, reserve: 0 }), Gone::default());
        let known = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| enter(&places, 1, n, &gone).expect("in"));
        for place in &known {
            place.known(Standing::Common).expect("known");
        }
        let ninth = enter(&places, 1, 8, &gone).expect("a stranger");
        assert_eq!(ninth.known(Standing::Common), Err(Full::Holder(8)));
        let tenth = enter(&places, 1, 9, &gone).expect("in the place of the ninth");
        assert_eq!((tenth.known(Standing::Vital), gone.lock().clone()), (Ok(()), vec![8]));
    }

    proptest! {
        #[test]
        fn the_count_is_what_is_held(steps in prop::collection::vec((0u8..6, any::<prop::sample::Index>(), 0u8..4), 0..300)) {
            let places: Places<u8> = Places::new(BOUNDS);
            let gone = Gone::default();
            let mut held: Vec<(u32, Place<u8>)> = Vec::new();
            for (number, (step, which, holder)) in steps.into_iter().enumerate() {
                let number = u32::try_from(number).expect("few");
                let at = (!held.is_empty()).then(|| which.index(held.len()));
                match (step, at) {
                    (0 | 1, _) => held.extend(enter(&places, holder, number, &gone).ok().map(|place| (number, place))),
                    (2, Some(at)) => drop(held.swap_remove(at)),
                    (3, Some(at)) => held[at].1.busy(),
                    (4, Some(at)) => held[at].1.waits(),
                    (5, Some(at)) => {
                        let _ = held[at].1.known([Standing::Common, Standing::Trusted][usize::from(holder % 2)]);
                    }
                    _ => {}
                }
                let here = held.iter().filter(|(number, _)| !gone.lock().contains(number)).count();
                prop_assert_eq!(places.taken(), here as u64);
                prop_assert!(places.taken() <= BOUNDS.in_all);
            }
            held.clear();
            prop_assert_eq!(places.taken(), 0);
            prop_assert!(places.0.state.lock().holders.is_empty());
        }
    }
}
