//! The question to another program whether it can take over, and what its answer means.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::program::Program;
use super::state::{Readiness, STATE_VERSION};
use crate::supervisor::Now;
use crate::sys::child::Child;
use crate::sys::process::Ending;

/// A program that is being asked.
#[derive(Debug)]
pub(super) struct Preflight {
    pub(super) program: Program,
    pub(super) child: Child,
    /// The file that was asked.
    pub(super) file: Stamp,
    /// No answer counts after it.
    pub(super) until: Now,
}

/// A program that does not become the master.
#[derive(Debug, thiserror::Error)]
#[error("`{}` does not take over: {reason}", program.display())]
pub(super) struct UpgradeError {
    program: PathBuf,
    reason: Reason,
}

impl UpgradeError {
    pub(super) fn of(program: &Program, reason: Reason) -> Self {
        Self {
            program: program.path().to_owned(),
            reason,
        }
    }
}

/// Why.
#[derive(Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error("it cannot be started: {0}")]
    Start(io::Error),
    #[error("{0}, and it said nothing")]
    Silent(Ending),
    #[error("{0}: {1}")]
    Refused(Ending, String),
    #[error("it is no destrier: it did not say that it can")]
    NoAnswer,
    #[error(
        "it takes over state version {0} and this master has {STATE_VERSION}; only a restart changes to it"
    )]
    Version(u32),
    #[error("it did not say within `workers.boot_timeout` ({}) that it can", humantime::format_duration(*.0))]
    TimedOut(Duration),
    #[error("its file was changed while it was asked; try again when it is complete")]
    Changed,
    #[error("the state cannot be written down: {0}")]
    State(io::Error),
    #[error("execve: {0}")]
    Exec(io::Error),
}

/// What tells two files of one name apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(file)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// So much of a program's complaint is repeated, in bytes: a line of the log shall go into a pipe whole (`PIPE_BUF`,
/// pipe(7)).
const COMPLAINT_MAX: usize = 2048;

/// What the end of a program that was asked means.
pub(super) fn judge(ending: Ending, output: &[u8], errors: &str) -> Result<Readiness, Reason> {
    if ending != Ending::Exited(0) {
        return Err(if errors.is_empty() {
            Reason::Silent(ending)
        } else {
            let complaint = errors.get(..errors.floor_char_boundary(COMPLAINT_MAX));
            Reason::Refused(ending, complaint.unwrap_or_default().to_owned())
        });
    }
    // An application of somebody else may have things of its own to say before.
    let mut lines = output.split(|byte| *byte == b'\n');
    let readiness: Option<Readiness> = lines.find_map(|line| serde_json::from_slice(line).ok());
    let readiness = readiness.ok_or(Reason::NoAnswer)?;
    if readiness.state_version == STATE_VERSION {
        Ok(readiness)
    } else {
        Err(Reason::Version(readiness.state_version))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, judge};

    fn verdict(ending: Ending, output: &str, errors: &str) -> String {
        match judge(ending, output.as_bytes(), errors) {
            Ok(readiness) => format!("destrier {} can", readiness.destrier),
            Err(reason) => reason.to_string(),
        }
    }

    #[test]
    fn only_a_program_that_says_that_it_can_takes_over() {
        let well = Ending::Exited(0);
        let can = r#"{"destrier":"9.9.9","state_version":1}"#;
        assert_eq!(verdict(well, can, "warning: old"), "destrier 9.9.9 can");
        let banner = format!("Prices 2.0\n{can}\n");
        assert_eq!(verdict(well, &banner, ""), "destrier 9.9.9 can");
        assert_eq!(
            verdict(Ending::Exited(1), can, ""),
            "exit code 1, and it said nothing"
        );
        assert_eq!(
            verdict(Ending::Exited(2), "", "no such key"),
            "exit code 2: no such key"
        );
        let crashed = Ending::Killed {
            signal: 11,
            core: false,
        };
        assert_eq!(
            verdict(crashed, "", ""),
            "killed by SIGSEGV, and it said nothing"
        );
        for nothing in ["", "hello", "{}", "{\"destrier\":1}"] {
            assert!(verdict(well, nothing, "").starts_with("it is no destrier"));
        }
        let other = verdict(well, r#"{"destrier":"9.9.9","state_version":77}"#, "");
        assert!(other.starts_with("it takes over state version 77 and this master has"));
    }
}
