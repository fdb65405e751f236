//! `portcullis retention`.

use std::fmt::Write as _;

use chrono::Utc;

use super::data::Data;
use crate::{
    clock_watch,
    config::RetentionOptions,
    domain::trusted_clock::Standing,
    retention::{self, Plan},
};

/// Drops what is older than `RETENTION_DAYS`, or only says what that would be.
///
/// # Errors
/// When there is no database, others keep the events busy, or the clock is in doubt: then nothing is dropped.
pub async fn run(options: &RetentionOptions) -> anyhow::Result<()> {
    let data = Data::visit(&options.data).await?;
    let done = prune(options, &data).await;
    data.close().await?;
    done
}

async fn prune(options: &RetentionOptions, data: &Data) -> anyhow::Result<()> {
    let limit = retention::limit(Utc::now(), options.retention_days);
    let plan = Plan::make(&data.database, limit).await?;
    if let (Standing::Doubted(gap), _) = clock_watch::examine(&data.database).await? {
        let advice = "set this machine's clock, or, if it is right, say so with `portcullis clock confirm`";
        anyhow::ensure!(options.dry_run, "nothing is dropped, the clock is in doubt: {}: {advice}", gap.words());
        eprintln!("The clock is in doubt, so nothing would be dropped now: {}: {advice}", gap.words());
    }
    if !options.dry_run {
        retention::prune(&data.database, limit).await?;
    }
    print!("{}", told(&plan, options.dry_run));
    Ok(())
}

fn told(plan: &Plan, dry_run: bool) -> String {
    let verb = if dry_run { "would be dropped" } else { "dropped" };
    let mut lines = String::new();
    for month in &plan.months {
        let kept = match month.alerts {
            0 => String::new(),
            alerts => format!(", {alerts} unresolved alerts kept"),
        };
        let _ = writeln!(lines, "{}: {} events {verb}{kept}", month.start.format("%Y-%m"), month.events);
    }
    if plan.messages > 0 {
        let _ = writeln!(lines, "{} rejected messages {verb}", plan.messages);
    }
    if lines.is_empty() { "Nothing is old enough to be dropped.\n".to_owned() } else { lines }
}
