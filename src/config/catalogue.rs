//! Every setting there is: taken from the command line's own definition, so that no list of them can lag behind.
//!
//! A setting is an argument with a variable of its name. What it allows is asked of its parser.

use clap::{Arg, ArgAction, Command, builder::ValueParser};

/// What stands before the reason in clap's refusal of a number.
const NOT_IN: &str = " is not in ";
/// What follows the name of a secret in the name of the variable that names a file with it.
pub const FILE: &str = "_FILE";

/// One setting.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The variable.
    pub name: String,
    /// The flag of the same name.
    pub flag: String,
    /// What it belongs to, as `--help` groups it.
    pub group: String,
    pub meaning: String,
    pub default: Option<String>,
    /// In words.
    pub allowed: String,
    /// Its value is shown to nobody, and may come from a file.
    pub secret: bool,
    /// The commands that take it; empty when all do.
    pub commands: Vec<String>,
    pub(super) id: String,
    parser: ValueParser,
    delimiter: Option<char>,
}

impl Setting {
    fn of(arg: &Arg) -> Option<Self> {
        let name = arg.get_env()?.to_str()?.to_owned();
        let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let mut setting = Self {
            flag: format!("--{}", arg.get_long()?),
            group: arg.get_help_heading().unwrap_or("Other").to_owned(),
            meaning: sentence(help) + &choices(arg),
            default: (!defaults.is_empty()).then(|| defaults.join(",")),
            allowed: String::new(),
            secret: arg.is_hide_env_values_set(),
            commands: Vec::new(),
            id: arg.get_id().to_string(),
            parser: arg.get_value_parser().clone(),
            delimiter: arg.get_value_delimiter(),
            name,
        };
        setting.allowed = setting.ask_what_is_allowed(arg);
        Some(setting)
    }

    fn ask_what_is_allowed(&self, arg: &Arg) -> String {
        let values = arg.get_possible_values();
        if !values.is_empty() {
            let names: Vec<_> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
            return names.join(", ");
        }
        if let Some(range) = self.range() {
            return range;
        }
        let kind = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
        match kind {
            "ADDRESS" => "an IP address",
            "ADDRESS:PORT" => "an IP address and a port, 127.0.0.1:9090",
            "ADDRESSES" => "addresses or networks, separated by commas",
            "FILE" => "a file",
            "FILTER" => "a filter of tracing",
            "FOLDER" => "a folder",
            "HOST-NAMES" => "names (hub.example.org, *.example.org), separated by commas; * is any",
            "MQTT-URL" => "mqtt:// or mqtts:// and a host, with a port",
            "NAME" => "1 to 64 of A-Z a-z 0-9 _ . -",
            "ORIGINS" => "origins (https://door.example), separated by commas; * is any",
            "PASSWORD" => "at least 8 characters",
            "POSTGRES-URL" => "postgres://user:password@host/name",
            "SECRET" => "a text",
            "SIGNING-KEY" => "at least 32 bytes",
            "TIME" => "a time such as 24h, 30m or 90s, at most a year",
            "URL" => "a URL",
            "ZONE" => "a name of the time zone database",
            "0-1" => "a number from 0 to 1",
            _ => "",
        }
        .to_owned()
    }

    /// The range of a whole number, as its parser tells it.
    fn range(&self) -> Option<String> {
        // Outside of every range; the one does not fit into what the other's parser reads.
        let outside = [i64::MIN.to_string(), u64::MAX.to_string()];
        let reasons = outside.iter().filter_map(|number| self.refusal(number)).collect::<Vec<_>>();
        let (_, bounds) = reasons.iter().find_map(|reason| reason.split_once(NOT_IN))?;
        let (first, last) = bounds.split_once("..")?;
        Some(match last.strip_prefix('=') {
            Some(last) => format!("{first} to {last}"),
            None => format!("{first} to {}", last.parse::<i64>().ok()? - 1),
        })
    }

    /// Why a value is not taken; none when it is. The value is not in the answer where it is a secret.
    #[must_use]
    pub fn refusal(&self, value: &str) -> Option<String> {
        let arg = Arg::new("value").long("value").action(ArgAction::Set).value_parser(self.parser.clone());
        let arg = if let Some(delimiter) = self.delimiter {
            arg.value_delimiter(delimiter).action(ArgAction::Append)
        } else {
            arg
        };
        let probe = Command::new("probe").no_binary_name(true).disable_help_flag(true).arg(arg);
        let error = probe.try_get_matches_from([format!("--value={value}")]).err()?;
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        Some(match reason {
            Some(reason) if !self.secret || !reason.contains(value) => reason,
            _ => "not taken".to_owned(),
        })
    }
}

fn sentence(text: String) -> String {
    if text.ends_with('.') { text } else { text + "." }
}

/// What each value means, where that is not plain from its name.
fn choices(arg: &Arg) -> String {
    let values = arg.get_possible_values();
    let told = values.iter().filter_map(|value| Some((value.get_name(), value.get_help()?)));
    told.map(|(name, help)| sentence(format!(" {name}: {help}"))).collect()
}

/// All settings of a command line, those of its commands in their order, then those that every command takes.
#[must_use]
pub fn all(root: &Command) -> Vec<Setting> {
    let mut found: Vec<Setting> = Vec::new();
    for command in root.get_subcommands() {
        add(command, command.get_name(), &mut found);
    }
    found.extend(root.get_arguments().filter_map(Setting::of));
    found
}

fn add(command: &Command, of: &str, found: &mut Vec<Setting>) {
    for arg in command.get_arguments() {
        let Some(setting) = Setting::of(arg) else { continue };
        let at = found.iter().position(|other| other.name == setting.name).unwrap_or_else(|| {
            found.push(setting);
            found.len() - 1
        });
        let commands = &mut found[at].commands;
        if !commands.iter().any(|name| name == of) {
            commands.push(of.to_owned());
        }
    }
    for inner in command.get_subcommands() {
        add(inner, of, found);
    }
}
