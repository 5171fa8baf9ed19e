//! 103 Early Hints (RFC 8297): what an application says ahead of its answer, between two messages of HTTP/1.1.
//!
//! hyper's server cannot give an informational answer. The stream under it can: hyper flushes it only when it has handed on all that it
//! has, and gets a request when it has been given the whole answer to the one before. So between a flush and the first byte of the next answer
//! what goes out begins and ends between two messages.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use http::HeaderMap;

/// So many bytes may wait to go out ahead of one answer.
const PENDING_MAX: usize = 16 << 10;

/// Fields that frame a message or belong to a connection (RFC 9110 section 7.6.1), and a date that hints do not have.
const REFUSED: [&str; 10] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// A request extension: says ahead of the answer what its client may do meanwhile, such as load what a `Link` names (103, RFC 8297).
/// Requests have it that came with HTTP/1.1: clients of HTTP/1.0 know no such answers, and the HTTP/2 of hyper cannot give them.
#[derive(Debug, Clone)]
pub struct EarlyHints {
    ahead: Arc<Ahead>,
    /// The number of its request on the connection, from 1.
    request: u64,
}

/// Why hints are not sent. The answer is not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EarlyHintsError {
    /// The answer has begun.
    #[error("the answer has begun")]
    TooLate,
    /// More than 16 KiB would wait.
    #[error("the hints are too large")]
    TooLarge,
    /// The field frames a message or belongs to a connection.
    #[error("the field `{0}` is none for hints")]
    Field(String),
}

impl EarlyHints {
    /// For this request of a connection of HTTP/1.1.
    pub(crate) fn new(ahead: &Arc<Ahead>, request: u64) -> Self {
        Self {
            ahead: Arc::clone(ahead),
            request,
        }
    }

    /// Sends these fields at once; more may follow in another answer of this kind. They are dropped where the client is still
    /// taking the answer before and this one's comes first.
    ///
    /// # Errors
    /// When they cannot go out before the answer, or should not.
    pub fn send(&self, fields: &HeaderMap) -> Result<(), EarlyHintsError> {
        let mut text = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
        for (name, value) in fields {
            if REFUSED.contains(&name.as_str()) {
                return Err(EarlyHintsError::Field(name.to_string()));
            }
            text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        text.extend(b"\r\n");
        self.ahead.push(self.request, &text)
    }
}

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

    fn push(&self, request: u64, text: &[u8]) -> Result<(), EarlyHintsError> {
        let mut state = self.state();
        if state.answered >= request {
            return Err(EarlyHintsError::TooLate);
        }
        if state.bytes.len() + text.len() > PENDING_MAX {
            return Err(EarlyHintsError::TooLarge);
        }
        state.bytes.extend_from_slice(text);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use http::HeaderValue;
    use http::header::{CONTENT_LENGTH, LINK};

    use super::*;

    fn hints() -> EarlyHints {
        EarlyHints::new(&Arc::default(), 1)
    }

    fn link() -> HeaderMap {
        HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a.css>; rel=preload"))])
    }

    /// What is written where the stream takes `room` bytes at a time, at most `times`.
    fn out(hints: &EarlyHints, is_between: bool, room: usize, mut times: usize) -> (String, bool) {
        let mut written = Vec::new();
        let polled = hints.ahead.poll_out(is_between, hints.request, |bytes| {
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
        let hints = hints();
        hints.send(&link()).unwrap();
        assert_eq!(out(&hints, false, 100, 9), (String::new(), true));
        let (first, is_done) = out(&hints, true, 10, 1);
        assert!(!is_done);
        // What has begun is finished, though the answer begins.
        hints.ahead.close(hints.request);
        let (rest, is_done) = out(&hints, false, 100, 9);
        assert!(is_done);
        assert_eq!(
            first + &rest,
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
        );
        assert_eq!(out(&hints, true, 100, 9), (String::new(), true));
        assert_eq!(hints.send(&link()), Err(EarlyHintsError::TooLate));
    }

    #[test]
    fn hints_that_the_answer_has_caught_up_with_are_dropped() {
        let hints = hints();
        hints.send(&link()).unwrap();
        hints.ahead.close(hints.request);
        assert_eq!(out(&hints, false, 100, 9), (String::new(), true));
        assert_eq!(out(&hints, true, 100, 9), (String::new(), true));
    }

    #[test]
    fn hints_are_bounded_and_say_nothing_of_the_connection() {
        let hints = hints();
        let framing = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(1))]);
        let refused = EarlyHintsError::Field("content-length".to_owned());
        assert_eq!(hints.send(&framing), Err(refused));
        let sent = std::iter::repeat_with(|| hints.send(&link())).take_while(Result::is_ok);
        assert!((100..1000).contains(&sent.count()));
        assert_eq!(hints.send(&link()), Err(EarlyHintsError::TooLarge));
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
        let hints = hints();
        hints.ahead.register(hints.request, &writer);
        hints.send(&link()).unwrap();
        assert_eq!(counting.0.load(Relaxed), 1);
        hints.ahead.close(hints.request);
        hints.ahead.register(hints.request, &writer);
        // Nobody is kept awake, or alive, by an answer that has begun.
        assert_eq!(Arc::strong_count(&counting), 2);
    }
}
