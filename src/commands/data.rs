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
    private_file::{Folder, check_way},
    store::{self, Address, Database, Gate, fitness, private::Private},
};

/// How long a command waits for another one that works on the same folder.
const WAIT: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);
/// Whoever holds it locked owns the folder.
const LOCK: &str = "hub.lock";

/// The data folder and the database, open.
#[derive(Debug)]
pub struct Data {
    pub folder: PathBuf,
    pub address: Address,
    pub database: Database,
    /// The private PostgreSQL, when this command is the one to stop it.
    pub private: Option<Private>,
    /// Held as long as this command owns the folder.
    _owned: Option<File>,
}

impl Data {
    /// For the hub: it owns the folder, alone. The database may not be there yet: the gate to it is shut, and a private
    /// PostgreSQL is prepared but not started.
    ///
    /// # Errors
    /// When another hub has the folder, or there can be no database.
    pub async fn own(options: &DataOptions) -> anyhow::Result<(Self, Gate)> {
        let folder = make_folder(&options.data_dir)?;
        let lock = lock_alone(&folder).await?;
        let (address, private) = locate(options, &folder)?;
        let (database, gate) = address.gated(options.database_pool);
        Ok((Self { folder, address, database, private, _owned: Some(lock) }, gate))
    }

    /// For a command that takes the hub's place for a while: it owns the folder too, and opens the database with the
    /// schema that is there, if any.
    ///
    /// # Errors
    /// When another hub has the folder, or there is no database to be had.
    pub async fn own_as_it_is(options: &DataOptions) -> anyhow::Result<Self> {
        let folder = make_folder(&options.data_dir)?;
        let lock = lock_alone(&folder).await?;
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
        let (address, mut private) = locate(options, &folder)?;
        if let Some(private) = &mut private {
            private.bring_up().await?;
        }
        fitness::check(&address).await?;
        let database = address.open(options.database_pool);
        let private = private.filter(|_| owned.is_some());
        Ok(Self { folder, address, database, private, _owned: owned })
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

/// Where the database is, and the private server where there is no other.
fn locate(options: &DataOptions, folder: &Path) -> anyhow::Result<(Address, Option<Private>)> {
    let url = options.database_url.as_deref();
    let url = secrets::given("DATABASE_URL", url, options.database_url_file.as_ref())?;
    let given = url.map(|url| Address::parse(&url)).transpose();
    if let Some(address) = given.context("DATABASE_URL is no postgres://user:password@host/name")? {
        return Ok((address, None));
    }
    let private = Private::prepare(folder, options.database_pool)?;
    Ok((private.address(), Some(private)))
}

/// The folder holds secrets, so others may pass through it (the private PostgreSQL's user has to), but not look.
fn make_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let unusable = || format!("cannot use DATA_DIR={}", folder.display());
    check_way(folder).with_context(unusable)?;
    if !folder.exists() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make DATA_DIR={}", folder.display()))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
    }
    let path = folder.canonicalize().with_context(unusable)?;
    let standing = Folder::open(&path).and_then(|folder| folder.standing()).with_context(unusable)?;
    if rustix::process::geteuid().is_root()
        && let Some(why) = not_roots(standing)
    {
        bail!(
            "DATA_DIR={} {why}, and this is root, who would write wherever they lead it: run this as the user whose folder \
             it is (sudo -u USER, portcullis-ctl), or make it root's alone (chown root:root, chmod 711)",
            path.display()
        );
    }
    Ok(path)
}

/// Why a folder of this user, group and mode is none that root may write in: others could put links into it.
fn not_roots((user, group, mode): (u32, u32, u32)) -> Option<String> {
    if user != 0 {
        Some(format!("belongs to the user of number {user}"))
    } else if mode & 0o002 != 0 || mode & 0o020 != 0 && group != 0 {
        Some("can be written by others than root".to_owned())
    } else {
        None
    }
}

fn lock_file(folder: &Path) -> anyhow::Result<File> {
    let file = Folder::open(folder).and_then(|held| held.lock_file(LOCK));
    file.with_context(|| format!("cannot write {}", folder.join(LOCK).display()))
}

async fn lock_alone(folder: &Path) -> anyhow::Result<File> {
    let lock = lock_file(folder)?;
    let deadline = tokio::time::Instant::now() + WAIT;
    while !try_lock(&lock)? {
        if tokio::time::Instant::now() > deadline {
            bail!("another hub runs on DATA_DIR={}: stop it, or give this one a folder of its own", folder.display());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(lock)
}

fn try_lock(file: &File) -> anyhow::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data folder"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_writes_in_roots_folders_only() {
        for (standing, is_refused) in [
            ((0, 0, 0o711), false),
            ((0, 0, 0o775), false),
            ((0, 100, 0o755), false),
            ((0, 100, 0o775), true),
            ((0, 0, 0o1777), true),
            ((999, 999, 0o700), true),
            ((65_534, 0, 0o711), true),
        ] {
            assert_eq!(not_roots(standing).is_some(), is_refused, "{standing:?}");
        }
    }
}
