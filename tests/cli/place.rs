//! A folder of its own for a test, and what a command that was run in it did: exit code, standard output and error.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::command;

/// The folder. In outcomes it is called `/srv`.
#[derive(Debug)]
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("cli").tempdir().unwrap())
    }

    /// Whoever else changes files of this folder is waited for, and then it is done.
    #[track_caller]
    pub(crate) fn assert_waits_for_the_folder(&self, words: &str) {
        let folder = File::open(self.path("")).unwrap();
        folder.lock().unwrap();
        let mut command = self.command(words);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
        let line = said.next().unwrap().unwrap();
        assert!(line.starts_with("waiting for another command"), "{line}");
        drop(folder);
        assert!(process.wait().unwrap().success());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file there that everyone may read.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        self.write_as(0o644, name, text);
    }

    pub(crate) fn write_as(&self, mode: u32, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The permission bits of a file.
    pub(crate) fn mode(&self, name: &str) -> u32 {
        let metadata = fs::metadata(self.path(name)).unwrap();
        metadata.permissions().mode() & 0o7777
    }

    /// What lies there.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    /// `destrier LINE`, in the folder; a blank ends a word.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = command::command(&command::destrier());
        command
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env("COLUMNS", "100")
            .env_remove("NO_COLOR");
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Outcome {
        self.outcome(self.command(line))
    }

    /// With `input` on standard input.
    #[track_caller]
    pub(crate) fn run_on(&self, input: impl AsRef<[u8]>, line: &str) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("input");
        fs::write(&file, input).unwrap();
        let mut command = self.command(line);
        command.stdin(File::open(file).unwrap());
        self.outcome(command)
    }

    #[track_caller]
    pub(crate) fn outcome(&self, command: Command) -> Outcome {
        let command::Outcome {
            code,
            stdout,
            stderr,
        } = command::run(command);
        let named = |text: String| text.replace(folder_name(self.0.path()), "/srv");
        Outcome {
            code,
            stdout: named(stdout),
            stderr: named(stderr),
        }
    }
}

fn folder_name(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The data of a command that succeeded and had nothing else to say.
    #[track_caller]
    pub(crate) fn data(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => writeln!(formatter, "exit {code}")?,
            None => writeln!(formatter, "killed")?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(formatter, "--- {name}\n{text}")?;
            }
        }
        Ok(())
    }
}

/// Hides, in snapshots from here on, whatever differs from run to run.
pub(crate) fn masked(patterns: &[(&str, &str)]) -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.set_filters(patterns.to_vec());
    settings.bind_to_scope()
}
