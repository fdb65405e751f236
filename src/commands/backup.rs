//! `portcullis backup FILE`: the whole database, and on request the secrets, in one file.
#![expect(clippy::doc_markdown, reason = "the docs of the arguments are the help texts of the command line")]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use chrono::Utc;
use clap::Args;

use super::data::Data;
use crate::{
    archive::{self, Manifest, Secret},
    config::DataOptions,
    private_file,
    store::dump::{self, Tools},
    wire::time,
};

/// What of the data folder goes along with `--with-secrets`. The head of the lock's audit comes before the database's
/// rows: those that are written in between follow it, and verify.
const SECRETS: [&str; 4] = ["lock-audit-head", "lock-audit-key", "jwt-secret", "admin-password"];

/// A backup.
#[derive(Debug, Args)]
pub struct BackupCommand {
    #[command(flatten)]
    data: DataOptions,
    /// Put the secrets of DATA_DIR in as well: the lock audit's key and newest row, and the key of tokens. Without them a
    /// restored audit cannot be verified.
    #[arg(long)]
    with_secrets: bool,
    /// Where to write it; only its owner can read it. There must be no such file yet.
    file: PathBuf,
}

/// Makes a backup; the hub may run meanwhile.
///
/// # Errors
/// When there is no database to be had, or the file cannot be written.
pub async fn run(command: BackupCommand) -> anyhow::Result<()> {
    let file = &command.file;
    ensure!(!file.exists(), "{} is there already: give another name", file.display());
    let data = Data::look(&command.data).await?;
    let made = make(&data, file, command.with_secrets).await;
    data.close().await?;
    let manifest = made?;
    let secrets = if manifest.secrets.is_empty() {
        "without secrets: keep DATA_DIR's lock-audit-key and lock-audit-head as well, or the lock's audit cannot be \
         verified after a restore"
    } else {
        "with secrets: whoever has the file can sign in as anybody"
    };
    let size = file.metadata()?.len();
    println!("{}: {size} bytes, {secrets}.", file.display());
    Ok(())
}

async fn make(data: &Data, file: &Path, with_secrets: bool) -> anyhow::Result<Manifest> {
    let migrations = dump::applied(&data.database).await?;
    ensure!(!migrations.is_empty(), "the database has no hub's data in it");
    let secrets = if with_secrets { secrets(&data.folder)? } else { Vec::new() };
    let tools = Tools::find(dump::server(&data.database).await?).await?;
    let manifest = Manifest::new(time::text(Utc::now()), migrations, tools.major);
    // The folder is held, so that all is done in the one that was named, whatever somebody puts in its place.
    let (folder, name) = private_file::split(file).with_context(|| format!("cannot write {}", file.display()))?;
    let dumped = format!("{name}.dump");
    let dump = folder.create(&dumped).with_context(|| format!("cannot write {}", file.display()))?;
    // Its name is not needed, and nothing is left of it however this ends.
    folder.remove(&dumped)?;
    tools.dump(&data.address, dump.try_clone()?).await?;
    archive::write(&folder, &name, manifest, dump, &secrets)?;
    archive::manifest(file)
}

fn secrets(folder: &Path) -> anyhow::Result<Vec<Secret>> {
    let mut found = Vec::new();
    for name in SECRETS {
        match fs::read(folder.join(name)) {
            Ok(content) => found.push((name.to_owned(), content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {name} in {}", folder.display())),
        }
    }
    ensure!(!found.is_empty(), "{} has no secrets; leave --with-secrets out", folder.display());
    Ok(found)
}
