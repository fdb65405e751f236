//! How often somebody may sign in, and fail to: decisions on counts, with time as an argument.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    time::{Duration, Instant},
};

use super::{holder::Holder, origin::Address};
use crate::domain::window::SlidingWindow;

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

fn check<K: Eq + Hash + Clone>(window: &SlidingWindow<K>, key: &K, now: Instant) -> Result<(), TooMany> {
    window.wait(key, now).map_or(Ok(()), |wait| Err(TooMany(wait)))
}

/// An account's name as a key: of one size, however long the name is that somebody sends.
type Account = u64;

/// Logins, and how they ended. A success never counts as a failure, and has a rate of its own.
#[derive(Debug)]
pub struct Logins {
    hasher: RandomState,
    accounts: SlidingWindow<(Account, Holder)>,
    addresses: SlidingWindow<Holder>,
    rate_of_accounts: SlidingWindow<Account>,
    rate_of_addresses: SlidingWindow<Holder>,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            accounts: SlidingWindow::new(ACCOUNT_FAILURES, LOGIN_WINDOW, KEYS),
            addresses: SlidingWindow::new(ADDRESS_FAILURES, LOGIN_WINDOW, KEYS),
            rate_of_accounts: SlidingWindow::new(ACCOUNT_LOGINS, RATE_WINDOW, KEYS),
            rate_of_addresses: SlidingWindow::new(ADDRESS_LOGINS, RATE_WINDOW, KEYS),
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
        check(&self.addresses, &holder, now)?;
        check(&self.accounts, &(self.key(account), holder), now)
    }

    /// Whether anything may be tried from this address now.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn check_address(&self, address: impl Into<Address>, now: Instant) -> Result<(), TooMany> {
        check(&self.addresses, &Holder::at(address), now)
    }

    /// Whether a password may be worked on: as [`check`](Self::check), and not more often than anybody has to sign in.
    ///
    /// # Errors
    /// [`TooMany`], whether the account exists or not.
    pub fn check_password(&self, account: &str, address: impl Into<Address>, now: Instant) -> Result<(), TooMany> {
        let address = address.into();
        check(&self.rate_of_addresses, &Holder::at(address), now)?;
        self.check_own_password(account, address, now)
    }

    /// The same for somebody who has signed in: whoever else signs in at the same address is no matter.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn check_own_password(&self, account: &str, address: impl Into<Address>, now: Instant) -> Result<(), TooMany> {
        self.check(account, address, now)?;
        check(&self.rate_of_accounts, &self.key(account), now)
    }

    /// Counts a failure.
    pub fn failed(&mut self, account: &str, address: impl Into<Address>, now: Instant) {
        let holder = Holder::at(address);
        self.addresses.count(&holder, now);
        self.accounts.count(&(self.key(account), holder), now);
    }

    /// Counts a failure that named no account.
    pub fn failed_at(&mut self, address: impl Into<Address>, now: Instant) {
        self.addresses.count(&Holder::at(address), now);
    }

    /// Counts a right password.
    pub fn succeeded(&mut self, account: &str, address: impl Into<Address>, now: Instant) {
        self.rate_of_addresses.count(&Holder::at(address), now);
        self.rate_of_accounts.count(&self.key(account), now);
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
        assert!(logins.accounts.known() <= KEYS);
        assert_eq!(size_of::<(Account, Holder)>(), size_of::<(u64, IpAddr)>());
    }
}
