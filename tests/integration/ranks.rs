//! The dependency rule: a module uses only modules of a lower rank, never its own; and in a module of many rooms, each
//! room uses only rooms of a lower rank.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const RANKS: &[&[&str]] = &[
    &["domain", "private_file", "said"],
    &["archive", "auth", "config", "events", "lifecycle", "telemetry", "wire"],
    &["gpio", "mqtt", "store"],
    &[
        "camera_watch",
        "clock_watch",
        "database_opener",
        "health",
        "identities",
        "lock_agent",
        "lock_desk",
        "publisher",
        "recorder",
        "retention",
    ],
    &["bench", "bridge", "changes", "readiness"],
    &["commands"],
];

/// How many rooms (files, each with the folder of its name) a module may have before their order stands in [`ROOMS`].
const MANY: usize = 12;

/// The rooms of each module that has many, lowest rank first. A room that is not named here is at the bottom: it uses
/// none of its neighbours.
const ROOMS: &[(&str, &[&[&str]])] = &[
    (
        "mqtt",
        &[
            &["link", "log_throttle", "metrics", "settings", "tls"],
            &["client", "codec", "pools"],
            &["router"],
            &["session"],
            &["publish", "subscribe"],
            &["connection"],
            &["front"],
        ],
    ),
    ("domain", &[&[], &["bolt", "device", "event", "occupancy", "places", "topic"], &["detection"]]),
    ("store", &[&[], &["dump", "events", "recording"], &["baseline"]]),
    (
        "bridge",
        &[
            &[],
            &["content_encoding", "line"],
            &["bodies", "input", "who"],
            &["cameras", "health", "hosts", "lock_operator", "log_level", "server", "users"],
            &["accounts", "dashboard", "devices", "events", "lock", "metrics", "realtime"],
            &["middleware", "mqtt_socket"],
        ],
    ),
    (
        "commands",
        &[
            &[],
            &["backup", "clock", "config", "device", "lock", "migrate", "restore", "retention", "serve", "user"],
            &["lock_agent"],
        ],
    ),
];

/// Which crates may appear in which module only.
const HOMES: &[(&str, &[&str])] = &[
    ("axum", &["bridge"]),
    ("socketioxide", &["bridge"]),
    ("sqlx", &["store"]),
    ("rumqttd", &["mqtt"]),
    ("rumqttc", &["mqtt"]),
    ("gpio_cdev", &["gpio"]),
    ("prometheus_client", &["telemetry"]),
];

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|modules| modules.contains(&module))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top modules that `source` names as `crate::module` or in `crate::{a, b}`.
fn uses(source: &str) -> Vec<&str> {
    source
        .split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            None => vec![name(rest)],
            Some(list) => top_level_names(list),
        })
        .collect()
}

fn name(text: &str) -> &str {
    &text[..text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len())]
}

/// The names at the outermost level of a `use` list, up to its closing brace.
fn top_level_names(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (index, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(list[start..index].trim()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(list[start..index].trim()));
                start = index + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The paths that begin in `text`: one, or those of a `use` list. Answers what follows them.
fn tree<'a>(text: &'a str, before: &[&'a str], found: &mut Vec<Vec<&'a str>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        loop {
            list = list.trim_start();
            if let Some(rest) = list.strip_prefix('}') {
                return rest;
            }
            let rest = tree(list, before, found);
            let at = rest.find([',', '}']).unwrap_or(rest.len());
            list = rest[at..].strip_prefix(',').unwrap_or(&rest[at..]);
            if list.is_empty() {
                return list;
            }
        }
    }
    let own = name(text);
    let rest = &text[own.len()..];
    let path = [before, if own.is_empty() { &[] } else { std::slice::from_ref(&own) }].concat();
    match rest.strip_prefix("::") {
        Some(rest) if !own.is_empty() => tree(rest, &path, found),
        _ => {
            found.push(path);
            rest
        }
    }
}

/// What a file of module `own` names of this crate outside its tests and comments, as modules and items from the root.
fn named(own: &[String], source: &str) -> Vec<Vec<String>> {
    let source = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let is_inside =
                code[..at].ends_with(|letter: char| letter.is_alphanumeric() || matches!(letter, '_' | ':'));
            if !is_inside {
                tree(&code[at..], &[], &mut found);
            }
        }
    }
    found.into_iter().map(|path| from_root(own, &path)).collect()
}

