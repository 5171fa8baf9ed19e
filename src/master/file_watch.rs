//! Which folders are watched for the files of all generations, and when those are looked at. Where a folder cannot be watched its
//! files are looked at all the same, seldom.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::watched_paths::WatchedPaths;
use crate::supervisor::Now;
use crate::sys::watch::{Happening, Watcher};

/// From the first sign of a change until the files are read: what belongs together is replaced together.
const SETTLING: Duration = Duration::from_millis(50);
/// From one look to the next while a folder cannot be watched; then it is tried again too.
const SLOW_LOOK: Duration = Duration::from_secs(10);

/// The files of all generations.
#[derive(Debug, Default)]
pub(super) struct FileWatch {
    watcher: Option<Watcher>,
    paths: WatchedPaths,
    /// When the files are read.
    look_at: Option<Now>,
    /// Folders that cannot be watched, each of which was told once.
    unwatched: BTreeSet<PathBuf>,
    /// It was told that nothing can be watched.
    is_told: bool,
}

impl FileWatch {
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.as_ref().map(Watcher::descriptor)
    }

    pub(super) fn next_look(&self) -> Option<Now> {
        self.look_at
    }

    /// Whether the files are to be read now; not again, then.
    pub(super) fn is_due(&mut self, now: Now) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// Takes in what has happened.
    pub(super) fn listen(&mut self, now: Now) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let matters = |happening: &Happening| match happening {
            Happening::Name(folder, name) => self.paths.names(folder, name),
            Happening::Gone(_) | Happening::Anything => true,
        };
        if watcher.happenings().iter().any(matters) {
            self.look(now + SETTLING);
        }
    }

    pub(super) fn look(&mut self, at: Now) {
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Watches what decides about these files, and says when they are to be looked at next.
    pub(super) fn watch<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>, now: Now) {
        let paths = WatchedPaths::of(files);
        if self.watcher.is_none() && paths.folders().next().is_some() {
            match Watcher::new() {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => {
                    if !self.is_told {
                        let looks_every = in_words(SLOW_LOOK);
                        tracing::warn!(%error, looks_every, "cannot watch key files, looks at them now and then");
                    }
                    self.is_told = true;
                    self.paths = paths;
                    self.look(now + SLOW_LOOK);
                    return;
                }
            }
        }
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        watcher.keep(|folder| paths.has(folder));
        let mut has_more = self.paths != paths;
        let mut unwatched = BTreeSet::new();
        for (folder, extent) in paths.folders() {
            if watcher.watches(folder, extent) {
                continue;
            }
            match watcher.watch(folder, extent) {
                Ok(()) => has_more = true,
                Err(error) => {
                    if !self.unwatched.contains(folder) {
                        let looks_every = in_words(SLOW_LOOK);
                        tracing::warn!(
                            folder = %folder.display(), %error, looks_every,
                            "cannot watch for changes of key files here, looks at them now and then"
                        );
                    }
                    unwatched.insert(folder.to_owned());
                }
            }
        }
        self.unwatched = unwatched;
        self.paths = paths;
        if has_more {
            // Something may have happened before it was watched.
            self.look(now + SETTLING);
        }
        if !self.unwatched.is_empty() {
            self.look(now + SLOW_LOOK);
        }
    }
}

fn in_words(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
