//! Hints between two messages of a connection of HTTP/1.1.
//!
//! hyper's server cannot give an informational answer. The stream under it can: hyper flushes it only when it has handed on all that it
//! has, and gets a request when it has been given the whole answer to the one before. So between a flush and the first byte of the next answer
//! what goes out begins and ends between two messages.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use http::HeaderMap;

use super::{EarlyHintsError, PENDING_MAX};

/// What waits on one connection to go out ahead of an answer.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Whether something does.
    is_pending: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    /// Some of it went out, so the rest must.
    is_begun: bool,
    /// The last request whose answer has begun.
    answered: u64,
    /// Wakes who writes to the connection.
    writer: Option<Waker>,
}

impl Ahead {
    /// The answer to this request begins: nothing more is taken.
    pub(crate) fn close(&self, request: u64) {
        let mut state = self.state();
        state.answered = request;
        state.writer = None;
    }

    pub(super) fn push(&self, request: u64, fields: &HeaderMap) -> Result<(), EarlyHintsError> {
        let text = written(fields);
        let mut state = self.state();
        if state.answered >= request {
            return Err(EarlyHintsError::TooLate);
        }
        if state.bytes.len() + text.len() > PENDING_MAX {
            return Err(EarlyHintsError::TooLarge);
        }
        state.bytes.extend_from_slice(&text);
        self.is_pending.store(true, Relaxed);
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
        Ok(())
    }

    /// Whoever writes to the connection waits: it is woken when something is to go out ahead of the answer to `request`.
    pub(crate) fn register(&self, request: u64, writer: &Waker) {
        let mut state = self.state();
        if state.answered < request {
            match &state.writer {
                Some(known) if known.will_wake(writer) => {}
                Some(_) | None => state.writer = Some(writer.clone()),
            }
        }
    }

    /// Writes what waits. `is_between`: everything before it has gone out, up to the end of a message. Where it is not, and the answer
    /// to the same request is next, what waits is too late.
    pub(crate) fn poll_out(
        &self,
        is_between: bool,
        request: u64,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        if !self.is_pending.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.state();
        if !state.is_begun && !is_between {
            if state.answered < request {
                return Poll::Ready(Ok(()));
            }
            state.bytes.clear();
        }
        while !state.bytes.is_empty() {
            let written = ready!(write(&state.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.is_begun = true;
            state.bytes.advance(written);
        }
        // An idle connection holds no memory for what has passed.
        state.bytes = BytesMut::new();
        state.is_begun = false;
        self.is_pending.store(false, Relaxed);
        Poll::Ready(Ok(()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As an answer of HTTP/1.1.
fn written(fields: &HeaderMap) -> Vec<u8> {
    let mut text = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
    for (name, value) in fields {
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::super::tests::link;
    use super::*;

    const REQUEST: u64 = 1;

    /// What is written where the stream takes `room` bytes at a time, at most `times`.
    fn out(ahead: &Ahead, is_between: bool, room: usize, mut times: usize) -> (String, bool) {
        let mut written = Vec::new();
        let polled = ahead.poll_out(is_between, REQUEST, |bytes| {
            if times == 0 {
                return Poll::Pending;
            }
            times -= 1;
            let count = bytes.len().min(room);
            written.extend(&bytes[..count]);
            Poll::Ready(Ok(count))
        });
        (String::from_utf8(written).unwrap(), polled.is_ready())
    }

    #[test]
    fn hints_go_out_between_two_messages_only_and_whole() {
        let ahead = Ahead::default();
        ahead.push(REQUEST, &link()).unwrap();
        assert_eq!(out(&ahead, false, 100, 9), (String::new(), true));
        let (first, is_done) = out(&ahead, true, 10, 1);
        assert!(!is_done);
        // What has begun is finished, though the answer begins.
        ahead.close(REQUEST);
        let (rest, is_done) = out(&ahead, false, 100, 9);
        assert!(is_done);
        assert_eq!(
            first + &rest,
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
        );
        assert_eq!(out(&ahead, true, 100, 9), (String::new(), true));
        assert_eq!(ahead.push(REQUEST, &link()), Err(EarlyHintsError::TooLate));
    }

    #[test]
    fn hints_that_the_answer_has_caught_up_with_are_dropped() {
        let ahead = Ahead::default();
        ahead.push(REQUEST, &link()).unwrap();
        ahead.close(REQUEST);
        assert_eq!(out(&ahead, false, 100, 9), (String::new(), true));
        assert_eq!(out(&ahead, true, 100, 9), (String::new(), true));
    }

    #[test]
    fn who_writes_is_woken_by_hints_and_not_once_the_answer_has_begun() {
        struct Counting(AtomicUsize);
        impl Wake for Counting {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let counting = Arc::new(Counting(AtomicUsize::new(0)));
        let writer = Waker::from(Arc::clone(&counting));
        let ahead = Ahead::default();
        ahead.register(REQUEST, &writer);
        ahead.push(REQUEST, &link()).unwrap();
        assert_eq!(counting.0.load(Relaxed), 1);
        ahead.close(REQUEST);
        ahead.register(REQUEST, &writer);
        // Nobody is kept awake, or alive, by an answer that has begun.
        assert_eq!(Arc::strong_count(&counting), 2);
    }
}
