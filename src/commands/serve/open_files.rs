//! How many files and sockets the process may have open. Systems start a process with a soft limit that suits programs of
//! long ago, often 1,024, and let it raise that up to the hard one by itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{config::ServeOptions, mqtt};

/// Dashboards and other HTTP clients that a hub is made for; their number has no limit of its own.
const HTTP_CLIENTS: u64 = 1_000;
/// What else is open: listeners, the log, the database's files of a start, the event loop, some room.
const OTHERS: u64 = 100;

/// The limit as it was and as it is. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    before: Option<u64>,
    now: Option<u64>,
    /// How many there are when every client that the configuration allows is there.
    wanted: u64,
}

impl OpenFiles {
    /// Raises the soft limit to the hard one. Where the system does not let it, the limit stays as it is, and
    /// [`Self::tell`] says so if it is too low.
    pub fn raise(options: &ServeOptions, broker: &mqtt::Settings) -> Self {
        let before = getrlimit(Resource::Nofile);
        let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            tracing::warn!("the limit of open files cannot be raised: {error}");
        }
        Self {
            before: before.current,
            now: getrlimit(Resource::Nofile).current,
            wanted: wanted_by(options.data.database_pool.into(), broker.limits.connections),
        }
    }

    /// Says it in the log, as one of the start's checks.
    pub fn tell(self) {
        let shown = |limit: Option<u64>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
        let (before, now) = (shown(self.before), shown(self.now));
        if before == now {
            tracing::info!(check = "open files", "open files: {now} at most");
        } else {
            tracing::info!(check = "open files", "open files: {now} at most, raised from {before}");
        }
        if self.is_short() {
            tracing::warn!(
                check = "open files",
                "open files: {} may be wanted, by [limits] connections in broker.toml above all: raise the hard limit \
                 (LimitNOFILE of systemd, ulimit -Hn), or lower connections; clients beyond it cannot connect",
                self.wanted
            );
        }
    }

    fn is_short(self) -> bool {
        self.now.is_some_and(|now| now < self.wanted)
    }
}

fn wanted_by(pool: u64, mqtt_connections: usize) -> u64 {
    let mqtt = u64::try_from(mqtt_connections).unwrap_or(u64::MAX);
    mqtt.saturating_add(pool).saturating_add(HTTP_CLIENTS + OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_want_what_the_unit_grants() {
        let wanted = wanted_by(10, mqtt::Settings::default().limits.connections);
        let unit = include_str!("../../../deploy/portcullis.service");
        let granted = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).expect("a limit");
        assert!(granted.parse::<u64>().expect("a number") >= wanted);
        let files = |now| OpenFiles { before: Some(1024), now, wanted };
        assert!(files(Some(4096)).is_short());
        assert!(!files(Some(wanted)).is_short());
        assert!(!files(None).is_short());
    }
}
