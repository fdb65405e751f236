//! Where the system keeps PostgreSQL's server programs: Debian puts them outside PATH, a folder for each version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

/// The folder of the newest server that is installed.
///
/// # Errors
/// When there is none.
pub fn find() -> anyhow::Result<PathBuf> {
    by_pg_config().or_else(debian).or_else(on_path).context(
        "no PostgreSQL server is installed: install it (Debian: apt-get install postgresql), or set DATABASE_URL",
    )
}

fn has_server(folder: &Path) -> bool {
    ["postgres", "initdb"].iter().all(|program| folder.join(program).is_file())
}

fn by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    has_server(&folder).then_some(folder)
}

fn debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .filter_map(|version| Some((number(&version.path())?, version.path().join("bin"))))
        .filter(|(_, folder)| has_server(folder))
        .max_by_key(|(number, _)| *number)
        .map(|(_, folder)| folder)
}

fn on_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| has_server(folder))
}
