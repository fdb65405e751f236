//! `portcullis clock`.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};

use super::data::Data;
use crate::{
    clock_watch::{self, machine},
    config::DataOptions,
    domain::trusted_clock::{Standing, is_possible, ntp_agrees},
    store::{self, clock::Kept},
    wire::time::millis,
};

/// What the hub believes of this machine's clock.
#[derive(Debug, Args)]
pub struct ClockCommand {
    #[command(flatten)]
    data: DataOptions,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Task {
    /// Shows what the clock says, and what else tells of time.
    Show,
    /// Says that the clock is right: from then on things are dropped by it for their age.
    Confirm,
}

/// # Errors
/// When the database is away, or a clock is to be confirmed that cannot be right.
pub async fn run(command: ClockCommand) -> anyhow::Result<()> {
    let data = Data::visit(&command.data).await?;
    let done = work(&data, command.task).await;
    data.close().await?;
    print!("{}", done?);
    Ok(())
}

async fn work(data: &Data, task: Task) -> anyhow::Result<String> {
    let (standing, kept) = clock_watch::examine(&data.database).await?;
    match task {
        Task::Show => Ok(shown(&standing, &kept, Utc::now())),
        Task::Confirm => {
            let now = millis(Utc::now());
            anyhow::ensure!(is_possible(now), "{} cannot be: set this machine's clock first", text(now));
            store::clock::confirm(&data.database, now).await?;
            Ok(format!("It is {}. A hub that runs takes note within seconds.\n", text(now)))
        }
    }
}

fn text(time: DateTime<Utc>) -> String {
    time.format("%F %H:%M:%S UTC").to_string()
}

fn shown(standing: &Standing, kept: &Kept, now: DateTime<Utc>) -> String {
    let time = |time: Option<DateTime<Utc>>| time.map_or_else(|| "none".to_owned(), text);
    let ntp = match machine::ntp() {
        Some(word) if ntp_agrees(word, now) => format!("speaks for it, at {}", text(word)),
        Some(word) => format!("does not speak for it; its last word was at {}", text(word)),
        None => "not to be had (systemd-timesyncd does not run here)".to_owned(),
    };
    let verdict = match standing {
        Standing::Believed => "The clock is believed.".to_owned(),
        Standing::Doubted(gap) => format!(
            "The clock is in doubt: {}. Nothing is dropped for its age. Set it, or, if it is right: portcullis clock confirm",
            gap.words()
        ),
    };
    format!(
        "clock          {}\nnoted          {}\nnewest event   {}\nlock's audit   {}\nNTP            {ntp}\n{verdict}\n",
        text(now),
        time(kept.traces.noted),
        time(kept.traces.event),
        time(kept.traces.audit),
    )
}
