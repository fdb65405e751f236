//! How many files and sockets the process may have open. Systems start a process with a soft limit that suits programs of
//! long ago, often 1,024, and let it raise that up to the hard one by itself.
//!
//! What clients may have of it is settled here, so that a flood of them leaves the database, the lock and the audit theirs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::settings::Settings;
use crate::config::ServeOptions;

/// What else is open: listeners, the log, the audit, the database's files of a start, the event loop, some room.
const OTHERS: u64 = 100;
/// The fewest connections that HTTP and MQTT have each, however low the limit is.
const FEWEST: u64 = 8;

/// The limit as it was and as it is. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    before: Option<u64>,
    now: Option<u64>,
    wanted: Shares,
    granted: Shares,
    /// How many there are when every client that the configuration allows is there.
    needed: u64,
}

/// Connections by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    http: u64,
    mqtt: u64,
}

impl OpenFiles {
    /// Raises the soft limit to the hard one, and bounds the connections of HTTP and MQTT by what there is. Where the system
    /// does not let it, the limit stays as it is.
    pub fn raise(options: &ServeOptions, settings: &mut Settings) -> Self {
        let before = getrlimit(Resource::Nofile);
        let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            tracing::warn!("the limit of open files cannot be raised: {error}");
        }
        let http = &mut settings.bridge.connections.places;
        let mqtt = &mut settings.broker.limits.connections;
        let wanted = Shares { http: http.in_all, mqtt: u64::try_from(*mqtt).unwrap_or(u64::MAX) };
        let others = u64::from(options.data.database_pool).saturating_add(OTHERS);
        let now = getrlimit(Resource::Nofile).current;
        let granted = now.map_or(wanted, |now| share(now.saturating_sub(others), wanted));
        http.in_all = granted.http;
        http.reserve = http.reserve.min(granted.http / 4);
        *mqtt = usize::try_from(granted.mqtt).unwrap_or(usize::MAX);
        let needed = others.saturating_add(wanted.http).saturating_add(wanted.mqtt);
        Self { before: before.current, now, wanted, granted, needed }
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
        if self.granted != self.wanted {
            tracing::warn!(
                check = "open files",
                "open files: {} may be wanted, by [limits] connections in broker.toml above all, and {now} are allowed: HTTP has \
                 {} connections at most and MQTT {}. Raise the hard limit (LimitNOFILE of systemd, ulimit -Hn), or lower \
                 connections and HTTP_CONNECTIONS",
                self.needed,
                self.granted.http,
                self.granted.mqtt,
            );
        }
    }
}

/// What HTTP and MQTT have of `free`: what they want, or else HTTP a third and MQTT the rest, or what the other leaves.
fn share(free: u64, wanted: Shares) -> Shares {
    let mqtt = wanted.mqtt.min(free.saturating_sub(wanted.http.min(free / 3)));
    let http = wanted.http.min(free.saturating_sub(mqtt));
    Shares { http: http.max(FEWEST.min(wanted.http)), mqtt: mqtt.max(FEWEST.min(wanted.mqtt)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bridge::ConnectionLimits, mqtt};

    fn defaults() -> Shares {
        let mqtt = u64::try_from(mqtt::Settings::default().limits.connections).expect("a number");
        Shares { http: ConnectionLimits::default().places.in_all, mqtt }
    }

    #[test]
    fn the_default_limits_want_what_the_unit_grants() {
        let unit = include_str!("../../../deploy/portcullis.service");
        let granted = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).expect("a limit");
        let granted = granted.parse::<u64>().expect("a number");
        assert_eq!(share(granted - OTHERS - 10, defaults()), defaults());
    }

    #[test]
    fn a_low_limit_is_shared() {
        let wanted = defaults();
        assert_eq!(share(402, wanted), Shares { http: 134, mqtt: 268 });
        assert_eq!(share(0, wanted), Shares { http: 8, mqtt: 8 });
        assert_eq!(share(wanted.http + wanted.mqtt, wanted), wanted);
        assert_eq!(share(400, Shares { http: 16, mqtt: 10_000 }), Shares { http: 16, mqtt: 384 });
        assert_eq!(share(400, Shares { http: 2000, mqtt: 50 }), Shares { http: 350, mqtt: 50 });
        for free in 48..20_000 {
            let Shares { http, mqtt } = share(free, wanted);
            assert!(http + mqtt <= free, "{free}");
        }
    }
}
