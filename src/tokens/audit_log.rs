//! What the log is told of logins and refreshes; a flood of them is summed up. Never a password, nor what was typed as a name.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::service::Call;
use crate::log_quota::LogQuota;

/// The lines of one worker's token service.
#[derive(Debug)]
pub(super) struct AuditLog(Arc<LogQuota>);

impl AuditLog {
    pub(super) fn new() -> Self {
        Self(LogQuota::new())
    }

    /// A login was one too many, by what is counted.
    pub(super) fn throttled(&self, call: &Call<'_>, reason: &'static str, wait: u32) {
        // Names and addresses can be made up, so that the kind is the reason.
        if self.0.admits(("login throttled", reason), ()) {
            tracing::info!(request = %call.request, trace_id = call.trace_id.as_deref(), client = %Client(call.client), reason, wait, "login throttled");
        }
    }

    /// A login failed; the user where there is one.
    pub(super) fn failed(&self, call: &Call<'_>, user: Option<i64>, reason: &'static str) {
        let address = call.client;
        if self.0.admits(("login failed", reason), (user, address)) {
            tracing::info!(request = %call.request, trace_id = call.trace_id.as_deref(), user, client = %Client(call.client), reason, "login failed");
        }
    }

    /// A user has logged in and got this refresh token.
    pub(super) fn logged_in(&self, call: &Call<'_>, user: i64, jti: &str) {
        if self.0.admits_each(("logged in", ""), user) {
            tracing::info!(request = %call.request, trace_id = call.trace_id.as_deref(), user, client = %Client(call.client), jti, "logged in");
        }
    }

    /// The same refresh token goes on to be used.
    pub(super) fn refreshed(&self, call: &Call<'_>, user: Option<i64>, jti: &str) {
        if self.0.admits_each(("token refreshed", ""), jti) {
            tracing::info!(request = %call.request, trace_id = call.trace_id.as_deref(), user, client = %Client(call.client), jti, "token refreshed");
        }
    }

    /// A refresh token was exchanged for another one; without a blacklist that can be done any number of times.
    pub(super) fn rotated(&self, call: &Call<'_>, user: Option<i64>, jti: &str, successor: &str) {
        if self.0.admits_each(("token refreshed", ""), jti) {
            tracing::info!(request = %call.request, trace_id = call.trace_id.as_deref(), user, client = %Client(call.client), jti, successor, "token refreshed");
        }
    }

    /// A refresh token that was exchanged got the same successor once more.
    pub(super) fn rotated_again(
        &self,
        call: &Call<'_>,
        user: Option<i64>,
        jti: &str,
        successor: &str,
    ) {
        if self
            .0
            .admits_each(("token refreshed again within the grace", ""), jti)
        {
            tracing::info!(request = %call.request, trace_id = call.trace_id.as_deref(), user, client = %Client(call.client), jti, successor, "token refreshed again within the grace");
        }
    }
}

/// Who asked, for a log.
pub(super) struct Client(pub(super) Option<IpAddr>);

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(formatter),
            None => formatter.write_str("unix"),
        }
    }
}
