//! The process itself, under the names that every Prometheus client library gives them.

use std::{fs, time::SystemTime};

use super::reading::Reading;

/// When this was made counts as the process's start.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    started: SystemTime,
}

impl Process {
    pub fn now() -> Self {
        Self { started: SystemTime::now() }
    }

    /// What the system says of the process; what it does not say is left out.
    pub fn readings(&self) -> Vec<Reading> {
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let name = "process_start_time_seconds";
        let mut readings = vec![Reading::gauge(name, "When the process started, in seconds since 1970", started)];
        let resident = resident_bytes();
        readings.extend(resident.map(|bytes| {
            Reading::gauge("process_resident_memory_bytes", "How much memory the process has in RAM", bytes)
        }));
        let open = open_descriptors();
        readings
            .extend(open.map(|count| Reading::gauge("process_open_fds", "How many files and sockets are open", count)));
        readings.extend(most.map(|count| Reading::gauge("process_max_fds", "How many may be open", count)));
        readings
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_descriptors() -> Option<u64> {
    // Less the one that reads the folder.
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        let readings = Process::now().readings();
        assert_eq!(readings.len(), 4);
        assert!(readings.iter().all(|reading| reading.samples[0].value > 0), "{readings:?}");
    }
}
