//! `portcullis config`: what is in effect, who chose it, and what is wrong with it.

pub mod files;

use std::{collections::BTreeMap, ffi::OsString, io::Write as _};

use clap::{Args, CommandFactory as _};
use serde_json::json;

use super::CommandLine;
use crate::config::{
    Fault, catalogue, page,
    reading::{self, Reading},
    sources::Sources,
};

/// What the command is called.
pub const NAME: &str = "config";
const MASKED: &str = "********";

/// What to show.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ConfigCommand {
    /// As JSON, for programs.
    #[arg(long, conflicts_with_all = ["markdown", "env_example"])]
    json: bool,
    /// Print docs/configuration.md instead: every setting there is.
    #[arg(long, conflicts_with = "env_example")]
    markdown: bool,
    /// Print .env.example instead.
    #[arg(long, conflicts_with = "pools")]
    env_example: bool,
    /// Print the table of docs/security.md instead: what many share, and how.
    #[arg(long, conflicts_with_all = ["markdown", "json"])]
    pools: bool,
    /// The command whose settings are shown, serve or lock-agent, with its flags; serve if none is given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Something is wrong, and was told.
    Wrong,
}

/// Prints what was asked for.
///
/// # Errors
/// What clap says of the command that is asked about; or that nothing can be written.
pub fn run(command: ConfigCommand, sources: &Sources) -> anyhow::Result<Verdict> {
    let mut out = std::io::stdout().lock();
    let root = CommandLine::command();
    if command.markdown {
        write!(out, "{}", page::markdown(&catalogue::all(&root)))?;
        return Ok(Verdict::Good);
    }
    if command.env_example {
        write!(out, "{}", page::env_example(&catalogue::all(&root)))?;
        return Ok(Verdict::Good);
    }
    if command.pools {
        write!(out, "{}", super::pools::markdown())?;
        return Ok(Verdict::Good);
    }
    let mut line = vec![OsString::from("portcullis")];
    line.extend(command.command);
    if line.len() == 1 {
        line.push("serve".into());
    }
    let mut reading = reading::read(root, line, sources)?;
    reading.faults.extend(files::faults(&reading.effective));
    if command.json {
        writeln!(out, "{}", as_json(&reading))?;
    } else {
        write!(out, "{}", as_text(&reading))?;
    }
    Ok(if reading.faults.is_empty() { Verdict::Good } else { Verdict::Wrong })
}

/// All that is wrong, for a person.
#[must_use]
pub fn complaint(faults: &[Fault]) -> String {
    let list: Vec<_> = faults.iter().map(|fault| format!("  {fault}")).collect();
    let (number, are) = if faults.len() == 1 {
        ("One setting".to_owned(), "is")
    } else {
        (format!("{} settings", faults.len()), "are")
    };
    format!(
        "{number} {are} wrong:\n{}\ndocs/configuration.md has all settings; `portcullis config` shows those in effect.",
        list.join("\n"),
    )
}

fn as_text(reading: &Reading) -> String {
    use std::fmt::Write as _;
    let settings = &reading.effective.settings;
    let width = settings.iter().map(|(setting, _)| setting.name.len()).max().unwrap_or(0);
    let mut groups: BTreeMap<&str, String> = BTreeMap::new();
    let mut order = Vec::new();
    for (setting, value) in settings {
        let group = setting.group.as_str();
        if !order.contains(&group) {
            order.push(group);
        }
        let lines = groups.entry(group).or_default();
        let _ = match value {
            Some(value) => {
                writeln!(
                    lines,
                    "  {:<width$}  {}  ({})",
                    setting.name,
                    shown(&value.text, setting.secret),
                    value.origin
                )
            }
            None => writeln!(lines, "  {:<width$}  -", setting.name),
        };
    }
    let mut text = format!("portcullis {}\n", reading.effective.command.join(" "));
    for group in order {
        let _ = write!(text, "\n{group}\n{}", groups.get(group).map_or("", String::as_str));
    }
    if !reading.faults.is_empty() {
        let _ = write!(text, "\n{}\n", complaint(&reading.faults));
    }
    text
}

fn as_json(reading: &Reading) -> serde_json::Value {
    let settings = reading.effective.settings.iter().map(|(setting, value)| {
        json!({
            "name": setting.name, "flag": setting.flag, "group": setting.group,
            "value": value.as_ref().map(|value| shown(&value.text, setting.secret)),
            "origin": value.as_ref().map(|value| value.origin.to_string()),
            "default": setting.default, "allowed": setting.allowed, "secret": setting.secret,
        })
    });
    let faults = reading.faults.iter().map(|fault| json!({ "name": fault.name, "text": fault.text }));
    json!({
        "command": reading.effective.command.join(" "),
        "settings": settings.collect::<Vec<_>>(), "faults": faults.collect::<Vec<_>>(),
    })
}

/// A value without what nobody may see: a secret, or the password in an address.
fn shown(value: &str, secret: bool) -> String {
    let masked = || if secret { MASKED.to_owned() } else { value.to_owned() };
    let Ok(mut url) = url::Url::parse(value) else { return masked() };
    if secret && !matches!(url.scheme(), "postgres" | "postgresql") {
        return masked();
    }
    if secret {
        // It may hold a password too.
        url.set_query(None);
    }
    if url.password().is_some() && url.set_password(Some(MASKED)).is_err() {
        return masked();
    }
    if secret || url.password().is_some() { url.into() } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> clap::Command {
        CommandLine::command()
    }

    #[test]
    fn every_setting_says_what_it_allows_and_belongs_somewhere() {
        for setting in catalogue::all(&root()) {
            assert!(!setting.allowed.is_empty(), "{}: give it a value_name that catalogue.rs knows", setting.name);
            assert_ne!(setting.group, "Other", "{}: give its Args a next_help_heading", setting.name);
            assert!(setting.meaning.len() > 10, "{}: say what it means", setting.name);
            let default = setting.default.as_deref();
            assert_eq!(default.and_then(|default| setting.refusal(default)), None, "{}", setting.name);
        }
    }

    #[test]
    fn every_secret_can_come_from_a_file() {
        let all = catalogue::all(&root());
        for secret in all.iter().filter(|setting| setting.secret) {
            let file = format!("{}{}", secret.name, catalogue::FILE);
            assert!(all.iter().any(|setting| setting.name == file), "{file}");
        }
    }

    #[test]
    fn the_documentation_is_current() {
        let all = catalogue::all(&root());
        for (file, text, flag) in [
            (include_str!("../../docs/configuration.md"), page::markdown(&all), "--markdown > docs/configuration.md"),
            (include_str!("../../.env.example"), page::env_example(&all), "--env-example > .env.example"),
        ] {
            assert!(file == text, "not current: run `cargo run -- config {flag}`");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert_eq!(shown("abc", true), MASKED);
        assert_eq!(shown("https://a:b@c/", true), MASKED);
        assert_eq!(shown("https://a:b@c/", false), format!("https://a:{MASKED}@c/"));
        assert_eq!(shown("secret:with-a-scheme", true), MASKED);
        let url = shown("postgres://u:p@h/d?password=p&sslkey=k", true);
        assert_eq!(url, format!("postgres://u:{MASKED}@h/d"));
        assert_eq!(shown("postgres://h/d?password=p", true), "postgres://h/d");
        assert_eq!(shown("mqtts://hub:8883", false), "mqtts://hub:8883");
    }
}
