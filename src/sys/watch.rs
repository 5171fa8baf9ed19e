//! Folders in which something happens to names (inotify(7)).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// What happens to a name in a folder, and to the folder itself. Not each write: whoever writes a file closes it.
const WATCHED: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(ITSELF);

/// What happens to the folder itself, whatever happens in it.
const ITSELF: AddWatchFlags = AddWatchFlags::IN_MOVE_SELF
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// How much of what happens to a folder is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// That it goes, or stands for another path.
    Itself,
    /// What happens to names in it too.
    Names,
}

/// The folder itself has gone, or stands for another path now.
const GONE: AddWatchFlags = AddWatchFlags::IN_MOVE_SELF
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_IGNORED)
    .union(AddWatchFlags::IN_UNMOUNT);

/// Watches folders.
#[derive(Debug)]
pub struct Watcher {
    inotify: Inotify,
    folders: BTreeMap<PathBuf, (WatchDescriptor, Extent)>,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// To this name in this folder.
    Name(PathBuf, OsString),
    /// To a folder, which is not watched any more.
    Gone(PathBuf),
    /// So much that nobody knows what.
    Anything,
}

impl Watcher {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// `inotify_init1(2)`: the user has too many of these.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            folders: BTreeMap::new(),
        })
    }

    /// Readable when something has happened.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Whether this folder is watched, at least so far.
    pub fn watches(&self, folder: &Path, extent: Extent) -> bool {
        let known = self.folders.get(folder);
        known.is_some_and(|(_, known)| *known >= extent)
    }

    /// Watches one folder more, or one further than before.
    ///
    /// # Errors
    /// `inotify_add_watch(2)`: it is no folder, may not be read, or the user watches too many.
    pub fn watch(&mut self, folder: &Path, extent: Extent) -> io::Result<()> {
        let events = match extent {
            Extent::Itself => ITSELF,
            Extent::Names => WATCHED,
        };
        // Two paths may lead to one folder, and the last word counts there.
        let events = events.union(AddWatchFlags::from_bits_retain(nix::libc::IN_MASK_ADD));
        let watch = self.inotify.add_watch(folder, events)?;
        self.folders.insert(folder.to_owned(), (watch, extent));
        Ok(())
    }

    /// Watches none but those that `wanted` says.
    pub fn keep(&mut self, wanted: impl Fn(&Path) -> bool) {
        let inotify = &self.inotify;
        self.folders.retain(|folder, (watch, _)| {
            let keep = wanted(folder);
            if !keep {
                let _gone_already = inotify.rm_watch(*watch);
            }
            keep
        });
    }

    /// What has happened since the last time; returns at once.
    pub fn happenings(&mut self) -> Vec<Happening> {
        let mut happenings = Vec::new();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EINTR) => continue,
                // Nothing waits; or an error that the next look at the files makes up for.
                Err(_) => return happenings,
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    happenings.push(Happening::Anything);
                    continue;
                }
                // Two paths may lead to one folder, which has one watch then.
                let known = self
                    .folders
                    .iter()
                    .filter(|(_, (watch, _))| *watch == event.wd);
                let folders: Vec<PathBuf> = known.map(|(folder, _)| folder.clone()).collect();
                for folder in folders {
                    if event.mask.intersects(GONE) {
                        // What was below it is elsewhere too, and nothing is told of that.
                        self.keep(|each| !each.starts_with(&folder));
                        happenings.push(Happening::Gone(folder));
                    } else if let Some(name) = &event.name {
                        happenings.push(Happening::Name(folder, name.clone()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Extent, Happening, Watcher};

    #[test]
    fn what_happens_to_names_and_folders_is_told_once() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("keys");
        fs::create_dir(&folder).expect("a folder");
        let mut watcher = Watcher::new().expect("a watcher");
        watcher.watch(&folder, Extent::Names).expect("watched");
        assert_eq!(watcher.happenings(), []);

        fs::write(folder.join("a"), "1").expect("written");
        let name = Happening::Name(folder.clone(), "a".into());
        assert_eq!(watcher.happenings(), [name.clone(), name]);
        assert_eq!(watcher.happenings(), []);

        fs::rename(&folder, root.path().join("old")).expect("renamed");
        assert_eq!(watcher.happenings(), [Happening::Gone(folder.clone())]);
        assert!(!watcher.watches(&folder, Extent::Itself));
        fs::write(root.path().join("old/a"), "2").expect("written");
        assert_eq!(watcher.happenings(), []);
    }

    #[test]
    fn a_folder_that_goes_takes_with_it_what_was_watched_below() {
        let root = tempfile::tempdir().expect("a folder");
        let above = root.path().join("above");
        let folder = above.join("between/keys");
        fs::create_dir_all(&folder).expect("folders");
        let mut watcher = Watcher::new().expect("a watcher");
        watcher.watch(&above, Extent::Itself).expect("watched");
        watcher.watch(&folder, Extent::Names).expect("watched");
        fs::write(above.join("a"), "1").expect("written");
        assert_eq!(watcher.happenings(), []);
        fs::rename(&above, root.path().join("old")).expect("renamed");
        assert_eq!(watcher.happenings(), [Happening::Gone(above)]);
        assert!(!watcher.watches(&folder, Extent::Itself));
    }

    #[test]
    fn what_is_not_kept_is_not_watched() {
        let root = tempfile::tempdir().expect("a folder");
        let mut watcher = Watcher::new().expect("a watcher");
        watcher.watch(root.path(), Extent::Names).expect("watched");
        watcher.keep(|_| false);
        fs::write(root.path().join("a"), "1").expect("written");
        assert_eq!(watcher.happenings(), []);
        watcher
            .watch(&root.path().join("a"), Extent::Names)
            .expect_err("it is no folder");
    }
}
