//! `http.trace_context`: whose word on the trace of a request counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `http.trace_context`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceContexts {
    /// Nobody looks: the application gets the fields as they come.
    #[default]
    Off,
    /// That of trusted proxies; all other requests begin a trace.
    Trusted,
    /// Everybody's.
    All,
}
