//! What the log is told of requests that are not served, or would not be; a flood of them is summed up.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;

use crate::auth::Refusal;
use crate::log_quota::LogQuota;
use crate::logging::cut;
use crate::scoreboard::RequestId;

/// The lines of one worker.
#[derive(Debug)]
pub(super) struct Unserved(Arc<LogQuota>);

impl Unserved {
    pub(super) fn new() -> Self {
        Self(LogQuota::new())
    }

    /// The request was refused; of one that is malformed, method and path are what could be told of them.
    pub(super) fn refused(&self, refusal: &Refusal, (method, path): (&str, &str), id: &RequestId) {
        if self.0.admits(("refused", refusal.code), &refusal.reason) {
            tracing::info!(
                request = %id,
                trace_id = id.trace_id(),
                method = cut(method),
                path = cut(path),
                status = refusal.status,
                reason = cut(&refusal.reason),
                "refused"
            );
        }
    }

    /// The request was malformed, so that its stream of HTTP/2 was reset.
    pub(super) fn reset(&self, reason: &str, head: &Parts) {
        if self.0.admits(("refused", "malformed"), reason) {
            tracing::info!(
                method = cut(head.method.as_str()),
                path = cut(head.uri.path()),
                reason,
                "refused, the stream is reset"
            );
        }
    }

    /// The request passed, but would have been refused, were the rule no audit.
    pub(super) fn audited(&self, refusal: &Refusal, head: &Parts, id: &RequestId) {
        if self.0.admits(("audit", refusal.code), &refusal.reason) {
            tracing::info!(
                request = %id,
                trace_id = id.trace_id(),
                method = cut(head.method.as_str()),
                path = cut(head.uri.path()),
                status = refusal.status,
                reason = cut(&refusal.reason),
                "would be refused, but the rule is an audit"
            );
        }
    }

    /// A file is there, but cannot be read.
    pub(super) fn unreadable(&self, path: &str, error: &std::io::Error, id: &RequestId) {
        if self.0.admits(("unreadable", "file"), error.raw_os_error()) {
            let trace_id = id.trace_id();
            tracing::warn!(request = %id, trace_id, path = cut(path), %error, "a file cannot be read");
        }
    }

    /// The application had no time for the request, and whoever waited has waited long enough.
    pub(super) fn overloaded(&self, reason: &'static str, id: &RequestId) {
        if self.0.admits(("overloaded", ""), reason) {
            tracing::warn!(
                request = %id,
                trace_id = id.trace_id(),
                status = StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                reason,
                "overloaded"
            );
        }
    }

    /// Workers died of the request, so that it is not tried.
    pub(super) fn blocked(&self, fingerprint: u64, head: &Parts, id: &RequestId) {
        if self.0.admits(("blocked", "poison_guard"), fingerprint) {
            tracing::info!(
                request = %id,
                trace_id = id.trace_id(),
                method = cut(head.method.as_str()),
                path = cut(head.uri.path()),
                status = StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                reason = "workers died of it: `workers.poison_guard`",
                "blocked"
            );
        }
    }
}
