//! Secrets: given directly, by a file, or generated into the data folder; never in a log.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::private_file;

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

/// The secret that is kept in this file; made by `generate` at the first time, readable by the hub's user only. `cure`
/// says what a person does when the file is damaged, as one from before a power cut may be.
///
/// # Errors
/// When the file can be neither read nor made, or has no secret in it.
pub fn kept(file: &Path, cure: &str, generate: impl FnOnce() -> String) -> anyhow::Result<String> {
    if !file.exists() {
        let made = private_file::make(file, line(&generate()).as_bytes());
        made.with_context(|| format!("cannot write {}", file.display()))?;
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {} ({cure})", file.display()))?;
    let secret = text.trim();
    if secret.is_empty() {
        bail!("{} is empty: {cure}", file.display());
    }
    if secret.contains(char::is_control) {
        bail!("{} is damaged: {cure}", file.display());
    }
    Ok(secret.to_owned())
}

/// Writes a secret into a file that only the hub's user can read, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write(file: &Path, secret: &str) -> anyhow::Result<()> {
    private_file::replace(file, line(secret).as_bytes()).with_context(|| format!("cannot write {}", file.display()))
}

fn line(secret: &str) -> String {
    format!("{secret}\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_kept_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        assert_eq!(kept(&file, "", || "one".to_owned()).unwrap(), "one");
        assert_eq!(kept(&file, "", || "two".to_owned()).unwrap(), "one");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(given("X", None, Some(&file)).unwrap().as_deref(), Some("one"));
        assert!(given("X", Some("a"), Some(&file)).is_err());
    }

    #[test]
    fn a_damaged_file_is_named_with_its_cure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        for content in [&b""[..], b"\n", b" \t\r\n", b"\0\0\0\0", b"abc\0\0", b"\xff\xfe"] {
            fs::write(&file, content).unwrap();
            let error = format!("{:#}", kept(&file, "do this", || "new".to_owned()).unwrap_err());
            assert!(error.contains(&file.display().to_string()) && error.contains("do this"), "{error}");
            assert_eq!(fs::read(&file).unwrap(), content, "nothing is lost by looking");
        }
    }
}
