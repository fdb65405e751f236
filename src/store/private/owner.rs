//! The user that runs the private PostgreSQL: the hub's own, or, when the hub is root's, the user postgres.

use std::{
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, bail};

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

    /// Makes a file or folder theirs.
    pub fn give(self, path: &Path) -> anyhow::Result<()> {
        match self {
            Self::Same => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give {} to {USER}", path.display()))
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
            .args(["-c", r#"cd "$1" && : >.reach && rm .reach"#, "sh"])
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
