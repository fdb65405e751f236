//! Opens the data folder and the database for a command, and closes what it opened.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{
    config::{DataOptions, secrets},
    store::{self, Address, Database, private::Private},
};

/// How long a command waits for another one that works on the same folder.
const WAIT: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);

/// The data folder and the database, open.
#[derive(Debug)]
pub struct Data {
    pub folder: PathBuf,
    pub database: Database,
    /// The private PostgreSQL, when this command is the one to stop it.
    pub private: Option<Private>,
    /// Held as long as this command owns the folder.
    _owned: Option<File>,
}

impl Data {
    /// For the hub: it owns the folder, alone.
    ///
    /// # Errors
    /// When another hub has the folder, or there is no database to be had.
    pub async fn own(options: &DataOptions) -> anyhow::Result<Self> {
        Self::own_as_it_is(options).await?.migrated().await
    }

    /// As [`own`](Self::own), with the schema that is there, if any.
    ///
    /// # Errors
    /// As [`own`](Self::own) has them.
    pub async fn own_as_it_is(options: &DataOptions) -> anyhow::Result<Self> {
        let folder = make_folder(&options.data_dir)?;
        let lock = lock_file(&folder)?;
        let deadline = tokio::time::Instant::now() + WAIT;
        while !try_lock(&lock)? {
            if tokio::time::Instant::now() > deadline {
                bail!(
                    "another hub runs on DATA_DIR={}: stop it, or give this one a folder of its own",
                    folder.display()
                );
            }
            tokio::time::sleep(LOOK).await;
        }
        Self::open(options, folder, Some(lock)).await
    }

    /// For a command that may work beside a running hub: it starts the private PostgreSQL only if nobody else did.
    ///
    /// # Errors
    /// When there is no database to be had.
    pub async fn visit(options: &DataOptions) -> anyhow::Result<Self> {
        Self::look(options).await?.migrated().await
    }

    /// As [`visit`](Self::visit), with the schema that is there, if any: nothing is changed.
    ///
    /// # Errors
    /// As [`visit`](Self::visit) has them.
    pub async fn look(options: &DataOptions) -> anyhow::Result<Self> {
        let folder = make_folder(&options.data_dir)?;
        let lock = lock_file(&folder)?;
        let owned = try_lock(&lock)?.then_some(lock);
        Self::open(options, folder, owned).await
    }

    async fn open(options: &DataOptions, folder: PathBuf, owned: Option<File>) -> anyhow::Result<Self> {
        let url = options.database_url.as_deref();
        let url = secrets::given("DATABASE_URL", url, options.database_url_file.as_ref())?;
        let private = if url.is_none() { Some(Private::start(&folder).await?) } else { None };
        let given = url.map(|url| Address::parse(&url)).transpose();
        let given = given.context("DATABASE_URL is no postgres://user:password@host/name")?;
        let address = given.or_else(|| private.as_ref().map(Private::address)).context("no database")?;
        let database = address.open(options.database_pool);
        let private = private.filter(|_| owned.is_some());
        Ok(Self { folder, database, private, _owned: owned })
    }

    async fn migrated(self) -> anyhow::Result<Self> {
        let migrated = store::migrate(&self.database).await;
        migrated.context("cannot bring the database's schema up to date")?;
        Ok(self)
    }

    /// Ends the connections, and the private PostgreSQL where it is this command's.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn close(self) -> anyhow::Result<()> {
        self.database.close().await;
        match self.private {
            Some(private) => private.stop().await,
            None => Ok(()),
        }
    }
}

/// The folder holds secrets, so others may pass through it (the private PostgreSQL's user has to), but not look.
fn make_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    if !folder.exists() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make DATA_DIR={}", folder.display()))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
    }
    folder.canonicalize().with_context(|| format!("cannot use DATA_DIR={}", folder.display()))
}

fn lock_file(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("hub.lock");
    File::options().create(true).append(true).open(&path).with_context(|| format!("cannot write {}", path.display()))
}

fn try_lock(file: &File) -> anyhow::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data folder"),
    }
}
