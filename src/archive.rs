//! A backup's file: a tar of a manifest, the database's dump, and, on request, the secrets of the data folder.

use std::{
    fs::File,
    io::{self, Read, Seek as _, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::private_file::Folder;

const MANIFEST: &str = "manifest.json";
const DUMP: &str = "database.dump";
const SECRETS: &str = "secrets/";
/// More than any secret or manifest has.
const SMALL: u64 = 1 << 20;
/// Raised when an older program could not read the file any more.
const FORMAT: u32 = 1;

/// What a backup says of itself; the first thing in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub format: u32,
    /// Of the hub that made it.
    pub hub_version: String,
    /// RFC 3339.
    pub created_at: String,
    /// The migrations that the database had had.
    pub migrations: Vec<i64>,
    /// The major version of the `pg_dump` that wrote the dump.
    pub pg_dump: u32,
    /// SHA-256 of the dump, in hexadecimal digits.
    pub dump_sha256: String,
    /// The names of the secrets in it.
    pub secrets: Vec<String>,
}

impl Manifest {
    #[must_use]
    pub fn new(created_at: String, migrations: Vec<i64>, pg_dump: u32) -> Self {
        let hub_version = env!("CARGO_PKG_VERSION").to_owned();
        let (dump_sha256, secrets) = (String::new(), Vec::new());
        Self { format: FORMAT, hub_version, created_at, migrations, pg_dump, dump_sha256, secrets }
    }
}

/// A secret: the name of its file and what is in it.
pub type Secret = (String, Vec<u8>);

/// Writes a backup that only its owner can read under a name in a folder, whole or not at all.
///
/// # Errors
/// When it cannot be written, or something has the name.
pub fn write(
    folder: &Folder,
    name: &str,
    mut manifest: Manifest,
    mut dump: File,
    secrets: &[Secret],
) -> anyhow::Result<()> {
    dump.rewind()?;
    manifest.dump_sha256 = hash(&mut dump)?;
    manifest.secrets = secrets.iter().map(|(name, _)| name.clone()).collect();
    dump.rewind()?;
    let making = format!("{name}.making");
    let mut write = || {
        let mut archive = tar::Builder::new(folder.create(&making)?);
        append(&mut archive, MANIFEST, serde_json::to_string_pretty(&manifest)?.as_bytes())?;
        for (name, content) in secrets {
            append(&mut archive, &format!("{SECRETS}{name}"), content)?;
        }
        let mut header = header(dump.metadata()?.len());
        archive.append_data(&mut header, DUMP, &mut dump)?;
        archive.into_inner()?.sync_all()?;
        if folder.rename_new(&making, name)? {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already"))
        }
    };
    let written = write();
    if written.is_err() {
        // Nothing half is left; where it cannot be removed, the error says enough.
        let _ = folder.remove(&making);
    }
    written.with_context(|| format!("cannot write {}", folder.path().join(name).display()))
}

/// A file's name with something more at its end.
#[must_use]
pub fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(size);
    header
}

fn append(archive: &mut tar::Builder<File>, name: &str, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(content.len() as u64), name, content)
}

/// What a backup says of itself.
///
/// # Errors
/// When the file is none, or of a version that this program does not know.
pub fn manifest(file: &Path) -> anyhow::Result<Manifest> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let no_backup = || format!("{} is no backup of Portcullis", file.display());
    let mut archive = tar::Archive::new(opened);
    let first = archive.entries()?.next().with_context(no_backup)?.with_context(no_backup)?;
    ensure!(first.path_bytes().as_ref() == MANIFEST.as_bytes(), "{}", no_backup());
    let manifest: Manifest = serde_json::from_slice(&small(first)?).with_context(no_backup)?;
    ensure!(
        manifest.format <= FORMAT,
        "{} was made by Portcullis {}, a newer version: restore it with that one",
        file.display(),
        manifest.hub_version
    );
    Ok(manifest)
}

