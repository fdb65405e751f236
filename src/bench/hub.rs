//! The hub under measurement: the same binary, as a process of its own with its default settings, so that its memory and
//! processor time are its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use super::process::Memory;

const START: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);

/// A hub that is ready.
#[derive(Debug)]
pub struct Hub {
    child: Child,
    pub pid: u32,
    pub http: SocketAddr,
    pub mqtt: SocketAddr,
    log: PathBuf,
}

impl Hub {
    /// Starts it on a database, with its data and its log below `folder`, on ports that the system picks. The password
    /// is the first ADMIN's.
    ///
    /// # Errors
    /// When it does not start; the text has the end of its log.
    pub async fn start(folder: &Path, database_url: &str, password: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("which program is this?")?;
        let (said, log) = (folder.join("hub.out"), folder.join("hub.log"));
        let mut command = Command::new(program);
        command
            .arg("serve")
            .current_dir(folder)
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| ["PATH", "HOME", "LANG"].contains(&name.as_str())))
            .env("DATA_DIR", folder.join("hub"))
            .env("DATABASE_URL", database_url)
            .env("ADMIN_PASSWORD", password)
            .env("GPIO_SIMULATED", "true")
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("MQTT_PORT", "0")])
            .stdin(Stdio::null())
            .stdout(File::create(&said)?)
            .stderr(File::create(&log)?)
            .kill_on_drop(true);
        let mut child = command.spawn().context("cannot start the hub")?;
        let deadline = Instant::now() + START;
        loop {
            let welcome = fs::read_to_string(&said)?;
            let ports = (port(&welcome, "HTTP and Socket.io"), port(&welcome, "MQTT  "));
            if let ((Some(http), Some(mqtt)), Some(pid)) = (ports, child.id()) {
                let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                return Ok(Self { child, pid, http: at(http), mqtt: at(mqtt), log });
            }
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("the hub does not start:\n{}", tail(&log));
            }
            sleep(LOOK).await;
        }
    }

    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory::of(self.pid)
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        tail(&self.log)
    }

    /// Stops it as Ctrl-C would.
    ///
    /// # Errors
    /// When it does not end, or ends with a failure.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("no process")?;
        kill_process(pid, Signal::INT).context("the hub is gone")?;
        let ended = tokio::time::timeout(STOP, self.child.wait()).await.context("the hub does not end")??;
        anyhow::ensure!(ended.success(), "the hub ended with {ended}:\n{}", self.last_words());
        Ok(())
    }
}

/// The port in the line of the welcome that begins with these words.
fn port(welcome: &str, words: &str) -> Option<u16> {
    let line = welcome.lines().find(|line| line.trim_start().starts_with(words))?;
    let number: String = line.split_once("localhost:")?.1.chars().take_while(char::is_ascii_digit).collect();
    number.parse().ok()
}

fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_welcome() {
        let welcome = "  HTTP and Socket.io  http://localhost:3000\n  MQTT                localhost:1883, and ws://localhost:3000/mqtt\n";
        assert_eq!((port(welcome, "HTTP and Socket.io"), port(welcome, "MQTT  ")), (Some(3000), Some(1883)));
        assert_eq!(port(welcome, "MQTT over TLS"), None);
    }
}
