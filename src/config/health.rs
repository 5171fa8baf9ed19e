//! `[health]` in force: what load balancers ask, and what the application is asked.

use std::time::Duration;

/// `[health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The path on which workers say whether the server wants requests; when absent they do not.
    pub readiness_path: Option<String>,
    /// The server is ready while at least so many workers take connections.
    pub ready_min: u16,
    /// What the application of each worker is asked; absent: nothing.
    pub probe: Option<Probe>,
}

/// A request to the application of a worker, which shows whether it can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its path, and its query where it has one.
    pub path: String,
    /// Its `Host`.
    pub host: String,
    /// How often a worker that serves is asked; absent: only one that is about to.
    pub interval: Option<Duration>,
    /// How long the answer may take.
    pub timeout: Duration,
    /// After so many failures in a row a worker that serves is replaced; at least 1.
    pub failures: u32,
}
