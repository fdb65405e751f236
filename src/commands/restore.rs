//! `portcullis restore FILE`: what a backup has, into an empty database, or in the place of what is there.
#![expect(clippy::doc_markdown, reason = "the docs of the arguments are the help texts of the command line")]

use std::{
    fs,
    io::Seek as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::data::Data;
use crate::{
    archive::{self, Manifest, Secret, beside},
    config::{DataOptions, secrets},
    private_file::Folder,
    store::{
        self,
        claim::{Claim, Claimant},
        dump::{self, Tools},
    },
};

/// The file that says which key the lock's audit has.
const AUDIT_KEY: &str = "lock-audit-key";
const UNPACKED: &str = "restore.dump";

/// A restore.
#[derive(Debug, Args)]
pub struct RestoreCommand {
    #[command(flatten)]
    data: DataOptions,
    /// Remove what the database holds, and put the backup's secrets in the place of those in DATA_DIR; the old ones stay
    /// beside them, with .replaced at their end.
    #[arg(long)]
    replace: bool,
    /// The backup.
    file: PathBuf,
}

/// Restores a backup, all of it or nothing; no hub may run on the database.
///
/// # Errors
/// When the backup is of a newer schema, something is there already, a hub runs, or the backup is damaged.
pub async fn run(command: RestoreCommand) -> anyhow::Result<()> {
    let manifest = archive::manifest(&command.file)?;
    if let Some(newer) = manifest.migrations.iter().find(|version| !store::knows(**version)) {
        bail!(
            "{} was made by Portcullis {}, whose schema is newer ({newer}): restore it with that version",
            command.file.display(),
            manifest.hub_version
        );
    }
    let data = Data::own_as_it_is(&command.data).await?;
    let done = restore(&data, &command, &manifest).await;
    let folder = data.folder.clone();
    data.close().await?;
    done?;
    println!("Restored what Portcullis {} stored until {}.", manifest.hub_version, manifest.created_at);
    println!("Everybody signs in again. What was changed since is as it was: accounts, devices and their secrets too.");
    println!("{}", about_the_audit(&manifest, &folder));
    Ok(())
}

async fn restore(data: &Data, command: &RestoreCommand, manifest: &Manifest) -> anyhow::Result<()> {
    let database = &data.database;
    // Held until the end: no hub begins meanwhile.
    let _claim = Claim::take(database, &Claimant::default()).await?;
    if !command.replace {
        let empty = dump::is_empty(database).await?;
        ensure!(empty, "the database is not empty: give another one, or --replace to remove what it holds");
    }
    let tools = Tools::find(dump::server(database).await?.max(manifest.pg_dump)).await?;
    // In the hub's own folder, which has room for a database; and without a name, so that nothing of it is left.
    let held = Folder::open(&data.folder)?;
    let mut dump = held.create(UNPACKED).context("cannot write in DATA_DIR")?;
    held.remove(UNPACKED)?;
    let secrets = archive::unpack(&command.file, manifest, &mut dump)?;
    check(&data.folder, &secrets, command.replace)?;
    dump.rewind()?;
    tools.restore(&data.address, dump, command.replace).await?;
    store::migrate(database).await.context("cannot bring the restored schema up to date")?;
    put(&data.folder, &secrets)
}

/// Nobody's keys are lost by mistake.
fn check(folder: &Path, secrets: &[Secret], replace: bool) -> anyhow::Result<()> {
    let in_the_way = secrets.iter().find(|(name, content)| {
        let there = folder.join(name);
        there.exists() && fs::read(there).ok().as_ref() != Some(content)
    });
    match in_the_way {
        Some((name, _)) if !replace => {
            bail!("{} is there already and differs: give another DATA_DIR, or --replace", folder.join(name).display())
        }
        _ => Ok(()),
    }
}

fn put(folder: &Path, secrets: &[Secret]) -> anyhow::Result<()> {
    for (name, content) in secrets {
        let file = folder.join(name);
        if fs::read(&file).ok().as_ref() == Some(content) {
            continue;
        }
        if file.exists() {
            fs::rename(&file, beside(&file, "replaced"))?;
        }
        let text = std::str::from_utf8(content).with_context(|| format!("{name} is no text"))?;
        secrets::write(&file, text.trim_end())?;
    }
    Ok(())
}

fn about_the_audit(manifest: &Manifest, folder: &Path) -> &'static str {
    if manifest.secrets.iter().any(|name| name == AUDIT_KEY) {
        "The lock's audit came with its key: `portcullis lock audit verify` says whether it is intact."
    } else if folder.join(AUDIT_KEY).exists() {
        "The lock's audit is verified with the key in DATA_DIR. Rows since the backup are gone, and `portcullis lock audit \
         verify` reports them as cut off."
    } else {
        "The backup has no secrets, so the lock's audit cannot be verified: the hub begins with a new key, raises an alert, \
         and `portcullis lock audit verify` reports every restored row as not written by this hub. To avoid it, put \
         lock-audit-key and lock-audit-head of the old DATA_DIR into this one before the hub starts."
    }
}
