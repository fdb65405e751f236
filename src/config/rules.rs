//! Settings that contradict each other, or would have no effect where somebody counts on one.

use super::{Fault, catalogue::FILE, effective::Effective};

/// The commands that run for years: they also refuse variables that look like settings and are none.
pub const COMMANDS: &[&str] = &["serve", "lock-agent"];

/// What must hold.
#[derive(Debug)]
pub struct Rule {
    /// The commands that it is for.
    pub commands: &'static [&'static str],
    /// In words, for the documentation.
    pub says: &'static str,
    check: fn(&Effective) -> Vec<Fault>,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule { commands: &[], says: "A secret is given either by its variable or by the one with `_FILE`.", check: twice },
    Rule {
        commands: &["serve"],
        says: "`MQTT_TLS_PORT`, `MQTT_TLS_CERT` and `MQTT_TLS_KEY` go together; `MQTT_TLS_HOST` and `MQTT_TLS_CLIENT_CA` need \
               them.",
        check: tls,
    },
    Rule {
        commands: &["serve"],
        says: "`PORT`, `MQTT_PORT` and `MQTT_TLS_PORT` on one address are different ports, unless 0 (the system chooses).",
        check: ports,
    },
    Rule { commands: COMMANDS, says: "`LOCK_OPEN_SECONDS` is at most `LOCK_MAX_OPEN_SECONDS`.", check: open_seconds },
    Rule {
        commands: COMMANDS,
        says: "`GPIO_SIMULATED=true` leaves `GPIO_CHIP`, `GPIO_ACTIVE_LOW` and `GPIO_CONTACT_PIN` without effect.",
        check: simulated,
    },
    Rule { commands: COMMANDS, says: "`GPIO_RELAY_PIN` and `GPIO_CONTACT_PIN` are different lines.", check: lines },
    Rule {
        commands: &["serve"],
        says: "With `LOCK_AGENT=remote` the settings of the relay and of its times are the lock worker's: `GPIO_SIMULATED`, \
               `GPIO_CHIP`, `GPIO_ACTIVE_LOW`, `GPIO_CONTACT_PIN`, `LOCK_FAIL_MODE`, `LOCK_OPEN_SECONDS` and \
               `LOCK_MAX_OPEN_SECONDS` are set there.",
        check: remote,
    },
    Rule {
        commands: &["serve"],
        says: "With `LOCK_AGENT=embedded` the hub connects to nobody: `MQTT_URL`, `MQTT_USERNAME`, `MQTT_PASSWORD`, \
               `MQTT_CA` and `PLAIN_LOCK` are for `portcullis lock-agent`.",
        check: embedded,
    },
    Rule {
        commands: &["lock-agent"],
        says: "`portcullis lock-agent` needs `MQTT_USERNAME`, and `MQTT_PASSWORD` or `MQTT_PASSWORD_FILE`.",
        check: credentials,
    },
    Rule { commands: &["lock-agent"], says: "`MQTT_CA` needs an `MQTT_URL` with TLS, `mqtts://`.", check: authority },
];

/// Every rule that does not hold.
#[must_use]
pub fn broken(settings: &Effective) -> Vec<Fault> {
    let concerned = RULES.iter().filter(|rule| rule.commands.is_empty() || rule.commands.contains(&settings.command()));
    concerned.flat_map(|rule| (rule.check)(settings)).collect()
}

fn number(settings: &Effective, name: &str) -> Option<u64> {
    settings.get(name)?.parse().ok()
}

fn twice(settings: &Effective) -> Vec<Fault> {
    let secrets = settings.settings.iter().filter(|(setting, _)| setting.secret).map(|(setting, _)| &setting.name);
    secrets
        .filter(|name| settings.is_chosen(name) && settings.is_chosen(&format!("{name}{FILE}")))
        .map(|name| Fault::new(name, format!("{name}{FILE} is set too; keep one")))
        .collect()
}

fn tls(settings: &Effective) -> Vec<Fault> {
    const ALL: [&str; 3] = ["MQTT_TLS_PORT", "MQTT_TLS_CERT", "MQTT_TLS_KEY"];
    let chosen = |name: &&&str| settings.is_chosen(name);
    let Some(first) = ALL.iter().chain(&["MQTT_TLS_HOST", "MQTT_TLS_CLIENT_CA"]).find(chosen) else {
        return Vec::new();
    };
    let missing = ALL.iter().filter(|name| !chosen(name));
    missing.map(|name| Fault::new(name, format!("is needed, because {first} is set"))).collect()
}

