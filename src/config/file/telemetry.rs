//! `[telemetry]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{Ratio, Text};

/// Spans of requests, for a collector (OTLP).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Telemetry {
    /// The collector, as OTLP over HTTP with protobuf knows it: `http://127.0.0.1:4318`; spans go to `/v1/traces` below it. It needs
    /// `http.trace_context`, and a program with the feature `otlp`. None: spans are not exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub otlp_endpoint: Option<Text>,
    /// A file with fields for its requests, `Authorization: ...` for example: one a line, as HTTP has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub otlp_headers_file: Option<Text>,
    /// The authorities that the collector's certificate may come from, in PEM. None: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub otlp_ca_file: Option<Text>,
    /// How many of the traces that begin here are recorded, 0.0 to 1.0; of one that goes on, whoever began it has decided.
    pub sampling_ratio: Ratio,
    /// What the service is called there (`service.name`).
    pub service_name: Text,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_headers_file: None,
            otlp_ca_file: None,
            sampling_ratio: Ratio(1.0),
            service_name: Text("destrier".to_owned()),
        }
    }
}