fn from_root(own: &[String], path: &[&str]) -> Vec<String> {
    let ups = path.iter().take_while(|segment| **segment == "super").count();
    let base = match path.first() {
        Some(&"crate") => &[],
        Some(&"super") => &own[..own.len().saturating_sub(ups)],
        _ => own,
    };
    let rest = &path[ups.max(1).min(path.len())..];
    base.iter().cloned().chain(rest.iter().map(|segment| (*segment).to_owned())).collect()
}

/// Each file outside tests, by its module.
fn modules() -> Vec<(Vec<String>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let with_module = files.into_iter().map(|file| {
        let relative = file.strip_prefix(&root).expect("below src").with_extension("");
        let module: Vec<String> = relative.iter().map(|part| part.to_str().expect("a name").to_owned()).collect();
        (module, fs::read_to_string(&file).expect("a source"))
    });
    with_module.filter(|(module, _)| !module.iter().any(|part| part == "tests")).collect()
}

#[test]
fn a_room_uses_only_rooms_of_a_lower_rank() {
    let modules = modules();
    let rooms_of = |top: &str| -> BTreeSet<&str> {
        let below = modules.iter().filter(|(module, _)| module.len() > 1 && module[0] == top);
        below.map(|(module, _)| module[1].as_str()).collect()
    };
    let mut faults = Vec::new();
    for top in RANKS.iter().copied().flatten() {
        let (rooms, table) = (rooms_of(top), ROOMS.iter().find(|(module, _)| module == top));
        let Some((_, ranks)) = table else {
            if rooms.len() > MANY {
                faults.push(format!("{top}: has {} rooms, whose order must stand in ROOMS", rooms.len()));
            }
            continue;
        };
        let gone = ranks.iter().copied().flatten().filter(|room| !rooms.contains(**room));
        faults.extend(gone.map(|room| format!("{top}: ROOMS names {room}, which is not there")));
        let rank = |room: &str| ranks.iter().position(|rooms| rooms.contains(&room)).unwrap_or(0);
        for (module, source) in modules.iter().filter(|(module, _)| module.len() > 1 && module[0] == *top) {
            for path in named(module, source) {
                let (Some(first), Some(used)) = (path.first(), path.get(1)) else { continue };
                let is_neighbour = first == top && *used != module[1] && rooms.contains(used.as_str());
                if is_neighbour && rank(used) >= rank(&module[1]) {
                    faults.push(format!("{}: uses {top}::{used}, of no lower rank in ROOMS", module.join("/")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn paths_are_found_from_wherever_they_are_named() {
    let own: Vec<String> = ["mqtt", "session", "queue"].map(str::to_owned).to_vec();
    let found = |source: &str| -> Vec<String> {
        let mut paths: Vec<String> = named(&own, source).into_iter().map(|path| path.join("/")).collect();
        paths.sort();
        paths
    };
    assert_eq!(
        found("use super::{Session, registry::{self, Key as K}};"),
        ["mqtt/session/Session", "mqtt/session/registry/Key", "mqtt/session/registry/self"]
    );
    assert_eq!(
        found("use crate::{\n    auth,\n    mqtt::{link::*, router::Dead},\n};"),
        ["auth", "mqtt/link", "mqtt/router/Dead"]
    );
    assert_eq!(
        found("fn a(b: super::super::front::Front, c: crate::mqtt::link::QoS) {}"),
        ["mqtt/front/Front", "mqtt/link/QoS"]
    );
    assert_eq!(
        found("/// [`super::front`]\nself::inner::go();\n#[cfg(test)]\nmod tests { use crate::bridge; }"),
        ["mqtt/session/queue/inner/go"]
    );
}

#[test]
fn a_module_uses_only_lower_ranks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut faults = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).expect("below src").to_owned();
        let module = relative.iter().next().and_then(|first| first.to_str()).expect("a name").trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(own) = rank(module) else {
            faults.push(format!("{}: module {module} has no rank", relative.display()));
            continue;
        };
        let source = fs::read_to_string(&file).expect("a source");
        for used in uses(&source) {
            if used != module && rank(used).is_none_or(|theirs| theirs >= own) {
                faults.push(format!("{}: uses crate::{used}", relative.display()));
            }
        }
        for (package, homes) in HOMES {
            if !homes.contains(&module) && source.contains(&format!("{package}::")) {
                faults.push(format!("{}: names {package}, whose home is {homes:?}", relative.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_are_found_in_every_form_of_use() {
    assert_eq!(uses("use crate::domain::camera;"), ["domain"]);
    assert_eq!(uses("use crate::{auth::{self, x}, wire};"), ["auth", "wire"]);
    assert_eq!(uses("crate::store::migrate(x)"), ["store"]);
}
