//! Where a configuration comes from, and the text of its file.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{self, Path, PathBuf};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::app::NamedApplication;
use super::errors::Problems;

const FILE_HERE: &str = "destrier.toml";
const FILE_OF_SYSTEM: &str = "/etc/destrier/destrier.toml";
/// What is in force where an application is named and there is no file: whoever tries one wants to see it.
const WITHOUT_FILE: &str =
    "# There is no file.\n[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n";
const FILE_SIZE_MAX: u64 = 1024 * 1024;

/// Where a configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// What relative paths are relative to, the file's own too: the directory that the master was started in, absolute. A worker
    /// that reads the configuration again is somewhere else, in `app.chdir`. Empty: the current one.
    pub folder: PathBuf,
    /// The file that was named.
    pub file: Option<PathBuf>,
    /// A Python application, in place of `app.wsgi` and `app.asgi`. It needs no file.
    pub application: Option<NamedApplication>,
    /// `--bind`, in place of `server.bind`.
    pub bind: Vec<String>,
    /// `--workers`, in place of `workers.count`.
    pub workers: Option<String>,
    /// `--log-level`, in place of `log.level`.
    pub log_level: Option<String>,
    /// `--control`, in place of `process.control_socket`.
    pub control_socket: Option<String>,
    /// `--reload`: `app.reload_on_change`, whatever the file says.
    pub reload_on_change: bool,
    /// Environment variables. `DESTRIER_SECTION__KEY` is heeded; one that only looks like it is warned of, others are not
    /// looked at.
    pub env: Vec<(String, String)>,
    /// Where programs are looked for.
    pub search: Search,
}

/// Variables that say where programs are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// `VIRTUAL_ENV`: the virtual environment that is active.
    pub virtual_env: Option<String>,
    /// `PATH`.
    pub path: Option<String>,
}

/// A configuration file as it was read: with it the same configuration can be had again when the file has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Its name.
    pub file: PathBuf,
    /// What it said.
    pub text: String,
}

impl Text {
    /// Whether there was one: an application that is named on the command line needs none.
    pub fn is_of_a_file(&self) -> bool {
        self.text != WITHOUT_FILE
    }
}

/// The name and the text of the file that is to be read, or what is wrong with it.
pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Option<Text> {
    let found = match (&sources.file, &sources.application) {
        (Some(named), _) => Some(named.clone()),
        // That of the system is for another application.
        (None, Some(_)) => first_that_exists(&[FILE_HERE]),
        (None, None) => first_that_exists(&[FILE_HERE, FILE_OF_SYSTEM]),
    };
    let Some(name) = found else {
        if sources.application.is_some() {
            return Some(without_file());
        }
        let message = format!("there is neither `{FILE_HERE}` here nor `{FILE_OF_SYSTEM}`");
        let hint =
            "write one, or name it with `--config FILE`; `config/demo.toml` is a small example"
                .to_owned();
        problems.note(None, message, Some(hint));
        return None;
    };
    // Paths in the file become text that is joined to this one, and shown.
    let is_text = path::absolute(&name).is_ok_and(|name| name.to_str().is_some());
    let text = match read_file(&name) {
        Ok(_) if !is_text => Err(io::Error::other("its path is not UTF-8")),
        read => read,
    };
    match text {
        Ok(text) => Some(Text { file: name, text }),
        Err(error) => {
            let message = format!("cannot read `{}`: {}", name.display(), reason(&error));
            problems.note(None, message, None);
            None
        }
    }
}

/// What stands for the file that is neither named nor here; none where there is one.
pub(super) fn instead_of_file(sources: &Sources) -> Option<Text> {
    let has_file = sources.file.is_some() || first_that_exists(&[FILE_HERE]).is_some();
    (!has_file).then(without_file)
}

fn without_file() -> Text {
    Text {
        file: FILE_HERE.into(),
        text: WITHOUT_FILE.to_owned(),
    }
}

/// One that exists, but cannot be read, is the one that was meant, and its error is told.
fn first_that_exists(names: &[&str]) -> Option<PathBuf> {
    let is_there = |name: &PathBuf| !matches!(fs::symlink_metadata(name), Err(error) if error.kind() == ErrorKind::NotFound);
    names.iter().map(PathBuf::from).find(is_there)
}

fn read_file(name: &Path) -> io::Result<String> {
    // The master reads it again at each reload: opening a named pipe would hold it up until somebody writes.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(name)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        let reason = "not a regular file, which a reload could read again";
        return Err(io::Error::other(reason));
    }
    let mut bytes = Vec::new();
    file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|byte| **byte == b'\n')
            .count();
        io::Error::other(format!("line {line} is not UTF-8"))
    })
}

/// Without the number of the error, which says nothing to a reader.
fn reason(error: &io::Error) -> String {
    if error.kind() == ErrorKind::NotFound {
        "no such file".to_owned()
    } else if error.kind() == ErrorKind::Other {
        error.to_string()
    } else {
        error.kind().to_string()
    }
}
