//! Files that only the hub's user may read: written whole or not at all, also when the power fails, and never by way of
//! a link that somebody else has put there.
//!
//! Must not know what is in them.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, fstat, openat, renameat, renameat_with, unlinkat};

/// For the owner alone.
const MODE: Mode = Mode::from_raw_mode(0o600);
/// How often another's new entry of the same name is removed before it is given up.
const TRIES: usize = 10;
/// How many links a way may have, as for the kernel.
const MOST_LINKS: usize = 40;

/// A folder that is held: whatever becomes of its path, what is done in it is done in it.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
    path: PathBuf,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Folder {
    /// Holds a folder. Links on the way to it are followed, but by root none of somebody else's.
    ///
    /// # Errors
    /// When there is none, it cannot be reached, or such a link leads to it.
    pub fn open(path: &Path) -> io::Result<Self> {
        check_way(path)?;
        let handle = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { handle, path: path.to_owned() })
    }

    /// Holds a folder in this one, if it is a folder and no link to one.
    ///
    /// # Errors
    /// When there is none.
    pub fn below(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(&self.handle, name, flags, Mode::empty())?;
        Ok(Self { handle, path: self.path.join(name) })
    }

    /// Where it was when it was opened, for messages and for other programs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user and the group that own it, and its mode.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub fn standing(&self) -> io::Result<(u32, u32, u32)> {
        let found = fstat(&self.handle)?;
        Ok((found.st_uid, found.st_gid, found.st_mode & 0o7777))
    }

    /// Opens a file for reading, if it is a plain file: a pipe in its place would be waited for, and a link leads to what
    /// is somebody else's.
    ///
    /// # Errors
    /// Also when there is no such file.
    pub fn read(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        plain(openat(&self.handle, name.as_ref(), flags, Mode::empty())?)
    }

    /// A new, empty file in the place of whatever has the name: of one that was left there, somebody else may hold a handle.
    ///
    /// # Errors
    /// When a folder that is not empty has the name, or somebody takes the name again and again.
    pub fn create(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..TRIES {
            match openat(&self.handle, name.as_ref(), flags, MODE) {
                Ok(handle) => return Ok(handle.into()),
                Err(rustix::io::Errno::EXIST) => self.remove(name.as_ref())?,
                Err(error) => {
                    last = error.into();
                    break;
                }
            }
        }
        Err(last)
    }

    /// A file to be locked, made if it is not there.
    ///
    /// # Errors
    /// When something else than a plain file has the name.
    pub fn lock_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        plain(openat(&self.handle, name.as_ref(), flags, MODE)?)
    }

    /// Removes what has the name, a file, a link or an empty folder; nothing there is no fault.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        use rustix::io::Errno;
        match unlinkat(&self.handle, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Ok(unlinkat(&self.handle, name.as_ref(), AtFlags::REMOVEDIR)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a file with this content in the place of the one that is there, or keeps that one as it is, whenever the
    /// power fails.
    ///
    /// # Errors
    /// When it cannot be written: then the one before is still there.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let making = self.write_beside(name, content)?;
        renameat(&self.handle, making.as_str(), &self.handle, name).inspect_err(|_| drop(self.remove(&making)))?;
        self.sync()
    }

    /// The same, unless a file is there already: that one stays as it is, and the answer is false.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(&self, name: &str, content: &[u8]) -> io::Result<bool> {
        let making = self.write_beside(name, content)?;
        let made = self.rename_new(&making, name);
        if !matches!(made, Ok(true)) {
            self.remove(&making)?;
        }
        made
    }

    /// Moves a file of this folder to a name in it that nothing has; false when something has it.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn rename_new(&self, from: &str, to: &str) -> io::Result<bool> {
        use rustix::io::Errno;
        match renameat_with(&self.handle, from, &self.handle, to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(false),
            // A file system that cannot do it in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if self.has(to) => return Ok(false),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => renameat(&self.handle, from, &self.handle, to)?,
            Err(error) => return Err(error.into()),
        }
        self.sync()?;
        Ok(true)
    }

    /// Moves a file of this folder to another name in it, in the place of what has that.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        renameat(&self.handle, from.as_ref(), &self.handle, to.as_ref())?;
        self.sync()
    }

    /// Whether anything has the name.
    #[must_use]
    pub fn has(&self, name: impl AsRef<OsStr>) -> bool {
        rustix::fs::statat(&self.handle, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Returns when the names in it are on the disk.
    fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(&self.handle, ".", flags, Mode::empty()) {
            Ok(handle) => match rustix::fs::fsync(handle) {
                // Some file systems cannot, and keep names in order by themselves.
                Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => Ok(()),
                Err(error) => Err(error.into()),
            },
            // It may be written and not read.
            Err(rustix::io::Errno::ACCESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A file of another name with the content, on the disk. The name is this process's own, so that two that write the
    /// same file do not meet.
    fn write_beside(&self, name: &str, content: &[u8]) -> io::Result<String> {
        let making = format!("{name}.new-{}", std::process::id());
        let mut file = self.create(&making)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        // Nothing half is left.
        written.inspect_err(|_| drop(self.remove(&making)))?;
        Ok(making)
    }
}

/// Whether root may go this way: whoever owns a link on it could lead root wherever they like. Others go where they may.
///
/// # Errors
/// When a link on the way, or what it leads to and so on, belongs to another user.
pub fn check_way(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match foreign_link(path, MOST_LINKS) {
        None => Ok(()),
        Some(link) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("root does not follow the link {}, which belongs to another user", link.display()),
        )),
    }
}

/// The first link on the way that is not root's.
fn foreign_link(path: &Path, most: usize) -> Option<PathBuf> {
    let mut way = PathBuf::new();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for part in absolute.components() {
        way.push(part);
        // What is not there is no link.
        let Ok(found) = fs::symlink_metadata(&way) else { continue };
        if !found.is_symlink() {
            continue;
        }
        let Some(next) = fs::read_link(&way).ok().filter(|_| found.uid() == 0 && most > 0) else { return Some(way) };
        way.pop();
        let target = way.join(next);
        if let Some(foreign) = foreign_link(&target, most - 1) {
            return Some(foreign);
        }
        way = target;
    }
    None
}

/// Puts a file with this content in the place of the one at `path`; see [`Folder::replace`].
///
/// # Errors
/// As there; also when the path has no name in it.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (folder, name) = split(path)?;
    folder.replace(&name, content)
}

