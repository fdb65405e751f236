//! A line that can't be read or moved: told when it begins and when it ends, not at each try.

use crate::gpio;

/// What is wrong with one thing, if anything is.
#[derive(Debug)]
pub(super) struct Fault {
    what: &'static str,
    error: Option<String>,
}

impl Fault {
    pub(super) fn none_of(what: &'static str) -> Self {
        Self { what, error: None }
    }

    /// It failed, or it did not.
    pub(super) fn note(&mut self, result: Result<(), gpio::Error>) {
        let error = result.err().map(|error| error.to_string());
        match &error {
            Some(error) if self.error.as_ref() != Some(error) => tracing::error!("{}: {error}", self.what),
            None if self.error.is_some() => tracing::info!("{}: it works again", self.what),
            _ => {}
        }
        self.error = error;
    }

    pub(super) fn words(&self) -> Option<&str> {
        self.error.as_deref()
    }
}