/// Takes the dump out into an empty file, and gives back the secrets.
///
/// # Errors
/// When something is missing or not as it was written.
pub fn unpack(file: &Path, manifest: &Manifest, dump: &mut File) -> anyhow::Result<Vec<Secret>> {
    let mut archive = tar::Archive::new(File::open(file)?);
    let (mut secrets, mut sum) = (Vec::new(), None);
    for entry in archive.entries()? {
        let mut entry = entry.with_context(|| format!("{} is damaged", file.display()))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name == DUMP {
            // One that is in it twice counts as damaged below: the sum is of both.
            io::copy(&mut entry, dump).with_context(|| format!("{} is damaged", file.display()))?;
            dump.rewind()?;
            sum = Some(hash(dump)?);
        } else if let Some(secret) = name.strip_prefix(SECRETS) {
            // Only names that the manifest has: none leads out of the folder.
            if manifest.secrets.iter().any(|listed| listed == secret) {
                secrets.push((secret.to_owned(), small(entry)?));
            }
        }
    }
    match sum {
        Some(sum) if sum == manifest.dump_sha256 => {}
        _ => bail!("{} is damaged: its database is not as it was written", file.display()),
    }
    ensure!(secrets.len() == manifest.secrets.len(), "{} is damaged: secrets are missing", file.display());
    Ok(secrets)
}

fn small(entry: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    entry.take(SMALL).read_to_end(&mut content)?;
    Ok(content)
}

fn hash(file: &mut File) -> io::Result<String> {
    struct Sum(Sha256);
    impl Write for Sum {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sum = Sum(Sha256::new());
    io::copy(file, &mut sum)?;
    Ok(sum.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn dump(content: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    fn made(place: &Path) -> PathBuf {
        let folder = Folder::open(place).unwrap();
        let manifest = Manifest::new("2026-11-22T20:00:00.000Z".into(), vec![1, 2], 15);
        write(&folder, "backup", manifest, dump("all the rows"), &[("jwt-secret".into(), b"hush".to_vec())]).unwrap();
        place.join("backup")
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = made(folder.path());
        let before = fs::read(&file).unwrap();
        let held = Folder::open(folder.path()).unwrap();
        let manifest = Manifest::new(String::new(), vec![1], 15);
        assert!(write(&held, "backup", manifest, dump("others"), &[]).is_err());
        assert_eq!(fs::read(&file).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half is left");
    }

    #[test]
    fn what_went_in_comes_out_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = made(folder.path());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let manifest = manifest(&file).unwrap();
        assert_eq!((manifest.migrations.as_slice(), manifest.pg_dump), ([1, 2].as_slice(), 15));
        let mut out = dump("");
        let secrets = unpack(&file, &manifest, &mut out).unwrap();
        assert_eq!(secrets, [("jwt-secret".to_owned(), b"hush".to_vec())]);
        out.rewind().unwrap();
        assert_eq!(io::read_to_string(out).unwrap(), "all the rows");
        assert!(!beside(&file, "making").exists());
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = made(folder.path());
        let good = fs::read(&file).unwrap();
        let at = good.windows(8).position(|window| window == b"all the ").unwrap();
        let told = manifest(&file).unwrap();
        let mut changed = good.clone();
        changed[at] = b'A';
        fs::write(&file, &changed).unwrap();
        assert!(unpack(&file, &told, &mut dump("")).is_err());
        fs::write(&file, &good[..at + 4]).unwrap();
        assert!(unpack(&file, &told, &mut dump("")).is_err());
        fs::write(&file, "no tar at all").unwrap();
        assert!(manifest(&file).is_err());
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let newer = Manifest { format: FORMAT + 1, ..Manifest::new(String::new(), Vec::new(), 15) };
        write(&Folder::open(folder.path()).unwrap(), "backup", newer, dump(""), &[]).unwrap();
        assert!(manifest(&folder.path().join("backup")).unwrap_err().to_string().contains("newer"));
    }
}
