//! One connection that may become a WebSocket, and is watched when it has: what its client sends is judged, and it is closed as it
//! should be when the worker goes, whatever the application does.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::connection::{ClientStream, LAST_WORDS, Watched};
use crate::http::activity::Activity;
use crate::http::websocket::{
    AppFrames, ClientFrames, Offence, Rest, Terms, client_close_frame, close_frame,
};
use crate::sys::clock;

/// Why the server itself ends a WebSocket, as its client is told (RFC 6455 section 7.4.1).
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const INTERNAL_ERROR: u16 = 1011;

/// The stream that hyper serves, and the application has when it became a WebSocket.
#[derive(Debug)]
pub(super) struct Upgradable<T: ClientStream> {
    activity: Arc<Activity>,
    write_timeout: Duration,
    /// What was held back of the stream is read when so many requests were answered.
    holds_until: Option<u64>,
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
            holds_until: None,
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
            // hyper must not see frames. It asks again after an answer that opens none.
            State::Http(_) if this.activity.upgrade.is_under_way() => Poll::Pending,
            State::Http(stream) => {
                if this
                    .holds_until
                    .is_some_and(|answered| this.activity.answered() < answered)
                {
                    return Poll::Pending;
                }
                let before = buffer.filled().len();
                let polled = Pin::new(&mut *stream).poll_read(context, buffer);
                let is_held = hold_back(stream, buffer, before);
                this.holds_until = is_held.then(|| this.activity.answered() + 1);
                polled
            }
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

/// A WebSocket: the application's while both talk, the server's when it is to end.
#[derive(Debug)]
struct WebSocket<T>(Mutex<Talk<T>>);

#[derive(Debug)]
struct Talk<T> {
    /// Absent when the server has taken it to end it.
    stream: Option<Watched<T>>,
    client: ClientFrames,
    app: AppFrames,
    /// What the client has done.
    offence: Option<Offence>,
    /// The server takes the stream as soon as the application has sent the rest of its frame.
    is_ending: bool,
    /// How the application left.
    left: Option<Left>,
    /// The last the application reads.
    last: Bytes,
    /// Nothing is sent any more, so what the application would still say is an error.
    is_over: bool,
    /// Since when the client takes nothing of what waits for it, monotonic.
    blocked_since: Option<Duration>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    server: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Quietly,
    Panicking,
}

/// Why a WebSocket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Offence(Offence),
    Left(Left),
    Drain,
    /// Its client takes nothing.
    Stalled,
}

/// What the server has to do with it before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    End(End),
    /// The client takes nothing from now on, until then.
    Blocked,
}

/// A stream that the server ends.
#[derive(Debug)]
struct Ending<T> {
    stream: Watched<T>,
    client: ClientFrames,
    /// The application, or its last frame, leaves no place for a Close frame.
    may_close: bool,
}

