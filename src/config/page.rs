//! What is written about the settings: docs/configuration.md and .env.example, both made from the catalogue.

use std::fmt::Write as _;

use super::{
    catalogue::{FILE, Setting},
    rules::{COMMANDS, RULES},
};

const BROKER: &str = include_str!("../../broker.toml");
/// The longest line of .env.example.
const WIDTH: usize = 118;

const BEGINNING: &str = "\
# Configuration

<!-- Made by `portcullis config --markdown` from src/config.rs and broker.toml; a test compares. -->

Every setting is a variable, and a flag of the same name: `MQTT_PORT=1884`, or `--mqtt-port 1884` after the command. A flag
comes before the environment, the environment before `.env` in the working folder, and that before the default. A variable
that is set to nothing counts as not set; in the environment it also hides the one of `.env`.

**`.env`** is read as systemd reads an `EnvironmentFile=`: a line is `NAME=value`, a comment begins with `#` or `;` and has a line of its
own, and a value is the text as it stands: nothing in it is replaced, `$` is a `$`. In 'single quotes' everything stays as it is, over
several lines too; in \"double quotes\" a backslash before `\"`, `$`, `` ` `` and a backslash goes. The last line of a name counts. Refused, with
the line and never with the value, is what systemd would take and change in silence, or what people mean otherwise: a comment behind a value, a
backslash without quotes, something behind a closing quote, quotes without an end, `export`, a byte order mark.

`portcullis config` shows what is in effect and who chose it, with secrets masked, and tells all that is wrong;
`portcullis config lock-agent` does so for a lock worker, and flags can follow: `portcullis config serve --port 4000`.
`--json` is for programs. The exit code is 2 when something is wrong.

`serve` and `lock-agent` start only when nothing is wrong, and else tell everything at once, with exit code 2:

- a value that its setting does not allow;
- a variable in `.env` that no setting has. Those of other programs may be there: `PG…`, `POSTGRES_…`, `COMPOSE_…`,
  `DOCKER_…`, `SSL_CERT_…`, `LC_…`, `LANG`, `TZ`, `PATH`, `HOME`, `TMPDIR`, `RUST_BACKTRACE`, `RUST_LIB_BACKTRACE`;
- a variable of the environment whose name is like a setting's: it begins with `GPIO_`, `LOCK_`, `MQTT_TLS_` or `JWT_`, is
  a setting's after `PORTCULLIS_`, is a longer setting's with `_FILE`, or differs from one of at least 8 letters in one
  letter (two, from 11 letters on). Others are none of the hub's business;
- a secret's file that cannot be read or is empty, a certificate or key that cannot be used;
- an unknown key or a wrong value in broker.toml;
- a contradiction, below.

**Secrets** are marked so. Each can come from a file instead, which keeps it out of the environment: the variable with
`_FILE` at its end names it. No log, error or `portcullis config` shows one.
";

/// docs/configuration.md.
#[must_use]
pub fn markdown(settings: &[Setting]) -> String {
    let mut page = BEGINNING.to_owned();
    let mut group = "";
    for setting in documented(settings) {
        if setting.group != group {
            group = &setting.group;
            let _ = write!(page, "\n## {group}\n\n| variable | default | allowed | | for |\n|---|---|---|---|---|\n");
        }
        let default = setting.default.as_deref().map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
        let secret = if setting.secret {
            format!(" **Secret**; `{}{FILE}` names a file with it.", setting.name)
        } else {
            String::new()
        };
        let Setting { name, allowed, .. } = setting;
        let meaning = setting.meaning.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(page, "| `{name}` | {default} | {allowed} | {meaning}{secret} | {} |", whom(setting));
    }
    page.push_str("\n## What contradicts itself\n\n");
    for rule in RULES {
        let _ = writeln!(page, "- {}", rule.says);
    }
    page.push_str(
        "\n## broker.toml\n\n\
         Limits of the MQTT front, and rights on topics of your own, in the file that `BROKER_CONFIG` names. Without the \
         file, or a key,\nthe default counts. [mqtt.md](mqtt.md) says what happens at each limit and how rights are judged.\n\n\
         | key | default | |\n|---|---|---|\n",
    );
    for (key, default, meaning) in broker_keys(BROKER) {
        let _ = writeln!(page, "| `{key}` | `{default}` | {meaning} |");
    }
    page.push_str(
        "| `[[rights]]` | none | Rights on your own topics: `who`, `action`, `filter`, `allow`; the first entry that fits \
         decides. |\n",
    );
    page
}

/// .env.example.
#[must_use]
pub fn env_example(settings: &[Setting]) -> String {
    let mut page = String::from(
        "# Every setting with its default, made by `portcullis config --env-example`. Copy this file to .env in the folder\n\
         # where the hub starts and uncomment what you change; docs/configuration.md says more.\n\
         # A secret can also come from a file, which the variable with _FILE at its end names.\n",
    );
    let mut group = "";
    for setting in documented(settings) {
        if setting.group != group {
            group = &setting.group;
            let _ = write!(page, "\n# == {group} ==\n");
        }
        let also = if setting.secret { format!(" Or {}{FILE}=FILE.", setting.name) } else { String::new() };
        let allowed = if setting.allowed.is_empty() { String::new() } else { format!(" ({})", setting.allowed) };
        for line in wrapped(&format!("{}{allowed}{also}", setting.meaning)) {
            let _ = writeln!(page, "# {line}");
        }
        let _ = writeln!(page, "# {}={}", setting.name, setting.default.as_deref().unwrap_or_default());
    }
    page
}

/// The file of a secret stands with the secret.
fn documented(settings: &[Setting]) -> impl Iterator<Item = &Setting> {
    let is_file = |setting: &Setting| {
        let of = setting.name.strip_suffix(FILE);
        of.is_some_and(|name| settings.iter().any(|other| other.secret && other.name == name))
    };
    settings.iter().filter(move |setting| !is_file(setting))
}

fn whom(setting: &Setting) -> String {
    let runs = setting.commands.iter().filter(|name| COMMANDS.contains(&name.as_str())).count();
    match setting.commands.len() {
        0 => "all".to_owned(),
        // A table cell with every command's name helps nobody.
        all if all > 3 && runs > 0 => "serve, and all that work on its data".to_owned(),
        _ => setting.commands.join(", "),
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.len() + word.len() < WIDTH - 2);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The keys of broker.toml with their defaults, and the comment above each.
fn broker_keys(text: &str) -> Vec<(String, String, String)> {
    let (mut keys, mut comment, mut table) = (Vec::new(), String::new(), String::new());
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("# ") {
            comment.push_str(if comment.is_empty() { "" } else { " " });
            comment.push_str(words);
        } else if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']').to_owned() + ".";
            comment.clear();
        } else if let Some((key, value)) = line.split_once(" = ") {
            keys.push((format!("{table}{key}"), value.to_owned(), std::mem::take(&mut comment)));
        } else {
            comment.clear();
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words() {
        let text = "word ".repeat(60);
        let lines = wrapped(&text);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= WIDTH - 2));
        assert_eq!(lines.join(" "), text.trim_end());
    }

    #[test]
    fn every_key_of_the_broker_has_its_comment() {
        let keys = broker_keys(BROKER);
        assert!(keys.iter().any(|(key, default, _)| key == "limits.connections" && default == "10000"));
        for (key, _, meaning) in &keys {
            assert!(!meaning.is_empty(), "{key} has no comment of its own in broker.toml");
        }
    }
}
