//! What the machine has beside its clock that tells of time.

use std::fs;

use chrono::{DateTime, Utc};
use rustix::time::{ClockId, clock_gettime};

use crate::store::clock::Uptime;

/// systemd-timesyncd touches it whenever a time server has been heard and the clock is right by it; its time is that of this
/// machine's clock.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";
/// Another text after each start of the machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// When NTP last said that the clock is right, by the clock of then; none where that is not to be had.
#[must_use]
pub fn ntp() -> Option<DateTime<Utc>> {
    word(TIMESYNC)
}

fn word(file: &str) -> Option<DateTime<Utc>> {
    // By the system's own call: a library that shows a process another time would show this one another, too.
    let stat = rustix::fs::stat(file).ok()?;
    DateTime::from_timestamp(stat.st_mtime, 0)
}

/// How long the machine has run, with the time in which it slept, while its clock says this.
#[must_use]
pub fn uptime(said: DateTime<Utc>) -> Option<Uptime> {
    let boot = fs::read_to_string(BOOT).ok()?.trim().to_owned();
    let run = clock_gettime(ClockId::Boottime);
    let whole = u32::try_from(run.tv_sec).ok()?;
    let nanoseconds = u32::try_from(run.tv_nsec).ok()?;
    Some(Uptime { boot, seconds: f64::from(whole) + f64::from(nanoseconds) / 1e9, said })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn ntp_last_word_is_the_time_of_its_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        file.as_file().set_modified(at).expect("a time");
        let path = file.path().to_str().expect("a path");
        assert_eq!(word(path), DateTime::from_timestamp(1_800_000_000, 0));
        assert_eq!(word("/nonexistent/synchronized"), None);
    }

    #[test]
    fn a_machine_says_how_long_it_has_run() {
        let [first, second] = [Utc::now(), Utc::now()].map(|said| uptime(said).expect("an uptime"));
        assert_eq!(first.boot, second.boot);
        assert!(first.seconds > 0.0 && first.seconds <= second.seconds);
    }
}
