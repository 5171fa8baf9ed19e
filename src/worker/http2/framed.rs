//! The stream under the codec: frames are looked at on their way to it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::linger::Linger;
use super::super::watched::{ClientStream, LAST_WORDS, Watched};
use crate::http::http2::{Frames, Offence};
use crate::sys::clock;

/// After GOAWAY so much more is taken in, and nobody looks at it.
const LINGER_MAX: usize = 1 << 20;

/// What a client has done that ends its connection.
pub(super) type Offences = Arc<OnceLock<Offence>>;

/// A stream whose frames are looked at.
#[derive(Debug)]
pub(super) struct Framed<T> {
    watched: Watched<T>,
    frames: Frames,
    /// From the first one on nothing more arrives.
    offences: Offences,
    /// All was said.
    linger: Option<Linger>,
}

impl<T> Framed<T> {
    /// Whoever has `offences` sees to it that the connection ends.
    pub(super) fn new(watched: Watched<T>, offences: Offences) -> Self {
        Self {
            watched,
            frames: Frames::default(),
            offences,
            linger: None,
        }
    }
}

impl<T: ClientStream> AsyncRead for Framed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.offences.get().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(this.watched.poll_bytes(context, buffer))?;
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        let passed = this.frames.pass(arrived, clock::monotonic());
        this.watched.activity.set_midway(this.frames.is_midway());
        if let Err((offence, end)) = passed {
            tracing::debug!(%offence, "a connection is ended");
            buffer.set_filled(before + end);
            let _first = this.offences.set(offence);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: ClientStream> AsyncWrite for Framed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.watched).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.watched).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.watched.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.watched).poll_flush(context)
    }

    /// Says that nothing more comes, and listens for a while, so that no reset overtakes GOAWAY.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.watched).poll_shutdown(context))?;
        }
        let linger = this
            .linger
            .get_or_insert_with(|| Linger::new(LAST_WORDS, LINGER_MAX));
        linger
            .poll(context, |context, buffer| {
                this.watched.poll_bytes(context, buffer)
            })
            .map(Ok)
    }
}
