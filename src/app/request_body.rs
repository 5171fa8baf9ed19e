//! What an application reads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;

use super::BoxError;
use super::arriving::Arriving;
use super::pace::Pace;
use super::trailers::{has_blanks, is_of_the_head, without_content};
use super::wait::Wait;
use crate::scoreboard::SeatWriter;

/// Of a body that nobody reads so much is taken in, that the connection can go on; with more it ends.
const UNREAD_MAX: u64 = 64 << 10;

/// It has this long to arrive.
const UNREAD_TIME: Duration = Duration::from_secs(2);

/// The body of a request, as it arrives.
#[derive(Debug)]
pub struct RequestBody {
    /// There until it is let go of.
    incoming: Option<Arriving>,
    end: BodyEnd,
    /// So many bytes may still come.
    left: u64,
    /// What is not read of it is not waited for either.
    is_optional: bool,
    /// How slowly it may come.
    pace: Pace,
    /// There since somebody had to wait for it.
    wait: Option<Box<Wait>>,
    /// Of the worker, for whoever reads it from another thread; none where there is no body.
    runtime: Option<Handle>,
    /// Where its bytes are counted.
    seat: Option<SeatWriter>,
}

/// What came of a body.
#[derive(Debug, Default)]
struct Fate {
    /// It could not be read to its end.
    broke_off: AtomicBool,
    /// It was larger than it may be.
    is_too_large: AtomicBool,
    /// The rest of it will not be read, so that on HTTP/1.1 no request can follow it.
    is_given_up: AtomicBool,
    /// No byte of it came for too long.
    has_timed_out: AtomicBool,
    /// Its bytes came too slowly.
    is_too_slow: AtomicBool,
    /// Behind it was a field that only the head may have.
    has_bad_trailer: AtomicBool,
    /// Somebody waits for it.
    is_awaited: AtomicBool,
    /// How long somebody has waited for it, without the wait that goes on, in nanoseconds.
    awaited: AtomicU64,
    /// Of who wants to know that a wait has ended.
    resumed: AtomicWaker,
}

/// Where it is noted what comes of a body.
#[derive(Debug, Clone)]
pub(crate) struct BodyEnd {
    /// On its connection: the last request whose body was read to its end.
    pub(crate) read_to_end: Arc<AtomicU64>,
    /// The number of its request there.
    pub(crate) request: u64,
    /// None where there is no body.
    fate: Option<Arc<Fate>>,
}

/// How a body ended that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    BrokeOff,
    TooLarge,
    TimedOut,
    TooSlow,
    Trailer,
}

/// How long an application has waited for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// It waits just now.
    Still,
    /// So long, all in all.
    InAll(Duration),
}

impl BodyEnd {
    pub(crate) fn new(read_to_end: Arc<AtomicU64>, request: u64, has_body: bool) -> Self {
        Self {
            read_to_end,
            request,
            fate: has_body.then(Arc::default),
        }
    }

    /// What is wrong with the body, as far as it was read.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let fate = self.fate.as_ref()?;
        if fate.is_too_large.load(Relaxed) {
            Some(Fault::TooLarge)
        } else if fate.has_timed_out.load(Relaxed) {
            Some(Fault::TimedOut)
        } else if fate.is_too_slow.load(Relaxed) {
            Some(Fault::TooSlow)
        } else if fate.has_bad_trailer.load(Relaxed) {
            Some(Fault::Trailer)
        } else {
            fate.broke_off.load(Relaxed).then_some(Fault::BrokeOff)
        }
    }

    /// Whether the rest of the body will not be read.
    pub(crate) fn is_given_up(&self) -> bool {
        let fate = self.fate.as_ref();
        fate.is_some_and(|fate| fate.is_given_up.load(Relaxed))
    }

    /// How long the body was waited for. While it still is, `context` is woken when that ends.
    pub(crate) fn awaited(&self, context: &Context<'_>) -> Awaited {
        let Some(fate) = &self.fate else {
            return Awaited::InAll(Duration::ZERO);
        };
        // Who sees that a wait has ended sees how long it was, too.
        if fate.is_awaited.load(Acquire) {
            fate.resumed.register(context.waker());
            // It may have ended meanwhile, in another thread.
            if fate.is_awaited.load(Acquire) {
                return Awaited::Still;
            }
        }
        Awaited::InAll(Duration::from_nanos(fate.awaited.load(Relaxed)))
    }

    fn note_wait(&self) {
        self.note(|fate| &fate.is_awaited);
    }

    fn note_waited(&self, wait: Duration) {
        if let Some(fate) = &self.fate {
            let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
            fate.awaited.fetch_add(wait, Relaxed);
            fate.is_awaited.store(false, Release);
            fate.resumed.wake();
        }
    }

    fn note(&self, what: impl Fn(&Fate) -> &AtomicBool) {
        if let Some(fate) = &self.fate {
            what(fate).store(true, Relaxed);
        }
    }

    fn note_end(&self) {
        self.read_to_end.fetch_max(self.request, Relaxed);
    }
}

/// What is wrong with a body, to whoever reads it.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body of the request is larger than `max_body`")]
    TooLarge,
    #[error("no byte of the request's body came within `http.body_timeout`")]
    TimedOut,
    #[error("the body of the request came more slowly than `http.body_min_rate`")]
    TooSlow,
    #[error("a trailer field that only the head of a request may have")]
    Trailer,
}

