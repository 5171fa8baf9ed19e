//! For development (`app.reload_on_change`): watches the source files of a Python application.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{ModifyKind, RemoveKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use walkdir::{DirEntry, WalkDir};

use crate::config::SourceFiles;

/// From the last change until it is told: an editor, and a version control system, change several files.
const SETTLING: Duration = Duration::from_millis(200);

/// Somebody who never stops changing is told of after so long.
const SETTLING_MAX: Duration = Duration::from_secs(2);

/// So many folders are watched.
const FOLDERS_MAX: usize = 4096;

/// So many changes wait to be taken in; where there are more, it is known already that something has changed.
const WAITING_MAX: usize = 64;

/// What tools have made, and no module of the application is in.
const MADE: [&str; 2] = ["__pycache__", "node_modules"];

/// See the module.
#[derive(Debug)]
pub(super) struct Changes {
    watched: Option<Watched>,
    /// What has changed, and is not told yet.
    settling: Option<Settling>,
}

#[derive(Debug)]
struct Watched {
    files: Arc<SourceFiles>,
    watcher: RecommendedWatcher,
    /// Those that are watched.
    folders: Folders,
    changed: mpsc::Receiver<PathBuf>,
    /// Whether it was told that something cannot be watched.
    is_told: bool,
}

type Folders = Arc<Mutex<BTreeSet<PathBuf>>>;

#[derive(Debug)]
struct Settling {
    /// What changed first.
    file: PathBuf,
    until: Instant,
    at_last: Instant,
}

impl Changes {
    /// Nothing is watched where there are no files.
    pub(super) fn new(files: Option<SourceFiles>) -> Self {
        let watched = files.and_then(|files| {
            let watched = Watched::new(files);
            let failed =
                |error| tracing::error!(%error, "cannot watch the application for changes");
            watched.map_err(failed).ok()
        });
        Self {
            watched,
            settling: None,
        }
    }

    /// The first file of those that have changed, when all seem to have. Can be dropped while it waits.
    pub(super) async fn next(&mut self) -> PathBuf {
        let Some(watched) = &mut self.watched else {
            return std::future::pending().await;
        };
        loop {
            let Some(settling) = &mut self.settling else {
                match watched.changed.recv().await {
                    Some(file) => self.settling = Some(Settling::new(file)),
                    None => return std::future::pending().await,
                }
                continue;
            };
            tokio::select! {
                Some(_) = watched.changed.recv() => settling.go_on(),
                () = sleep_until(settling.until) => {
                    // There may be new folders, or others by the same name.
                    watched.watch_all();
                    if let Some(settled) = self.settling.take() {
                        return settled.file;
                    }
                }
            }
        }
    }
}

impl Settling {
    fn new(file: PathBuf) -> Self {
        let now = Instant::now();
        Self {
            file,
            until: now + SETTLING,
            at_last: now + SETTLING_MAX,
        }
    }

    fn go_on(&mut self) {
        self.until = self.at_last.min(Instant::now() + SETTLING);
    }
}

impl Watched {
    fn new(files: SourceFiles) -> notify::Result<Self> {
        let files = Arc::new(files);
        let folders = Folders::default();
        let (tell, changed) = mpsc::channel(WAITING_MAX);
        let heard = {
            let (files, folders) = (Arc::clone(&files), Arc::clone(&folders));
            move |event: notify::Result<Event>| match event {
                Ok(event) => {
                    let is_folder = |path: &Path| lock(&folders).contains(path);
                    if let Some(file) = change(event, &files, is_folder) {
                        let _known_already = tell.try_send(file);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "some changes of the application are not seen");
                }
            }
        };
        let mut watched = Self {
            watcher: notify::recommended_watcher(heard)?,
            files,
            folders,
            changed,
            is_told: false,
        };
        watched.watch_all();
        let count = lock(&watched.folders).len();
        tracing::info!(
            folder = %watched.files.folder.display(),
            folders = count,
            "a change of the application's source files is a reload"
        );
        Ok(watched)
    }

    /// Watches every folder that there is by now.
    fn watch_all(&mut self) {
        let files = Arc::clone(&self.files);
        let mut folders = BTreeSet::new();
        let walk = WalkDir::new(&files.folder).into_iter();
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || is_source_folder(entry)) {
            if folders.len() == FOLDERS_MAX {
                self.tell(&format!(
                    "there are more than {FOLDERS_MAX} folders below `{}`; `app.chdir` may name one with less in it",
                    files.folder.display()
                ));
                break;
            }
            match entry {
                Ok(entry) => self.watch(entry.path(), &mut folders),
                Err(error) => self.cannot_watch(error.path().unwrap_or(&files.folder), &error),
            }
        }
        let beside = files.env_file.as_deref().and_then(Path::parent);
        if let Some(folder) = beside.filter(|folder| !folders.contains(*folder)) {
            self.watch(folder, &mut folders);
        }
        *lock(&self.folders) = folders;
    }

    fn watch(&mut self, folder: &Path, folders: &mut BTreeSet<PathBuf>) {
        match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                folders.insert(folder.to_owned());
            }
            Err(error) => self.cannot_watch(folder, &error),
        }
    }

    fn cannot_watch(&mut self, folder: &Path, error: &dyn std::fmt::Display) {
        self.tell(&format!(
            "`{}`: {error}; the user that workers run as (`process.user`) must be able to read it, and `fs.inotify.max_user_watches` be large enough",
            folder.display()
        ));
    }

    /// Once: it is the same at each change.
    fn tell(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::error!(reason, "some changes of the application are not seen");
        }
    }
}

