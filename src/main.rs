//! The program: reads `.env` and the command line, starts the runtime, and turns the result into an exit code.

use std::{path::Path, process::ExitCode};

use portcullis::{
    commands::{self, Refusal, config::Verdict},
    config::sources::{DOT_ENV, Sources},
    said,
};

/// Of a command line or settings that make no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let sources = Sources::read(std::env::vars_os(), Path::new(DOT_ENV));
    // Settings are read from the sources; this is for the variables of libraries, such as RUST_BACKTRACE. Before any
    // thread is there: it changes the process's environment. What cannot be read has been noted.
    let _ = dotenvy::from_read(sources.of_others().as_bytes());
    let line = match commands::read(std::env::args_os().collect(), &sources) {
        Ok(line) => line,
        Err(Refusal::Line(error)) => error.exit(),
        Err(refusal) => {
            eprintln!("portcullis: {refusal}");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(line, &sources)) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::from(USAGE),
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => {
                eprintln!("portcullis: {}", said::all(&error));
                ExitCode::FAILURE
            }
        },
    }
}
