//! Which program this process is, and how it was called: what an upgrade runs.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};

use serde::{Deserialize, Serialize};

/// What is executed to become the same server again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The file. A link in it is not resolved: what it points to when an upgrade comes is meant.
    path: OsString,
    /// What it was called with, its own name first.
    arguments: Vec<OsString>,
}

impl Program {
    /// The program of this process. Call it before the current folder can have changed.
    pub fn of_this_process() -> Self {
        let arguments: Vec<OsString> = env::args_os().collect();
        let path = arguments
            .first()
            .and_then(|name| find(Path::new(name)))
            .or_else(|| env::current_exe().ok())
            .unwrap_or_default();
        Self {
            path: path.into_os_string(),
            arguments,
        }
    }

    #[cfg(test)]
    pub(super) fn called(path: &str, arguments: &[&str]) -> Self {
        Self {
            path: path.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
        }
    }

    /// The same call of another file; of this one where none is named.
    pub(super) fn or(&self, file: Option<PathBuf>) -> Self {
        let mut program = self.clone();
        if let Some(file) = file {
            let name = file.into_os_string();
            // What `ps` shows shall be what runs.
            if let Some(first) = program.arguments.first_mut() {
                first.clone_from(&name);
            }
            program.path = name;
        }
        program
    }

    pub(in crate::master) fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// The whole call, with `more` behind it.
    pub(super) fn call(&self, more: &[&str]) -> Vec<OsString> {
        let more = more.iter().map(OsString::from);
        self.arguments.iter().cloned().chain(more).collect()
    }
}

/// Where the program lies that was called by `name`: the file itself, or one of that name on the way that `PATH` names.
/// Only what is this very program counts, for a name is whatever the caller says.
fn find(name: &Path) -> Option<PathBuf> {
    // Without /proc (a bare chroot) the name is believed.
    let of_this_process = identity(Path::new("/proc/self/exe"));
    let is_it = |path: &PathBuf| {
        identity(path).is_some_and(|found| of_this_process.is_none_or(|own| own == found))
    };
    if name.components().count() > 1 || name.is_absolute() {
        return absolute(name).ok().filter(is_it);
    }
    let folders = env::var_os("PATH")?;
    let named = env::split_paths(&folders).filter_map(|folder| absolute(folder.join(name)).ok());
    named.into_iter().find(is_it)
}

fn identity(file: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::Program;

    #[test]
    fn another_file_is_called_in_the_same_way_and_by_its_own_name() {
        let program = Program::called("/usr/bin/destrier", &["destrier", "run"]);
        assert_eq!(program.or(None), program);
        let other = program.or(Some("/opt/new".into()));
        assert_eq!(other.path(), "/opt/new");
        assert_eq!(
            other.call(&["--resume", "7"]),
            ["/opt/new", "run", "--resume", "7"]
        );
    }
}