fn lock(folders: &Folders) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
    folders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has changed, where that concerns the application. `is_folder` knows the folders that are watched.
fn change(event: Event, files: &SourceFiles, is_folder: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    if event.need_rescan() {
        return Some(files.folder.clone());
    }
    // Each import opens files.
    if matches!(event.kind, EventKind::Access(_)) {
        return None;
    }
    let moves = matches!(
        event.kind,
        EventKind::Create(_)
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(RemoveKind::Folder)
    );
    let mut paths = event.paths.into_iter();
    paths.find(|path| {
        let is_named = path.file_name().is_some_and(|name| !is_left_out(name));
        let has_folder = moves && is_named && path.starts_with(&files.folder);
        is_source(path, files) || has_folder && (is_folder(path) || path.is_dir())
    })
}

/// Whether the application is made of it: a module, a template, or its environment.
fn is_source(path: &Path, files: &SourceFiles) -> bool {
    if files.env_file.as_deref() == Some(path) {
        return true;
    }
    let (Ok(below), Some(extension)) = (path.strip_prefix(&files.folder), path.extension()) else {
        return false;
    };
    let is_module = extension == "py";
    // As Django, Flask and Jinja call a folder of templates. What editors keep there ends with a tilde.
    let is_template =
        below.iter().any(|name| name == "templates") && !extension.to_string_lossy().ends_with('~');
    (is_module || is_template) && !below.iter().any(is_left_out)
}

/// Whether modules of the application may lie there: not in what tools have made, which many mark with a file, nor in a virtual
/// environment. Links are not followed, for they may lead round in circles.
fn is_source_folder(entry: &DirEntry) -> bool {
    entry.file_type().is_dir()
        && !is_left_out(entry.file_name())
        && !["pyvenv.cfg", "CACHEDIR.TAG"]
            .iter()
            .any(|mark| entry.path().join(mark).exists())
}

fn is_left_out(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || MADE.contains(&&*name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files(folder: &Path) -> SourceFiles {
        SourceFiles {
            folder: folder.to_owned(),
            env_file: Some(folder.join(".env")),
        }
    }

    #[test]
    fn modules_templates_and_the_environment_are_sources_and_what_tools_make_is_none() {
        let files = files("/srv/site".as_ref());
        let is_source = |path: &str| is_source(&Path::new("/srv/site").join(path), &files);
        for path in [
            "app.py",
            "pages/views.py",
            "pages/templates/pages/index.html",
            "templates/mail.txt",
            ".env",
        ] {
            assert!(is_source(path), "{path}");
        }
        for path in [
            "db.sqlite3",
            "static/index.html",
            "__pycache__/app.cpython-313.pyc",
            "__pycache__/app.py",
            ".git/hooks/a.py",
            ".app.py.swp",
            "pages/.#views.py",
            "app.pyc",
            "templates/mail.txt~",
            "templates/4913",
            "/srv/other/app.py",
        ] {
            assert!(!is_source(path), "{path}");
        }
    }

    #[test]
    fn folders_of_modules_are_watched_and_others_are_not() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in [
            "site/pages",
            "site/__pycache__",
            ".git",
            "env",
            "target/debug",
            "node_modules/x",
        ] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("env/pyvenv.cfg"), "").unwrap();
        fs::write(at("target/CACHEDIR.TAG"), "").unwrap();
        std::os::unix::fs::symlink("site", at("link")).unwrap();
        let watched = Watched::new(files(root.path())).unwrap();
        let folders = lock(&watched.folders).clone();
        let wanted = [root.path().to_owned(), at("site"), at("site/pages")];
        assert_eq!(folders, BTreeSet::from(wanted));
    }

    async fn told(changes: &mut Changes) -> Option<PathBuf> {
        tokio::time::timeout(Duration::from_secs(20), changes.next())
            .await
            .ok()
    }

    #[tokio::test]
    async fn a_burst_of_changes_is_told_once_and_what_is_no_source_never() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir(at("__pycache__")).unwrap();
        let mut changes = Changes::new(Some(files(root.path())));
        fs::write(at("__pycache__/a.pyc"), "x").unwrap();
        fs::write(at("notes.txt"), "x").unwrap();
        for number in 0..200 {
            fs::write(at(&format!("a{number}.py")), "x").unwrap();
        }
        // As editors do that write beside and rename.
        fs::write(at("b.tmp"), "x").unwrap();
        fs::rename(at("b.tmp"), at("b.py")).unwrap();
        assert_eq!(told(&mut changes).await, Some(at("a0.py")));
        // Nothing is left but what comes now.
        fs::write(at(".env"), "x").unwrap();
        assert_eq!(told(&mut changes).await, Some(at(".env")));
    }

    #[tokio::test]
    async fn new_folders_are_watched_and_those_that_go_are_told() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let mut changes = Changes::new(Some(files(root.path())));
        fs::create_dir_all(at("site/pages")).unwrap();
        assert_eq!(told(&mut changes).await, Some(at("site")));
        fs::write(at("site/pages/a.py"), "x").unwrap();
        assert_eq!(told(&mut changes).await, Some(at("site/pages/a.py")));
        fs::rename(at("site"), at("other")).unwrap();
        assert!(told(&mut changes).await.is_some());
        fs::write(at("other/pages/a.py"), "y").unwrap();
        assert_eq!(told(&mut changes).await, Some(at("other/pages/a.py")));
    }
}
