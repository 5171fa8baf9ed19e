//! An open WebSocket, between its client and the application, and how it ends.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use super::super::watched::{ClientStream, LAST_WORDS, Watched};
use crate::app::InHand;
use crate::http::websocket::{
    AppFrames, ClientFrames, Offence, Terms, client_close_frame, close_frame,
};
use crate::sys::clock;

/// Why the server itself ends a WebSocket, as its client is told (RFC 6455 section 7.4.1).
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const INTERNAL_ERROR: u16 = 1011;

/// A WebSocket: the application's while both talk, the server's when it is to end.
#[derive(Debug)]
pub(super) struct WebSocket<T>(Mutex<Talk<T>>);

#[derive(Debug)]
pub(super) struct Talk<T> {
    /// Absent when the server has taken it to end it.
    stream: Option<Watched<T>>,
    client: ClientFrames,
    app: AppFrames,
    /// The end of its Close frame, which the application has not read.
    farewell: Option<Farewell>,
    in_hand: InHand,
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
    reader: Option<Waker>,
    writer: Option<Waker>,
    server: Option<Waker>,
}

/// The last byte of a Close frame, which waits for what the application has in hand: it could say nothing after that.
#[derive(Debug)]
struct Farewell {
    byte: u8,
    until: Pin<Box<Sleep>>,
}

impl Farewell {
    fn poll_turn(&mut self, in_hand: &InHand, context: &mut Context<'_>) -> Poll<u8> {
        if in_hand.poll_empty(context).is_pending() {
            ready!(self.until.as_mut().poll(context));
        }
        Poll::Ready(self.byte)
    }
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
    /// The application has closed it, and nothing comes of that: most often its client does not answer.
    Unanswered,
}

/// What the server has to do with it before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    End(End),
    /// Something begins for which there is only so much time.
    Wait,
}

/// Until when it is waited for what takes only so much time, monotonic.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    /// The client takes nothing.
    blocked: Option<Duration>,
    /// It is looked again whether it does.
    look: Option<Duration>,
    /// The application has sent its Close frame.
    closing: Option<Duration>,
}

impl Waits {
    /// Returns when the first of them is over.
    async fn over(self) {
        let all = [self.blocked, self.look, self.closing];
        match all.into_iter().flatten().min() {
            None => std::future::pending().await,
            Some(until) => sleep(until.saturating_sub(clock::monotonic())).await,
        }
    }

