//! One request and its answer, between the event loop of Python and the I/O thread: who waits for what, and is woken.
//!
//! The lock is held for moments only, and never while Python is called.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use destrier::{InProgress, RequestId};
use http::{Response, request};
use pyo3::Python;

use super::Shared;
use super::queue::Event;
use super::service::note;
use super::state::{Answer, Failed, Next, Received, Refused, Sent, State};
use super::stream::StreamBody;
use super::waiters::Waiters;
use crate::answer::{AnswerBody, named, warn_too_long, warn_too_short};
use crate::failure::Failure;
use crate::head::Head;

/// The answer of the application, or why there is none.
pub(super) type Outcome = Result<Response<AnswerBody>, Failure>;

/// A request that the application is called for.
#[derive(Debug)]
pub(super) struct Exchange {
    shared: Arc<Shared>,
    id: Option<RequestId>,
    inner: Mutex<Inner>,
    waiters: Waiters,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Until the application is called.
    request: Option<Box<request::Parts>>,
    /// While it works on it.
    in_progress: Option<InProgress>,
    /// An answer whose content comes from elsewhere.
    made: Option<Response<AnswerBody>>,
    /// Somebody waits on the event loop.
    is_awaited: bool,
    /// Who waits on the I/O thread for the answer, or for more of it.
    client: Option<Waker>,
    /// Who brings the content of the request.
    source: Option<Waker>,
    /// It waits until more is wanted.
    source_waits: bool,
}

impl Exchange {
    pub(super) fn new(shared: &Arc<Shared>, request: request::Parts, has_content: bool) -> Self {
        let is_head = request.method == http::Method::HEAD;
        Self {
            shared: Arc::clone(shared),
            id: request.extensions.get::<RequestId>().copied(),
            inner: Mutex::new(Inner {
                state: State::new(is_head, has_content),
                in_progress: request.extensions.get::<InProgress>().cloned(),
                request: Some(Box::new(request)),
                made: None,
                is_awaited: false,
                client: None,
                source: None,
                source_waits: false,
            }),
            waiters: Waiters::default(),
        }
    }

    pub(super) fn id(&self) -> Option<RequestId> {
        self.id
    }

    pub(super) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, for whoever waits for it on the I/O thread.
    pub(super) fn poll_outcome(self: &Arc<Self>, context: &Context<'_>) -> Poll<Outcome> {
        let mut inner = self.inner();
        if let Some(made) = inner.made.take() {
            return Poll::Ready(Ok(made));
        }
        match inner.state.take_answer() {
            Some(Answer::Whole(head, content)) => {
                Poll::Ready(Ok(head.with(AnswerBody::Whole(content))))
            }
            Some(Answer::Streamed(head)) => {
                drop(inner);
                let body = StreamBody::new(Arc::clone(self));
                Poll::Ready(Ok(head.with(AnswerBody::Streamed(body))))
            }
            Some(Answer::Failed(failure)) => Poll::Ready(Err(failure)),
            None => {
                note(&mut inner.client, context);
                Poll::Pending
            }
        }
    }

    /// More of an answer that is streamed; `Next::Wait`: whoever asks is woken.
    pub(super) fn poll_piece(self: &Arc<Self>, context: &Context<'_>) -> Next {
        let mut inner = self.inner();
        let (next, has_room) = inner.state.next_piece();
        if matches!(next, Next::Wait) {
            note(&mut inner.client, context);
        }
        let wakes = has_room && std::mem::take(&mut inner.is_awaited);
        drop(inner);
        if wakes {
            self.shared.push(Event::Wake(Arc::clone(self)));
        }
        next
    }

    /// The client is gone, or nobody waits for the answer any more.
    pub(super) fn leave(self: &Arc<Self>) {
        let (wakes, cancels, unused) = {
            let mut inner = self.inner();
            if !inner.state.leave() {
                return;
            }
            // One that was not begun is not worked on.
            let request = inner.request.take();
            let in_progress = &mut inner.in_progress;
            if request.is_some() {
                *in_progress = None;
            }
            let cancels = in_progress.as_ref().is_some_and(InProgress::is_overdue);
            let wakes = std::mem::take(&mut inner.is_awaited);
            (wakes, cancels, request)
        };
        drop(unused);
        if cancels {
            self.shared.push(Event::Cancel(Arc::clone(self)));
        } else if wakes {
            self.shared.push(Event::Wake(Arc::clone(self)));
        }
    }

