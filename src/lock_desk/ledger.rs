//! What the audit keeps outside the database: the chain's key and its newest head, in the hub's folder, for its user
//! only. Who can change the database alone can't make a row that fits, nor hide that the last ones are gone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::{
    auth::chain::{ChainKey, Head},
    private_file,
};

const KEY: &str = "lock-audit-key";
const HEAD: &str = "lock-audit-head";

/// What a person does when one of them cannot be read, as after a power cut.
fn cure(name: &str) -> &'static str {
    match name {
        KEY => {
            "bring it back from a backup that was made with --with-secrets, or remove it and lock-audit-head to begin a new \
             chain, in which every older row will be reported as not written by this hub"
        }
        _ => {
            "bring it back from a copy, or remove it: the hub then goes on from the newest row that is there, and raises an \
             alert, because rows at the end may be missing"
        }
    }
}

/// The two files.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Key and head, for whoever goes on with the chain; made if neither is there. No head beside a key means that
    /// it was taken away, or that the very first start was cut short.
    pub(super) fn open(&self) -> anyhow::Result<(ChainKey, Option<Head>)> {
        let head = self.read::<Head>(HEAD)?;
        match (self.read(KEY)?, head) {
            (Some(key), head) => Ok((key, head)),
            (None, Some(_)) => bail!(
                "{} is gone, {} is there: bring the key back from a backup, or remove the head to begin a new chain, in \
                 which every older row will be reported as not written by this hub",
                self.folder.join(KEY).display(),
                self.folder.join(HEAD).display(),
            ),
            (None, None) => {
                let key = ChainKey::generate();
                self.write(KEY, &key.to_secret_text()).context("the lock audit's key cannot be kept")?;
                self.keep(&Head::default()).context("the lock audit's head cannot be kept")?;
                Ok((key, Some(Head::default())))
            }
        }
    }

    /// Key and head, for whoever only verifies.
    pub(super) fn consult(&self) -> anyhow::Result<(ChainKey, Head)> {
        let missing = |name: &str| format!("{} is missing", self.folder.join(name).display());
        let key = self.read(KEY)?.with_context(|| missing(KEY))?;
        let head = self.read(HEAD)?.with_context(|| missing(HEAD))?;
        Ok((key, head))
    }

    /// Puts the newest head in the place of the one before, in one step.
    pub(super) fn keep(&self, head: &Head) -> io::Result<()> {
        self.write(HEAD, &head.to_string())
    }

    fn read<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        name: &str,
    ) -> anyhow::Result<Option<T>> {
        let path = self.folder.join(name);
        let text = match fs::read(&path) {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        if text.trim().is_empty() {
            bail!("{} is empty: {}", path.display(), cure(name));
        }
        text.trim().parse().map(Some).with_context(|| format!("{} is damaged: {}", path.display(), cure(name)))
    }

    /// The whole text or the one before it, whenever the power fails.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        private_file::replace(&self.folder.join(name), format!("{text}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::auth::chain::Hash;

    #[test]
    fn key_and_head_are_made_once_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::new(folder.path());
        assert!(ledger.consult().is_err());
        let (key, head) = ledger.open().expect("made");
        assert_eq!(head, Some(Head::default()));
        let head = Head { number: 7, hash: Hash([9; 32]) };
        ledger.keep(&head).expect("kept");
        let (again, found) = ledger.open().expect("read");
        assert_eq!((again.to_secret_text(), found), (key.to_secret_text(), Some(head)));
        for name in [KEY, HEAD] {
            let mode = fs::metadata(folder.path().join(name)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_key_that_went_away_is_not_made_anew_in_silence() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::new(folder.path());
        ledger.open().expect("made");
        fs::remove_file(folder.path().join(KEY)).expect("removed");
        assert!(ledger.open().is_err());
        fs::write(folder.path().join(KEY), "short").expect("written");
        assert!(ledger.open().is_err());
    }

    #[test]
    fn a_damaged_file_is_named_with_its_cure() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::new(folder.path());
        ledger.open().expect("made");
        for name in [KEY, HEAD] {
            let path = folder.path().join(name);
            let good = fs::read(&path).expect("read");
            for content in [&b""[..], b" \n", b"\0\0\0", &good[..good.len() / 2], b"\xff\xff"] {
                fs::write(&path, content).expect("written");
                for error in [ledger.open().expect_err("damaged"), ledger.consult().expect_err("damaged")] {
                    let text = format!("{error:#}");
                    assert!(text.contains(&path.display().to_string()) && text.contains("remove it"), "{text}");
                }
            }
            fs::write(&path, good).expect("written");
        }
        ledger.open().expect("whole again");
    }
}
