//! `[hooks]` in force: what is run when something happens.

use std::time::Duration;

/// `[hooks]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// A program, by its absolute path, and its arguments.
    pub on_event: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}
