//! TLS on a connection: the handshake, with its time-out, and the stream that comes of it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::server::{Acceptor, ClientHello};
use rustls::{CipherSuite, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::watched::{ClientStream, LAST_WORDS};
use crate::app::Draining;
use crate::config;
use crate::http::needs_tls;
use crate::logging::cut;
use crate::sys::socket::has_unread_bytes;
use crate::tls::{ClientCertificate, Encryption, Noted, Protocol, Tls};

/// As much as a client hello usually has, in bytes.
const HELLO: usize = 2048;

/// As much is read of a client that was refused, in bytes, so that what it still sends does not reset the connection before it
/// has read why.
const LEFTOVERS_MAX: usize = 64 * 1024;

/// The alert `inappropriate_fallback` (RFC 7507 section 3) as a record (RFC 8446 sections 5.1 and 6), for which the library has
/// no words.
const INAPPROPRIATE_FALLBACK: [u8; 7] = [21, 3, 3, 0, 2, 2, 86];

/// `TLS_FALLBACK_SCSV`.
const FALLBACK: CipherSuite = CipherSuite::Unknown(0x5600);

/// The listeners that speak TLS, and what with.
#[derive(Debug)]
pub(super) struct SecureListeners {
    /// As the configuration names them.
    names: BTreeSet<String>,
    tls: Option<Arc<Tls>>,
    handshake_timeout: Duration,
}

impl SecureListeners {
    /// Those of a configuration; none where it has none.
    pub(super) fn new(tls: Option<(&config::Tls, Arc<Tls>)>) -> Self {
        let bind = tls.iter().flat_map(|(config, _)| &config.bind);
        Self {
            names: bind.map(ToString::to_string).collect(),
            handshake_timeout: tls
                .as_ref()
                .map_or(Duration::ZERO, |(config, _)| config.handshake_timeout),
            tls: tls.map(|(_, tls)| tls),
        }
    }

    /// What is spoken on `listener`; none where it is plain.
    pub(super) fn of(&self, listener: &str) -> Option<&Arc<Tls>> {
        self.tls.as_ref().filter(|_| self.names.contains(listener))
    }
}

/// A stream before the handshake.
pub(super) trait RawStream:
    AsyncRead + AsyncWrite + AsFd + Unpin + Send + Sync + 'static
{
}
impl<T: AsyncRead + AsyncWrite + AsFd + Unpin + Send + Sync + 'static> RawStream for T {}

/// What the handshake has told.
#[derive(Debug, Clone)]
pub(super) struct Agreed {
    pub(super) protocol: Protocol,
    /// None where the library does not say.
    pub(super) encryption: Option<Encryption>,
    /// The certificate that the client has shown, verified.
    pub(super) certificate: Option<ClientCertificate>,
}

/// Why nothing came of a handshake; fit for a log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it took longer than `tls.handshake_timeout`")]
    Late,
    #[error("the client went before it began")]
    Gone,
    #[error("the worker drains, and the client has not begun")]
    Draining,
    #[error("the client speaks HTTP without TLS")]
    PlainHttp,
    #[error("the client fell back to an older version than it needs")]
    Fallback,
    #[error("the client's certificate was good when the session began, and is not any more")]
    NoLongerAccepted,
    #[error("the client's certificate cannot be read")]
    Unreadable,
    #[error("{0}")]
    Protocol(io::Error),
}

impl Failure {
    /// Whether it is about the certificate of a client: who runs the server is asked about that. Other clients are anybody.
    fn is_of_certificate(&self) -> bool {
        match self {
            Self::NoLongerAccepted | Self::Unreadable => true,
            Self::Protocol(error) => {
                let cause = error
                    .get_ref()
                    .and_then(|it| it.downcast_ref::<rustls::Error>());
                cause.is_some_and(|cause| {
                    matches!(
                        cause,
                        rustls::Error::InvalidCertificate(_)
                            | rustls::Error::NoCertificatesPresented
                    )
                })
            }
            Self::Late | Self::Gone | Self::Draining | Self::PlainHttp | Self::Fallback => false,
        }
    }
}

/// Makes the handshake on a connection of `client` that was just accepted from `listener`. Where nothing comes of it the client was told, and
/// so was the log.
pub(super) async fn handshake(
    stream: impl RawStream,
    (listeners, tls): (&SecureListeners, &Tls),
    (listener, client): (&str, Option<SocketAddr>),
    (draining, linger): (&Draining, Duration),
) -> Option<(SecureStream, Agreed)> {
    // As on a plain connection: who has not begun when the worker drains gets the linger.
    let told_to_go = async {
        draining.begun().await;
        tokio::time::sleep(linger).await;
    };
    // All of it: what the client says first is worked on before anything is waited for.
    let shaken = Noted::new(shake_hands(Box::new(stream), tls, told_to_go));
    let failure = match timeout(listeners.handshake_timeout, shaken).await {
        Ok(Ok((stream, agreed))) => {
            tracing::trace!(listener, protocol = ?agreed.protocol, "a TLS handshake is done");
            return Some((stream, agreed));
        }
        Ok(Err((failure, stream))) => {
            if let Some(stream) = stream {
                let _gone = timeout(LAST_WORDS, let_go(stream)).await;
            }
            failure
        }
        Err(_) => Failure::Late,
    };
    let reason = failure.to_string();
    let reason = cut(&reason);
    let client = client.map(tracing::field::display);
    if failure.is_of_certificate() {
        tracing::info!(listener, client, reason, "a TLS handshake failed");
    } else {
        tracing::debug!(listener, client, reason, "a TLS handshake failed");
    }
    None
}

