//! A bounded thing that many share, so that who has less never takes from who has more: a bound in all, a bound for each
//! holder, and a reserve at the top that only those with a higher standing may use.
//!
//! It knows nothing of what it counts: connections, sessions, bytes, places. docs/security.md has the table of all pools.

use std::{collections::HashMap, hash::Hash, sync::Arc};

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

#[derive(Debug)]
struct Taken<K> {
    in_all: u64,
    by_holder: HashMap<K, u64>,
}

/// A pool, shared by its clones. `K` says whose something is: an identity, or the network of an address.
#[derive(Debug)]
pub struct Pool<K>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    bounds: Bounds,
    taken: Mutex<Taken<K>>,
}

impl<K> Clone for Pool<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone> Pool<K> {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner { bounds, taken: Mutex::new(Taken { in_all: 0, by_holder: HashMap::new() }) }))
    }

    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// What is taken in all.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.taken.lock().in_all
    }

    /// Takes `amount` for `holder`, until the share is dropped. Nothing is taken if it cannot be the whole amount.
    ///
    /// # Errors
    /// [`Full`], and whose bound it was.
    pub fn take(&self, holder: K, standing: Standing, amount: u64) -> Result<Share<K>, Full> {
        let mut share = Share { pool: self.clone(), holder, standing, amount: 0 };
        share.grow(amount)?;
        Ok(share)
    }
}

/// A part of a pool that somebody holds; given back when it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    pool: Pool<K>,
    holder: K,
    standing: Standing,
    amount: u64,
}

impl<K: Eq + Hash + Clone> Share<K> {
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    #[must_use]
    pub fn holder(&self) -> &K {
        &self.holder
    }

    /// Takes more for the same holder.
    ///
    /// # Errors
    /// [`Full`]; what was held before is held still.
    pub fn grow(&mut self, amount: u64) -> Result<(), Full> {
        let bounds = self.pool.0.bounds;
        let mut taken = self.pool.0.taken.lock();
        let of_holder = taken.by_holder.get(&self.holder).copied().unwrap_or(0).saturating_add(amount);
        if self.standing < Standing::Vital && of_holder > bounds.each {
            return Err(Full::Holder(bounds.each));
        }
        let in_all = taken.in_all.saturating_add(amount);
        let open = bounds.for_standing(self.standing);
        if in_all > open {
            return Err(Full::Pool(open));
        }
        taken.in_all = in_all;
        if amount > 0 {
            taken.by_holder.insert(self.holder.clone(), of_holder);
        }
        self.amount += amount;
        Ok(())
    }
}

impl<K: Eq + Hash> Share<K> {
    /// Gives back a part, at most what is held.
    pub fn shrink(&mut self, amount: u64) {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        let mut taken = self.pool.0.taken.lock();
        taken.in_all -= amount;
        // The holder is there while it holds something; the clone of a key is spared.
        if amount > 0
            && let Some(of_holder) = taken.by_holder.get_mut(&self.holder)
        {
            *of_holder -= amount;
            if *of_holder == 0 {
                taken.by_holder.remove(&self.holder);
            }
        }
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
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
            prop_assert_eq!(pool.0.taken.lock().by_holder.len(), 0);
        }
    }
}
