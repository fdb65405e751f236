//! The dependency rule: a module uses only modules of a lower rank, never its own.

use std::{
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
