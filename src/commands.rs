//! The command line: each subcommand puts the workers together and says what became of it.
//!
//! Must not know how anything is done, only who does it.

pub mod data;
pub mod migrate;

use clap::{Parser, Subcommand};

use crate::{
    config::{DataOptions, LogFormat, LogOptions},
    telemetry,
};

/// A security hub for doors with cameras.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Brings the database's schema up to date, and ends.
    Migrate(DataOptions),
}

/// Runs the command that was asked for.
///
/// # Errors
/// What a person has to know who started it.
pub async fn run(line: CommandLine) -> anyhow::Result<()> {
    telemetry::start(&line.log.rust_log, line.log.log_format == LogFormat::Json)?;
    match line.command {
        Command::Migrate(options) => migrate::run(&options).await,
    }
}
