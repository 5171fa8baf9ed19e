//! One request and its answer, from `start_response` to the last byte: what may follow what.
//!
//! Python threads call this, and more than one may, where the application hands `write` on. The lock is held for moments only,
//! and never while a thread waits for the client or for the interpreter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use destrier::RequestId;
use pyo3::Python;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::Shared;
use super::service::{Answered, Outcome};
use crate::answer::{AnswerBody, PIECE, Pieces, named, warn_too_long, warn_too_short};
use crate::failure::Failure;
use crate::head::Head;

/// A request whose application is called.
#[derive(Debug)]
pub(super) struct Exchange {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    id: Option<RequestId>,
    /// To a HEAD request: no content goes out.
    is_head: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// There is no request.
    Over,
    /// `start_response` was not called.
    Called(oneshot::Sender<Outcome>),
    /// It was, and its head can still be replaced.
    Started(oneshot::Sender<Outcome>, Head),
    /// The head is on its way, and pieces follow. So many bytes are missing, where the head says how many there are.
    Sending(Pieces, Option<u64>),
    /// All of the answer is on its way.
    Answered,
}

/// Whether more of an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    /// The client is gone, or has all it can get.
    Stop,
}

/// Why `start_response` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was called before, and this time without `exc_info`.
    Twice,
    /// The head is on its way: the exception is to be raised again.
    TooLate,
    /// The request is over.
    Over,
}

const NOT_STARTED: &str = "the application did not call start_response";

