//! What an application has in hand of what its client has said on a WebSocket.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// An extension of the answer that opens a WebSocket, for applications that take a message on one thread and answer it on another: whether
/// there is a message that they may still answer.
///
/// What ends the WebSocket from the client's side, its Close frame or a mistake, waits for that, a second at most: nothing can be said after
/// it (RFC 6455 section 5.5.1). Without this an application is asked for its next read, as one does that has dealt with what it has.
#[derive(Debug, Clone, Default)]
pub struct InHand(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_some: AtomicBool,
    is_awaited: AtomicBool,
    waiting: AtomicWaker,
}

impl InHand {
    /// Whether there is something.
    pub fn set(&self, is_some: bool) {
        self.0.is_some.store(is_some, SeqCst);
        if !is_some && self.is_awaited() {
            self.0.waiting.wake();
        }
    }

    /// Whether somebody waits until there is nothing.
    pub fn is_awaited(&self) -> bool {
        self.0.is_awaited.load(SeqCst)
    }

    /// Ready when there is nothing. One task at a time may wait.
    pub(crate) fn poll_empty(&self, context: &Context<'_>) -> Poll<()> {
        self.0.waiting.register(context.waker());
        self.0.is_awaited.store(true, SeqCst);
        if self.0.is_some.load(SeqCst) {
            return Poll::Pending;
        }
        self.0.is_awaited.store(false, SeqCst);
        Poll::Ready(())
    }

    /// Returns when there is nothing.
    pub(crate) async fn empty(&self) {
        poll_fn(|context| self.poll_empty(context)).await;
    }
}
