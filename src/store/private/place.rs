//! Where the private server lives: its folder, how it is reached, and how its programs are run.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use rustix::fs::{MemfdFlags, memfd_create};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{LOOK, NAME, binaries, owner::Owner};
use crate::{auth, config::secrets, private_file::Folder, store::Address};

/// A Unix socket's path has at most 107 bytes (`sockaddr_un`), and PostgreSQL adds its file's name to the folder's.
const SOCKET_FOLDER_MAX: usize = 107 - "/.s.PGSQL.5432".len();
const PASSWORD: &str = "postgres-password";
/// Who makes the cluster or the database in it holds it locked. It is in the hub's own folder, where nobody else writes.
const TURN: &str = "postgres-making.lock";
/// The cluster, in the server's folder; and the same while it is made.
pub(super) const CLUSTER: &str = "cluster";
const MAKING: &str = "making";

/// Where it lives and how to reach it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) binaries: PathBuf,
    /// The hub's own.
    pub(super) data: Folder,
    /// Holds the cluster, the socket and the log; belongs to `owner`, so nothing in it is opened by way of a link.
    pub(super) folder: Folder,
    pub(super) owner: Owner,
    pub(super) options: PgConnectOptions,
    password: String,
}

impl Place {
    pub(super) fn prepare(data: &Path) -> anyhow::Result<Self> {
        let binaries = binaries::find()?;
        let owner = Owner::choose()?;
        let path = data.canonicalize().with_context(|| format!("no folder {}", data.display()))?;
        let folder = path.join("postgres");
        if folder.as_os_str().len() > SOCKET_FOLDER_MAX {
            bail!(
                "DATA_DIR={} is too long a path for a Unix socket: choose one of at most {} bytes",
                path.display(),
                SOCKET_FOLDER_MAX - "/postgres".len()
            );
        }
        let data = Folder::open(&path).with_context(|| format!("cannot use DATA_DIR={}", path.display()))?;
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => owner.give_folder(&data, "postgres")?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", folder.display())),
        }
        owner.check_reach(&path, &folder)?;
        // A link in the hub's own folder is the word of whoever looks after it.
        let folder = folder.canonicalize().with_context(|| format!("cannot use {}", folder.display()))?;
        let folder = Folder::open(&folder)?;
        let password = password(&path, folder.path())?;
        // What the environment says of TLS is meant for another server.
        let options = PgConnectOptions::new_without_pgpass()
            .socket(folder.path())
            .port(5432)
            .username(NAME)
            .password(&password)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        Ok(Self { binaries, data, folder, owner, options, password })
    }

    /// Where the hub's database is.
    pub(super) fn address(&self) -> Address {
        Address::private(self.options.clone().database(NAME), &self.password)
    }

    pub(super) fn cluster(&self) -> PathBuf {
        self.folder.path().join(CLUSTER)
    }

    pub(super) fn is_made(&self) -> bool {
        self.folder.below(CLUSTER).is_ok_and(|cluster| cluster.has("PG_VERSION"))
    }

    /// Waits until no other process makes the cluster or the database in it. The turn ends with the file's handle, also
    /// when we are killed.
    pub(super) async fn turn(&self) -> anyhow::Result<File> {
        let file = self.data.lock_file(TURN).context("cannot write in the data directory")?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOOK).await,
                Err(fs::TryLockError::Error(error)) => return Err(error).context("cannot lock the data directory"),
            }
        }
    }

    /// Makes the cluster: in a folder that becomes the cluster only when it is whole, so that a cut-off first start
    /// leaves nothing half.
    pub(super) async fn init(&self) -> anyhow::Result<()> {
        tracing::info!(folder = %self.folder.path().display(), "making the private PostgreSQL");
        let making = self.folder.path().join(MAKING);
        // By its owner: whatever is there, nothing of anybody else's goes.
        self.command("/bin/rm").args(["-rf", "--"]).arg(&making).output().await.context("cannot run rm")?;
        // No file has the password, and no argument.
        let password: File = memfd_create("password", MemfdFlags::CLOEXEC)?.into();
        io::Write::write_all(&mut &password, self.password.as_bytes())?;
        let output = self
            .command("initdb")
            .stdin(password)
            .arg("--pgdata")
            .arg(&making)
            .args(["--pwfile", "/proc/self/fd/0"])
            .args(["--username", NAME, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"])
            .arg("--data-checksums")
            .output()
            .await
            .context("cannot run initdb")?;
        if !output.status.success() {
            bail!("initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(self.folder.rename(MAKING, CLUSTER)?)
    }

    /// A program of PostgreSQL's, or another by its whole path, run by the owner.
    pub(super) fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.binaries.join(program));
        command
            .stdin(Stdio::null())
            .current_dir(self.folder.path())
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin");
        self.owner.apply(&mut command);
        command
    }

    pub(super) async fn create_database(&self) -> anyhow::Result<()> {
        let _turn = self.turn().await?;
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let there =
            sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1) AS "there!""#, NAME)
                .fetch_one(&mut connection)
                .await?;
        if !there {
            sqlx::query("CREATE DATABASE portcullis").execute(&mut connection).await?;
        }
        Ok(connection.close().await?)
    }

    /// What a person does when the server's password is lost: only its owner can give it another one.
    pub(super) fn cure(&self) -> String {
        cure(self.folder.path())
    }
}

/// The server's password, made at the very first start and kept beside the cluster, readable by the hub's user only.
fn password(data: &Path, folder: &Path) -> anyhow::Result<String> {
    let file = data.join(PASSWORD);
    let is_made = folder.join(CLUSTER).join("PG_VERSION").exists();
    if is_made && !file.exists() {
        bail!("{} is gone: {}", file.display(), cure(folder));
    }
    let cure = if is_made { cure(folder) } else { "remove it, and the hub makes a new one".to_owned() };
    secrets::kept(&file, &cure, auth::secret::generate)
}

fn cure(folder: &Path) -> String {
    format!(
        "put it back from a copy, or write a new password of letters and digits into it and give the same to the server in \
         {}, as docs/operations.md says under \"A secret file is empty\"",
        folder.display()
    )
}

/// The first bytes of a small file, if it is one.
pub(super) fn beginning(folder: &Folder, name: &str) -> Option<Vec<u8>> {
    const ENOUGH: u64 = 64;
    let mut content = Vec::new();
    folder.read(name).ok()?.take(ENOUGH).read_to_end(&mut content).ok()?;
    Some(content)
}
