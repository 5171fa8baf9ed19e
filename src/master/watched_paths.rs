//! What decides where a path leads: the names in folders, those of links on the way too, whose change may give it another
//! content, and the folders on the way, which may be renamed. A Kubernetes volume swaps a link in the folder of its files, a release
//! swaps a link or a folder far above them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::sys::watch::Extent;

/// As many links as the kernel follows (`path_resolution(7)`).
const LINKS_MAX: usize = 40;
/// So many folders are watched for one path: its own first, then the next ones above.
const FOLDERS_MAX: usize = 64;

/// The names that matter, by folder; none where only the folder itself does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WatchedPaths(BTreeMap<PathBuf, BTreeSet<OsString>>);

impl WatchedPaths {
    /// Those that decide about the files at `paths`, as the links are now.
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut watched = Self::default();
        for path in paths {
            watched.follow(path);
        }
        watched
    }

    /// The folders to watch, and how far.
    pub(super) fn folders(&self) -> impl Iterator<Item = (&Path, Extent)> {
        self.0.iter().map(|(folder, names)| {
            let extent = if names.is_empty() {
                Extent::Itself
            } else {
                Extent::Names
            };
            (folder.as_path(), extent)
        })
    }

    /// Whether this folder is one of them.
    pub(super) fn has(&self, folder: &Path) -> bool {
        self.0.contains_key(folder)
    }

    /// Whether this name in this folder matters.
    pub(super) fn names(&self, folder: &Path, name: &OsString) -> bool {
        self.0.get(folder).is_some_and(|names| names.contains(name))
    }

    fn follow(&mut self, path: &Path) {
        let mut left: VecDeque<OsString> = VecDeque::new();
        let mut at = PathBuf::from("/");
        let push = |left: &mut VecDeque<OsString>, path: &Path| {
            for part in path.components().rev() {
                match part {
                    Component::Normal(name) => left.push_front(name.to_owned()),
                    Component::ParentDir => left.push_front("..".into()),
                    Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                }
            }
        };
        push(&mut left, path);
        let mut links = 0;
        let mut passed: Vec<PathBuf> = Vec::new();
        while let Some(name) = left.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let here = at.join(&name);
            let metadata = fs::symlink_metadata(&here);
            if metadata.as_ref().is_ok_and(fs::Metadata::is_dir) {
                passed.push(here.clone());
                at = here;
                continue;
            }
            self.0.entry(at.clone()).or_default().insert(name);
            match fs::read_link(&here) {
                Ok(target) if links < LINKS_MAX => {
                    links += 1;
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    push(&mut left, &target);
                }
                // The file itself, or the first name on the way that is not there.
                Ok(_) | Err(_) => break,
            }
        }
        for folder in passed.into_iter().rev().take(FOLDERS_MAX) {
            self.0.entry(folder).or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_and_the_file_at_its_end_decide() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        // As kubelet mounts a secret: `keys/a` -> `..data/a`, `..data` -> `..2026`.
        let keys = root.join("keys");
        fs::create_dir_all(keys.join("..2026")).unwrap();
        fs::write(keys.join("..2026/a"), "1").unwrap();
        symlink("..2026", keys.join("..data")).unwrap();
        symlink("..data/a", keys.join("a")).unwrap();
        symlink(&keys, root.join("current")).unwrap();

        let watched = WatchedPaths::of([root.join("current/../keys/a").as_path()]);
        let names = |folder: &Path| watched.0.get(folder).cloned().unwrap_or_default();
        assert_eq!(names(&root), BTreeSet::from(["current".into()]));
        assert_eq!(names(&keys), BTreeSet::from(["a".into(), "..data".into()]));
        assert_eq!(names(&keys.join("..2026")), BTreeSet::from(["a".into()]));
        let of_names = watched.folders();
        let of_names = of_names.filter(|(_, extent)| *extent == Extent::Names);
        assert_eq!(of_names.count(), 3);
    }

    #[test]
    fn every_folder_on_the_way_may_be_renamed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1/keys")).unwrap();
        let watched = WatchedPaths::of([root.join("releases/1/keys/a").as_path()]);
        let extent = |folder: &str| {
            let folder = root.join(folder);
            watched.folders().find(|(each, _)| *each == folder)
        };
        let extent = |folder| extent(folder).map(|(_, extent)| extent);
        assert_eq!(extent("releases/1/keys"), Some(Extent::Names));
        assert_eq!(extent("releases/1"), Some(Extent::Itself));
        assert_eq!(extent("releases"), Some(Extent::Itself));
        assert!(watched.has(&root) && !watched.has(Path::new("/")));
    }

    #[test]
    fn of_a_path_through_many_folders_the_last_ones_are_watched() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let folder: PathBuf = std::iter::repeat_n("a", 100).collect();
        fs::create_dir_all(root.join(&folder)).unwrap();
        let watched = WatchedPaths::of([root.join(&folder).join("key").as_path()]);
        assert_eq!(watched.folders().count(), FOLDERS_MAX);
        assert!(watched.names(&root.join(folder), &"key".into()));
    }

    #[test]
    fn of_a_path_that_leads_nowhere_the_first_name_that_is_missing_decides() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let watched = WatchedPaths::of([root.join("a/b/c").as_path()]);
        assert!(watched.names(&root, &"a".into()));
        let of_names = watched.folders();
        let of_names = of_names.filter(|(_, extent)| *extent == Extent::Names);
        assert_eq!(of_names.count(), 1);
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let watched = WatchedPaths::of([root.join("a").as_path()]);
        assert!(watched.names(&root, &"a".into()) && watched.names(&root, &"b".into()));
    }
}
