//! What goes out on a stream of HTTP/2 ahead of its answer (RFC 9110 section 15.2): that its client may go on with the body, and hints.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, Response, StatusCode};

use super::early_hints::{EarlyHintsError, PENDING_MAX};

/// Of one request. Whoever answers or reads it says so, on whatever thread; whoever serves the stream sends it.
#[derive(Debug, Default)]
pub(crate) struct Interim {
    /// Whether something waits.
    is_pending: AtomicBool,
    state: Mutex<State>,
    /// Who serves the stream.
    server: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    /// The client shall go on.
    goes_on: bool,
    hints: VecDeque<HeaderMap>,
    /// How many bytes of hints there were: what the codec has of them its client may not have taken.
    size: usize,
    /// The answer has begun.
    is_over: bool,
}

impl Interim {
    /// The body is wanted, and its client waits until it is told so (RFC 9110 section 10.1.1).
    pub(super) fn go_on(&self) {
        let mut state = self.state();
        if !state.is_over {
            state.goes_on = true;
            self.wake();
        }
    }

    pub(super) fn push(&self, fields: &HeaderMap) -> Result<(), EarlyHintsError> {
        let sizes = fields
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        let size: usize = sizes.sum();
        let mut state = self.state();
        if state.is_over {
            return Err(EarlyHintsError::TooLate);
        }
        if state.size + size > PENDING_MAX {
            return Err(EarlyHintsError::TooLarge);
        }
        state.size += size;
        state.hints.push_back(fields.clone());
        self.wake();
        Ok(())
    }

    /// Whoever serves the stream waits, and is woken when something is to be sent.
    pub(crate) fn register(&self, server: &Waker) {
        self.server.register(server);
    }

    /// What is to be sent next.
    pub(crate) fn next(&self) -> Option<Response<()>> {
        if !self.is_pending.load(Relaxed) {
            return None;
        }
        let mut state = self.state();
        let (status, fields) = if std::mem::take(&mut state.goes_on) {
            (StatusCode::CONTINUE, HeaderMap::new())
        } else if let Some(fields) = state.hints.pop_front() {
            (StatusCode::EARLY_HINTS, fields)
        } else {
            self.is_pending.store(false, Relaxed);
            return None;
        };
        let mut answer = Response::new(());
        *answer.status_mut() = status;
        *answer.headers_mut() = fields;
        Some(answer)
    }

    /// The answer begins: nothing more is taken.
    pub(crate) fn close(&self) {
        self.state().is_over = true;
    }

    fn wake(&self) {
        self.is_pending.store(true, Relaxed);
        self.server.wake();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use http::HeaderValue;
    use http::header::LINK;

    use super::*;

    fn statuses(interim: &Interim) -> Vec<u16> {
        from_fn(|| interim.next())
            .map(|answer| answer.status().as_u16())
            .collect()
    }

    #[test]
    fn a_client_is_told_to_go_on_once_for_each_time_and_gets_hints_in_order() {
        let interim = Interim::default();
        assert!(interim.next().is_none());
        let link = |value| HeaderMap::from_iter([(LINK, HeaderValue::from_static(value))]);
        interim.push(&link("</a>")).unwrap();
        interim.push(&link("</b>")).unwrap();
        interim.go_on();
        assert_eq!(interim.next().unwrap().status(), StatusCode::CONTINUE);
        assert_eq!(interim.next().unwrap().headers()[LINK], "</a>");
        assert_eq!(interim.next().unwrap().headers()[LINK], "</b>");
        assert!(interim.next().is_none());
        interim.go_on();
        assert_eq!(statuses(&interim), [100]);
    }

    /// Whoever serves the stream hands them to the codec, which holds them for a client that takes nothing.
    #[test]
    fn hints_are_bounded_also_where_they_go_out_at_once() {
        let interim = Interim::default();
        let link = HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a>"))]);
        let sent = std::iter::repeat_with(|| {
            interim.push(&link)?;
            assert_eq!(statuses(&interim), [103]);
            Ok(())
        });
        let sent = sent.take_while(Result::<_, EarlyHintsError>::is_ok).count();
        assert!((1_000..10_000).contains(&sent), "{sent}");
    }

    #[test]
    fn nothing_is_taken_once_the_answer_has_begun() {
        let interim = Interim::default();
        interim.close();
        interim.go_on();
        assert_eq!(
            interim.push(&HeaderMap::new()),
            Err(EarlyHintsError::TooLate)
        );
        assert!(statuses(&interim).is_empty());
    }
}