fn ports(settings: &Effective) -> Vec<Fault> {
    let http = settings.get("HOST");
    let mqtt = settings.get("MQTT_HOST").or(http);
    let tls = settings.get("MQTT_TLS_HOST").or(mqtt);
    let listeners = [("MQTT_TLS_PORT", tls), ("MQTT_PORT", mqtt), ("PORT", http)];
    let pairs = listeners
        .iter()
        .enumerate()
        .flat_map(|(place, one)| listeners[place + 1..].iter().map(move |other| (one, other)));
    pairs
        .filter_map(|((one, host), (other, other_host))| {
            let port = number(settings, one).filter(|port| *port != 0)?;
            let is_same = host == other_host && number(settings, other) == Some(port);
            is_same.then(|| Fault::new(one, format!("is {port} as {other} is; choose another")))
        })
        .collect()
}

fn open_seconds(settings: &Effective) -> Vec<Fault> {
    let (open, max) = (number(settings, "LOCK_OPEN_SECONDS"), number(settings, "LOCK_MAX_OPEN_SECONDS"));
    match open.zip(max) {
        Some((open, max)) if open > max => {
            let text = format!("is {open}, more than LOCK_MAX_OPEN_SECONDS, which is {max}");
            vec![Fault::new("LOCK_OPEN_SECONDS", text)]
        }
        _ => Vec::new(),
    }
}

fn without_effect(settings: &Effective, names: &[&str], why: &str) -> Vec<Fault> {
    names.iter().filter(|name| settings.is_chosen(name)).map(|name| Fault::new(name, why)).collect()
}

fn simulated(settings: &Effective) -> Vec<Fault> {
    if settings.get("GPIO_SIMULATED") != Some("true") {
        return Vec::new();
    }
    let names = ["GPIO_CHIP", "GPIO_ACTIVE_LOW", "GPIO_CONTACT_PIN"];
    without_effect(settings, &names, "has no effect while GPIO_SIMULATED=true; leave one of the two out")
}

fn lines(settings: &Effective) -> Vec<Fault> {
    match number(settings, "GPIO_CONTACT_PIN") {
        Some(pin) if number(settings, "GPIO_RELAY_PIN") == Some(pin) => {
            vec![Fault::new(
                "GPIO_CONTACT_PIN",
                format!("is {pin} as GPIO_RELAY_PIN is; the contact has a line of its own"),
            )]
        }
        _ => Vec::new(),
    }
}

fn remote(settings: &Effective) -> Vec<Fault> {
    if settings.get("LOCK_AGENT") != Some("remote") {
        return Vec::new();
    }
    let names = [
        "GPIO_SIMULATED",
        "GPIO_CHIP",
        "GPIO_ACTIVE_LOW",
        "GPIO_CONTACT_PIN",
        "LOCK_FAIL_MODE",
        "LOCK_OPEN_SECONDS",
        "LOCK_MAX_OPEN_SECONDS",
    ];
    without_effect(settings, &names, "has no effect here while LOCK_AGENT=remote; set it where the lock agent runs")
}

fn embedded(settings: &Effective) -> Vec<Fault> {
    if settings.get("LOCK_AGENT") == Some("remote") {
        return Vec::new();
    }
    ["MQTT_URL", "MQTT_USERNAME", "MQTT_PASSWORD", "MQTT_PASSWORD_FILE", "MQTT_CA", "PLAIN_LOCK"]
        .iter()
        .filter_map(|name| {
            let origin = settings.elsewhere.get(*name)?;
            let why = "is for `portcullis lock-agent`; the hub drives the lock itself while LOCK_AGENT=embedded";
            Some(Fault::new(name, format!("({origin}) {why}")))
        })
        .collect()
}

fn credentials(settings: &Effective) -> Vec<Fault> {
    let mut faults = Vec::new();
    if settings.get("MQTT_USERNAME").is_none() {
        faults.push(Fault::new("MQTT_USERNAME", "is needed: the name of a device of role lock-agent"));
    }
    if settings.get("MQTT_PASSWORD").or(settings.get("MQTT_PASSWORD_FILE")).is_none() {
        faults.push(Fault::new("MQTT_PASSWORD", "is needed, or MQTT_PASSWORD_FILE: the device's secret"));
    }
    faults
}

fn authority(settings: &Effective) -> Vec<Fault> {
    let plain = settings.get("MQTT_URL").is_some_and(|url| url.starts_with("mqtt://"));
    let why = "has no effect on an MQTT_URL without TLS; mqtts:// is wanted";
    if plain { without_effect(settings, &["MQTT_CA"], why) } else { Vec::new() }
}
