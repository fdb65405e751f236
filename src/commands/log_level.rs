//! SIGHUP of a process without a terminal: the log shows by what `.env` says of `RUST_LOG` now; where it says nothing,
//! the hub's own debug lines come and go.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::{
    config::sources::{DOT_ENV, Sources},
    lifecycle::Again,
    telemetry::log::Log,
};

/// Follows the signal until `stop`.
///
/// # Errors
/// None: what cannot be read changes nothing.
pub async fn follow(log: Log, mut again: Again, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = again.next() => {}
            () = stop.cancelled() => return Ok(()),
        }
        if let Err(error) = change(&log, Path::new(DOT_ENV)) {
            tracing::warn!("SIGHUP: the log stays as it is: {error:#}");
        }
    }
}

fn change(log: &Log, dot_env: &Path) -> anyhow::Result<()> {
    // The environment of a process stays what it was at its start.
    let sources = Sources::read(std::iter::empty(), dot_env);
    match sources.value("RUST_LOG") {
        Some((filter, _)) => log.set(filter),
        None => log.toggle(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_decides_and_without_it_debug_lines_come_and_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, file) = (Log::none("info"), folder.path().join(".env"));
        change(&log, &file).expect("on");
        assert_eq!(log.filter(), "info,portcullis=debug");
        std::fs::write(&file, "RUST_LOG=warn\n").expect("written");
        change(&log, &file).expect("as the file says");
        assert_eq!(log.filter(), "warn");
        std::fs::write(&file, "RUST_LOG=portcullis=loud\n").expect("written");
        assert!(change(&log, &file).is_err());
        assert_eq!(log.filter(), "warn");
        std::fs::remove_file(&file).expect("removed");
        change(&log, &file).expect("as at the start");
        assert_eq!(log.filter(), "info");
    }
}
