//! Secrets: given directly, by a file, or generated into the data folder; never in a log.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// The secret of a variable that has a twin with `_FILE` at its end.
///
/// # Errors
/// When both are given, or the file cannot be read or is empty.
pub fn given(name: &str, value: Option<&str>, file: Option<&PathBuf>) -> anyhow::Result<Option<String>> {
    match (value, file) {
        (Some(_), Some(_)) => bail!("{name} and {name}_FILE are both set: keep one"),
        (Some(value), None) => Ok(Some(value.to_owned())),
        (None, Some(file)) => {
            let text = fs::read_to_string(file).with_context(|| format!("{name}_FILE={}", file.display()))?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                bail!("{name}_FILE={} is empty", file.display());
            }
            Ok(Some(text.to_owned()))
        }
        (None, None) => Ok(None),
    }
}

/// The secret that is kept in this file; made by `generate` at the first time, readable by the hub's user only.
///
/// # Errors
/// When the file can be neither read nor made.
pub fn kept(file: &Path, generate: impl FnOnce() -> String) -> anyhow::Result<String> {
    if !file.exists() {
        write(file, &generate())?;
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

/// Writes a secret into a file that only the hub's user can read, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write(file: &Path, secret: &str) -> anyhow::Result<()> {
    let making = file.with_extension("making");
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&making)?;
        writeln!(out, "{secret}")?;
        out.sync_all()?;
        fs::rename(&making, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_kept_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        assert_eq!(kept(&file, || "one".to_owned()).unwrap(), "one");
        assert_eq!(kept(&file, || "two".to_owned()).unwrap(), "one");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(given("X", None, Some(&file)).unwrap().as_deref(), Some("one"));
        assert!(given("X", Some("a"), Some(&file)).is_err());
    }
}
