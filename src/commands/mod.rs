//! A file for each subcommand; this one chooses, and says what the process exits with.

use std::fmt;

/// What the process tells whoever started it. A protocol: scripts and systemd rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Stopped or done as asked.
    Success,
    /// Failed while running; for `token verify`, not valid.
    Failure,
    /// Wrong usage or configuration.
    Usage,
    /// The application failed to boot.
    Boot,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(match code {
            ExitCode::Success => 0,
            ExitCode::Failure => 1,
            ExitCode::Usage => 2,
            ExitCode::Boot => 3,
        })
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct CommandError {
    /// What the process exits with.
    pub code: ExitCode,
    /// For standard error; several lines when several things are wrong.
    pub message: String,
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {}
