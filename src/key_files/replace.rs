//! Files that are there whole or not at all: made, or put in the place of another one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, fchown,
};
use std::path::{Path, PathBuf};

use super::{NO_FOLDER, folder_of, random_secret};

/// Whose a file is, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Standing {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            uid: found.uid(),
            gid: found.gid(),
            mode: found.permissions().mode() & 0o7777,
        })
    }

    /// The same owner, who alone may read and write.
    pub(crate) fn private(self) -> Self {
        Self {
            mode: 0o600,
            ..self
        }
    }

    /// Gives a file this standing.
    pub(crate) fn put_on(self, path: &Path) -> io::Result<()> {
        let found = Self::of(path)?;
        if (found.uid, found.gid) != (self.uid, self.gid) {
            chown(path, Some(self.uid), Some(self.gid))?;
        }
        fs::set_permissions(path, Permissions::from_mode(self.mode))
    }
}

/// Makes a file that is there whole or not at all, and never replaces one (`AlreadyExists`).
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    place(path, bytes, mode, None, Place::New)
}

/// As [`create`], with an owner too.
pub(crate) fn create_as(path: &Path, bytes: &[u8], standing: Standing) -> io::Result<()> {
    place(path, bytes, standing.mode, Some(standing), Place::New)
}

/// Writes a file anew, at once for whoever reads it; owner and mode stay. A link is replaced and not followed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let standing = Standing::of(path)?;
    place(path, bytes, standing.mode, Some(standing), Place::Over)
}

/// As [`replace`], with a mode of its own and the owner of whoever replaces it.
pub(crate) fn replace_with(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    place(path, bytes, mode, None, Place::Over)
}

/// Gives the file another name, which at once stands for it and no longer for what had it.
pub(crate) fn link_over(path: &Path, name: &Path) -> io::Result<()> {
    let unfinished = unfinished(name)?;
    let made = fs::hard_link(path, &unfinished).and_then(|()| fs::rename(&unfinished, name));
    // A rename of one file onto itself leaves both names; where nothing was made there is nothing to remove.
    drop(fs::remove_file(&unfinished));
    made.and_then(|()| keep_folder(name))
}

#[derive(Clone, Copy)]
enum Place {
    New,
    Over,
}

fn place(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<Standing>,
    place: Place,
) -> io::Result<()> {
    if !folder_of(path).is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotFound, NO_FOLDER));
    }
    let unfinished = unfinished(path)?;
    let made = write(&unfinished, bytes, mode, owner).and_then(|()| match place {
        Place::New => fs::hard_link(&unfinished, path),
        Place::Over => fs::rename(&unfinished, path),
    });
    // When nothing was made there is nothing to remove.
    drop(fs::remove_file(&unfinished));
    made.and_then(|()| keep_folder(path))
}

/// The name survives a loss of power too.
fn keep_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// A name beside the file that nobody else takes.
fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it does not name a file"))?;
    Ok(path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        random_secret::<9>()?
    )))
}

fn write(path: &Path, bytes: &[u8], mode: u32, owner: Option<Standing>) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    if let Some(owner) = owner {
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (owner.uid, owner.gid) {
            fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_else_remains() {
        let folder = folder();
        let path = folder.path().join("set");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let old = File::open(&path).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(Standing::of(&path).unwrap().mode, 0o640);
        // Who has it open reads on what was there.
        assert_eq!(io::read_to_string(old).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("missing"), b"x").is_err());
    }

    #[test]
    fn a_second_name_takes_the_place_of_another_file_and_can_be_given_again() {
        let folder = folder();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        fs::write(&one, "1").unwrap();
        fs::write(&other, "2").unwrap();
        for _ in 0..2 {
            link_over(&one, &other).unwrap();
            assert_eq!(fs::read(&one).unwrap(), b"1");
            assert_eq!(fs::read(&other).unwrap(), b"1");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        }
    }

    #[test]
    fn a_private_file_is_its_owners() {
        let folder = folder();
        let [key, next] = ["key", "next"].map(|name| folder.path().join(name));
        fs::write(&key, "1").unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
        let standing = Standing::of(&key).unwrap();
        create_as(&next, b"2", standing.private()).unwrap();
        assert_eq!(Standing::of(&next).unwrap(), standing.private());
        standing.put_on(&next).unwrap();
        assert_eq!(Standing::of(&next).unwrap(), standing);
    }
}
