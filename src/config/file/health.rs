//! `[health]` as it is written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{Period, Text, Whole};

/// What load balancers ask, and what the application is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Health {
    /// The path that is answered with 200 while the server wants requests and with 503 from the order to stop on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub readiness_path: Option<Text>,
    /// The probe `/readyz` of `admin.bind` answers 200 while at least so many workers take connections.
    pub ready_min: Whole<1, 512>,
    /// The path that the application is asked for in each worker before it may serve, and then again and again. Not set: it is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub probe: Option<Text>,
    /// The `Host` of that request.
    pub probe_host: Text,
    /// How often, while a worker serves. 0: only before it does.
    pub probe_interval: Period<0, { 24 * 3_600_000 }>,
    /// How long the answer may take; less than `workers.boot_timeout`.
    pub probe_timeout: Period<10, { 10 * 60_000 }>,
    /// After so many failures in a row a worker that serves is replaced.
    pub probe_failures: Whole<1, 100>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            readiness_path: None,
            ready_min: Whole(1),
            probe: None,
            probe_host: Text("localhost".to_owned()),
            probe_interval: Period(Duration::from_secs(10)),
            probe_timeout: Period(Duration::from_secs(5)),
            probe_failures: Whole(3),
        }
    }
}
