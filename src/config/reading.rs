//! Reads a command line on the settings of all sources: which value counts, and everything that is wrong at once.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{
    Arg, ArgMatches, Command,
    builder::{Resettable, ValueParser},
    parser::ValueSource,
};

use super::{
    Fault,
    catalogue::{self, Setting},
    effective::{Effective, Value},
    rules,
    sources::{Origin, Sources},
};

/// A command line that was understood.
#[derive(Debug)]
pub struct Reading {
    pub effective: Effective,
    /// All that is wrong.
    pub faults: Vec<Fault>,
    root: Command,
    line: Vec<OsString>,
}

/// Reads a command line, with the program's name first, on the settings of `sources`.
///
/// # Errors
/// What clap says of a line that makes no sense, or that asks for help: no value is looked at then.
pub fn read(root: Command, line: Vec<OsString>, sources: &Sources) -> Result<Reading, clap::Error> {
    let all = catalogue::all(&root);
    let matches = match each_setting(root.clone(), &lenient).try_get_matches_from(&line) {
        Ok(matches) => matches,
        // The strict one has the better words, and shows values in its help.
        Err(error) => return Err(root.try_get_matches_from(&line).err().unwrap_or(error)),
    };
    let (mut command, mut own, mut leaf, mut level) = (Vec::new(), Vec::new(), &matches, &root);
    let mut flags = BTreeMap::new();
    loop {
        for arg in level.get_arguments().filter(|arg| arg.get_env().is_some()) {
            own.push(arg.get_id().to_string());
        }
        for id in &own {
            flags.extend(flag(leaf, id).map(|value| (id.clone(), value)));
        }
        let Some((name, inner)) = leaf.subcommand() else { break };
        let Some(next) = level.find_subcommand(name) else { break };
        command.push(name.to_owned());
        (leaf, level) = (inner, next);
    }
    let mut effective = Effective { command, settings: Vec::new(), elsewhere: BTreeMap::new() };
    let names: Vec<_> = all.iter().map(|setting| setting.name.clone()).collect();
    for setting in all {
        let given = sources.value(&setting.name);
        if !own.contains(&setting.id) {
            effective.elsewhere.extend(given.map(|(_, origin)| (setting.name, origin)));
            continue;
        }
        let flag = flags.get(&setting.id).map(|text| (text.as_str(), Origin::Flag));
        let chosen = flag.or(given).or(setting.default.as_deref().map(|text| (text, Origin::Default)));
        let value = chosen.map(|(text, origin)| Value { text: text.to_owned(), origin });
        effective.settings.push((setting, value));
    }
    let mut faults = sources.faults.clone();
    faults.extend(effective.settings.iter().filter_map(|(setting, value)| wrong(setting, value.as_ref()?)));
    if rules::COMMANDS.contains(&effective.command()) {
        faults.extend(sources.unknown(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    faults.extend(rules::broken(&effective));
    Ok(Reading { effective, faults, root, line })
}

impl Reading {
    /// The line's matches, with the settings where no flag is; one that is not taken is left at its default. To be asked
    /// when nothing is wrong that matters.
    ///
    /// # Errors
    /// What clap says when something is wrong all the same.
    pub fn matches(self) -> Result<ArgMatches, clap::Error> {
        let given: BTreeMap<_, _> = self
            .effective
            .settings
            .into_iter()
            .filter_map(|(setting, value)| Some((setting, value?)))
            .filter(|(setting, value)| setting.refusal(&value.text).is_none())
            .map(|(setting, value)| (setting.id, value.text))
            .collect();
        let valued = |arg: Arg| {
            let value = given.get(arg.get_id().as_str()).cloned();
            let arg = arg.env(Resettable::Reset);
            match value {
                Some(value) => arg.required(false).default_value(value),
                None => arg,
            }
        };
        each_setting(self.root, &valued).try_get_matches_from(self.line)
    }
}

fn each_setting(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    let command = command.mut_args(|arg| if arg.get_env().is_some() { change(arg) } else { arg });
    command.mut_subcommands(|inner| each_setting(inner, change))
}

/// Takes any value, or none: what is wrong with it is told later, together with all else that is.
fn lenient(arg: Arg) -> Arg {
    arg.env(Resettable::Reset).required(false).default_value(Resettable::Reset).value_parser(ValueParser::os_string())
}

fn flag(matches: &ArgMatches, id: &str) -> Option<String> {
    if !matches.try_contains_id(id).is_ok_and(|there| there)
        || matches.value_source(id) != Some(ValueSource::CommandLine)
    {
        return None;
    }
    let values: Vec<_> = matches.get_raw(id)?.map(|value| value.to_string_lossy()).collect();
    Some(values.join(","))
}

fn wrong(setting: &Setting, value: &Value) -> Option<Fault> {
    let reason = setting.refusal(&value.text)?;
    let shown = if setting.secret { String::new() } else { format!("{:?} ", value.text) };
    // Parsers of ours say what they want; others say only that they did not get it.
    let allowed = if reason.contains("is wanted") { String::new() } else { format!("; allowed: {}", setting.allowed) };
    Some(Fault::new(&setting.name, format!("{shown}({}) {reason}{allowed}", value.origin)))
}
