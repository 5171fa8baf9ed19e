//! What the log is told of logins and refreshes; a flood of them is summed up. Never a password, nor what was typed as a name.

use std::fmt;
use std::net::SocketAddr;
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
            tracing::info!(request = %call.request, peer = %Peer(call.peer), reason, wait, "login throttled");
        }
    }

    /// A login failed; the user where there is one.
    pub(super) fn failed(&self, call: &Call<'_>, user: Option<i64>, reason: &'static str) {
        let address = call.peer.map(|peer| peer.ip());
        if self.0.admits(("login failed", reason), (user, address)) {
            tracing::info!(request = %call.request, user, peer = %Peer(call.peer), reason, "login failed");
        }
    }

    /// A user has logged in and got this refresh token.
    pub(super) fn logged_in(&self, call: &Call<'_>, user: i64, jti: &str) {
        if self.0.admits_each(("logged in", ""), user) {
            tracing::info!(request = %call.request, user, peer = %Peer(call.peer), jti, "logged in");
        }
    }

    /// The same refresh token goes on to be used.
    pub(super) fn refreshed(&self, call: &Call<'_>, user: Option<i64>, jti: &str) {
        if self.0.admits_each(("token refreshed", ""), jti) {
            tracing::info!(request = %call.request, user, peer = %Peer(call.peer), jti, "token refreshed");
        }
    }

    /// A refresh token was exchanged for another one; without a blacklist that can be done any number of times.
    pub(super) fn rotated(&self, call: &Call<'_>, user: Option<i64>, jti: &str, successor: &str) {
        if self.0.admits_each(("token refreshed", ""), jti) {
            tracing::info!(request = %call.request, user, peer = %Peer(call.peer), jti, successor, "token refreshed");
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
            tracing::info!(request = %call.request, user, peer = %Peer(call.peer), jti, successor, "token refreshed again within the grace");
        }
    }
}

/// Who asked, for a log.
pub(super) struct Peer(pub(super) Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(formatter, "{}", address.ip()),
            None => formatter.write_str("unix"),
        }
    }
}
