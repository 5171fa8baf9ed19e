//! The stream of a client: it notes what passes through it, lets nothing pass that is malformed, and ends in good manners.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::intake::Intake;
use crate::http::activity::Activity;
use crate::http::http2::Opening;
use crate::http::wire::Bounds;
use crate::sys::socket::has_unread_bytes;

/// A client that was told that its time is up, or that its request is malformed, has this long to take note.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// A client that still sends when it is answered and its connection ends is listened to for so long, and for so many bytes:
/// to close a socket with unread bytes resets the connection, and the reset may overtake the answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_MAX: usize = 64 << 20;

/// A stream of a client.
pub(super) trait ClientStream:
    AsyncRead + AsyncWrite + AsFd + Unpin + Send + Sync + 'static
{
    /// Whether the client must be told that the connection ends.
    const SAYS_FAREWELL: bool = false;

    /// Whether something that the client has sent waits to be read.
    fn has_unread(&self) -> bool {
        has_unread_bytes(self)
    }

    /// Whether the client has taken something since this was asked last, though what was written last still waits.
    fn has_progressed(&mut self) -> bool {
        false
    }
}
impl ClientStream for TcpStream {}
impl ClientStream for UnixStream {}

/// A stream that notes what passes through it, and lets nothing of HTTP/1.1 pass that is malformed.
#[derive(Debug)]
pub(super) struct Watched<T> {
    pub(super) stream: T,
    pub(super) activity: Arc<Activity>,
    /// What was read while it was not certain whether the client begins with HTTP/2, and comes first.
    read_before: Bytes,
    pub(super) opening: Opening,
    pub(super) intake: Intake,
}

impl<T> Watched<T> {
    pub(super) fn new(stream: T, activity: Activity, bounds: Bounds) -> Self {
        Self {
            stream,
            activity: Arc::new(activity),
            read_before: Bytes::new(),
            opening: Opening::Http1,
            intake: Intake::new(bounds),
        }
    }
}

impl<T: ClientStream> Watched<T> {
    fn note_write(&mut self, is_blocked: bool) {
        if is_blocked && self.stream.has_progressed() {
            // It waits from now on.
            self.activity.set_write_blocked(false);
        }
        self.activity.set_write_blocked(is_blocked);
    }

    /// Reads, and takes note of nothing.
    pub(super) fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_before.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = buffer.remaining().min(self.read_before.len());
        buffer.put_slice(&self.read_before.split_to(count));
        Poll::Ready(Ok(()))
    }

    /// Takes back what has just been read: it may be, or is, the beginning of HTTP/2, or goes the way of HTTP/1.1.
    fn hold_back(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        // Nothing more will arrive where nothing has: let HTTP/1.1 see what there was.
        let begun = [&self.read_before, arrived].concat();
        self.opening = if arrived.is_empty() {
            Opening::Http1
        } else {
            Opening::of(&begun)
        };
        if self.opening == Opening::Http1 {
            self.intake.hold(&begun);
            self.read_before = Bytes::new();
        } else {
            self.read_before = begun.into();
        }
        buffer.set_filled(before);
    }

    /// From now on its client does not speak HTTP: what was held back of it is read as it is.
    pub(super) fn let_through(&mut self) {
        self.read_before = self.intake.take_held();
    }

    /// Says this, and ends the connection.
    pub(super) async fn say_last(mut self, answer: &[u8]) {
        // Whether the client still listens is its affair.
        let last_words = async {
            let _gone = self.stream.write_all(answer).await;
            let _gone = self.stream.shutdown().await;
        };
        let _gone = tokio::time::timeout(LAST_WORDS, last_words).await;
        linger(&mut self.stream).await;
    }

    /// Ends the connection after its last answer, which its client shall get although it still sends.
    pub(super) async fn let_go(mut self) {
        if self.intake.is_unfinished() || self.stream.has_unread() {
            linger(&mut self.stream).await;
        }
    }
}

/// Takes in what a client sends that nobody wants, until it has enough.
async fn linger(stream: &mut impl ClientStream) {
    let reading = async {
        let mut bytes = vec![0; 8 << 10];
        let mut left = LINGER_MAX;
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            left = left.saturating_sub(count);
            if left == 0 {
                return;
            }
        }
    };
    let _long_enough = tokio::time::timeout(LINGER, reading).await;
}

impl<T: ClientStream> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        while self.opening == Opening::Unknown {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            if buffer.filled().len() > before {
                self.activity.read_some();
            }
            self.hold_back(buffer, before);
        }
        if self.opening == Opening::Http2 {
            // There is nothing to read for HTTP/1.1: whoever serves the connection looks at this.
            self.activity.set_http2();
            return Poll::Pending;
        }
        let this = &mut *self;
        this.intake
            .poll_read(&mut this.stream, &this.activity, context, buffer)
    }
}

impl<T: ClientStream> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is encrypted waits where it was written to.
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.note_write(polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Ends a connection on which nothing is under way any more.
pub(super) async fn say_farewell<T: ClientStream>(stream: &mut T) {
    if T::SAYS_FAREWELL {
        let _gone = tokio::time::timeout(LAST_WORDS, stream.shutdown()).await;
    }
}
