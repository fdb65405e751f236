//! How often somebody may fail to sign in: decisions on counts, with time as an argument.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

use super::{holder::Holder, origin::Address};

/// How long a failed login is remembered.
const LOGIN_WINDOW: Duration = Duration::from_mins(5);
/// Failed logins for one account from one address.
const ACCOUNT_FAILURES: usize = 10;
/// Failed logins from one address, whatever the accounts.
const ADDRESS_FAILURES: usize = 100;
/// How many keys are remembered. When there are more, the one that was used longest ago is forgotten: who has so many
/// addresses is limited by the cost of a password instead.
const KEYS: usize = 10_000;

/// Wait this long; then it may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts, try again in {} s", .0.as_secs())]
pub struct TooMany(pub Duration);

/// Times of the newest uses of each key, at most `limit` of them, none older than `length`.
#[derive(Debug)]
struct Window<K> {
    limit: usize,
    length: Duration,
    uses: HashMap<K, VecDeque<Instant>>,
}

impl<K: Eq + Hash + Clone> Window<K> {
    fn new(limit: usize, length: Duration) -> Self {
        Self { limit, length, uses: HashMap::new() }
    }

    fn check(&self, key: &K, now: Instant) -> Result<(), TooMany> {
        let Some(uses) = self.uses.get(key) else { return Ok(()) };
        let recent = uses.iter().filter(|at| now.saturating_duration_since(**at) < self.length);
        match recent.clone().next() {
            Some(first) if recent.count() >= self.limit => {
                Err(TooMany((*first + self.length).saturating_duration_since(now)))
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, key: &K, now: Instant) {
        if !self.uses.contains_key(key) && self.uses.len() >= KEYS {
            self.forget(now);
        }
        let uses = self.uses.entry(key.clone()).or_default();
        if uses.len() == self.limit {
            uses.pop_front();
        }
        uses.push_back(now);
    }

    /// Forgets what no longer counts, or else the key that was used longest ago.
    fn forget(&mut self, now: Instant) {
        let length = self.length;
        self.uses.retain(|_, uses| uses.back().is_some_and(|last| now.saturating_duration_since(*last) < length));
        if self.uses.len() >= KEYS {
            let oldest = self.uses.iter().min_by_key(|(_, uses)| uses.back().copied()).map(|(key, _)| key.clone());
            oldest.map(|key| self.uses.remove(&key));
        }
    }
}

/// Failed logins. A success never counts.
#[derive(Debug)]
pub struct Logins {
    accounts: Window<(String, Holder)>,
    addresses: Window<Holder>,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            accounts: Window::new(ACCOUNT_FAILURES, LOGIN_WINDOW),
            addresses: Window::new(ADDRESS_FAILURES, LOGIN_WINDOW),
        }
    }
}

impl Logins {
    /// Whether this account may be tried from this address now. To be asked before the password is looked at and again
    /// before the answer: so many tries at once tell no more than the limit allows.
    ///
    /// # Errors
    /// [`TooMany`], whether the account exists or not.
    pub fn check(&self, account: &str, address: impl Into<Address>, now: Instant) -> Result<(), TooMany> {
        let address = Holder::at(address);
        self.addresses.check(&address, now)?;
        self.accounts.check(&(account.to_owned(), address), now)
    }

    /// Counts a failure.
    pub fn failed(&mut self, account: &str, address: impl Into<Address>, now: Instant) {
        let address = Holder::at(address);
        self.addresses.note(&address, now);
        self.accounts.note(&(account.to_owned(), address), now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn ten_failures_close_an_account_to_one_address_for_five_minutes() {
        let (mut logins, start) = (Logins::default(), Instant::now());
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            assert_eq!(logins.check("ada", HERE, now), Ok(()));
            logins.failed("ada", HERE, now);
        }
        let now = start + Duration::from_secs(10);
        assert_eq!(logins.check("ada", HERE, now), Err(TooMany(Duration::from_secs(290))));
        assert_eq!(logins.check("ada", THERE, now), Ok(()));
        assert_eq!(logins.check("bob", HERE, now), Ok(()));
        assert_eq!(logins.check("ada", HERE, start + Duration::from_mins(5)), Ok(()));
    }

    #[test]
    fn a_hundred_failures_close_the_hub_to_an_address() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for count in 0..100 {
            logins.failed(&format!("user{count}"), HERE, now);
        }
        assert!(logins.check("nobody", HERE, now).is_err());
        assert_eq!(logins.check("nobody", THERE, now), Ok(()));
    }

    #[test]
    fn neighbours_in_an_ipv6_network_count_as_one() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for host in 1..=10 {
            logins.failed("ada", format!("2001:db8::{host}").parse::<IpAddr>().expect("an address"), now);
        }
        assert!(logins.check("ada", "2001:db8::ffff".parse::<IpAddr>().expect("an address"), now).is_err());
        assert!(logins.check("ada", "2001:db8:0:1::1".parse::<IpAddr>().expect("an address"), now).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for count in 0..KEYS + 50 {
            logins.failed(&count.to_string(), HERE, now);
        }
        assert!(logins.accounts.uses.len() <= KEYS);
    }
}
