//! The settings in effect: for each the value that counts and who gave it.

use std::collections::BTreeMap;

use super::{catalogue::Setting, sources::Origin};

/// A value and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    pub origin: Origin,
}

/// The settings of one command.
#[derive(Debug)]
pub struct Effective {
    /// The command and what stands below it: `serve`, `device list`.
    pub command: Vec<String>,
    pub settings: Vec<(Setting, Option<Value>)>,
    /// Settings of other commands that are set all the same, and who set them.
    pub elsewhere: BTreeMap<String, Origin>,
}

impl Effective {
    /// The value that counts, defaults among them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|value| value.text.as_str())
    }

    /// Whether somebody chose the value.
    #[must_use]
    pub fn is_chosen(&self, name: &str) -> bool {
        self.find(name).is_some_and(|value| value.origin != Origin::Default)
    }

    /// The first word of the command.
    #[must_use]
    pub fn command(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.settings.iter().find(|(setting, _)| setting.name == name)?.1.as_ref()
    }
}
