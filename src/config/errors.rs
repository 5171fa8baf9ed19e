//! What is wrong with a configuration: all of it, in the order of the file.

use std::fmt;

use super::key::KeyPath;
use super::origin::Origin;

/// Why a configuration cannot be put in force: at least one problem, each on its own line, some followed by a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

/// One thing that is wrong, or hardly meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is written; absent when it is nowhere.
    pub origin: Option<Origin>,
    /// What it is.
    pub message: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl ConfigErrors {
    /// The problems, in the order of the file; environment and flags come last.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("config: ")?;
        if let Some(origin) = &self.origin {
            write!(formatter, "{origin}: ")?;
        }
        formatter.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(formatter, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Where problems are noted while reading goes on.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    keys: Vec<KeyPath>,
}

impl Problems {
    /// Notes a problem that has no key.
    pub(super) fn note(
        &mut self,
        origin: Option<Origin>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.found.push(Problem {
            origin,
            message: message.into(),
            hint,
        });
    }

    /// Notes a problem of the value at `path`.
    pub(super) fn note_at(
        &mut self,
        path: &KeyPath,
        origin: Origin,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.keys.push(path.clone());
        self.note(Some(origin), message, hint);
    }

    /// Whether the value at `path`, or one in it, is known to be wrong, so that nothing follows from its absence.
    pub(super) fn concern(&self, path: &KeyPath) -> bool {
        self.keys.iter().any(|key| key.starts_with(path))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_errors(mut self) -> ConfigErrors {
        self.found.sort();
        ConfigErrors(self.found)
    }
}
