//! The content of an answer that the application makes while it goes out.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::exchange::Exchange;
use super::state::Next;
use crate::answer::CutOff;

/// What the client takes of an answer. When it is dropped the client is gone, or has all of it.
#[derive(Debug)]
pub(crate) struct StreamBody {
    exchange: Arc<Exchange>,
    /// What there is has been handed on, and the cut comes next.
    is_cut: bool,
    is_over: bool,
}

impl StreamBody {
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Self {
            exchange,
            is_cut: false,
            is_over: false,
        }
    }

    /// The next piece.
    pub(crate) fn poll_piece(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Bytes, CutOff>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        match self.exchange.poll_piece(context) {
            Next::Piece(piece) => Poll::Ready(Some(Ok(piece))),
            Next::Wait => Poll::Pending,
            Next::Cut if !self.is_cut => {
                // hyper sends what it has before it asks again, and would not after an error.
                self.is_cut = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Next::Cut => {
                self.is_over = true;
                Poll::Ready(Some(Err(CutOff)))
            }
            Next::Complete => {
                self.is_over = true;
                Poll::Ready(None)
            }
        }
    }

    /// Whether that was all.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.exchange.leave();
    }
}
