//! One connection that may become a WebSocket, and is watched when it has: what its client sends is judged, and it is closed as it
//! should be when the worker goes, whatever the application does.

mod talk;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watched::{ClientStream, Watched};
use crate::http::activity::Activity;
use crate::http::websocket::Rest;
use talk::WebSocket;

/// The stream that hyper serves, and the application has when it became a WebSocket.
#[derive(Debug)]
pub(super) struct Upgradable<T: ClientStream> {
    activity: Arc<Activity>,
    write_timeout: Duration,
    state: State<T>,
}

#[derive(Debug)]
enum State<T: ClientStream> {
    Http(Watched<T>),
    WebSocket(Arc<WebSocket<T>>),
    /// On the way from one to the other.
    Nothing,
}

impl<T: ClientStream> Upgradable<T> {
    /// Of a connection whose client takes something of what waits for it within `write_timeout`.
    pub(super) fn new(stream: Watched<T>, write_timeout: Duration) -> Self {
        Self {
            activity: Arc::clone(&stream.activity),
            write_timeout,
            state: State::Http(stream),
        }
    }

    /// The stream, of a connection that is not on its way to a WebSocket.
    pub(super) fn into_http(mut self) -> Option<Watched<T>> {
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::Http(stream) => Some(stream),
            State::WebSocket(_) | State::Nothing => None,
        }
    }

    /// The answer that opens the WebSocket is about to be sent.
    fn accept(&mut self) {
        let Some(terms) = self.activity.upgrade.take_terms() else {
            return;
        };
        if let State::Http(stream) = std::mem::replace(&mut self.state, State::Nothing) {
            let socket = Arc::new(WebSocket::new(stream, &terms));
            let served = Arc::clone(&socket).serve(terms, self.write_timeout);
            self.activity.upgrade.leave(Rest(Box::pin(served)));
            self.state = State::WebSocket(socket);
        }
    }
}

impl<T: ClientStream> Drop for Upgradable<T> {
    fn drop(&mut self) {
        if let State::WebSocket(socket) = &self.state {
            self.activity.upgrade.abandon();
            socket.lock().leave();
        }
    }
}

impl<T: ClientStream> AsyncRead for Upgradable<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &mut this.state {
            // hyper must not see frames.
            State::Http(_) if this.activity.upgrade.is_accepted() => Poll::Pending,
            State::Http(stream) => Pin::new(stream).poll_read(context, buffer),
            State::WebSocket(_) if !this.activity.upgrade.is_open() => Poll::Pending,
            State::WebSocket(socket) => socket.lock().poll_read(context, buffer),
            State::Nothing => Poll::Ready(Ok(())),
        }
    }
}

impl<T: ClientStream> AsyncWrite for Upgradable<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if matches!(this.state, State::Http(_)) && this.activity.upgrade.is_accepted() {
            this.accept();
        }
        match &mut this.state {
            State::Http(stream) => Pin::new(stream).poll_write(context, bytes),
            State::WebSocket(socket) => {
                let is_open = this.activity.upgrade.is_open();
                socket.lock().poll_write(is_open, context, bytes)
            }
            State::Nothing => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let State::Http(stream) = &mut self.state
            && !stream.activity.upgrade.is_accepted()
        {
            return Pin::new(stream).poll_write_vectored(context, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(context, first.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.state {
            State::Http(stream) => stream.is_write_vectored(),
            State::WebSocket(_) | State::Nothing => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Http(stream) => Pin::new(stream).poll_flush(context),
            State::WebSocket(socket) => socket.lock().poll_flush(context),
            State::Nothing => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Http(stream) => Pin::new(stream).poll_shutdown(context),
            State::WebSocket(socket) => socket.lock().poll_shutdown(context),
            State::Nothing => Poll::Ready(Ok(())),
        }
    }
}
