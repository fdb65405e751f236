//! What was measured, as a Markdown table for people and as JSON for programs.

use std::{collections::BTreeMap, fmt, time::Duration};

use clap::ValueEnum;
use serde::Serialize;

use super::answers::Percentiles;

/// By which way detections are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// PostgreSQL's own COPY, in the binary format.
    Copy,
    /// The hub, by MQTT at QoS 1.
    Mqtt,
    /// The hub, by POST /api/events.
    Http,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "binary COPY",
            Self::Mqtt => "MQTT QoS 1",
            Self::Http => "HTTP",
        })
    }
}

/// Processor time.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub hub: Duration,
    pub postgres: Duration,
    /// The load's own.
    pub clients: Duration,
}

impl std::ops::Sub for Cost {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            hub: self.hub.saturating_sub(before.hub),
            postgres: self.postgres.saturating_sub(before.postgres),
            clients: self.clients.saturating_sub(before.clients),
        }
    }
}

/// Processor seconds for each 100,000 detections: on a machine that has other things to do, more telling than rates.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecondsPer100k {
    pub hub: f64,
    pub postgres: f64,
    pub clients: f64,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Result {
    pub way: Way,
    /// Detections a second that were sent; none at full speed.
    pub rate: Option<u32>,
    pub acknowledged: u64,
    pub per_second: f64,
    /// From sending to PUBACK or 201, which come after the commit.
    pub acknowledgement: Option<Percentiles>,
    /// From sending to the dashboard's `event:detected`.
    pub event_detected: Option<Percentiles>,
    /// How many of them the dashboard heard of.
    pub heard: u64,
    /// Answers 503.
    pub busy: u64,
    pub dashboard_reconnects: u64,
    pub cpu_seconds_per_100k: SecondsPer100k,
}

impl Result {
    #[must_use]
    pub fn new(way: Way, acknowledged: u64, took: Duration, cost: Cost) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^52")]
        let count = acknowledged as f64;
        let each = |time: Duration| time.as_secs_f64() * 100_000.0 / count.max(1.0);
        Self {
            way,
            rate: None,
            acknowledged,
            per_second: count / took.as_secs_f64().max(f64::EPSILON),
            acknowledgement: None,
            event_detected: None,
            heard: 0,
            busy: 0,
            dashboard_reconnects: 0,
            cpu_seconds_per_100k: SecondsPer100k {
                hub: each(cost.hub),
                postgres: each(cost.postgres),
                clients: each(cost.clients),
            },
        }
    }
}

/// The hub's resident memory, in KiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    #[serde(rename = "idleKib")]
    pub idle: u64,
    #[serde(rename = "peakKib")]
    pub peak: u64,
    #[serde(rename = "afterwardsKib")]
    pub afterwards: u64,
}

/// All of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub version: &'static str,
    pub machine: String,
    /// Processes that wanted the processor in the minute before.
    pub load_average_before: f64,
    /// What a commit of this server promises.
    pub postgres: BTreeMap<String, String>,
    pub seconds: u64,
    pub publishers: u32,
    pub connections: u32,
    pub results: Vec<Result>,
    pub memory: Memory,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, machine, load_average_before, seconds, publishers, connections, .. } = self;
        writeln!(f, "Portcullis {version} on {machine}; load average before: {load_average_before}")?;
        let settings: Vec<_> = self.postgres.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(f, "PostgreSQL: {}", settings.join(", "))?;
        writeln!(
            f,
            "{seconds} s each; {publishers} MQTT publishers with up to 100 on the way each, {connections} HTTP \
             connections, one dashboard\n"
        )?;
        writeln!(
            f,
            "|  | stored/s | of COPY | acknowledged, ms: p50 | p99 | event:detected, ms: p50 | p99 | CPU s for 100,000: hub | PostgreSQL | clients |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        let copy = self.results.iter().find(|result| result.way == Way::Copy).map(|result| result.per_second);
        for result in &self.results {
            let name = result
                .rate
                .map_or_else(|| format!("{}, full speed", result.way), |rate| format!("{}, {rate}/s", result.way));
            let of_copy = copy.map_or_else(String::new, |copy| format!("{:.0} %", result.per_second * 100.0 / copy));
            let (acknowledged, shown) = (cells(result.acknowledgement), cells(result.event_detected));
            let SecondsPer100k { hub, postgres, clients } = result.cpu_seconds_per_100k;
            writeln!(
                f,
                "| {name} | {:.0} | {of_copy} | {acknowledged} | {shown} | {hub:.2} | {postgres:.2} | {clients:.2} |",
                result.per_second
            )?;
        }
        let Memory { idle, peak, afterwards } = self.memory;
        writeln!(
            f,
            "\nMemory of the hub: {} MiB idle, {} MiB at most, {} MiB afterwards",
            mib(idle),
            mib(peak),
            mib(afterwards)
        )?;
        self.results.iter().try_for_each(|result| remarks(f, result))
    }
}

fn cells(percentiles: Option<Percentiles>) -> String {
    percentiles.map_or_else(|| " | ".to_owned(), |of| format!("{:.2} | {:.2}", of.p50, of.p99))
}

fn mib(kib: u64) -> u64 {
    kib.div_ceil(1024)
}

/// What a table of rates would hide.
fn remarks(f: &mut fmt::Formatter<'_>, result: &Result) -> fmt::Result {
    let Result { way, acknowledged, heard, busy, dashboard_reconnects, .. } = result;
    if *way != Way::Copy && heard < acknowledged {
        writeln!(f, "{way}: the dashboard heard of {heard} of {acknowledged}; it would replay the others by id")?;
    }
    if *dashboard_reconnects > 0 {
        writeln!(f, "{way}: the dashboard was cut off {dashboard_reconnects} times")?;
    }
    if *busy > 0 {
        writeln!(f, "{way}: {busy} were answered 503")?;
    }
    Ok(())
}
