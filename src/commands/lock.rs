//! `portcullis lock audit verify`.

use anyhow::ensure;
use clap::{Args, Subcommand};

use super::data::Data;
use crate::{auth::chain::Head, config::DataOptions, lock_desk};

/// The lock's audit.
#[derive(Debug, Args)]
pub struct LockCommand {
    #[command(flatten)]
    data: DataOptions,
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// What was asked of the lock, and what became of it.
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Finds a changed, missing or cut-off row.
    Verify {
        /// More rows that must be there: audit.head as the hub's log has it, NUMBER:HASH.
        #[arg(long = "head", value_name = "NUMBER:HASH")]
        heads: Vec<Head>,
    },
}

/// # Errors
/// When the audit is not intact, so that the exit code says it too; or cannot be read.
pub async fn run(command: LockCommand) -> anyhow::Result<()> {
    let data = Data::visit(&command.data).await?;
    let Subject::Audit(Audit::Verify { heads }) = command.subject;
    let report = lock_desk::verify(&data.database, &data.folder, &heads).await;
    data.close().await?;
    let report = report?;
    println!("{report}");
    ensure!(report.is_intact(), "the lock's audit is not intact");
    Ok(())
}
