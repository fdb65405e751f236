//! Where the system keeps PostgreSQL's programs: Debian puts them outside PATH, a folder for each version.

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

/// The folders that have all of these programs, wherever PostgreSQL's may be.
pub fn with(programs: &[&str]) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        pg_config().into_iter().chain(versions().map(|(_, folder)| folder)).chain(std::env::split_paths(&path));
    folders.filter(|folder| programs.iter().all(|program| folder.join(program).is_file())).collect()
}

fn has_server(folder: &Path) -> bool {
    ["postgres", "initdb"].iter().all(|program| folder.join(program).is_file())
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// Debian's folders, each with its version.
fn versions() -> impl Iterator<Item = (u32, PathBuf)> {
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    entries.filter_map(move |version| Some((number(&version.path())?, version.path().join("bin"))))
}

fn by_pg_config() -> Option<PathBuf> {
    pg_config().filter(|folder| has_server(folder))
}

fn debian() -> Option<PathBuf> {
    versions().filter(|(_, folder)| has_server(folder)).max_by_key(|(number, _)| *number).map(|(_, folder)| folder)
}

fn on_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| has_server(folder))
}
