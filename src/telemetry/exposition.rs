//! Prometheus' text format, which every version of Prometheus and every tool reads.
//!
//! The library writes `OpenMetrics`. The two differ in little: a counter's `_total` belongs to its name, and there is no
//! mark at the end.

use std::fmt::Write as _;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::reading::{Kind, Reading};

/// What the answer's `Content-Type` says.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything in the registry, as text.
///
/// # Errors
/// When a value cannot be written, which would be a fault of ours.
pub fn text(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut open_metrics = String::new();
    text::encode(&mut open_metrics, registry)?;
    let mut out = String::with_capacity(open_metrics.len());
    let lines: Vec<_> = open_metrics.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1).copied().unwrap_or_default();
        match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some(("HELP", rest)) if next.ends_with(" counter") => write_total(&mut out, "HELP", rest)?,
            Some(("TYPE", rest)) if rest.ends_with(" counter") => write_total(&mut out, "TYPE", rest)?,
            _ if *line == "# EOF" => {}
            _ => writeln!(out, "{line}")?,
        }
    }
    Ok(out)
}

fn write_total(out: &mut String, what: &str, rest: &str) -> std::fmt::Result {
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    writeln!(out, "# {what} {name}_total {rest}")
}

/// Asks a part for its readings at each scrape.
pub struct Asking<F>(pub F);

impl<F> std::fmt::Debug for Asking<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asking")
    }
}

impl<F: Fn() -> Vec<Reading> + Send + Sync + 'static> Collector for Asking<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        for Reading { name, help, kind, samples } in (self.0)() {
            let metric_type = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            for sample in samples {
                let mut metric = family.encode_family(&sample.labels)?;
                match kind {
                    Kind::Counter => {
                        metric.encode_counter::<NoLabelSet, _, f64>(&sample.value, None)?;
                    }
                    Kind::Gauge => metric.encode_gauge(&i64::try_from(sample.value).unwrap_or(i64::MAX))?,
                }
            }
        }
        Ok(())
    }
}