/// Makes the file at `path` unless there is one; see [`Folder::make`].
///
/// # Errors
/// As there; also when the path has no name in it.
pub fn make(path: &Path, content: &[u8]) -> io::Result<bool> {
    let (folder, name) = split(path)?;
    folder.make(&name, content)
}

/// The folder of a file, held, and the file's name in it.
///
/// # Errors
/// When there is no such folder, or the path has no name in it.
pub fn split(path: &Path) -> io::Result<(Folder, String)> {
    let name = path.file_name().and_then(OsStr::to_str);
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file's name is wanted"))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((Folder::open(parent)?, name.to_owned()))
}

/// The last `limit` bytes of a file from `start` on, as text.
///
/// # Errors
/// When it cannot be read.
pub fn tail(mut file: &File, start: u64, limit: u64) -> io::Result<String> {
    use std::io::{Seek as _, SeekFrom};
    let length = file.metadata()?.len();
    // One that is shorter than before was begun anew.
    let start = if length < start { 0 } else { start };
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(limit))))?;
    let mut text = Vec::new();
    file.take(limit).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn plain(handle: OwnedFd) -> io::Result<File> {
    let kind = FileType::from_raw_mode(fstat(handle.as_fd())?.st_mode);
    if kind == FileType::RegularFile {
        Ok(fs::File::from(handle))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(place.path()).expect("opened");
        (place, folder)
    }

    /// What somebody else may have put where a file is to be, each with a victim beside it that must stay as it is.
    fn traps() -> impl Iterator<Item = (&'static str, tempfile::TempDir, Folder)> {
        ["link", "dangling", "hard link", "pipe", "folder", "file"].into_iter().map(|kind| {
            let (place, folder) = folder();
            let (victim, trap) = (place.path().join("victim"), place.path().join("name"));
            fs::write(&victim, "precious").expect("written");
            match kind {
                "link" => symlink(&victim, &trap).expect("a link"),
                "dangling" => symlink(place.path().join("nothing"), &trap).expect("a link"),
                "hard link" => fs::hard_link(&victim, &trap).expect("a link"),
                "pipe" => rustix::fs::mknodat(rustix::fs::CWD, &trap, FileType::Fifo, MODE, 0).expect("a pipe"),
                "folder" => fs::create_dir(&trap).expect("a folder"),
                _ => fs::write(&trap, "old").expect("written"),
            }
            (kind, place, folder)
        })
    }

    fn victim_is_well(place: &tempfile::TempDir, kind: &str) {
        assert_eq!(fs::read_to_string(place.path().join("victim")).expect("read"), "precious", "{kind}");
        assert!(!place.path().join("nothing").exists(), "{kind}");
    }

    #[test]
    fn what_is_in_the_place_of_a_new_file_is_removed_and_never_written_through() {
        for (kind, place, folder) in traps() {
            let mut made = folder.create("name").expect(kind);
            made.write_all(b"new").expect("written");
            let meta = fs::symlink_metadata(place.path().join("name")).expect("there");
            assert!(meta.is_file() && meta.permissions().mode() & 0o777 == 0o600, "{kind}");
            victim_is_well(&place, kind);
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner_only() {
        for (kind, place, folder) in traps() {
            let replaced = folder.replace("name", b"new");
            victim_is_well(&place, kind);
            if kind == "folder" {
                assert!(replaced.is_err());
                continue;
            }
            replaced.expect(kind);
            let path = place.path().join("name");
            assert_eq!(fs::read_to_string(&path).expect("read"), "new", "{kind}");
            assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{kind}");
            assert_eq!(fs::read_dir(place.path()).expect("read").count(), 2, "{kind}: nothing half is left");
        }
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let (place, folder) = folder();
        assert!(folder.make("name", b"one").expect("made"));
        assert!(!folder.make("name", b"two").expect("left"));
        assert_eq!(fs::read_to_string(place.path().join("name")).expect("read"), "one");
        assert_eq!(fs::read_dir(place.path()).expect("read").count(), 1);
    }

    #[test]
    fn only_plain_files_are_read_or_locked() {
        for (kind, place, folder) in traps() {
            let is_plain = matches!(kind, "file" | "hard link");
            assert_eq!(folder.read("name").is_ok(), is_plain, "{kind}");
            assert_eq!(folder.lock_file("name").is_ok(), is_plain, "{kind}");
            victim_is_well(&place, kind);
        }
    }

    #[test]
    fn root_follows_its_own_links_only() {
        let (place, _) = folder();
        let path = place.path().canonicalize().expect("a path");
        fs::create_dir(path.join("target")).expect("a folder");
        symlink(path.join("target"), path.join("link")).expect("a link");
        symlink("link", path.join("by another")).expect("a link");
        let way = path.join("by another").join("name");
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(foreign_link(&way, 10).is_none(), is_root, "whoever tests has made them");
        if is_root {
            std::os::unix::fs::lchown(path.join("link"), Some(65_534), Some(65_534)).expect("given away");
            assert_eq!(foreign_link(&way, 10), Some(path.join("link")));
            assert!(Folder::open(&path.join("by another")).is_err());
            assert!(Folder::open(&path.join("target")).is_ok());
        }
        symlink("loop", path.join("loop")).expect("a link");
        assert!(foreign_link(&path.join("loop"), 10).is_some());
    }

    #[test]
    fn a_tail_has_what_came_after() {
        let (_place, folder) = folder();
        folder.replace("name", b"old words\nnew words\n").expect("written");
        let file = folder.read("name").expect("opened");
        assert_eq!(tail(&file, 10, 100).expect("read"), "new words\n");
        assert_eq!(tail(&file, 0, 6).expect("read"), "words\n");
        assert_eq!(tail(&file, 1000, 100).expect("read"), "old words\nnew words\n", "begun anew");
    }
}