impl Exchange {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            state: Mutex::new(State {
                id: None,
                is_head: false,
                phase: Phase::Over,
            }),
        }
    }

    /// The application is called for a request.
    pub(super) fn begin(&self, id: Option<RequestId>, is_head: bool, to: oneshot::Sender<Outcome>) {
        *self.state() = State {
            id,
            is_head,
            phase: Phase::Called(to),
        };
    }

    /// Whose answer this is.
    pub(super) fn request(&self) -> Option<RequestId> {
        self.state().id
    }

    /// `start_response`; `replaces`: with `exc_info`.
    pub(super) fn start(&self, head: Head, replaces: bool) -> Result<(), Refused> {
        let mut state = self.state();
        let phase = std::mem::replace(&mut state.phase, Phase::Over);
        let (phase, outcome) = match phase {
            Phase::Called(to) => (Phase::Started(to, head), Ok(())),
            Phase::Started(to, _) if replaces => (Phase::Started(to, head), Ok(())),
            started @ Phase::Started(..) => (started, Err(Refused::Twice)),
            sent @ (Phase::Sending(..) | Phase::Answered) => {
                let refused = if replaces {
                    Refused::TooLate
                } else {
                    Refused::Twice
                };
                (sent, Err(refused))
            }
            Phase::Over => (Phase::Over, Err(Refused::Over)),
        };
        state.phase = phase;
        outcome
    }

    /// All of the content, known at once.
    pub(super) fn send_whole(&self, content: Bytes) -> Result<(), Failure> {
        let mut state = self.state();
        let length = content.len() as u64;
        if let (true, Phase::Started(_, head)) = (state.is_head, &mut state.phase) {
            head.set_default_length(length);
        }
        self.answer(state, content)
    }

    fn answer(&self, mut state: MutexGuard<'_, State>, content: Bytes) -> Result<(), Failure> {
        match std::mem::replace(&mut state.phase, Phase::Answered) {
            Phase::Started(to, head) => {
                let answer = whole(head, content, &state);
                drop(state);
                self.bring(to, Ok(answer));
                Ok(())
            }
            Phase::Called(to) => {
                state.phase = Phase::Called(to);
                Err(Failure::new(NOT_STARTED))
            }
            other @ (Phase::Over | Phase::Sending(..) | Phase::Answered) => {
                state.phase = other;
                Err(Failure::new("the answer has been sent"))
            }
        }
    }

    /// A piece of the content. Waits while the client has not taken those before it, without the interpreter.
    pub(super) fn send(&self, py: Python<'_>, content: &[u8]) -> Result<Flow, Failure> {
        if content.is_empty() {
            return Ok(Flow::Go);
        }
        let length = content.len() as u64;
        let mut state = self.state();
        if let Phase::Started(_, head) = &state.phase {
            let is_all = head.length() == Some(length);
            let has_no_content = state.is_head || head.is_without_content();
            if has_no_content || is_all {
                let content = if has_no_content {
                    // Of how many there would be this one says nothing.
                    Bytes::new()
                } else {
                    Bytes::copy_from_slice(content)
                };
                state.is_head = has_no_content;
                let answered = self.answer(state, content);
                self.shared.completions.announce();
                return answered.map(|()| if is_all { Flow::Go } else { Flow::Stop });
            }
        }
        let id = state.id;
        let (pieces, left, began) = match std::mem::replace(&mut state.phase, Phase::Answered) {
            Phase::Started(to, head) => {
                let (pieces, body) = Pieces::new();
                let left = head.length();
                self.bring(to, Ok(head.with(body)));
                (pieces, left, true)
            }
            Phase::Sending(pieces, left) => (pieces, left, false),
            Phase::Answered => {
                let is_head = state.is_head;
                drop(state);
                if !is_head {
                    warn_too_long(id);
                }
                return Ok(Flow::Stop);
            }
            Phase::Called(to) => {
                state.phase = Phase::Called(to);
                return Err(Failure::new(NOT_STARTED));
            }
            Phase::Over => {
                state.phase = Phase::Over;
                return Err(Failure::new("the request is over"));
            }
        };
        let allowed = left.unwrap_or(length).min(length);
        let sender = pieces.sender();
        state.phase = Phase::Sending(pieces, left.map(|left| left.saturating_sub(allowed)));
        drop(state);
        if began {
            // Somebody has to bring what follows, while this thread makes it.
            self.shared.loan.give_back();
            self.shared.completions.announce();
        }
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        let allowed = content.get(..allowed).unwrap_or(content);
        for piece in allowed.chunks(PIECE) {
            let sent = match sender.try_send(Bytes::copy_from_slice(piece)) {
                Ok(()) => true,
                Err(TrySendError::Full(piece)) => py.detach(|| sender.blocking_send(piece)).is_ok(),
                Err(TrySendError::Closed(_)) => false,
            };
            if !sent {
                return Ok(Flow::Stop);
            }
        }
        if allowed.len() < content.len() {
            warn_too_long(id);
            return Ok(Flow::Stop);
        }
        Ok(Flow::Go)
    }

    /// The application has said all it has to say.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let mut state = self.state();
        let id = state.id;
        match std::mem::replace(&mut state.phase, Phase::Answered) {
            Phase::Called(to) => {
                state.phase = Phase::Called(to);
                Err(Failure::new(NOT_STARTED))
            }
            started @ Phase::Started(..) => {
                state.phase = started;
                let answered = self.answer(state, Bytes::new());
                // What the application does in `close` may take long.
                self.shared.completions.announce();
                answered
            }
            Phase::Sending(pieces, left) => {
                drop(state);
                match left.unwrap_or_default() {
                    0 => pieces.complete(),
                    missing => warn_too_short(id, missing),
                }
                Ok(())
            }
            Phase::Answered => Ok(()),
            Phase::Over => {
                state.phase = Phase::Over;
                Ok(())
            }
        }
    }

    /// No answer, or no more of it. The client sees a 500 where the head has not gone out, and else that the rest is missing.
    pub(super) fn fail(&self, failure: Failure) {
        let mut state = self.state();
        let id = state.id;
        match std::mem::replace(&mut state.phase, Phase::Answered) {
            // The pipeline logs it.
            Phase::Called(to) | Phase::Started(to, _) => {
                drop(state);
                self.bring(to, Err(failure));
            }
            Phase::Sending(..) => {
                let (request, trace_id) = named(id);
                tracing::error!(request, trace_id, error = %failure, "the application failed in the middle of its answer");
            }
            Phase::Answered | Phase::Over => {
                let (request, trace_id) = named(id);
                tracing::error!(request, trace_id, error = %failure, "the application failed after its answer");
            }
        }
    }

    /// Whether content goes out piece by piece.
    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.state().phase, Phase::Sending(..))
    }

    /// Whether the head has gone out.
    pub(super) fn has_sent(&self) -> bool {
        matches!(self.state().phase, Phase::Sending(..) | Phase::Answered)
    }

    /// The client is gone, or has all it can get: what else the application would say nobody hears.
    pub(super) fn abandon(&self) {
        let phase = std::mem::replace(&mut self.state().phase, Phase::Answered);
        if let Phase::Sending(pieces, Some(0)) = phase {
            pieces.complete();
        }
    }

    /// The call has returned; whoever kept `start_response` or `write` cannot use it.
    pub(super) fn end(&self) {
        self.state().phase = Phase::Over;
    }

    fn bring(&self, to: oneshot::Sender<Outcome>, outcome: Outcome) {
        self.shared.completions.push(Answered { outcome, to });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer whose content is known. Where it is not as long as the head says, the head is kept: the client sees a cut.
fn whole(head: Head, mut content: Bytes, state: &State) -> http::Response<AnswerBody> {
    if state.is_head || head.is_without_content() {
        return head.with(AnswerBody::Whole(Bytes::new()));
    }
    let length = content.len() as u64;
    match head.length() {
        Some(said) if said > length => {
            warn_too_short(state.id, said - length);
            let (pieces, body) = Pieces::new();
            // There is room for it, and what is not complete when it is dropped is cut.
            drop(pieces.sender().try_send(content));
            head.with(body)
        }
        Some(said) => {
            if said < length {
                warn_too_long(state.id);
                content.truncate(usize::try_from(said).unwrap_or(usize::MAX));
            }
            head.with(AnswerBody::Whole(content))
        }
        None => head.with(AnswerBody::Whole(content)),
    }
}
