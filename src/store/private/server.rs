//! The server's processes: whether one lives in the cluster, and the start of a new one.
//!
//! A number in a pid file proves nothing: after a power cut it may be anybody's, also one of the hub's own threads'. What
//! proves that a server lives is a lock that all its processes hold from its start to their end; and, for one that an
//! older version of the hub has started, a process of the server's user and name that works in the cluster's folder.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use anyhow::Context as _;
use rustix::process::Pid;
use tokio::process::Child;

use super::place::{CLUSTER, Place, beginning};
use crate::private_file;

/// Held by every process of a living server. In the hub's own folder, where nobody else writes.
const LIFE: &str = "postgres.lock";
const PID_FILE: &str = "postmaster.pid";
const SOCKET_LOCK: &str = ".s.PGSQL.5432.lock";
const SOCKET: &str = ".s.PGSQL.5432";
const START_LOG: &str = "start.log";
const LOGS: &str = "log";
/// What of a log is read to find its last lines.
const ENOUGH: u64 = 16 * 1024;
const LAST_LINES: usize = 12;
/// Connections that are none of the hub's pool: its own ones, its commands', a backup's, a person's.
const BESIDE: u32 = 50;

/// How long each log was before a start: what comes after is this start's.
#[derive(Debug, Default)]
pub(super) struct Before(HashMap<OsString, u64>);

/// Proof that nothing of a server lives in the cluster, as long as it is held.
#[derive(Debug)]
pub(super) struct Alone(File);

impl Place {
    /// The server's first process, if one runs in this cluster.
    pub(super) fn running(&self) -> Option<Pid> {
        let number = number(&beginning(&self.folder.below(CLUSTER).ok()?, PID_FILE)?)?;
        self.is_server(number).then(|| Pid::from_raw(number)).flatten()
    }

    /// Whether a process is a server's, in this cluster and of its user.
    fn is_server(&self, number: i32) -> bool {
        let process = Path::new("/proc").join(number.to_string());
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        ["postgres", "postmaster"].contains(&name.trim_end())
            && fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == self.cluster())
            && fs::metadata(&process).is_ok_and(|process| process.uid() == self.owner.uid())
    }

    /// Whether any process of a server works in this cluster, whatever its pid file says.
    fn anybody(&self) -> bool {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.any(|number| self.is_server(number))
    }

    /// The right to start a server, if nothing of one lives in this cluster.
    pub(super) fn alone(&self) -> anyhow::Result<Option<Alone>> {
        let file = self.data.lock_file(LIFE).context("cannot write in the data directory")?;
        match file.try_lock() {
            Ok(()) if self.anybody() => Ok(None),
            Ok(()) => Ok(Some(Alone(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
        }
    }

    /// Starts a server for a pool of this size. It holds what proves that it is alone.
    pub(super) fn spawn(&self, alone: Alone, pool: u32) -> anyhow::Result<(Child, Before)> {
        let before = self.logs();
        let log = self.folder.create(START_LOG).context("cannot write PostgreSQL's log")?;
        self.owner.give(&log)?;
        let mut command = self.command("postgres");
        if let Some(stale) = self.tidy()? {
            // PostgreSQL takes a living process of this number for its server, unless it is told that it is an ancestor
            // of its own. The file itself has to stay: it also says which memory an older server may have left behind.
            command.env("PG_GRANDPARENT_PID", stale.to_string());
        }
        command.arg("-D").arg(self.cluster()).arg("-k").arg(self.folder.path());
        for setting in settings() {
            command.arg("-c").arg(setting);
        }
        command.arg("-c").arg(format!("max_connections={}", wanted(pool)));
        // Its standard input is the lock: nobody reads it, and all that it forks have it too.
        let child = command.stdin(alone.0).stdout(log.try_clone()?).stderr(log).process_group(0).spawn();
        Ok((child.context("cannot start PostgreSQL")?, before))
    }

    /// Looks at what a server has left that lives no more: the number in its pid file. What PostgreSQL could not read, as
    /// a file that a power cut has emptied, is removed.
    fn tidy(&self) -> anyhow::Result<Option<i32>> {
        for name in [SOCKET_LOCK, SOCKET] {
            self.folder
                .remove(name)
                .with_context(|| format!("cannot remove {name} in {}", self.folder.path().display()))?;
        }
        let cluster = self.folder.below(CLUSTER).with_context(|| format!("no folder {}", self.cluster().display()))?;
        let stale = beginning(&cluster, PID_FILE).as_deref().and_then(number);
        if stale.is_none() && cluster.has(PID_FILE) {
            cluster
                .remove(PID_FILE)
                .with_context(|| format!("cannot remove {PID_FILE} in {}", cluster.path().display()))?;
        }
        Ok(stale)
    }

    fn logs(&self) -> Before {
        let entries = fs::read_dir(self.folder.path().join(LOGS)).into_iter().flatten().flatten();
        Before(entries.filter_map(|entry| Some((entry.file_name(), entry.metadata().ok()?.len()))).collect())
    }

    /// What the server has said since `before`.
    pub(super) fn last_words(&self, before: &Before) -> String {
        let mut words =
            self.folder.read(START_LOG).and_then(|log| private_file::tail(&log, 0, ENOUGH)).unwrap_or_default();
        if let Ok(folder) = self.folder.below(LOGS) {
            let now = self.logs().0;
            let grown = now.into_iter().filter(|(name, length)| before.0.get(name) != Some(length));
            for (name, _) in grown {
                let start = before.0.get(&name).copied().unwrap_or(0);
                let more = folder.read(&name).and_then(|log| private_file::tail(&log, start, ENOUGH));
                words.push_str(&more.unwrap_or_default());
            }
        }
        let lines: Vec<_> = words.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// How many connections the server has to let in for a pool of this size; never fewer than PostgreSQL itself does.
pub(super) fn wanted(pool: u32) -> u32 {
    const USUAL: u32 = 100;
    pool.saturating_add(BESIDE).max(USUAL)
}

/// The process that a pid file names. PostgreSQL writes the number of one that works alone, for repairs, with a minus.
fn number(content: &[u8]) -> Option<i32> {
    let line = content.split(|byte| *byte == b'\n').next()?;
    let number: i32 = std::str::from_utf8(line).ok()?.trim().parse().ok()?;
    number.checked_abs().filter(|number| *number > 0)
}

fn settings() -> impl Iterator<Item = &'static str> {
    [
        "listen_addresses=",
        "port=5432",
        "unix_socket_permissions=0700",
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
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_a_pid_file() {
        let cases: [(&[u8], Option<i32>); 11] = [
            (b"1234\n/data\n17\n", Some(1234)),
            (b"1234", Some(1234)),
            (b"-77\n", Some(77)),
            (b" 5 \n", Some(5)),
            (b"", None),
            (b"\n", None),
            (b"0\n", None),
            (b"\0\0\0\0", None),
            (b"12a\n", None),
            (b"99999999999999\n", None),
            (b"-2147483648\n", None),
        ];
        for (content, expected) in cases {
            assert_eq!(number(content), expected, "{:?}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn the_server_lets_in_more_than_the_pool() {
        for pool in [2, 10, 200, 1000] {
            assert!(wanted(pool) >= pool + 20);
        }
    }
}