impl RequestBody {
    /// Of any size, until [`Self::set_limit`]. `is_optional`: when nobody has begun to read it nobody need, for its client waits until it is
    /// asked to go on (RFC 9110 section 10.1.1), or for the requests after it that makes no difference (RFC 9113 section 8.1).
    pub(crate) fn new(incoming: Arriving, end: BodyEnd, is_optional: bool, pace: Pace) -> Self {
        let runtime = end.fate.is_some().then(Handle::try_current);
        Self {
            incoming: Some(incoming),
            end,
            left: u64::MAX,
            is_optional,
            pace,
            wait: None,
            runtime: runtime.and_then(Result::ok),
            seat: None,
        }
    }

    /// Of a request that has none.
    pub(crate) fn empty() -> Self {
        Self {
            incoming: None,
            end: BodyEnd::new(Arc::default(), 0, false),
            left: 0,
            is_optional: true,
            pace: Pace::default(),
            wait: None,
            runtime: None,
            seat: None,
        }
    }

    /// With its bytes counted there as they are read, those among them that nobody wants.
    pub(crate) fn counted_by(mut self, seat: &SeatWriter) -> Self {
        // Most requests have no body.
        self.seat = self.end.fate.is_some().then(|| seat.clone());
        self
    }

    /// Of at most `limit` bytes: the rule that decides is known.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.left = limit;
    }

    /// Whether it is known beforehand that it is too large.
    pub(crate) fn is_too_large(&self) -> bool {
        self.size_hint().lower() > self.left
    }

    /// Nothing of it is there: whoever reads it waits, and this says whether for too long.
    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<BodyError> {
        let Some(runtime) = &self.runtime else {
            return Poll::Pending;
        };
        let pace = self.pace;
        let wait = self.wait.get_or_insert_with(|| Box::new(Wait::new(pace)));
        if !wait.is_under_way() {
            self.end.note_wait();
        }
        let fault = match wait.poll(runtime, context) {
            Poll::Ready(fault) => fault,
            Poll::Pending => return Poll::Pending,
        };
        let error = if fault == Fault::TimedOut {
            self.end.note(|fate| &fate.has_timed_out);
            BodyError::TimedOut
        } else {
            self.end.note(|fate| &fate.is_too_slow);
            BodyError::TooSlow
        };
        self.give_up();
        Poll::Ready(error)
    }

    /// A wait has ended, where one was under way.
    fn end_wait(&mut self, bytes: u64) {
        let waited = self.wait.as_mut().and_then(|wait| wait.end(bytes));
        if let Some(waited) = waited {
            self.end.note_waited(waited);
        }
    }

    /// Nothing more of it is read.
    fn give_up(&mut self) {
        self.end.note(|fate| &fate.is_given_up);
        self.incoming = None;
        self.end_wait(0);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        this.is_optional = false;
        let Poll::Ready(polled) = Pin::new(&mut *incoming).poll_frame(context) else {
            return this.poll_wait(context).map(|error| Some(Err(error.into())));
        };
        let is_end = match &polled {
            None => true,
            Some(Ok(_)) => incoming.is_end_stream(),
            Some(Err(_)) => {
                this.end.note(|fate| &fate.broke_off);
                false
            }
        };
        if is_end {
            this.end.note_end();
        }
        let data = polled.as_ref().and_then(|frame| frame.as_ref().ok());
        let data = data.and_then(Frame::data_ref);
        let length = data.map_or(0, |data| data.len() as u64);
        this.end_wait(length);
        count(this.seat.as_ref(), length);
        let Some(Ok(frame)) = polled else {
            return Poll::Ready(polled);
        };
        let Some(left) = this.left.checked_sub(length) else {
            this.end.note(|fate| &fate.is_too_large);
            this.give_up();
            return Poll::Ready(Some(Err(BodyError::TooLarge.into())));
        };
        this.left = left;
        let trailers = match frame.into_trailers() {
            Ok(trailers) => trailers,
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        // Of HTTP/1.1 the connection was refused before.
        let is_bad = |(name, value): (&HeaderName, &HeaderValue)| {
            is_of_the_head(name.as_str()) || has_blanks(value)
        };
        if trailers.iter().any(is_bad) {
            this.end.note(|fate| &fate.has_bad_trailer);
            this.give_up();
            return Poll::Ready(Some(Err(BodyError::Trailer.into())));
        }
        let frame = Frame::trailers(without_content(trailers));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.incoming.as_ref().map(Body::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.end_wait(0);
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        let is_over = incoming.is_end_stream() || self.end.fault().is_some();
        if is_over {
            return;
        }
        let is_small = incoming.size_hint().lower() <= UNREAD_MAX;
        match &self.runtime {
            // Whether a client that waits will send it, nobody knows.
            Some(runtime) if is_small && !self.is_optional => {
                let reading = take_in(incoming, self.end.clone(), self.seat.take());
                drop(runtime.spawn(reading));
            }
            Some(_) | None => self.end.note(|fate| &fate.is_given_up),
        }
    }
}

fn count(seat: Option<&SeatWriter>, bytes: u64) {
    if let Some(seat) = seat.filter(|_| bytes > 0) {
        seat.received(bytes);
    }
}

/// Reads what nobody wants, within bounds.
async fn take_in(mut incoming: Arriving, end: BodyEnd, seat: Option<SeatWriter>) {
    let reading = async {
        let mut left = UNREAD_MAX;
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut incoming).poll_frame(context));
            match frame.await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                    count(seat.as_ref(), length);
                    match left.checked_sub(length) {
                        Some(rest) => left = rest,
                        None => return false,
                    }
                }
            }
            if incoming.is_end_stream() {
                return true;
            }
        }
    };
    if tokio::time::timeout(UNREAD_TIME, reading).await == Ok(true) {
        end.note_end();
    }
}