impl<T: ClientStream> WebSocket<T> {
    fn new(stream: Watched<T>, terms: &Terms) -> Self {
        Self(Mutex::new(Talk {
            stream: Some(stream),
            client: ClientFrames::new(terms.max_message, terms.may_compress),
            app: AppFrames::default(),
            offence: None,
            is_ending: false,
            left: None,
            last: Bytes::new(),
            is_over: false,
            blocked_since: None,
            reader: None,
            writer: None,
            server: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Talk<T>> {
        // Nobody panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is to end, and ends it. Returns when the connection is closed.
    async fn serve(self: Arc<Self>, terms: Box<Terms>, write_timeout: Duration) {
        let end = self.end(&terms, write_timeout).await;
        if let End::Offence(offence) = end {
            tracing::info!(request = %terms.id, reason = %offence, "a WebSocket is ended");
        }
        let taking = poll_fn(|context| self.lock().poll_take(end, context));
        if let (Some(code), Ok(ending)) = (close_code(end), timeout(LAST_WORDS, taking).await) {
            // Whether the client still listens is its affair.
            let is_offender = matches!(end, End::Offence(_));
            let _gone = timeout(LAST_WORDS, ending.say_farewell(code, is_offender)).await;
        }
        self.lock().end();
    }

    async fn end(&self, terms: &Terms, write_timeout: Duration) -> End {
        let drain = async {
            terms.draining.begun().await;
            let until = terms.draining.since().unwrap_or_default() + terms.grace;
            tokio::time::sleep(until.saturating_sub(clock::monotonic())).await;
        };
        let mut drain = std::pin::pin!(drain);
        let mut blocked_until = None;
        loop {
            let stalled = async {
                match blocked_until {
                    None => std::future::pending().await,
                    Some(until) => {
                        let left = Duration::saturating_sub(until, clock::monotonic());
                        tokio::time::sleep(left).await;
                    }
                }
            };
            tokio::select! {
                biased;
                turn = poll_fn(|context| self.lock().poll_turn(blocked_until.is_some(), context)) => match turn {
                    Turn::End(end) => return end,
                    Turn::Blocked => {}
                },
                () = &mut drain => return End::Drain,
                () = stalled => {}
            }
            let blocked_since = self.lock().blocked_since;
            blocked_until = blocked_since.map(|since| since + write_timeout);
            if blocked_until.is_some_and(|until| until <= clock::monotonic()) {
                return End::Stalled;
            }
        }
    }
}

/// What the client is told; nothing where it does not listen.
fn close_code(end: End) -> Option<u16> {
    match end {
        End::Offence(offence) => Some(offence.close_code()),
        End::Left(Left::Quietly) => Some(NORMAL),
        End::Left(Left::Panicking) => Some(INTERNAL_ERROR),
        End::Drain => Some(GOING_AWAY),
        End::Stalled => None,
    }
}

impl<T: ClientStream> Talk<T> {
    /// The application reads.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            let Some(stream) = &mut self.stream else {
                let count = buffer.remaining().min(self.last.len());
                buffer.put_slice(&self.last.split_to(count));
                return Poll::Ready(Ok(()));
            };
            if self.offence.is_some() {
                note(&mut self.reader, context);
                return Poll::Pending;
            }
            let polled = stream.poll_bytes(context, buffer);
            if polled.is_pending() {
                note(&mut self.reader, context);
            }
            ready!(polled)?;
            let arrived = buffer.filled().get(before..).unwrap_or_default();
            if arrived.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let passed = self.client.pass(arrived);
            buffer.set_filled(before + passed.bytes);
            if passed.offence.is_some() {
                self.offence = passed.offence;
                wake(&mut self.server);
            }
            if passed.bytes > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The application writes, or hyper the answer that opens the WebSocket.
    fn poll_write(
        &mut self,
        is_open: bool,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.is_over) else {
            // Nobody hears it; an application that goes on and on learns that it is over.
            return Poll::Ready(if self.is_over {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(bytes.len())
            });
        };
        let mut bytes = bytes;
        if self.is_ending {
            if self.app.is_between() {
                wake(&mut self.server);
                return Poll::Ready(Ok(bytes.len()));
            }
            bytes = bytes.get(..self.app.room(bytes)).unwrap_or_default();
        }
        let polled = Pin::new(stream).poll_write(context, bytes);
        match &polled {
            Poll::Pending => {
                note(&mut self.writer, context);
                if self.blocked_since.is_none() {
                    self.blocked_since = Some(clock::monotonic());
                    wake(&mut self.server);
                }
            }
            Poll::Ready(Ok(count)) => {
                self.blocked_since = None;
                if is_open {
                    self.app.pass(bytes.get(..*count).unwrap_or_default());
                }
                if self.is_ending {
                    wake(&mut self.server);
                }
            }
            Poll::Ready(Err(_)) => self.blocked_since = None,
        }
        polled
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => {
                let polled = Pin::new(stream).poll_flush(context);
                if polled.is_pending() {
                    note(&mut self.writer, context);
                }
                polled
            }
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The application, or hyper, has dropped its end.
    fn leave(&mut self) {
        self.left = Some(if std::thread::panicking() {
            Left::Panicking
        } else {
            Left::Quietly
        });
        wake(&mut self.server);
    }

    /// Whether the server has something to do.
    fn poll_turn(&mut self, knows_blocked: bool, context: &mut Context<'_>) -> Poll<Turn> {
        if let Some(offence) = self.offence {
            return Poll::Ready(Turn::End(End::Offence(offence)));
        }
        if let Some(left) = self.left {
            return Poll::Ready(Turn::End(End::Left(left)));
        }
        if self.blocked_since.is_some() && !knows_blocked {
            return Poll::Ready(Turn::Blocked);
        }
        note(&mut self.server, context);
        Poll::Pending
    }

    /// Takes the stream from the application, as soon as its frame is whole.
    fn poll_take(&mut self, end: End, context: &mut Context<'_>) -> Poll<Ending<T>> {
        self.is_ending = true;
        let is_between = self.app.is_between();
        if !is_between && self.left.is_none() && end != End::Stalled {
            note(&mut self.server, context);
            return Poll::Pending;
        }
        let Some(stream) = self.stream.take() else {
            return Poll::Pending;
        };
        let client = std::mem::replace(&mut self.client, ClientFrames::new(0, false));
        if let Some(code) = close_code(end)
            && client.is_between()
            && !client.has_closed()
        {
            self.last = client_close_frame(code).into();
        }
        wake(&mut self.reader);
        wake(&mut self.writer);
        Poll::Ready(Ending {
            stream,
            client,
            may_close: is_between && !self.app.has_closed(),
        })
    }

    /// The connection is closed.
    fn end(&mut self) {
        self.is_over = true;
        self.stream = None;
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

impl<T: ClientStream> Ending<T> {
    /// Closes it as RFC 6455 section 7.1 has it: a Close frame each way, then the connection, the server first. A client that broke
    /// the rules is not waited for, but listened to: to close a socket with unread bytes could take the Close frame from it.
    async fn say_farewell(mut self, code: u16, is_offender: bool) -> io::Result<()> {
        if self.may_close {
            self.stream.write_all(&close_frame(code)).await?;
        }
        self.stream.flush().await?;
        let mut bytes = [0; 4096];
        while !is_offender && !self.client.has_closed() {
            let arrived = self.read(&mut bytes).await?;
            if arrived.is_empty() || self.client.pass(arrived).offence.is_some() {
                break;
            }
        }
        self.stream.shutdown().await?;
        while !self.read(&mut bytes).await?.is_empty() {}
        Ok(())
    }

    async fn read<'b>(&mut self, bytes: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let mut buffer = ReadBuf::new(bytes);
        poll_fn(|context| self.stream.poll_bytes(context, &mut buffer)).await?;
        let count = buffer.filled().len();
        Ok(bytes.get(..count).unwrap_or_default())
    }
}

/// Takes back what follows the head of a request in the same piece: hyper would keep what may be frames, and hand them to the
/// application unseen. Nearly always a piece ends with its head.
fn hold_back<T>(stream: &mut Watched<T>, buffer: &mut ReadBuf<'_>, before: usize) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    let arrived = buffer.filled().get(before..).unwrap_or_default();
    if !arrived.starts_with(b"GET ") || arrived.ends_with(END) {
        return false;
    }
    let mut places = arrived.windows(END.len());
    let Some(end) = places.position(|place| place == END) else {
        return false;
    };
    let end = end + END.len();
    let later = arrived.get(end..).unwrap_or_default();
    stream.read_before = [later, &stream.read_before].concat().into();
    buffer.set_filled(before + end);
    true
}

fn note(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

fn wake(place: &mut Option<Waker>) {
    if let Some(waker) = place.take() {
        waker.wake();
    }
}
