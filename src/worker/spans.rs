//! Where the spans of a worker's requests go.

use std::sync::Arc;

use super::Task;
use crate::telemetry::{self, Recorder};

/// Where its configuration has a collector. Without one that works, requests are served all the same.
pub(super) fn start(task: &Task) -> Option<Arc<dyn Recorder>> {
    let access = &task.collector;
    let started = telemetry::start(&task.config, access, task.seat.clone(), task.worker);
    started.unwrap_or_else(|error| {
        tracing::error!(worker = task.worker, error, "no spans are exported");
        None
    })
}
