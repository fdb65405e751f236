//! Chosen passwords: argon2id, slow on purpose, and therefore never more than two at once.
//!
//! Each costs 19 MiB and tens of milliseconds. Without a bound, a burst of logins would take the memory and both cores
//! of a Raspberry Pi from the detections.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash::phc::PasswordHash};
use tokio::sync::Semaphore;

/// How many passwords are worked on at once.
const AT_ONCE: usize = 2;
/// How many more may wait; whoever comes then is asked to come again.
const WAITING: usize = 32;

/// Why a password was not worked on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// To be tried again in a second.
    #[error("too many passwords are being checked")]
    Busy,
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// Hashes and checks passwords, two at a time.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// Those at work and those that wait.
    admitted: Arc<Semaphore>,
    at_work: Arc<Semaphore>,
    /// The hash of a password nobody knows, for users that don't exist: the same work for them.
    nobody: Arc<str>,
}

impl Passwords {
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self, Refused> {
        Ok(Self {
            admitted: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            at_work: Arc::new(Semaphore::new(AT_ONCE)),
            nobody: hash(&super::secret::generate())?.into(),
        })
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Refused::Busy`] when too many wait.
    pub async fn hash(&self, password: String) -> Result<String, Refused> {
        self.work(move || hash(&password)).await?
    }

    /// Whether the password is the one that `stored` was made from; `None` is a user that does not exist, for whom the
    /// same work is done.
    ///
    /// # Errors
    /// [`Refused::Busy`] when too many wait.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Refused> {
        let nobody = self.nobody.clone();
        self.work(move || verify(&password, stored.as_deref().unwrap_or(&nobody)) && stored.is_some()).await
    }

    async fn work<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| Refused::Busy)?;
        let turn = self.at_work.clone().acquire_owned().await.map_err(|_| Refused::Busy)?;
        // A caller that goes away does not end the work, so the work itself holds its place.
        let work = tokio::task::spawn_blocking(move || {
            let done = task();
            drop((turn, admitted));
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
    let hashed: PasswordHash =
        Argon2::default().hash_password(password.as_bytes()).map_err(|error| Refused::Failed(error.to_string()))?;
    Ok(hashed.to_string())
}

fn verify(password: &str, stored: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), stored).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new().expect("random bytes");
        let stored = passwords.hash("correct horse".to_owned()).await.expect("a hash");
        assert!(stored.starts_with("$argon2id$"));
        assert_eq!(passwords.verify("correct horse".to_owned(), Some(stored.clone())).await, Ok(true));
        assert_eq!(passwords.verify("battery staple".to_owned(), Some(stored)).await, Ok(false));
        assert_eq!(passwords.verify("correct horse".to_owned(), None).await, Ok(false));
    }

    #[tokio::test]
    async fn the_thirty_fifth_is_asked_to_come_again() {
        let passwords = Passwords::new().expect("random bytes");
        let (let_go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(parking_lot::Mutex::new(gate));
        let mut busy = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE + WAITING {
            let (passwords, gate) = (passwords.clone(), gate.clone());
            busy.spawn(async move { passwords.work(move || gate.lock().recv().is_err()).await });
        }
        while passwords.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.verify("x".to_owned(), None).await, Err(Refused::Busy));
        drop(let_go);
        while let Some(done) = busy.join_next().await {
            assert_eq!(done.expect("no panic"), Ok(true));
        }
        assert_eq!(passwords.verify("x".to_owned(), None).await, Ok(false));
    }
}