/// Why it failed, and the stream where its client may still read something.
type Failed = (Failure, Option<Begun>);

async fn shake_hands(
    mut stream: Box<dyn RawStream>,
    tls: &Tls,
    told_to_go: impl Future<Output = ()>,
) -> Result<(SecureStream, Agreed), Failed> {
    let mut first = BytesMut::with_capacity(HELLO);
    let read = tokio::select! {
        biased;
        read = stream.read_buf(&mut first) => read,
        () = told_to_go => return Err((Failure::Draining, None)),
    };
    if !matches!(read, Ok(1..)) {
        return Err((Failure::Gone, None));
    }
    let speaks_http = first.first().is_some_and(u8::is_ascii_uppercase);
    let mut stream = Begun {
        first: first.freeze(),
        stream,
        has_progressed: false,
    };
    if speaks_http {
        // Whether the client still listens is its affair.
        let _gone = stream.write_all(&needs_tls()).await;
        return Err((Failure::PlainHttp, Some(stream)));
    }
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let hello = match (&mut acceptor).await {
        Ok(hello) => hello,
        Err(error) => return Err((Failure::Protocol(error), acceptor.take_io())),
    };
    if has_fallen_back(&hello.client_hello()) {
        let mut stream = hello.io;
        let _gone = stream.write_all(&INAPPROPRIATE_FALLBACK).await;
        return Err((Failure::Fallback, Some(stream)));
    }
    let accepted = hello.into_stream(tls.server_config()).into_fallible().await;
    let stream = accepted.map_err(|(error, io)| (Failure::Protocol(error), Some(io)))?;
    let stream = SecureStream(Box::new(stream));
    match agreed(&stream, tls) {
        Ok(agreed) => Ok((stream, agreed)),
        Err(failure) => Err((failure, Some(stream.0.into_inner().0))),
    }
}

/// Whether the client says that it could speak a newer version than it offers, which somebody on the way may have made it do
/// (RFC 7507): the newest has suites of its own.
fn has_fallen_back(hello: &ClientHello<'_>) -> bool {
    let is_newest = |suite: &CipherSuite| u16::from(*suite) >> 8 == 0x13;
    let suites = hello.cipher_suites();
    suites.contains(&FALLBACK) && !suites.iter().any(is_newest)
}

fn agreed(stream: &SecureStream, tls: &Tls) -> Result<Agreed, Failure> {
    let (_, session) = stream.0.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let was_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    if was_resumed && !tls.still_accepts(chain) {
        return Err(Failure::NoLongerAccepted);
    }
    let certificate = chain
        .split_first()
        .map(|(leaf, between)| ClientCertificate::read(leaf, between).ok_or(Failure::Unreadable));
    let suite = session.negotiated_cipher_suite();
    let encryption = session.protocol_version().zip(suite);
    Ok(Agreed {
        protocol: Protocol::of(session.alpn_protocol()),
        encryption: encryption.map(|(version, suite)| Encryption::new(version, suite.suite())),
        certificate: certificate.transpose()?,
    })
}

/// Ends a connection so that its client can read what it was told: what it still sends is read, up to a bound.
async fn let_go(mut stream: Begun) {
    let _gone = stream.shutdown().await;
    let mut left = [0; 1024];
    for _ in 0..LEFTOVERS_MAX / left.len() {
        if !matches!(stream.read(&mut left).await, Ok(1..)) {
            return;
        }
    }
}

/// A stream of which something was read already, which comes first.
struct Begun {
    first: Bytes,
    stream: Box<dyn RawStream>,
    /// The client has taken something of what was written.
    has_progressed: bool,
}

impl Begun {
    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.has_progressed |= matches!(written, Poll::Ready(Ok(1..)));
        written
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = buffer.remaining().min(self.first.len());
        buffer.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A stream after the handshake.
pub(super) struct SecureStream(Box<TlsStream<Begun>>);

impl fmt::Debug for SecureStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecureStream")
    }
}

impl AsFd for SecureStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().0.stream.as_fd()
    }
}

impl ClientStream for SecureStream {
    /// Without a `close_notify` nobody could tell an end from a cut (RFC 8446 section 6.1).
    const SAYS_FAREWELL: bool = true;

    fn has_unread(&self) -> bool {
        // The library wants to read until something is there that nobody has taken, or the client has said its farewell.
        has_unread_bytes(self) || !self.0.get_ref().1.wants_read()
    }

    fn has_progressed(&mut self) -> bool {
        let (stream, _) = self.0.get_mut();
        std::mem::take(&mut stream.has_progressed)
    }
}

impl AsyncRead for SecureStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for SecureStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}
