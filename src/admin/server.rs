//! The connections of those who ask: few, short and bounded.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tower_service::Service as _;

use super::callers::Peer;
use crate::sys::socket;

/// Connections of one address at once; more wait until one ends.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// From the beginning of a connection, or the end of an answer, until the next head is there.
const HEAD_MAX: Duration = Duration::from_secs(75);

/// Then a connection ends, whatever it does.
const CONNECTION_MAX: Duration = Duration::from_mins(10);

/// The most that a head may have, in bytes.
const BUFFER_MAX: usize = 16 * 1024;

/// After an error of accept(2) that is not about one connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Where they come from.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// `socket` listens and is non-blocking.
    pub(super) fn new(socket: OwnedFd, is_tcp: bool) -> io::Result<Self> {
        if is_tcp {
            TcpListener::from_std(socket.into()).map(Self::Tcp)
        } else {
            UnixListener::from_std(socket.into()).map(Self::Unix)
        }
    }
}

/// Answers everybody who comes, for as long as the process lives.
pub(super) async fn serve(listener: Listener, router: Router) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        let router = router.clone();
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    answer(stream, Peer(None), router).await;
                    drop(permit);
                });
            }),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                let peer = Peer(socket::peer_credentials(&stream).ok());
                tokio::spawn(async move {
                    answer(stream, peer, router).await;
                    drop(permit);
                });
            }),
        };
        if let Err(error) = accepted {
            tracing::debug!(%error, "admin: cannot accept a connection");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, router: Router) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_MAX, connection).await {
        tracing::debug!(%error, "admin: a connection broke");
    }
}
