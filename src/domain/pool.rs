//! A bounded thing that many share, so that who has less never takes from who has more: a bound in all, a bound for each
//! holder, and a reserve at the top that only those with a higher standing may use.
//!
//! It knows nothing of what it counts: connections, sessions, bytes, places. docs/security.md has the table of all pools.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

/// How much of a pool somebody may fill. The order is the order of privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Everybody: strangers, cameras, sensors, AI engines, a USER, an OPERATOR. All but the reserve.
    Common,
    /// Controllers and ADMINs, who work the door and the hub. All but half of the reserve.
    Trusted,
    /// The lock agent and the hub's own links. Everything.
    Vital,
}

/// The numbers of a pool, in its own unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most that may be taken in all.
    pub in_all: u64,
    /// The most that one holder below [`Standing::Vital`] may take.
    pub each: u64,
    /// What [`Standing::Common`] leaves free of `in_all`; [`Standing::Trusted`] leaves half of it.
    pub reserve: u64,
}

impl Bounds {
    /// How far the pool may be filled by somebody of this standing.
    #[must_use]
    pub fn for_standing(&self, standing: Standing) -> u64 {
        let left_free = match standing {
            Standing::Common => self.reserve,
            Standing::Trusted => self.reserve / 2,
            Standing::Vital => 0,
        };
        self.in_all.saturating_sub(left_free)
    }
}

/// A pool as docs/security.md lists it, declared by whoever owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// What is shared: "MQTT sessions, those without a connection among them".
    pub what: &'static str,
    pub unit: Unit,
    /// Its numbers where nothing is set.
    pub bounds: Bounds,
    /// Who is one holder: "identity", "address".
    pub holder: &'static str,
    /// The settings that change its numbers, in Markdown; empty if they are fixed.
    pub settings: &'static str,
    /// What somebody meets who gets nothing.
    pub when_full: &'static str,
}

/// What a pool counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Pieces,
    Bytes,
}

impl Unit {
    /// A number of them as a person reads it: `20,000`, `64 MiB`.
    #[must_use]
    pub fn shown(self, number: u64) -> String {
        const KIB: u64 = 1024;
        const MIB: u64 = 1024 * KIB;
        match self {
            Self::Bytes if number >= MIB && number.is_multiple_of(MIB) => format!("{} MiB", thousands(number / MIB)),
            Self::Bytes if number >= KIB => format!("{} KiB", thousands(number / KIB)),
            Self::Bytes => format!("{} bytes", thousands(number)),
            Self::Pieces => thousands(number),
        }
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// The pools as a table in Markdown.
#[must_use]
pub fn table(pools: &[Listed]) -> String {
    use std::fmt::Write as _;
    let mut table =
        "| what | in all | for each | open to everybody | and to controllers, ADMINs | set by | when it is full |\n\
        |---|---|---|---|---|---|---|\n"
            .to_owned();
    for Listed { what, unit, bounds, holder, settings, when_full } in pools {
        let shown = |number| unit.shown(number);
        let open = |standing| shown(bounds.for_standing(standing));
        let settings = if settings.is_empty() { "fixed" } else { settings };
        let _ = writeln!(
            table,
            "| {what} | {} | {}: {} | {} | {} | {settings} | {when_full} |",
            shown(bounds.in_all),
            holder,
            shown(bounds.each.min(bounds.in_all)),
            open(Standing::Common),
            open(Standing::Trusted),
        );
    }
    table
}

/// Why there was nothing to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The holder has its whole part already; somebody else may still get something.
    #[error("this one holds its whole part of {0}")]
    Holder(u64),
    /// All that is open to this standing is taken.
    #[error("all {0} are taken")]
    Pool(u64),
}

/// A pool, shared by its clones. `K` says whose something is: an identity, or the network of an address.
#[derive(Debug)]
pub struct Pool<K>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    bounds: Bounds,
    in_all: AtomicU64,
    holders: Mutex<Holders<K>>,
}

/// What each holder has. Who has nothing any more is forgotten when the table has doubled.
#[derive(Debug)]
struct Holders<K> {
    counts: HashMap<K, Arc<AtomicU64>>,
    swept_at: usize,
}

/// How many holders are kept at least before the table is swept.
const KEPT: usize = 64;

