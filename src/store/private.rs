//! The private PostgreSQL: the hub's own server, in its data folder, reached by a Unix socket only.
//!
//! It is a plain PostgreSQL of the system, started as a process in a process group of its own (Ctrl-C in a terminal must
//! not reach it before the hub has stored its last detection). It outlives a killed hub; the next start finds it and goes
//! on with it. PostgreSQL refuses to run as root, so a hub of root's runs it as the user postgres.

pub(super) mod binaries;
mod owner;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{process::Child, time::Instant};
use tokio_util::sync::CancellationToken;

use self::owner::Owner;
use super::Address;
use crate::{auth, config::secrets};

const NAME: &str = "portcullis";
/// A Unix socket's path has at most 107 bytes (`sockaddr_un`), and PostgreSQL adds its file's name to the folder's.
const SOCKET_FOLDER_MAX: usize = 107 - "/.s.PGSQL.5432".len();
/// Recovery after a power cut on an SD card takes its time.
const START: Duration = Duration::from_mins(2);
/// How long each way of stopping may take; less than service managers wait.
const STOP: Duration = Duration::from_secs(10);
/// How long a server that ends at its start is tried again.
const LINGERING: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// The longest pause between tries to start it.
const RETRY: Duration = Duration::from_secs(10);

/// The private PostgreSQL, running or not.
#[derive(Debug)]
pub struct Private {
    place: Place,
    /// Ours, if this process started it; none if it was found running.
    child: Option<Child>,
}

/// Where it lives and how to reach it.
#[derive(Debug, Clone)]
struct Place {
    binaries: PathBuf,
    /// Holds the cluster, the socket and the log; belongs to `owner`.
    folder: PathBuf,
    owner: Owner,
    options: PgConnectOptions,
}

impl Private {
    /// Finds the programs and the folder; starts nothing yet.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or cannot reach the folder: the text says what to do.
    pub fn prepare(data: &Path) -> anyhow::Result<Self> {
        Ok(Self { place: Place::prepare(data)?, child: None })
    }

    /// Prepares it and brings it up.
    ///
    /// # Errors
    /// As [`Private::prepare`] and [`Private::bring_up`].
    pub async fn start(data: &Path) -> anyhow::Result<Self> {
        let mut private = Self::prepare(data)?;
        private.bring_up().await?;
        Ok(private)
    }

    /// Makes the cluster at the very first start, and starts the server or goes on with one that runs already.
    ///
    /// # Errors
    /// When the cluster cannot be made, or the server does not start: the text has its last words.
    pub async fn bring_up(&mut self) -> anyhow::Result<()> {
        self.make_cluster().await?;
        self.wait_until_it_answers().await?;
        self.place.create_database().await
    }

    async fn make_cluster(&self) -> anyhow::Result<()> {
        if self.place.is_made() {
            return Ok(());
        }
        // Another command may be making it at this moment.
        let _turn = self.place.turn().await?;
        if self.place.is_made() { Ok(()) } else { self.place.init().await }
    }

    /// Where the hub's database is.
    #[must_use]
    pub fn address(&self) -> Address {
        Address(self.place.options.clone().database(NAME))
    }

    /// Where the hub's database is, for a program that takes a URL. It has the password in it.
    #[must_use]
    pub fn url(&self) -> String {
        self.place.options.clone().database(NAME).to_url_lossy().into()
    }

