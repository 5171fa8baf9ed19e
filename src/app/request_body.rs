//! What an application reads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BoxError;

/// The body of a request, as it arrives.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    end: BodyEnd,
}

/// Where the end of a body is noted, when it was read: the number of its request.
#[derive(Debug)]
pub(crate) struct BodyEnd {
    pub(crate) read_to_end: Arc<AtomicU64>,
    pub(crate) request: u64,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, end: BodyEnd) -> Self {
        Self { incoming, end }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        let is_end = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.incoming.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if is_end {
            self.end.read_to_end.fetch_max(self.end.request, Relaxed);
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
