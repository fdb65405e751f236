//! The private PostgreSQL: the hub's own server, in its data folder, reached by a Unix socket only.
//!
//! It is a plain PostgreSQL of the system, started as a process in a process group of its own (Ctrl-C in a terminal must
//! not reach it before the hub has stored its last detection). It outlives a killed hub; the next start finds it and goes
//! on with it. PostgreSQL refuses to run as root, so a hub of root's runs it as the user postgres.

pub(super) mod binaries;
mod owner;
mod place;
mod server;

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::{process::Child, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{place::Place, server::Before};
use super::Address;
use crate::{lifecycle::Backoff, said};

const NAME: &str = "portcullis";
/// The pool that the server is made for where nobody says another.
const POOL: u32 = 10;
/// Recovery after a power cut on an SD card takes its time.
const START: Duration = Duration::from_mins(2);
/// How long each way of stopping may take; less than service managers wait.
const STOP: Duration = Duration::from_secs(10);
/// How long a server that ends at its start is tried again.
const LINGERING: Duration = Duration::from_secs(10);
/// How long a server may take for an answer before it counts as hanging.
const ANSWER: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// The longest pause between tries to start it.
const RETRY: Duration = Duration::from_secs(10);

/// The private PostgreSQL, running or not.
#[derive(Debug)]
pub struct Private {
    place: Place,
    /// How many connections the hub's pool may have: the server lets in more.
    pool: u32,
    /// Ours, if this process started it; none if it was found running.
    child: Option<Child>,
    /// The logs as they were before that start.
    before: Before,
}

impl Private {
    /// Finds the programs and the folder, for a hub with a pool of this size; starts nothing yet.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or cannot reach the folder: the text says what to do.
    pub fn prepare(data: &Path, pool: u32) -> anyhow::Result<Self> {
        Ok(Self { place: Place::prepare(data)?, pool, child: None, before: Before::default() })
    }

    /// Prepares it, for a pool of ten, and brings it up.
    ///
    /// # Errors
    /// As [`Private::prepare`] and [`Private::bring_up`].
    pub async fn start(data: &Path) -> anyhow::Result<Self> {
        let mut private = Self::prepare(data, POOL)?;
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

    /// As [`Private::bring_up`], and with room for the whole pool: a server that a hub or a command with a smaller pool has
    /// left running is started anew.
    async fn bring_up_with_room(&mut self) -> anyhow::Result<()> {
        self.bring_up().await?;
        let mut connection = PgConnection::connect_with(&self.place.options).await?;
        let room = sqlx::query_scalar!(r#"SELECT current_setting('max_connections')::int AS "room!""#);
        let room = room.fetch_one(&mut connection).await?;
        connection.close().await?;
        if room.unsigned_abs() >= server::wanted(self.pool) {
            return Ok(());
        }
        tracing::info!(room, pool = self.pool, "the private PostgreSQL lets in too few connections, starting it anew");
        self.end().await?;
        self.bring_up().await
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
        self.place.address()
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
        let (mut backoff, mut pause, mut is_up) = (Backoff::new(LOOK * 2, RETRY), LOOK, false);
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            self.reap();
            if is_up && self.place.running().is_some() {
                continue;
            }
            if is_up {
                tracing::warn!("the private PostgreSQL is gone, starting it again");
            }
            let Some(brought) = stop.run_until_cancelled(self.bring_up_with_room()).await else { break };
            is_up = brought.is_ok();
            match brought {
                Ok(()) => {
                    tracing::info!("the private PostgreSQL is up");
                    backoff.reset();
                    pause = LOOK * 5;
                }
                Err(error) => {
                    tracing::error!("the private PostgreSQL does not start, it is tried again: {}", said::all(&error));
                    pause = backoff.pause();
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
        self.end().await
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        // PostgreSQL's "fast" and "immediate" shutdown, see its manual on pg_ctl.
        for signal in [Signal::INT, Signal::QUIT] {
            let Some(pid) = self.place.running() else { return Ok(()) };
            self.send(pid, signal).context("cannot end the private PostgreSQL")?;
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

    /// Sends a signal to the server, and to no process that has got its number meanwhile.
    fn send(&self, pid: Pid, signal: Signal) -> rustix::io::Result<()> {
        let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { return kill_process(pid, signal) };
        if self.place.running() == Some(pid) { pidfd_send_signal(held, signal) } else { Ok(()) }
    }

    /// Takes note of the child's end, so that no zombie stays.
    fn reap(&mut self) {
        if self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
            self.child = None;
        }
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let (begun, mut ended) = (Instant::now(), false);
        loop {
            let attempt = tokio::time::timeout(ANSWER, PgConnection::connect_with(&self.place.options)).await;
            let error = match attempt.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))) {
                Ok(connection) => return Ok(connection.close().await?),
                Err(error) if is_wrong_password(&error) => {
                    bail!(
                        "the private PostgreSQL refuses the password in DATA_DIR/postgres-password: {}",
                        self.place.cure()
                    )
                }
                Err(error) => error,
            };
            let had_a_child = self.child.is_some();
            self.reap();
            ended |= had_a_child && self.child.is_none();
            let is_there = is_from_a_server(&error);
            if self.child.is_none()
                && !is_there
                && let Some(alone) = self.place.alone()?
            {
                // What holds the memory of a server that was killed may be gone in a moment.
                if ended && begun.elapsed() < LINGERING {
                    tokio::time::sleep(LOOK * 4).await;
                } else if ended {
                    bail!("PostgreSQL ended at its start:\n{}", self.place.last_words(&self.before));
                }
                let (child, before) = self.place.spawn(alone, self.pool)?;
                (self.child, self.before) = (Some(child), before);
            }
            if begun.elapsed() > START {
                bail!("the private PostgreSQL does not answer: {}", said::once(&error));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether the server does not take the password (28 is the class of it, 57P03 and the like pass by themselves).
fn is_wrong_password(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28"))
}

/// Whether a server is behind this: one that says why it lets nobody in, or that takes a connection and hangs. Its
/// processes may be nowhere to be seen, as in another container.
fn is_from_a_server(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => true,
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}