impl<K> Clone for Pool<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone> Pool<K> {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let holders = Mutex::new(Holders { counts: HashMap::new(), swept_at: KEPT });
        Self(Arc::new(Inner { bounds, in_all: AtomicU64::new(0), holders }))
    }

    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// What is taken in all.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.in_all.load(Relaxed)
    }

    /// A holder's account, for whoever takes and gives back often: only this takes a lock.
    #[must_use]
    pub fn account(&self, holder: K, standing: Standing) -> Account<K> {
        let mut holders = self.0.holders.lock();
        if holders.counts.len() >= holders.swept_at {
            holders.counts.retain(|_, count| Arc::strong_count(count) > 1);
            holders.swept_at = KEPT.max(2 * holders.counts.len());
        }
        let count = holders.counts.entry(holder.clone()).or_default().clone();
        Account { pool: self.clone(), holder, standing, count }
    }

    /// Takes `amount` for `holder`, until the share is dropped. Nothing is taken if it cannot be the whole amount.
    ///
    /// # Errors
    /// [`Full`], and whose bound it was.
    pub fn take(&self, holder: K, standing: Standing, amount: u64) -> Result<Share<K>, Full> {
        self.account(holder, standing).take(amount)
    }
}

/// What one holder has of a pool, shared by its clones.
#[derive(Debug)]
pub struct Account<K> {
    pool: Pool<K>,
    holder: K,
    standing: Standing,
    count: Arc<AtomicU64>,
}

impl<K: Clone> Clone for Account<K> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            holder: self.holder.clone(),
            standing: self.standing,
            count: self.count.clone(),
        }
    }
}

impl<K> Account<K> {
    #[must_use]
    pub fn holder(&self) -> &K {
        &self.holder
    }

    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The most that the holder may have.
    fn each(&self) -> u64 {
        if self.standing == Standing::Vital { u64::MAX } else { self.pool.0.bounds.each }
    }

    /// Whether so much could be taken now.
    #[must_use]
    pub fn has_room_for(&self, amount: u64) -> bool {
        let Inner { bounds, in_all, .. } = &*self.pool.0;
        self.count.load(Relaxed).saturating_add(amount) <= self.each()
            && in_all.load(Relaxed).saturating_add(amount) <= bounds.for_standing(self.standing)
    }

    /// Counts what is there in any case, whatever the bounds, until the share is dropped.
    #[must_use]
    pub fn hold(&self, amount: u64) -> Share<K>
    where
        K: Clone,
    {
        self.count.fetch_add(amount, Relaxed);
        self.pool.0.in_all.fetch_add(amount, Relaxed);
        Share { account: self.clone(), amount }
    }

    /// Takes `amount` until the share is dropped. Nothing is taken if it cannot be the whole amount.
    ///
    /// # Errors
    /// [`Full`], and whose bound it was.
    pub fn take(&self, amount: u64) -> Result<Share<K>, Full>
    where
        K: Clone,
    {
        let mut share = Share { account: self.clone(), amount: 0 };
        share.grow(amount)?;
        Ok(share)
    }

    fn add(&self, amount: u64) -> Result<(), Full> {
        let Inner { bounds, in_all, .. } = &*self.pool.0;
        add(&self.count, amount, self.each()).map_err(Full::Holder)?;
        add(in_all, amount, bounds.for_standing(self.standing)).map_err(|open| {
            self.count.fetch_sub(amount, Relaxed);
            Full::Pool(open)
        })
    }
}

/// Adds to a count, if it stays within the bound.
fn add(count: &AtomicU64, amount: u64, most: u64) -> Result<(), u64> {
    let grown = |now: u64| now.checked_add(amount).filter(|sum| amount == 0 || *sum <= most);
    count.fetch_update(Relaxed, Relaxed, grown).map(|_| ()).map_err(|_| most)
}

/// A part of a pool that somebody holds; given back when it is dropped.
#[derive(Debug)]
pub struct Share<K> {
    account: Account<K>,
    amount: u64,
}

impl<K> Share<K> {
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    #[must_use]
    pub fn holder(&self) -> &K {
        self.account.holder()
    }

    /// Takes more for the same holder.
    ///
    /// # Errors
    /// [`Full`]; what was held before is held still.
    pub fn grow(&mut self, amount: u64) -> Result<(), Full> {
        self.account.add(amount)?;
        self.amount += amount;
        Ok(())
    }

    /// Gives back a part, at most what is held.
    pub fn shrink(&mut self, amount: u64) {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        self.account.count.fetch_sub(amount, Relaxed);
        self.account.pool.0.in_all.fetch_sub(amount, Relaxed);
    }

    /// Holds exactly `amount` from now on.
    ///
    /// # Errors
    /// [`Full`] where that is more; what was held before is held still.
    pub fn resize(&mut self, amount: u64) -> Result<(), Full> {
        match amount.checked_sub(self.amount) {
            Some(0) => Ok(()),
            Some(more) => self.grow(more),
            None => {
                self.shrink(self.amount - amount);
                Ok(())
            }
        }
    }
}

