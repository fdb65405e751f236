//! broker.toml: the front's limits and the users' own rights. Every key has a default; an unknown key is an error.

mod faults;

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use serde::Deserialize;

use crate::auth::rights::Entry;

/// All of broker.toml.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether lock/command and lock-agent sessions from other machines may come without TLS.
    pub plain_lock: bool,
    pub limits: Limits,
    /// Rights on topics outside the hub's own table; the first entry that fits decides.
    pub rights: Vec<Entry>,
}

/// The front's limits, each with a default that fits a hub of some hundred cameras.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections in all; fewer where the system lets the hub open fewer files. One more takes the place of the
    /// one that has waited longest without its CONNECT, or is closed at once.
    pub connections: usize,
    /// Open connections of one address, an IPv6 /64 counting as one. One more as above, of this address.
    pub connections_per_address: usize,
    /// Connections that may begin in a second; the accept loop waits for more.
    pub accepts_per_second: u32,
    /// How long a client may take from its connection to its whole CONNECT, TLS among it, in seconds.
    pub connect_seconds: u64,
    /// Sessions of one identity, those without a connection among them. One more CONNECT is refused.
    pub sessions_per_identity: usize,
    /// Sessions in all, those without a connection among them. One more CONNECT is refused.
    pub sessions: usize,
    /// The longest a session lives without a connection, in seconds.
    pub session_seconds: u32,
    /// The longest keep-alive, in seconds; it also stands in for 0. A 5.0 client is told; a 3.1.1 client keeps what it
    /// asked for, and TCP's own keep-alive watches over one that asked for 0.
    pub keep_alive_seconds: u16,
    /// The longest packet, in bytes, with its header. A client that sends a longer one is disconnected.
    pub packet_bytes: usize,
    /// The longest topic name and filter, in bytes. The standard allows 65,535.
    pub topic_bytes: usize,
    /// PUBLISHes of a client that wait for their acknowledgement. A 5.0 client is told and disconnected above it; a
    /// 3.1.1 client is not read until one is acknowledged.
    pub inflight: u16,
    /// Subscriptions of a session. One more is refused in its SUBACK. Home Assistant sends up to 500 in one SUBSCRIBE.
    pub subscriptions: usize,
    /// Different filters of each device or user, added up. One more is refused in its SUBACK.
    pub filters: usize,
    /// Different filters of one device or user.
    pub filters_per_identity: usize,
    /// Topic aliases in each direction, MQTT 5.0.
    pub topic_aliases: u16,
    /// Messages that wait for a slow or absent subscriber. Above it the oldest is dropped and counted.
    pub queue_messages: usize,
    /// The same in bytes.
    pub queue_bytes: usize,
    /// The same in bytes, for all subscribers together; each has its equal part of it, whatever the others hold.
    pub queue_bytes_in_all: usize,
    /// The same for all sessions of one device or user.
    pub queue_bytes_per_identity: usize,
    /// Retained messages. One more is delivered but not retained; a 5.0 client is told.
    pub retained: usize,
    /// Those that one device or user has published.
    pub retained_per_identity: usize,
    /// The same in bytes, of all.
    pub retained_bytes: usize,
    /// The same in bytes, of one device or user.
    pub retained_bytes_per_identity: usize,
    /// How long a client may leave what was sent to it unread, in seconds, before it is disconnected.
    pub write_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 6_000,
            accepts_per_second: 2_000,
            connect_seconds: 10,
            sessions_per_identity: 2_500,
            sessions: 8_000,
            session_seconds: 24 * 60 * 60,
            keep_alive_seconds: 60,
            packet_bytes: 256 * 1024,
            topic_bytes: 1024,
            inflight: 100,
            subscriptions: 1_000,
            filters: 20_000,
            filters_per_identity: 5_000,
            topic_aliases: 16,
            queue_messages: 100_000,
            queue_bytes: 16 * 1024 * 1024,
            queue_bytes_in_all: 64 * 1024 * 1024,
            queue_bytes_per_identity: 16 * 1024 * 1024,
            retained: 20_000,
            retained_per_identity: 5_000,
            retained_bytes: 16 * 1024 * 1024,
            retained_bytes_per_identity: 4 * 1024 * 1024,
            write_seconds: 10,
        }
    }
}

impl Limits {
    #[must_use]
    pub fn connect_time(&self) -> Duration {
        Duration::from_secs(self.connect_seconds)
    }

    #[must_use]
    pub fn write_time(&self) -> Duration {
        Duration::from_secs(self.write_seconds)
    }

    fn check(&self) -> anyhow::Result<()> {
        let numbers = [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("accepts_per_second", self.accepts_per_second as usize),
            ("connect_seconds", usize::try_from(self.connect_seconds)?),
            ("sessions_per_identity", self.sessions_per_identity),
            ("sessions", self.sessions),
            ("keep_alive_seconds", self.keep_alive_seconds.into()),
            ("topic_bytes", self.topic_bytes),
            ("inflight", self.inflight.into()),
            ("queue_messages", self.queue_messages),
            ("write_seconds", usize::try_from(self.write_seconds)?),
        ];
        for (name, number) in numbers {
            anyhow::ensure!(number > 0, "limits.{name} must be at least 1");
        }
        // 268,435,455 bytes after the header is the longest packet that MQTT can say.
        anyhow::ensure!(
            (1024..=268_435_460).contains(&self.packet_bytes),
            "limits.packet_bytes must be from 1024 to 268435460"
        );
        Ok(())
    }
}

impl Settings {
    /// Reads the file. Without one, everything has its default.
    ///
    /// # Errors
    /// When the file is there and cannot be read, has an unknown key, or a value that makes no sense; the message names
    /// file, line and key.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("in {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::info!(path = %path.display(), "no broker configuration there, defaults apply");
                Ok(Self::default())
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Everything that is wrong with the file, each with its line; nothing where there is no file.
    #[must_use]
    pub fn faults(path: &Path) -> Vec<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => faults::of(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => vec![format!("cannot be read: {error}")],
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let settings: Self = toml::from_str(text)?;
        settings.limits.check()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_repository_says_the_defaults() {
        let text = include_str!("../../broker.toml");
        let settings = Settings::parse(text).expect("broker.toml");
        assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = Settings::parse("[limits]\nconections = 1").expect_err("unknown");
        assert!(format!("{error:#}").contains("conections"), "{error:#}");
        let error = Settings::parse("plain_locks = true").expect_err("unknown");
        assert!(format!("{error:#}").contains("plain_locks"), "{error:#}");
    }

    #[test]
    fn a_limit_that_would_shut_everybody_out_is_an_error() {
        let error = Settings::parse("[limits]\nconnections = 0").expect_err("zero");
        assert!(format!("{error:#}").contains("connections"), "{error:#}");
    }
}
