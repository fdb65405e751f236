//! The program: reads `.env` and the command line, starts the runtime, and turns the result into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use portcullis::commands::{self, CommandLine};

fn main() -> ExitCode {
    // Before any thread is there: it changes the process's environment. Only the working folder's: one in a folder above
    // is another program's.
    if let Err(error) = dotenvy::from_path(".env")
        && !error.not_found()
    {
        eprintln!("portcullis: .env cannot be read: {error}");
        return ExitCode::from(2);
    }
    let line = CommandLine::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::FAILURE
        }
    }
}
