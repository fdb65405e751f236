//! Chosen passwords: argon2id, slow on purpose, and therefore never more than two at once.
//!
//! Each costs 19 MiB and tens of milliseconds. Without a bound, a burst of logins would take the memory and both cores
//! of a Raspberry Pi from the detections. Places are divided by account and by address, or nobody but who comes first
//! would sign in while one account is hammered; and those who have one take turns.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordVerifier as _, Version,
    password_hash::{
        CustomizedPasswordHasher,
        phc::{Output, ParamsString, PasswordHash, Salt},
        try_generate_salt,
    },
};

use super::{
    holder::Holder,
    turns::{Turn, Turns},
};
use crate::domain::pool::{Bounds, Full, Listed, Pool, Share, Standing, Unit};

/// How many passwords are worked on at once.
const AT_ONCE: usize = 2;
/// How many passwords may be worked on or wait, in all and for an address. Whoever comes then is asked to come again.
pub const PLACES: Bounds = Bounds { in_all: 128, each: 32, reserve: 32 };
/// The same places by account: more for each than an address has, so that nobody takes all that are an account's by trying
/// its name.
pub const PLACES_OF_ACCOUNTS: Bounds = Bounds { each: 64, ..PLACES };

/// The places, for docs/security.md.
#[must_use]
pub fn listed() -> Vec<Listed> {
    let of_addresses = Listed {
        what: "Passwords that wait to be worked on: signing in, registering, new passwords",
        unit: Unit::Pieces,
        bounds: PLACES,
        holder: "address",
        settings: "",
        when_full: "503 with Retry-After",
    };
    vec![of_addresses, Listed { what: "The same", bounds: PLACES_OF_ACCOUNTS, holder: "account", ..of_addresses }]
}

/// Why a password was not worked on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// To be tried again in a second.
    #[error("too many passwords are being checked: {0}")]
    Busy(#[from] Full),
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// Whose password is to be worked on, and who asks for it.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The address that asks, or who has signed in there.
    pub holder: Holder,
    /// The account, whether or not there is one of this name.
    pub account: String,
    /// [`Standing::Trusted`] for an ADMIN's account. Nobody knows yet whether it is the ADMIN who asks; what an address
    /// may take in an ADMIN's name is bounded like everything.
    pub standing: Standing,
}

/// A place; given back when it is dropped.
#[derive(Debug)]
struct Place {
    _of_holder: Share<Holder>,
    _of_account: Share<String>,
}

/// Hashes and checks passwords, two at a time.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// The same places twice: each password has one by who asks and one by the account.
    by_holder: Pool<Holder>,
    by_account: Pool<String>,
    turns: Turns<Holder>,
    /// The hash of a password nobody knows, for users that don't exist: the same work for them.
    nobody: Arc<str>,
}

