//! The stream under the codec: frames are looked at on their way to it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::linger::Linger;
use super::super::watched::{ClientStream, LAST_WORDS, Watched};
use crate::http::http2::{Frames, Offence};
use crate::sys::clock;

/// After GOAWAY so much more is taken in, and nobody looks at it.
const LINGER_MAX: usize = 1 << 20;

/// What whoever serves the connection learns of it, for the codec keeps the stream until it is dropped.
#[derive(Debug)]
pub(super) struct Told<T> {
    /// What its client has done that ends it.
    offence: OnceLock<Offence>,
    /// The stream, when the codec was dropped before it had said all that there was to say.
    left: Mutex<Option<Watched<T>>>,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self {
            offence: OnceLock::new(),
            left: Mutex::default(),
        }
    }
}

impl<T> Told<T> {
    pub(super) fn offence(&self) -> Option<Offence> {
        self.offence.get().copied()
    }

    pub(super) fn take_left(&self) -> Option<Watched<T>> {
        self.left().take()
    }

    fn left(&self) -> MutexGuard<'_, Option<Watched<T>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose frames are looked at.
#[derive(Debug)]
pub(super) struct Framed<T> {
    /// There until this is dropped.
    watched: Option<Watched<T>>,
    frames: Frames,
    /// From an offence on nothing more arrives.
    told: Arc<Told<T>>,
    /// All was said.
    linger: Option<Linger>,
}

impl<T> Framed<T> {
    /// Whoever has `told` sees to it that the connection ends.
    pub(super) fn new(watched: Watched<T>, told: Arc<Told<T>>) -> Self {
        Self {
            watched: Some(watched),
            frames: Frames::default(),
            told,
            linger: None,
        }
    }

    fn watched(&mut self) -> io::Result<Pin<&mut Watched<T>>>
    where
        T: Unpin,
    {
        let watched = self.watched.as_mut().map(Pin::new);
        watched.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<T> Drop for Framed<T> {
    fn drop(&mut self) {
        if self.linger.is_none() {
            *self.told.left() = self.watched.take();
        }
    }
}

impl<T: ClientStream> AsyncRead for Framed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.told.offence().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(self.watched()?.poll_bytes(context, buffer))?;
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        let passed = self.frames.pass(arrived, clock::monotonic());
        let is_midway = self.frames.is_midway();
        self.watched()?.activity.set_midway(is_midway);
        if let Err((offence, end)) = passed {
            tracing::debug!(%offence, "a connection is ended");
            buffer.set_filled(before + end);
            let _first = self.told.offence.set(offence);
            if end == 0 {
                // Nothing would look like the end.
                return Poll::Pending;
            }
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
        self.watched()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watched()?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        let watched = self.watched.as_ref();
        watched.is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_flush(context)
    }

    /// Says that nothing more comes, and listens for a while, so that no reset overtakes GOAWAY.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.watched()?.poll_shutdown(context))?;
        }
        let this = &mut *self;
        let linger = this
            .linger
            .get_or_insert_with(|| Linger::new(LAST_WORDS, LINGER_MAX));
        let Some(watched) = &mut this.watched else {
            return Poll::Ready(Ok(()));
        };
        linger
            .poll(context, |context, buffer| {
                watched.poll_bytes(context, buffer)
            })
            .map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    use super::*;
    use crate::http::activity::Activity;
    use crate::http::http2::PREFACE;
    use crate::http::wire::Bounds;

    const BOUNDS: Bounds = Bounds {
        target: 8192,
        headers: 100,
        head: 8192,
        body: 1024,
    };

    /// An end is what the codec would take nothing for, and it would say nothing then.
    #[tokio::test]
    async fn an_offence_that_begins_what_arrives_is_no_end() {
        let (near, far) = UnixStream::pair().unwrap();
        let told = Arc::default();
        let watched = Watched::new(far, Activity::new(), BOUNDS);
        let mut framed = Framed::new(watched, Arc::clone(&told));
        let mut near = near;
        let mut arrives = async |bytes: &[u8]| {
            near.write_all(bytes).await.unwrap();
            framed.watched().unwrap().stream.readable().await.unwrap();
            let mut space = [0; 256];
            let mut buffer = ReadBuf::new(&mut space);
            let mut context = Context::from_waker(Waker::noop());
            let polled = Pin::new(&mut framed).poll_read(&mut context, &mut buffer);
            polled.map(|read| read.map(|()| buffer.filled().len()).unwrap())
        };
        // SETTINGS, a request whose body follows, and the header of its trailer section.
        let frames: [&[u8]; 4] = [
            PREFACE,
            &[0, 0, 0, 4, 0, 0, 0, 0, 0],
            &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x83],
            &[0, 0, 1, 1, 5, 0, 0, 0, 1],
        ];
        let begun = frames.concat();
        assert_eq!(arrives(&begun).await, Poll::Ready(begun.len()));
        // It begins with `:path`.
        assert_eq!(arrives(&[0x84]).await, Poll::Pending);
        assert_eq!(told.offence(), Some(Offence::PseudoTrailer));
    }
}
