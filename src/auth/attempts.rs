//! How often somebody may sign in, and fail to: decisions on counts, with time as an argument.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
    time::{Duration, Instant},
};

use super::{holder::Holder, origin::Address};

/// How long a failed login is remembered.
const LOGIN_WINDOW: Duration = Duration::from_mins(5);
/// Failed logins for one account from one address.
const ACCOUNT_FAILURES: usize = 10;
/// Failed logins from one address, whatever the accounts.
const ADDRESS_FAILURES: usize = 100;
/// How long a login that succeeded is remembered.
const RATE_WINDOW: Duration = Duration::from_mins(1);
/// Right passwords of one account, from wherever: who knows one could otherwise keep the hub at work with it.
const ACCOUNT_LOGINS: usize = 60;
/// Right passwords from one address, whatever the accounts: a house full of dashboards that all come back at once.
const ADDRESS_LOGINS: usize = 300;
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

/// An account's name as a key: of one size, however long the name is that somebody sends.
type Account = u64;

/// Logins, and how they ended. A success never counts as a failure, and has a rate of its own.
#[derive(Debug)]
pub struct Logins {
    hasher: RandomState,
    accounts: Window<(Account, Holder)>,
    addresses: Window<Holder>,
    rate_of_accounts: Window<Account>,
    rate_of_addresses: Window<Holder>,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            accounts: Window::new(ACCOUNT_FAILURES, LOGIN_WINDOW),
            addresses: Window::new(ADDRESS_FAILURES, LOGIN_WINDOW),
            rate_of_accounts: Window::new(ACCOUNT_LOGINS, RATE_WINDOW),
            rate_of_addresses: Window::new(ADDRESS_LOGINS, RATE_WINDOW),
        }
    }
}

impl Logins {
    fn key(&self, account: &str) -> Account {
        self.hasher.hash_one(account)
    }

    /// Whether this account may be tried from this address now. To be asked before the password is looked at and again
    /// before the answer: so many tries at once tell no more than the limit allows.
    ///
    /// # Errors
    /// [`TooMany`], whether the account exists or not.
    pub fn check(&self, account: &str, address: impl Into<Address>, now: Instant) -> Result<(), TooMany> {
        let holder = Holder::at(address);
        self.addresses.check(&holder, now)?;
        self.accounts.check(&(self.key(account), holder), now)
    }

    /// Whether anything may be tried from this address now.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn check_address(&self, address: impl Into<Address>, now: Instant) -> Result<(), TooMany> {
        self.addresses.check(&Holder::at(address), now)
    }

    /// Whether a password may be worked on: as [`check`](Self::check), and not more often than anybody has to sign in.
    ///
    /// # Errors
    /// [`TooMany`], whether the account exists or not.
    pub fn check_password(&self, account: &str, address: impl Into<Address>, now: Instant) -> Result<(), TooMany> {
        let address = address.into();
        self.rate_of_addresses.check(&Holder::at(address), now)?;
        self.check_own_password(account, address, now)
    }

    /// The same for somebody who has signed in: whoever else signs in at the same address is no matter.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn check_own_password(&self, account: &str, address: impl Into<Address>, now: Instant) -> Result<(), TooMany> {
        self.check(account, address, now)?;
        self.rate_of_accounts.check(&self.key(account), now)
    }

    /// Counts a failure.
    pub fn failed(&mut self, account: &str, address: impl Into<Address>, now: Instant) {
        let holder = Holder::at(address);
        self.addresses.note(&holder, now);
        self.accounts.note(&(self.key(account), holder), now);
    }

    /// Counts a failure that named no account.
    pub fn failed_at(&mut self, address: impl Into<Address>, now: Instant) {
        self.addresses.note(&Holder::at(address), now);
    }

    /// Counts a right password.
    pub fn succeeded(&mut self, account: &str, address: impl Into<Address>, now: Instant) {
        self.rate_of_addresses.note(&Holder::at(address), now);
        self.rate_of_accounts.note(&self.key(account), now);
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
    fn right_passwords_have_a_rate_which_is_the_accounts_and_the_addresses() {
        let (mut logins, start) = (Logins::default(), Instant::now());
        for second in 0..60 {
            let now = start + Duration::from_millis(second * 10);
            assert_eq!(logins.check_password("uma", HERE, now), Ok(()));
            logins.succeeded("uma", if second % 2 == 0 { HERE } else { THERE }, now);
        }
        let now = start + Duration::from_secs(1);
        assert!(logins.check_password("uma", HERE, now).is_err(), "from wherever");
        assert_eq!(logins.check("uma", HERE, now), Ok(()), "no failure");
        assert_eq!(logins.check_password("ada", HERE, now), Ok(()));
        assert_eq!(logins.check_password("uma", HERE, start + Duration::from_secs(61)), Ok(()));
        for count in 0..270 {
            logins.succeeded(&format!("user{count}"), HERE, now);
        }
        assert!(logins.check_password("ada", HERE, now).is_err());
        assert_eq!(logins.check_own_password("ada", HERE, now), Ok(()));
        assert_eq!(logins.check_password("ada", THERE, now), Ok(()));
    }

    #[test]
    fn a_failure_without_a_name_counts_for_its_address() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for _ in 0..99 {
            logins.failed_at(HERE, now);
        }
        assert_eq!(logins.check("ada", HERE, now), Ok(()));
        logins.failed("bob", HERE, now);
        assert!(logins.check("ada", HERE, now).is_err());
        assert_eq!(logins.check_address(THERE, now), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for count in 0..KEYS + 50 {
            logins.failed(&count.to_string().repeat(1000), HERE, now);
        }
        assert!(logins.accounts.uses.len() <= KEYS);
        assert_eq!(size_of_val(logins.accounts.uses.keys().next().expect("a key")), size_of::<(u64, IpAddr)>());
    }
}