impl Passwords {
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self, Refused> {
        Ok(Self {
            by_holder: Pool::new(PLACES),
            by_account: Pool::new(PLACES_OF_ACCOUNTS),
            turns: Turns::new(AT_ONCE),
            nobody: hash(&super::secret::generate())?.into(),
        })
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Refused::Busy`] when too many wait.
    pub async fn hash(&self, asker: &Asker, password: String) -> Result<String, Refused> {
        self.work(asker, move || hash(&password)).await?
    }

    /// Whether the password is the one that `stored` was made from; `None` is a user that does not exist, for whom the
    /// same work is done.
    ///
    /// # Errors
    /// [`Refused::Busy`] when too many wait.
    pub async fn verify(&self, asker: &Asker, password: String, stored: Option<String>) -> Result<bool, Refused> {
        let nobody = self.nobody.clone();
        self.work(asker, move || verify(&password, stored.as_deref().unwrap_or(&nobody)) && stored.is_some()).await
    }

    fn place(&self, Asker { holder, account, standing }: &Asker) -> Result<Place, Full> {
        Ok(Place {
            _of_holder: self.by_holder.take(*holder, *standing, 1)?,
            _of_account: self.by_account.take(account.clone(), *standing, 1)?,
        })
    }

    async fn work<T: Send + 'static>(
        &self,
        asker: &Asker,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let place = self.place(asker)?;
        let turn: Turn<Holder> = self.turns.take(asker.holder).await;
        // A caller that goes away does not end the work, so the work itself holds its place.
        let work = tokio::task::spawn_blocking(move || {
            let done = task();
            drop((turn, place));
            done
        });
        work.await.map_err(|error| Refused::Failed(error.to_string()))
    }
}

/// Hashes a password here and now, for the command line.
///
/// # Errors
/// When the system gives no random bytes.
pub fn hash(password: &str) -> Result<String, Refused> {
    let salt = try_generate_salt().map_err(|error| Refused::Failed(error.to_string()))?;
    let hashed = Hasher.hash_password_customized(password.as_bytes(), &salt, None, None, Params::default());
    Ok(hashed.map_err(|error| Refused::Failed(error.to_string()))?.to_string())
}

fn verify(password: &str, stored: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|stored| Hasher.verify_password(password.as_bytes(), &stored).is_ok())
}

/// Argon2 whose memory goes back to the system with each password.
///
/// glibc maps a large block and unmaps it when it is freed, but takes the next one of that size from a heap, which keeps it:
/// with two threads the hub would hold some 40 MiB for ever. It learns only from blocks up to 32 MiB
/// (`DEFAULT_MMAP_THRESHOLD_MAX`, see mallopt(3)), so what is asked for is more; what is not touched costs nothing.
struct Hasher;

/// How many blocks of 1 KiB memory is asked for at least.
const BLOCKS: usize = 33 * 1024;

impl CustomizedPasswordHasher<PasswordHash> for Hasher {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> argon2::password_hash::Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or_default();
        let version = version.map(Version::try_from).transpose()?.unwrap_or_default();
        let mut output = vec![0; params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
        let mut memory = Vec::with_capacity(params.block_count().max(BLOCKS));
        memory.resize(params.block_count(), Block::default());
        Argon2::new(algorithm, version, params.clone()).hash_password_into_with_memory(
            password,
            salt,
            &mut output,
            &mut memory,
        )?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(Salt::new(salt)?),
            hash: Some(Output::new(&output)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn asker(host: u8, account: &str, standing: Standing) -> Asker {
        let address = std::net::IpAddr::from([192, 0, 2, host]);
        Asker { holder: Holder::at(address), account: account.to_owned(), standing }
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let (passwords, who) = (Passwords::new().expect("random bytes"), asker(1, "ada", Standing::Common));
        let stored = passwords.hash(&who, "correct horse".to_owned()).await.expect("a hash");
        assert!(stored.starts_with("$argon2id$"));
        assert_eq!(passwords.verify(&who, "correct horse".to_owned(), Some(stored.clone())).await, Ok(true));
        assert_eq!(passwords.verify(&who, "battery staple".to_owned(), Some(stored)).await, Ok(false));
        assert_eq!(passwords.verify(&who, "correct horse".to_owned(), None).await, Ok(false));
    }

    /// What argon2's own command makes of it: `printf password | argon2 somesalt -id -t 2 -k 19456 -p 1 -l 32 -e`.
    #[test]
    fn it_is_argon2s_own() {
        const STORED: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$PL01amPyeUuxG7H0vIr5X+qHkZvWnHmGBGXFYvh8z2E";
        assert!(verify("password", STORED) && !verify("Password", STORED));
        assert!(!verify("password", "") && !verify("password", "$argon2id$v=19$m=19456,t=2,p=1"));
    }

    #[tokio::test]
    async fn neither_an_address_nor_an_account_takes_every_place() {
        let passwords = Passwords::new().expect("random bytes");
        let (let_go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(parking_lot::Mutex::new(gate));
        let mut busy = tokio::task::JoinSet::new();
        let each = u8::try_from(PLACES.each).expect("few");
        let mut begin = |who: Asker| {
            let (passwords, gate) = (passwords.clone(), gate.clone());
            busy.spawn(async move { passwords.work(&who, move || gate.lock().recv().is_err()).await });
        };
        // One address with one name, and the same account from many addresses.
        (0..each).for_each(|_| begin(asker(1, "uma", Standing::Common)));
        (0..each).for_each(|number| begin(asker(100 + number, "uma", Standing::Common)));
        while passwords.by_account.taken() < PLACES_OF_ACCOUNTS.each {
            tokio::task::yield_now().await;
        }
        let try_one = async |host, account, standing| {
            passwords.verify(&asker(host, account, standing), "x".to_owned(), None).await
        };
        let full = |each| Err(Refused::Busy(Full::Holder(each)));
        assert_eq!(try_one(1, "other", Standing::Common).await, full(PLACES.each), "the address");
        assert_eq!(try_one(2, "uma", Standing::Common).await, full(PLACES_OF_ACCOUNTS.each), "the account");
        assert_eq!(passwords.by_holder.taken(), 2 * PLACES.each, "who was refused holds nothing");
        // Strangers from everywhere fill what is open to them, and an ADMIN still has a place.
        (0..each).for_each(|number| begin(asker(3 + number, &format!("stranger{number}"), Standing::Common)));
        while passwords.by_account.taken() < PLACES.for_standing(Standing::Common) {
            tokio::task::yield_now().await;
        }
        let all = PLACES.for_standing(Standing::Common);
        assert_eq!(try_one(90, "eva", Standing::Common).await, Err(Refused::Busy(Full::Pool(all))));
        begin(asker(91, "ada", Standing::Trusted));
        while passwords.by_account.taken() <= all {
            tokio::task::yield_now().await;
        }
        drop(let_go);
        while let Some(done) = busy.join_next().await {
            assert_eq!(done.expect("no panic"), Ok(true));
        }
        assert_eq!(try_one(1, "uma", Standing::Common).await, Ok(false));
        assert_eq!((passwords.by_holder.taken(), passwords.by_account.taken()), (0, 0));
    }
}