    /// The server's first process, the parent of all others, if it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.place.running()?.as_raw_nonzero().get().try_into().ok()
    }

    /// Brings the server up, and up again whenever it dies, until `stop`. One that does not start is tried again and
    /// again, since what hinders it may pass (a full disk, say); the log has its last words.
    ///
    /// # Errors
    /// When the cluster cannot be made: a person has to look.
    pub async fn supervise(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let Some(made) = stop.run_until_cancelled(self.make_cluster()).await else { return Ok(()) };
        made?;
        let (mut pause, mut is_up) = (LOOK, false);
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            self.reap();
            if is_up && self.place.running().is_some() {
                continue;
            }
            if is_up {
                tracing::warn!("the private PostgreSQL is gone, starting it again");
            }
            let Some(brought) = stop.run_until_cancelled(self.bring_up()).await else { break };
            is_up = brought.is_ok();
            match brought {
                Ok(()) => {
                    tracing::info!("the private PostgreSQL is up");
                    pause = LOOK * 5;
                }
                Err(error) => {
                    tracing::error!("the private PostgreSQL does not start, it is tried again: {error:#}");
                    pause = (pause * 2).min(RETRY);
                }
            }
        }
        Ok(())
    }

    /// Stops the server: sessions are ended, everything committed stays. One that does not end in time is ended without
    /// a checkpoint; it recovers at its next start.
    ///
    /// # Errors
    /// When it does not end even so.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // PostgreSQL's "fast" and "immediate" shutdown, see its manual on pg_ctl.
        for signal in [Signal::INT, Signal::QUIT] {
            let Some(pid) = self.place.running() else { return Ok(()) };
            kill_process(pid, signal).context("cannot end the private PostgreSQL")?;
            let deadline = Instant::now() + STOP;
            while Instant::now() < deadline {
                self.reap();
                if self.place.running().is_none() {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
            tracing::warn!(pid = pid.as_raw_nonzero(), ?signal, "the private PostgreSQL does not end");
        }
        bail!("the private PostgreSQL does not end")
    }

    /// Takes note of the child's end, so that no zombie stays.
    fn reap(&mut self) {
        if self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
            self.child = None;
        }
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let error = match PgConnection::connect_with(&self.place.options).await {
                Ok(connection) => return Ok(connection.close().await?),
                Err(error) => error,
            };
            let had_a_child = self.child.is_some();
            self.reap();
            if self.place.running().is_none() && self.child.is_none() {
                // Backends of a server that was killed hold its memory for a moment, and no other can start meanwhile.
                if had_a_child && begun.elapsed() < LINGERING {
                    tokio::time::sleep(LOOK * 4).await;
                } else if had_a_child {
                    bail!("PostgreSQL ended at its start:\n{}", self.place.last_words());
                }
                self.child = Some(self.place.spawn()?);
            }
            if begun.elapsed() > START {
                return Err(error).context("the private PostgreSQL does not answer");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Place {
    fn prepare(data: &Path) -> anyhow::Result<Self> {
        let binaries = binaries::find()?;
        let owner = Owner::choose()?;
        let data = data.canonicalize().with_context(|| format!("no folder {}", data.display()))?;
        let folder = data.join("postgres");
        if folder.as_os_str().len() > SOCKET_FOLDER_MAX {
            bail!(
                "DATA_DIR={} is too long a path for a Unix socket: choose one of at most {} bytes",
                data.display(),
                SOCKET_FOLDER_MAX - "/postgres".len()
            );
        }
        if !folder.exists() {
            fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            owner.give(&folder)?;
        }
        owner.check_reach(&data, &folder)?;
        let password = password(&data)?;
        let options = PgConnectOptions::new_without_pgpass()
            .socket(&folder)
            .port(5432)
            .username(NAME)
            .password(&password)
            .database("postgres");
        Ok(Self { binaries, folder, owner, options })
    }

    fn cluster(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    fn is_made(&self) -> bool {
        self.cluster().join("PG_VERSION").exists()
    }

    /// Waits until no other process makes the cluster or the database in it. The turn ends with the file's handle, also when we are killed.
    async fn turn(&self) -> anyhow::Result<fs::File> {
        let file = fs::File::create(self.folder.join("making.lock")).context("cannot write in the data directory")?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOOK).await,
                Err(fs::TryLockError::Error(error)) => return Err(error).context("cannot lock the data directory"),
            }
        }
    }

    fn start_log(&self) -> PathBuf {
        self.folder.join("start.log")
    }

    /// Makes the cluster: in a folder that becomes the cluster only when it is whole, so that a cut-off first start
    /// leaves nothing half.
    async fn init(&self) -> anyhow::Result<()> {
        tracing::info!(folder = %self.folder.display(), "making the private PostgreSQL");
        let (making, password_file) = (self.folder.join("making"), self.folder.join("making.password"));
        if making.exists() {
            fs::remove_dir_all(&making)?;
        }
        let password = fs::read_to_string(self.folder.with_file_name("postgres-password"))?;
        secrets::write(&password_file, password.trim())?;
        self.owner.give(&password_file)?;
        let output = self
            .command("initdb")
            .arg("--pgdata")
            .arg(&making)
            .arg("--pwfile")
            .arg(&password_file)
            .args(["--username", NAME, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"])
            .arg("--data-checksums")
            .output()
            .await
            .context("cannot run initdb")?;
        fs::remove_file(&password_file)?;
        if !output.status.success() {
            bail!("initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        fs::rename(&making, self.cluster())?;
        Ok(())
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = fs::File::create(self.start_log()).context("cannot write PostgreSQL's log")?;
        self.owner.give(&self.start_log())?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.cluster()).arg("-k").arg(&self.folder);
        for setting in [
            "listen_addresses=",
            "port=5432",
            "unix_socket_permissions=0700",
            "max_connections=60",
            "shared_buffers=64MB",
            // No query here runs so long that compiling it pays, and the hub's unit forbids memory that is both written and
            // executed.
            "jit=off",
            "timezone=UTC",
            // A week of logs, each day's over the one of the week before.
            "logging_collector=on",
            "log_directory=../log",
            "log_filename=postgres-%a.log",
            "log_truncate_on_rotation=on",
            "log_rotation_age=1d",
            "log_rotation_size=0",
        ] {
            command.arg("-c").arg(setting);
        }
        let child = command.stdout(log.try_clone()?).stderr(log).process_group(0).spawn();
        child.context("cannot start PostgreSQL")
    }

    fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.binaries.join(program));
        command
            .stdin(Stdio::null())
            .current_dir(&self.folder)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin");
        self.owner.apply(&mut command);
        command
    }

    /// The process of the server, if one runs in this cluster: the process that its pid file names, when that works in
    /// the cluster's folder (after a reboot the number may be anybody's).
    fn running(&self) -> Option<Pid> {
        let file = fs::read_to_string(self.cluster().join("postmaster.pid")).ok()?;
        let number: i32 = file.lines().next()?.trim().parse().ok()?;
        let folder = fs::read_link(format!("/proc/{number}/cwd")).ok()?;
        (folder == self.cluster()).then(|| Pid::from_raw(number)).flatten()
    }

    fn last_words(&self) -> String {
        let mut words = fs::read_to_string(self.start_log()).unwrap_or_default();
        if let Some(newest) = newest_file(&self.folder.join("log")) {
            words.push_str(&fs::read_to_string(newest).unwrap_or_default());
        }
        let lines: Vec<_> = words.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    async fn create_database(&self) -> anyhow::Result<()> {
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
}

fn newest_file(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok()).map(|entry| entry.path())
}

/// The server's password, made at the very first start and kept beside the cluster, readable by the hub's user only.
fn password(data: &Path) -> anyhow::Result<String> {
    secrets::kept(&data.join("postgres-password"), auth::secret::generate)
}
