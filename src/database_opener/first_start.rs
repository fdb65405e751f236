//! What the very first start makes: the ADMIN account, and two example cameras so that a newcomer can send a detection
//! at once.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    auth::{password, secret},
    config::{AccountOptions, secrets},
    store::{Database, cameras, users},
};

/// Nobody has this address; an ADMIN gives the account a real one.
const EMAIL: &str = "admin@portcullis.invalid";
const NAME: &str = "admin";

/// The first ADMIN's account, when this start made it.
pub struct FirstAdmin {
    /// None when the password was given.
    pub password: Option<String>,
}

impl fmt::Debug for FirstAdmin {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstAdmin").finish_non_exhaustive()
    }
}

/// Makes the account and the cameras, if there is no user at all.
///
/// # Errors
/// When the database is away, or the password's file cannot be written.
pub async fn prepare(
    options: &AccountOptions,
    folder: &Path,
    database: &Database,
) -> anyhow::Result<Option<FirstAdmin>> {
    if users::counts(database).await?.total > 0 {
        return Ok(None);
    }
    let given =
        secrets::given("ADMIN_PASSWORD", options.admin_password.as_deref(), options.admin_password_file.as_ref())?;
    let generated = given.is_none().then(secret::generate_password);
    let password = given.or_else(|| generated.clone()).unwrap_or_default();
    anyhow::ensure!(password.chars().count() >= 8, "ADMIN_PASSWORD must be longer than or equal to 8 characters");
    // Before the account, so that no account has a password that nobody knows.
    if let Some(generated) = &generated {
        secrets::write(&password_file(folder), generated)?;
    }
    let hash = password::hash(&password)?;
    let mut transaction = database.begin().await?;
    let made = users::first_admin(&mut *transaction, NAME, EMAIL, &hash).await?;
    if made.is_some() {
        for (name, location) in [("Front door", "Entrance"), ("Back yard", "Garden")] {
            let camera = cameras::NewCamera {
                name,
                location: Some(location),
                stream_url: None,
                webrtc_url: None,
                description: Some("An example, made at the first start"),
            };
            cameras::create(&mut *transaction, &camera).await?;
        }
    }
    transaction.commit().await.context("cannot make the first account")?;
    Ok(made.map(|_| FirstAdmin { password: generated }))
}

/// Where the generated password is kept.
#[must_use]
pub fn password_file(folder: &Path) -> PathBuf {
    folder.join("admin-password")
}

/// Whether the generated password's file is still there: a person has not read and removed it yet.
#[must_use]
pub fn has_password_file(folder: &Path) -> bool {
    fs::exists(password_file(folder)).unwrap_or(false)
}
