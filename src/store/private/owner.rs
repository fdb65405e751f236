//! The user that runs the private PostgreSQL: the hub's own, or, when the hub is root's, the user postgres.

use std::{fs::File, os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context as _, bail};
use rustix::fs::{AtFlags, Gid, Uid, fchown};

use crate::private_file::Folder;

/// The user that Debian's package makes.
const USER: &str = "postgres";

/// Who runs the server.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    /// The hub's own user.
    Same,
    /// Somebody else, because the hub is root's and PostgreSQL refuses root.
    Other { uid: u32, gid: u32 },
}

impl Owner {
    /// # Errors
    /// When the hub is root's and there is no user postgres.
    pub fn choose() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Same);
        }
        let number = |flag| -> Option<u32> {
            let output = Command::new("id").args([flag, USER]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        let found = number("-u").zip(number("-g")).context(
            "PostgreSQL refuses to run as root, and there is no user postgres to run it: make one (adduser --system \
             --group postgres), start the hub as another user, or set DATABASE_URL",
        )?;
        Ok(Self::Other { uid: found.0, gid: found.1 })
    }

    /// The user's number.
    pub fn uid(self) -> u32 {
        match self {
            Self::Same => rustix::process::geteuid().as_raw(),
            Self::Other { uid, .. } => uid,
        }
    }

    /// Makes a file theirs that was just made: by its handle, because its name may lead elsewhere by now.
    pub fn give(self, file: &File) -> anyhow::Result<()> {
        match self {
            Self::Same => Ok(()),
            Self::Other { uid, gid } => fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .with_context(|| format!("cannot give a file to {USER}")),
        }
    }

    /// Makes a folder theirs that was just made in `parent`, which is the hub's own.
    pub fn give_folder(self, parent: &Folder, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Same => Ok(()),
            Self::Other { uid, gid } => {
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                    .with_context(|| format!("cannot give {} to {USER}", parent.path().join(name).display()))
            }
        }
    }

    /// Lets a command run as them. No group of root's goes along.
    pub fn apply(self, command: &mut tokio::process::Command) {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Whether they can reach the folder at all, which a home folder of mode 0700 above it prevents.
    pub fn check_reach(self, data: &Path, folder: &Path) -> anyhow::Result<()> {
        let Self::Other { uid, gid } = self else { return Ok(()) };
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"cd "$1" && rm -rf .reach && mkdir .reach && rmdir .reach"#, "sh"])
            .arg(folder)
            .current_dir("/")
            .uid(uid)
            .gid(gid);
        if !command.output()?.status.success() {
            bail!(
                "PostgreSQL runs as user {USER}, who cannot reach DATA_DIR={}: choose one that it can, such as \
                 DATA_DIR=/var/lib/portcullis",
                data.display()
            );
        }
        Ok(())
    }
}
