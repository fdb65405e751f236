//! What processes cost: processor time and memory, as Linux tells them in `/proc`.

use std::{fs, time::Duration};

use rustix::param::clock_ticks_per_second;

/// The processor time of a process so far, and of its children that have ended; zero if there is none.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    stat(pid).map_or(Duration::ZERO, |stat| ticks(stat.own + stat.of_ended_children))
}

/// The processor time of a process and all its children so far, those that have ended among them.
#[must_use]
pub fn cpu_time_with_children(parent: u32) -> Duration {
    let living = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = living.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(stat).filter(|stat| stat.parent == parent);
    cpu_time(parent) + children.map(|stat| ticks(stat.own)).sum::<Duration>()
}

struct Stat {
    parent: u32,
    /// Both in clock ticks, user and system.
    own: u64,
    of_ended_children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; the fields after it are numbered from 3 (proc(5)).
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(4 - 3)?.parse().ok()?,
        own: number(14)? + number(15)?,
        of_ended_children: number(16)? + number(17)?,
    })
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / clock_ticks_per_second().max(1))
}

/// The memory of a process: what it holds now, and the most it ever held.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub resident_kib: u64,
    pub peak_kib: u64,
}

impl Memory {
    /// Of this process; zero if there is none.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Self { resident_kib: value("VmRSS:").unwrap_or(0), peak_kib: value("VmHWM:").unwrap_or(0) }
    }
}

/// The machine in a few words: its processor, how many of it, and the kernel.
#[must_use]
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field("model name").or_else(|| field("Model")).unwrap_or_else(|| "unknown processor".to_owned());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} × {processor}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

/// How many processes want the processor, over the last minute: a machine that has other things to do measures those.
#[must_use]
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cost_something() {
        let memory = Memory::of(std::process::id());
        assert!(memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib, "{memory:?}");
        let begun = std::time::Instant::now();
        while cpu_time(std::process::id()).is_zero() {
            assert!(begun.elapsed() < Duration::from_secs(20), "no tick of processor time");
        }
        assert_eq!(cpu_time(u32::MAX), Duration::ZERO);
    }
}