    /// Whether to bring more of the request's content; `None`: nobody will ask for it. Whoever asks is woken when that changes.
    pub(super) fn poll_wants(&self, is_optional: bool, context: &Context<'_>) -> Option<bool> {
        let mut inner = self.inner();
        if inner.state.is_over() {
            return None;
        }
        // Also while it arrives: nobody may want it any more.
        note(&mut inner.source, context);
        let wants = inner.state.wants_content(is_optional);
        inner.source_waits = !wants;
        Some(wants)
    }

    /// Content of the request has arrived; none: that was all.
    pub(super) fn arrive(self: &Arc<Self>, piece: Option<Bytes>) {
        let wakes = {
            let mut inner = self.inner();
            match piece {
                Some(piece) => inner.state.arrive(piece),
                None => inner.state.arrive_end(),
            }
            std::mem::take(&mut inner.is_awaited)
        };
        if wakes {
            self.shared.push(Event::Wake(Arc::clone(self)));
        }
    }

    /// The request, when the application is about to be called; none where nobody waits for it any more.
    pub(super) fn take_request(&self) -> Option<Box<request::Parts>> {
        self.inner().request.take()
    }

    /// What the application gets; none: it waits, and is woken.
    pub(super) fn receive(&self) -> Option<Received> {
        let mut inner = self.inner();
        let received = inner.state.receive();
        inner.is_awaited |= received.is_none();
        // There is room, or somebody wants it.
        let waits = std::mem::take(&mut inner.source_waits);
        let source = inner.source.take_if(|_| waits);
        drop(inner);
        if let Some(source) = source {
            self.shared.resume(source);
        }
        received
    }

    pub(super) fn start(&self, head: Head) -> Result<(), Refused> {
        self.inner().state.start(head)
    }

    /// Content of the answer, and whether more follows; [`Sent::Later`]: whoever sends waits, and is woken.
    pub(super) fn send(
        &self,
        py: Python<'_>,
        content: &Bytes,
        more: bool,
    ) -> Result<Sent, Refused> {
        let mut inner = self.inner();
        let taken = inner.state.send(content, more)?;
        if taken == Sent::Later {
            inner.is_awaited = true;
            return Ok(taken);
        }
        let is_answered = inner.state.is_answered();
        self.changed(inner, is_answered);
        match taken {
            Sent::TooLong => warn_too_long(self.id),
            Sent::TooShort(missing) => warn_too_short(self.id, missing),
            Sent::All | Sent::Later => {}
        }
        if is_answered {
            // Whoever waits for the client to leave has waited long enough.
            self.waiters.wake_or_log(py);
        }
        Ok(taken)
    }

    /// The head that was given, for an answer whose content comes from elsewhere: [`Self::answer`] is next. None where no content shall go out.
    pub(super) fn take_head(&self) -> Result<Option<Head>, Refused> {
        let mut inner = self.inner();
        let head = inner.state.take_head()?;
        self.changed(inner, true);
        Ok(head)
    }

    /// An answer whose content comes from elsewhere.
    pub(super) fn answer(&self, answer: Response<AnswerBody>) {
        let mut inner = self.inner();
        inner.made = Some(answer);
        self.changed(inner, true);
    }

    /// The application has returned.
    pub(super) fn finish(&self) {
        let finished = self.inner().state.finish();
        if let Err(failure) = finished {
            self.fail(&failure);
        }
    }

    /// The application has failed: the client sees a 500 where the head has not gone out, and else that the rest is missing.
    pub(super) fn fail(&self, failure: &Failure) {
        let mut inner = self.inner();
        let failed = inner.state.fail(failure);
        self.changed(inner, true);
        let (request, trace_id) = named(self.id);
        match failed {
            // The pipeline logs it.
            Failed::Answer => {}
            Failed::Rest => {
                tracing::error!(request, trace_id, error = %failure, "the application failed in the middle of its answer");
            }
            Failed::Nothing => {
                tracing::error!(request, trace_id, error = %failure, "the application failed after its answer");
            }
            Failed::NobodyWaited => {
                tracing::debug!(request, error = %failure, "the application failed, and its client had left");
            }
        }
    }

    /// Nothing of Python works on it any more.
    pub(super) fn end(&self) {
        self.waiters.end();
        let in_progress = self.inner().in_progress.take();
        drop(in_progress);
    }

    /// There is news for whoever waits on the I/O thread; `is_over`: also for who brings content.
    fn changed(&self, mut inner: MutexGuard<'_, Inner>, is_over: bool) {
        let client = inner.client.take();
        let source = inner.source.take_if(|_| is_over);
        drop(inner);
        for task in [client, source].into_iter().flatten() {
            self.shared.resume(task);
        }
    }
}
