//! The command line: each subcommand puts the workers together and says what became of it.
//!
//! Must not know how anything is done, only who does it.

pub mod backup;
pub mod clock;
pub mod config;
pub mod data;
pub mod device;
pub mod healthcheck;
pub mod lock;
pub mod lock_agent;
mod log_level;
pub mod migrate;
mod pools;
pub mod restore;
pub mod retention;
pub mod serve;
pub mod user;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::config::Verdict;
use crate::{
    bench,
    config::{
        DataOptions, Fault, LockAgentOptions, LogFormat, LogOptions, RetentionOptions, ServeOptions, reading,
        sources::Sources,
    },
    telemetry::log::Log,
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
    /// Runs the hub.
    Serve(Box<ServeOptions>),
    /// Runs the lock worker on a machine of its own.
    LockAgent(Box<LockAgentOptions>),
    /// Adds, lists and removes devices.
    Device(device::DeviceCommand),
    /// Looks after the lock's audit.
    Lock(lock::LockCommand),
    /// Adds users and sets their passwords.
    User(user::UserCommand),
    /// Measures what the hub stores in a second, and how soon it is acknowledged and seen, beside PostgreSQL's own COPY.
    Bench(bench::BenchOptions),
    /// Asks the hub on this machine whether it is ready; exit code 1 if not. For containers.
    Healthcheck(healthcheck::HealthcheckOptions),
    /// Brings the database's schema up to date, and ends.
    Migrate(DataOptions),
    /// Drops the months of events that are older than `RETENTION_DAYS`, as a running hub does by itself.
    Retention(RetentionOptions),
    /// Shows what the hub believes of the clock, and confirms it.
    Clock(clock::ClockCommand),
    /// Writes the whole database into a file; the hub may run.
    Backup(backup::BackupCommand),
    /// Puts a backup into an empty database, or in the place of what is there.
    Restore(restore::RestoreCommand),
    /// Shows the settings in effect, and what is wrong with them.
    Config(config::ConfigCommand),
}

/// Why a command line is not run.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It makes no sense, or asks for help.
    #[error(transparent)]
    Line(#[from] clap::Error),
    /// All that is wrong with the settings.
    #[error("{}", config::complaint(.0))]
    Settings(Vec<Fault>),
}

/// Reads a command line, with the program's name first, and the settings it works with.
///
/// # Errors
/// When either is wrong.
pub fn read(line: Vec<OsString>, sources: &Sources) -> Result<CommandLine, Refusal> {
    let reading = reading::read(CommandLine::command(), line, sources)?;
    let mut faults = reading.faults.clone();
    faults.extend(config::files::faults(&reading.effective));
    if reading.effective.command() == config::NAME {
        // It is there to tell of them, with all others.
        faults.clear();
    }
    if faults.is_empty() {
        Ok(CommandLine::from_arg_matches(&reading.matches()?)?)
    } else {
        Err(Refusal::Settings(faults))
    }
}

/// Runs the command that was asked for.
///
/// # Errors
/// What a person has to know who started it.
pub async fn run(line: CommandLine, sources: &Sources) -> anyhow::Result<Verdict> {
    if let Command::Config(command) = line.command {
        return config::run(command, sources);
    }
    let log = Log::start(&line.log.rust_log, line.log.log_format == LogFormat::Json)?;
    match line.command {
        Command::Serve(options) => serve::run(*options, log).await,
        Command::LockAgent(options) => lock_agent::run(*options, log).await,
        Command::Device(command) => device::run(command).await,
        Command::Lock(command) => lock::run(command).await,
        Command::User(command) => user::run(command).await,
        Command::Bench(options) => bench::run(options).await,
        Command::Healthcheck(options) => healthcheck::run(&options).await,
        Command::Migrate(options) => migrate::run(&options).await,
        Command::Retention(options) => retention::run(&options).await,
        Command::Clock(command) => clock::run(command).await,
        Command::Backup(command) => backup::run(command).await,
        Command::Restore(command) => restore::run(command).await,
        Command::Config(_) => Ok(()),
    }?;
    Ok(Verdict::Good)
}
