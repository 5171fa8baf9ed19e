//! The PROXY protocol on a connection: its header is read, to the byte, before anything else is.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use memchr::memchr;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::proxy_header::{self, Announced, Malformed, Progress};
use super::watched::ClientStream;
use crate::app::Draining;
use crate::config::{Config, TrustedProxies};
use crate::log_quota::LogQuota;
use crate::logging::cut;
use crate::sys::socket;

/// As long as a header usually is, in bytes.
const USUAL: usize = 64;

/// The listeners on which every connection begins with a header, and whose headers count.
#[derive(Debug)]
pub(super) struct ProxyListeners {
    /// As the configuration names them.
    names: BTreeSet<String>,
    proxies: TrustedProxies,
    header_timeout: Duration,
    log: Arc<LogQuota>,
}

/// Why nothing came of a connection; fit for a log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it is from no proxy of `server.trusted_proxies`")]
    Untrusted,
    #[error("its PROXY header did not arrive within `http.header_timeout`")]
    Late,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it ended before its PROXY header was whole")]
    Cut,
    /// A load balancer looks whether the port is open.
    #[error("it ended before anything came")]
    Gone,
    #[error("the worker drains, and its PROXY header has not come")]
    Draining,
    #[error("its PROXY header cannot be read: {0}")]
    Broken(#[from] io::Error),
}

impl ProxyListeners {
    /// Those of a configuration; called within a runtime.
    pub(super) fn new(config: &Config) -> Self {
        let listeners = config.server.proxy_protocol.iter();
        Self {
            names: listeners.map(ToString::to_string).collect(),
            proxies: config.server.trusted_proxies.clone(),
            header_timeout: config.http.header_timeout,
            log: LogQuota::new(),
        }
    }

    /// Whether a header is wanted on `listener`.
    pub(super) fn contain(&self, listener: &str) -> bool {
        self.names.contains(listener)
    }

    /// Reads the header of a connection that was just accepted from `listener`. Without one there is none: the log was told why.
    pub(super) async fn announced(
        &self,
        stream: &mut impl ClientStream,
        (listener, peer): (&str, Option<SocketAddr>),
        (draining, linger): (&Draining, Duration),
    ) -> Option<Announced> {
        // As on a plain connection: who has not begun when the worker drains gets the linger.
        let told_to_go = async {
            draining.begun().await;
            tokio::time::sleep(linger).await;
        };
        let read = async {
            if !self.proxies.trust(peer.map(|peer| peer.ip())) {
                return Err(Failure::Untrusted);
            }
            let read = timeout(self.header_timeout, read(stream));
            tokio::select! {
                biased;
                read = read => read.unwrap_or(Err(Failure::Late)),
                () = told_to_go => Err(Failure::Draining),
            }
        };
        match read.await {
            Ok(announced) => Some(announced),
            Err(failure) => {
                self.tell(&failure, listener, peer);
                None
            }
        }
    }

    fn tell(&self, failure: &Failure, listener: &str, peer: Option<SocketAddr>) {
        let reason = failure.to_string();
        let reason = cut(&reason);
        let peer = peer.map(tracing::field::display);
        match failure {
            Failure::Gone | Failure::Draining => {
                tracing::debug!(listener, peer, reason, "a connection was closed");
            }
            Failure::Untrusted
            | Failure::Late
            | Failure::Malformed(_)
            | Failure::Cut
            | Failure::Broken(_) => {
                if self
                    .log
                    .admits(("a connection was closed", "proxy_protocol"), reason)
                {
                    tracing::info!(listener, peer, reason, "a connection was closed");
                }
            }
        }
    }
}

/// Reads no byte beyond the header.
async fn read(stream: &mut impl ClientStream) -> Result<Announced, Failure> {
    let mut header = Vec::with_capacity(USUAL);
    loop {
        let wanted = match proxy_header::read(&header)? {
            Progress::Whole(announced) => return Ok(announced),
            Progress::Bytes(count) => count,
            Progress::Line(max) => rest_of_line(stream, max),
        };
        let mut part = (&mut *stream).take(wanted as u64);
        if part.read_buf(&mut header).await? == 0 {
            return Err(if header.is_empty() {
                Failure::Gone
            } else {
                Failure::Cut
            });
        }
    }
}

/// How many bytes have arrived of a line that has at most `max` more; at least one, for which may be waited.
fn rest_of_line(stream: &impl ClientStream, max: usize) -> usize {
    let mut arrived = vec![0; max];
    // Where nothing has, or the connection is broken, reading will tell.
    let count = socket::peek(stream, &mut arrived).unwrap_or(0);
    arrived.truncate(count);
    memchr(b'\n', &arrived).map_or_else(|| count.max(1), |end| end + 1)
}