impl<K> Drop for Share<K> {
    fn drop(&mut self) {
        self.shrink(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { in_all: 100, each: 40, reserve: 20 };

    #[test]
    fn nobody_takes_the_reserve_of_those_above() {
        let pool = Pool::new(BOUNDS);
        let many: Vec<_> = (0..20).map_while(|name| pool.take(name, Standing::Common, 10).ok()).collect();
        assert_eq!((many.len(), pool.taken()), (8, 80));
        assert_eq!(pool.take(99, Standing::Common, 1).expect_err("the reserve"), Full::Pool(80));
        let trusted = pool.take(99, Standing::Trusted, 10).expect("half of the reserve");
        assert_eq!(pool.take(98, Standing::Trusted, 1).expect_err("the other half"), Full::Pool(90));
        let vital = pool.take(97, Standing::Vital, 10).expect("the whole reserve");
        assert_eq!(pool.take(97, Standing::Vital, 1).expect_err("nothing is left"), Full::Pool(100));
        drop((many, trusted, vital));
        assert_eq!(pool.taken(), 0);
    }

    #[test]
    fn a_holder_has_its_part_and_no_more() {
        let pool = Pool::new(BOUNDS);
        let mut share = pool.take("camera", Standing::Common, 30).expect("its part");
        let _other = pool.take("camera", Standing::Common, 10).expect("the rest of its part");
        assert_eq!(share.grow(1).expect_err("more than its part"), Full::Holder(40));
        share.shrink(5);
        assert_eq!((share.amount(), pool.taken()), (25, 35));
        share.grow(5).expect("given back");
        let _agent = pool.take("agent", Standing::Vital, 60).expect("no part bounds the lock agent");
    }

    #[test]
    fn what_is_there_in_any_case_counts_all_the_same() {
        let pool = Pool::new(BOUNDS);
        let account = pool.account("camera", Standing::Common);
        let held = account.hold(90);
        assert!(!account.has_room_for(0) && account.take(1).is_err());
        assert!(pool.account("agent", Standing::Vital).has_room_for(10));
        let mut share = account.take(0).expect("nothing is always to be had");
        drop(held);
        share.resize(40).expect("its part");
        assert_eq!(share.resize(41).expect_err("more"), Full::Holder(40));
        share.resize(7).expect("less");
        assert_eq!((share.amount(), pool.taken()), (7, 7));
    }

    #[test]
    fn whoever_has_nothing_is_forgotten() {
        let pool = Pool::new(BOUNDS);
        let _kept = pool.take(0, Standing::Common, 1).expect("room");
        for name in 1..10_000 {
            drop(pool.take(name, Standing::Common, 1));
        }
        assert!(pool.0.holders.lock().counts.len() <= 2 * KEPT);
    }

    #[test]
    fn a_table_says_what_is_open_to_whom() {
        let pool = Listed {
            what: "Bytes that wait",
            unit: Unit::Bytes,
            bounds: Bounds { in_all: 64 << 20, each: 16 << 20, reserve: 1536 << 10 },
            holder: "identity",
            settings: "`limits.bytes`",
            when_full: "the oldest goes",
        };
        let table = table(&[pool, Listed { unit: Unit::Pieces, settings: "", bounds: BOUNDS, ..pool }]);
        let lines: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| Bytes that wait | 64 MiB | identity: 16 MiB | 64,000 KiB | 64,768 KiB | `limits.bytes` | the oldest goes |",
                "| Bytes that wait | 100 | identity: 40 | 80 | 90 | fixed | the oldest goes |",
            ]
        );
        assert_eq!([1, 999, 1000, 1_234_567].map(thousands), ["1", "999", "1,000", "1,234,567"]);
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_the_shares(
            steps in proptest::collection::vec((0_u8..4, 0_u8..3, 0_u64..50, any::<bool>()), 0..200),
        ) {
            let pool = Pool::new(BOUNDS);
            let mut shares: Vec<Share<u8>> = Vec::new();
            for (holder, standing, amount, is_drop) in steps {
                if is_drop && !shares.is_empty() {
                    shares.swap_remove(usize::try_from(amount).unwrap_or(0) % shares.len());
                } else {
                    let standing = [Standing::Common, Standing::Trusted, Standing::Vital][usize::from(standing)];
                    shares.extend(pool.take(holder, standing, amount));
                }
                prop_assert_eq!(pool.taken(), shares.iter().map(Share::amount).sum::<u64>());
                prop_assert!(pool.taken() <= BOUNDS.in_all);
            }
            drop(shares);
            prop_assert_eq!(pool.taken(), 0);
            prop_assert!(pool.0.holders.lock().counts.values().all(|count| count.load(Relaxed) == 0));
        }
    }
}