    /// What is over by now.
    fn end(self) -> Option<End> {
        let now = clock::monotonic();
        let is_over = |until: Option<Duration>| until.is_some_and(|until| until <= now);
        if is_over(self.blocked) {
            Some(End::Stalled)
        } else {
            is_over(self.closing).then_some(End::Unanswered)
        }
    }
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
    pub(super) fn new(stream: Watched<T>, terms: &Terms) -> Self {
        Self(Mutex::new(Talk {
            stream: Some(stream),
            client: ClientFrames::new(terms.max_message, terms.may_compress),
            app: AppFrames::default(),
            farewell: None,
            in_hand: terms.in_hand.clone(),
            offence: None,
            is_ending: false,
            left: None,
            last: Bytes::new(),
            is_over: false,
            reader: None,
            writer: None,
            server: None,
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Talk<T>> {
        // Nobody panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is to end, and ends it. Returns when the connection is closed: whether that is for its client took nothing.
    pub(super) async fn serve(self: Arc<Self>, terms: Box<Terms>, write_timeout: Duration) -> bool {
        let end = self.end(&terms, write_timeout).await;
        let (id, trace_id) = (terms.id, terms.id.trace_id());
        let reason = match end {
            End::Stalled => Some("its client took nothing within `http.write_timeout`"),
            End::Unanswered if self.lock().client.has_closed() => Some(
                "it was closed from both sides, and its application kept it for `http.write_timeout`",
            ),
            End::Unanswered => {
                Some("its client did not answer within `http.write_timeout` that it was closed")
            }
            End::Offence(_) | End::Left(_) | End::Drain => None,
        };
        if let Some(reason) = reason {
            tracing::info!(request = %id, trace_id, reason, "a WebSocket is ended");
        }
        if let End::Offence(offence) = end {
            tracing::info!(request = %id, trace_id, reason = %offence, "a WebSocket is ended");
            // What the client has said before is answered before that, too.
            let _late = timeout(LAST_WORDS, terms.in_hand.empty()).await;
        }
        let taking = poll_fn(|context| self.lock().poll_take(end, context));
        if let (Some(code), Ok(ending)) = (close_code(end), timeout(LAST_WORDS, taking).await) {
            // Whether the client still listens is its affair.
            let is_offender = matches!(end, End::Offence(_));
            let _gone = timeout(LAST_WORDS, ending.say_farewell(code, is_offender)).await;
        }
        self.lock().end();
        end == End::Stalled
    }

    async fn end(&self, terms: &Terms, write_timeout: Duration) -> End {
        let drain = async {
            terms.draining.begun().await;
            let until = terms.draining.since().unwrap_or_default() + terms.grace;
            sleep(until.saturating_sub(clock::monotonic())).await;
        };
        let mut drain = std::pin::pin!(drain);
        let mut waits = Waits::default();
        loop {
            tokio::select! {
                biased;
                turn = poll_fn(|context| self.lock().poll_turn(waits, context)) => match turn {
                    Turn::End(end) => return end,
                    Turn::Wait => {}
                },
                () = &mut drain => return End::Drain,
                () = waits.over() => {}
            }
            let talk = self.lock();
            let now = clock::monotonic();
            (waits.blocked, waits.look) = talk.stall(now, write_timeout).unzip();
            if talk.app.has_closed() {
                waits.closing.get_or_insert(now + write_timeout);
            }
            if let Some(end) = waits.end() {
                return end;
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
        End::Stalled | End::Unanswered => None,
    }
}

impl<T: ClientStream> Talk<T> {
    /// The application reads.
    pub(super) fn poll_read(
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
            if let Some(farewell) = &mut self.farewell {
                let polled = farewell.poll_turn(&self.in_hand, context);
                if polled.is_pending() {
                    note(&mut self.reader, context);
                }
                buffer.put_slice(&[ready!(polled)]);
                self.farewell = None;
                return Poll::Ready(Ok(()));
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
            let mut passed = self.client.pass(arrived);
            if self.client.has_closed()
                && let Some((byte, others)) =
                    arrived.get(..passed.bytes).and_then(<[u8]>::split_last)
            {
                passed.bytes = others.len();
                self.farewell = Some(Farewell {
                    byte: *byte,
                    until: Box::pin(sleep(LAST_WORDS)),
                });
            }
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
    pub(super) fn poll_write(
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
            Poll::Pending => self.wait_for_client(context),
            Poll::Ready(Ok(count)) => {
                if is_open {
                    self.app.pass(bytes.get(..*count).unwrap_or_default());
                }
                if self.is_ending || self.app.has_closed() {
                    wake(&mut self.server);
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        polled
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => {
                let polled = Pin::new(stream).poll_flush(context);
                if polled.is_pending() {
                    self.wait_for_client(context);
                }
                polled
            }
            None => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => {
                let polled = Pin::new(stream).poll_shutdown(context);
                if polled.is_pending() {
                    self.wait_for_client(context);
                }
                polled
            }
            None => Poll::Ready(Ok(())),
        }
    }

    /// The application waits until its client takes something; the server looks how long.
    fn wait_for_client(&mut self, context: &mut Context<'_>) {
        note(&mut self.writer, context);
        wake(&mut self.server);
    }

    /// Where something waits for the client, as [`Activity::stall`](crate::http::activity::Activity::stall) has it.
    fn stall(&self, now: Duration, write_timeout: Duration) -> Option<(Duration, Duration)> {
        self.stream.as_ref()?.activity.stall(now, write_timeout)
    }

    /// Since when the client takes nothing of what waits for it, monotonic.
    fn blocked_since(&self) -> Option<Duration> {
        self.stream.as_ref()?.activity.blocked_since()
    }

    /// The application, or hyper, has dropped its end.
    pub(super) fn leave(&mut self) {
        self.left = Some(if std::thread::panicking() {
            Left::Panicking
        } else {
            Left::Quietly
        });
        wake(&mut self.server);
    }

    /// Whether the server has something to do.
    fn poll_turn(&mut self, waits: Waits, context: &mut Context<'_>) -> Poll<Turn> {
        if let Some(offence) = self.offence {
            return Poll::Ready(Turn::End(End::Offence(offence)));
        }
        if let Some(left) = self.left {
            return Poll::Ready(Turn::End(End::Left(left)));
        }
        let blocks = self.blocked_since().is_some() && waits.blocked.is_none();
        if blocks || (self.app.has_closed() && waits.closing.is_none()) {
            return Poll::Ready(Turn::Wait);
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
        if let Some(farewell) = self.farewell.take() {
            self.last = vec![farewell.byte].into();
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
