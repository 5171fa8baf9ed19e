//! `[hooks]` as it is written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{OneOrMany, Period, Text};

/// Programs that are run when something happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Hooks {
    /// A program, by its absolute path, and its arguments. It gets what has happened as JSON on standard input. None: nobody is told.
    pub on_event: OneOrMany<Text>,
    /// How long it may take; then it is killed.
    pub on_event_timeout: Period<100, { 10 * 60_000 }>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            on_event: OneOrMany(Vec::new()),
            on_event_timeout: Period(Duration::from_secs(30)),
        }
    }
}
