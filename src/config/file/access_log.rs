//! `[access_log]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Facility;
use super::super::notation::{OneOrMany, Text};

/// One line for each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct AccessLog {
    /// Whether each request gets a line.
    pub enabled: bool,
    /// Where the lines go: `log`, with the other lines; `stdout`; `stderr`; a file, which is opened anew on SIGUSR1; `syslog` or
    /// `journald`, or one of these with the path of its socket after a colon.
    pub to: Text,
    /// How they look: `json`; `combined`, as Apache's; `text`; a template such as `{client} {status}`; `auto`: in the log as its
    /// other lines, elsewhere JSON.
    pub format: Text,
    /// Whether lines have the query, which may hold secrets. Parameters that may hold a token are never written.
    pub query: bool,
    /// Paths that get no line, such as those that probes ask for.
    pub skip: OneOrMany<Text>,
    /// The facility of the lines that go to syslog.
    pub syslog_facility: Facility,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            enabled: false,
            to: Text("log".to_owned()),
            format: Text("auto".to_owned()),
            query: false,
            skip: OneOrMany::default(),
            syslog_facility: Facility::Local7,
        }
    }
}
