//! `[telemetry]` in force: where spans of requests go.

use std::path::PathBuf;

use url::Url;

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// Where a collector takes spans: `/v1/traces` below `otlp_endpoint`.
    pub traces: Url,
    /// The file with fields for its requests, one a line.
    pub headers_file: Option<PathBuf>,
    /// The authorities that its certificate may come from; none are those of the system.
    pub ca_file: Option<PathBuf>,
    /// How many of the traces that begin here are recorded, 0 to 1.
    pub sampling_ratio: f64,
    /// What the service is called there.
    pub service_name: String,
}
