//! What an application reads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BoxError;

/// Of a body that nobody reads so much is taken in, that the connection can go on; with more it ends.
const UNREAD_MAX: u64 = 64 << 10;

/// It has this long to arrive.
const UNREAD_TIME: Duration = Duration::from_secs(2);

/// The body of a request, as it arrives.
#[derive(Debug)]
pub struct RequestBody {
    /// There until it is let go of.
    incoming: Option<Incoming>,
    end: BodyEnd,
    /// So many bytes may still come.
    left: u64,
    /// What is not read of it is not waited for either.
    is_optional: bool,
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
        } else {
            fate.broke_off.load(Relaxed).then_some(Fault::BrokeOff)
        }
    }

    /// Whether the rest of the body will not be read.
    pub(crate) fn is_given_up(&self) -> bool {
        let fate = self.fate.as_ref();
        fate.is_some_and(|fate| fate.is_given_up.load(Relaxed))
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

/// A body that is larger than `max_body`, to whoever reads it.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request is larger than `max_body`")]
struct TooLarge;

impl RequestBody {
    /// Of any size, until [`Self::set_limit`]. `is_optional`: when nobody has begun to read it nobody need, for its client waits until it is
    /// asked to go on (RFC 9110 section 10.1.1), or for the requests after it that makes no difference (RFC 9113 section 8.1).
    pub(crate) fn new(incoming: Incoming, end: BodyEnd, is_optional: bool) -> Self {
        Self {
            incoming: Some(incoming),
            end,
            left: u64::MAX,
            is_optional,
        }
    }

    /// Of at most `limit` bytes: the rule that decides is known.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.left = limit;
    }

    /// Whether it is known beforehand that it is too large.
    pub(crate) fn is_too_large(&self) -> bool {
        self.size_hint().lower() > self.left
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
        let polled = ready!(Pin::new(&mut *incoming).poll_frame(context));
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
        let Some(Ok(frame)) = polled else {
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = this.left.checked_sub(length) else {
            this.end.note(|fate| &fate.is_too_large);
            this.end.note(|fate| &fate.is_given_up);
            this.incoming = None;
            return Poll::Ready(Some(Err(TooLarge.into())));
        };
        this.left = left;
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(without_content(trailers)),
            Err(frame) => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.incoming.as_ref().map(Body::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

/// How the content is to be read stands before it, and not after (RFC 9110 section 6.5.1).
fn without_content(mut trailers: HeaderMap) -> HeaderMap {
    for name in [CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE] {
        trailers.remove(name);
    }
    trailers
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        let is_over = incoming.is_end_stream() || self.end.fault().is_some();
        if is_over {
            return;
        }
        let is_small = incoming.size_hint().lower() <= UNREAD_MAX;
        match tokio::runtime::Handle::try_current() {
            // Whether a client that waits will send it, nobody knows.
            Ok(runtime) if is_small && !self.is_optional => {
                let reading = take_in(incoming, self.end.clone());
                drop(runtime.spawn(reading));
            }
            Ok(_) | Err(_) => self.end.note(|fate| &fate.is_given_up),
        }
    }
}

/// Reads what nobody wants, within bounds.
async fn take_in(mut incoming: Incoming, end: BodyEnd) {
    let reading = async {
        let mut left = UNREAD_MAX;
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut incoming).poll_frame(context));
            match frame.await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
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
