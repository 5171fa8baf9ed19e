//! The stream of a client: it notes what passes through it, lets nothing pass that is malformed, and ends in good manners.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::intake::Intake;
use super::linger::Linger;
use crate::http::activity::Activity;
use crate::http::http2::Opening;
use crate::http::wire::Bounds;
use crate::sys::socket::{SocketNumber, has_unread_bytes, reset_at_end};

/// A client that was told that its time is up, or that its request is malformed, has this long to take note.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// A client that still sends when it is answered and its connection ends is listened to for so long, and for so many bytes.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_MAX: usize = 256 << 20;

/// Head and body of an answer that have together no more bytes are copied, for the kernel takes one piece in a twentieth less time than
/// two (send(2) and writev(2)).
const SMALL: usize = 1024;

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
    /// While it is not certain whether the client begins with HTTP/2 nothing passes.
    pub(super) opening: Opening,
    pub(super) intake: Intake,
    /// hyper has given all that it has, up to the end of a message or of a part of one.
    pub(super) is_flushed: bool,
}

impl<T: AsFd> Watched<T> {
    pub(super) fn new(stream: T, activity: Activity, bounds: Bounds) -> Self {
        activity.set_socket(SocketNumber::of(&stream));
        Self {
            stream,
            activity: Arc::new(activity),
            opening: Opening::Http1,
            intake: Intake::new(bounds),
            is_flushed: true,
        }
    }
}

impl<T: ClientStream> Watched<T> {
    /// The same, to be served once more: what was held back of it comes first.
    pub(super) fn again(self, activity: Activity, bounds: Bounds) -> Self {
        let mut intake = Intake::new(bounds);
        intake.hold(self.intake.held());
        activity.set_socket(SocketNumber::of(&self.stream));
        Self {
            activity: Arc::new(activity),
            intake,
            is_flushed: true,
            ..self
        }
    }

    fn note_write(&mut self, is_blocked: bool) {
        if is_blocked && self.stream.has_progressed() {
            // It waits from now on.
            self.activity.set_write_blocked(false);
        }
        self.activity.set_write_blocked(is_blocked);
    }

    /// Writes what goes out before the answer that is next, where its place is.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stream, activity) = (&mut self.stream, &self.activity);
        let write = |bytes: &[u8]| Pin::new(&mut *stream).poll_write(context, bytes);
        let polled = activity
            .ahead
            .poll_out(self.is_flushed, activity.requests(), write);
        if polled.is_pending() {
            self.note_write(true);
        }
        polled
    }

    /// Reads as it comes, first what was held back: what is no HTTP/1.1 is judged elsewhere, and noted there.
    pub(super) fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.intake.poll_bytes(&mut self.stream, context, buffer)
    }

    /// Returns when it is certain how the client begins; what came until then is held back.
    pub(super) fn poll_opening(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.opening == Opening::Unknown {
            let has_more = ready!(self.intake.read_aside(&mut self.stream, context, buffer))?;
            // Nothing more will arrive where nothing has: let HTTP/1.1 see what there was.
            self.opening = if has_more {
                self.activity.read_some();
                Opening::of(self.intake.held())
            } else {
                Opening::Http1
            };
        }
        Poll::Ready(Ok(()))
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

    /// Whether its client may still be sending something, which is taken in before the connection ends.
    pub(super) fn is_listened_to(&self) -> bool {
        self.intake.is_unfinished() || self.stream.has_unread()
    }

    /// Ends the connection after its last answer, which its client shall get although it still sends.
    pub(super) async fn let_go(mut self) {
        if self.is_listened_to() {
            linger(&mut self.stream).await;
        }
    }
}

/// Takes in what a client sends that nobody wants, until it has enough.
async fn linger(stream: &mut impl ClientStream) {
    let mut linger = Linger::new(LINGER, LINGER_MAX);
    poll_fn(|context| {
        linger.poll(context, |context, buffer| {
            Pin::new(&mut *stream).poll_read(context, buffer)
        })
    })
    .await;
}

impl<T: ClientStream> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_opening(context, buffer))?;
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
        ready!(self.poll_ahead(context))?;
        self.is_flushed = false;
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.intake.note_write();
        self.note_write(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ahead(context))?;
        self.is_flushed = false;
        let mut space = [MaybeUninit::uninit(); SMALL];
        let stream = Pin::new(&mut self.stream);
        let polled = match joined(slices, &mut ReadBuf::uninit(&mut space)) {
            Some(bytes) => stream.poll_write(context, bytes),
            None => stream.poll_write_vectored(context, slices),
        };
        self.intake.note_write();
        self.note_write(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_flushed = true;
        // Before it is looked: what a thread of the application says from now on wakes, what it has said before is seen.
        let requests = self.activity.requests();
        self.activity.ahead.register(requests, context.waker());
        ready!(self.poll_ahead(context))?;
        // What is encrypted waits where it was written to.
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.note_write(polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.note_write(polled.is_pending());
        polled
    }
}

/// Several pieces as one, where they are small enough for `space`.
fn joined<'a>(slices: &[io::IoSlice<'_>], space: &'a mut ReadBuf<'_>) -> Option<&'a [u8]> {
    let length: usize = slices.iter().map(|slice| slice.len()).sum();
    if slices.len() < 2 || length > space.remaining() {
        return None;
    }
    for slice in slices {
        space.put_slice(slice);
    }
    Some(space.filled())
}

/// Ends a connection on which nothing is under way any more.
pub(super) async fn say_farewell<T: ClientStream>(stream: &mut T) {
    if T::SAYS_FAREWELL {
        let _gone = tokio::time::timeout(LAST_WORDS, stream.shutdown()).await;
    }
}

/// Ends a connection so that its client does not take what it has got for a whole answer (RFC 9112 section 8).
pub(super) fn break_off(stream: &impl AsFd) {
    // There is nothing else that could be done.
    if let Err(error) = reset_at_end(stream) {
        tracing::debug!(%error, "a connection cannot be reset");
    }
}
