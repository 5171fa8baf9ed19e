//! The body of an answer on its way to the client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use destrier::{BoxError, RequestId};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tracing::field::DisplayValue;

use crate::asgi::StreamBody;

/// So many pieces wait for a client that takes them slowly; then the application waits.
const PIECES: usize = 16;

/// A piece has at most so many bytes.
pub(crate) const PIECE: usize = 64 << 10;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// It is known.
    Whole(Bytes),
    /// The application makes it meanwhile.
    Pieces {
        /// Where its pieces come from; none when it is over.
        pieces: Option<mpsc::Receiver<Bytes>>,
        /// Set before the last sender goes, when nothing is missing.
        is_complete: Arc<AtomicBool>,
        /// What there is has been handed on, and the cut comes next.
        is_cut: bool,
    },
    /// An application on an event loop makes it meanwhile.
    Streamed(StreamBody),
}

/// An answer on its way.
pub(crate) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, BoxError>> + Send>>;

/// Where the pieces of an answer go in. The answer is cut, and its client sees that it is, when this is dropped before
/// [`Self::complete`].
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: mpsc::Sender<Bytes>,
    is_complete: Arc<AtomicBool>,
}

impl Pieces {
    /// A body, and where it comes from.
    pub(crate) fn new() -> (Self, AnswerBody) {
        let (sender, receiver) = mpsc::channel(PIECES);
        let is_complete = Arc::new(AtomicBool::new(false));
        let body = AnswerBody::Pieces {
            pieces: Some(receiver),
            is_complete: Arc::clone(&is_complete),
            is_cut: false,
        };
        let pieces = Self {
            pieces: sender,
            is_complete,
        };
        (pieces, body)
    }

    /// For one call of `send`; it must not be kept, for the body ends with the last of these.
    pub(crate) fn sender(&self) -> mpsc::Sender<Bytes> {
        self.pieces.clone()
    }

    /// Nothing is missing.
    pub(crate) fn complete(self) {
        self.is_complete.store(true, Release);
    }
}

/// The application has not said all of its answer.
#[derive(Debug, thiserror::Error)]
#[error("the application did not give all of its answer")]
pub(crate) struct CutOff;

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Pieces {
                pieces,
                is_complete,
                is_cut,
            } => {
                let Some(receiver) = pieces else {
                    return Poll::Ready(None);
                };
                if let Some(piece) = ready!(receiver.poll_recv(context)) {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                if !is_complete.load(Acquire) && !*is_cut {
                    // hyper sends what it has before it asks again, and would not after an error.
                    *is_cut = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                *pieces = None;
                Poll::Ready(is_cut.then_some(Err(CutOff)))
            }
            Self::Streamed(body) => body
                .poll_piece(context)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Pieces { pieces, .. } => pieces.is_none(),
            Self::Streamed(body) => body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces { .. } | Self::Streamed(_) => SizeHint::default(),
        }
    }
}

/// What a line of the log calls a request, and the trace that it belongs to.
pub(crate) fn named(id: Option<RequestId>) -> (Option<DisplayValue<RequestId>>, Option<String>) {
    let trace_id = id.and_then(|id| id.trace_id());
    (id.map(tracing::field::display), trace_id)
}

/// Logs it of the answer to a request.
pub(crate) fn warn_too_long(id: Option<RequestId>) {
    let (request, trace_id) = named(id);
    tracing::warn!(
        request,
        trace_id,
        "the application's answer is longer than its Content-Length says: the rest was left out"
    );
}

/// The same, where so many bytes are missing.
pub(crate) fn warn_too_short(id: Option<RequestId>, missing: u64) {
    let (request, trace_id) = named(id);
    tracing::error!(
        request,
        trace_id,
        missing,
        "the application's answer is shorter than its Content-Length says: the connection is closed"
    );
}
