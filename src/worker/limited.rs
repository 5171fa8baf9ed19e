//! What limits do to connections: counted for monitoring, and told to the log, for their clients are not.

use std::net::SocketAddr;
use std::sync::Arc;

use super::addresses::Counted;
use super::connection::Serving;
use crate::log_quota::LogQuota;
use crate::scoreboard::{ConnectionLimit, SeatWriter};

/// Of one worker.
#[derive(Debug)]
pub(super) struct Limited {
    seat: SeatWriter,
    log: Arc<LogQuota>,
}

impl Limited {
    /// Called within a runtime.
    pub(super) fn new(seat: SeatWriter) -> Self {
        Self {
            seat,
            log: LogQuota::new(),
        }
    }

    /// A connection that came from `listener`, and is that of `client`, is ended by `limit`. In a flood such lines are summed up.
    pub(super) fn ended(&self, limit: ConnectionLimit, listener: &str, client: Option<SocketAddr>) {
        self.count(limit);
        let reason = match limit {
            ConnectionLimit::ConnectionsPerAddress => {
                "its address has `http.max_connections_per_address`"
            }
            ConnectionLimit::WriteTimeout => {
                "its client took nothing of an answer within `http.write_timeout`"
            }
            ConnectionLimit::Connections | ConnectionLimit::Descriptors => limit.word(),
        };
        let address = client.map(|client| client.ip());
        if self
            .log
            .admits(("a connection was closed", limit.word()), (reason, address))
        {
            let client = client.map(tracing::field::display);
            tracing::info!(listener, client, reason, "a connection was closed");
        }
    }

    /// A connection is ended by `limit`, and the log was told by whoever knows more of it.
    pub(super) fn count(&self, limit: ConnectionLimit) {
        self.seat.limited(limit);
    }
}

impl<S> Serving<S> {
    /// Another connection of `source`, which `listener` has accepted; none where it has enough.
    pub(super) fn enter_at(&self, listener: &str, source: Option<SocketAddr>) -> Option<Counted> {
        let counted = self.addresses.enter(source);
        if counted.is_none() {
            let limit = ConnectionLimit::ConnectionsPerAddress;
            self.limited.ended(limit, listener, source);
        }
        counted
    }
}
