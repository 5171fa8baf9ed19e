//! One WebSocket, between the event loop of Python and the I/O thread: who waits for what, and is woken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use destrier::{InProgress, RequestId, Subprotocols};
use http::request;

use super::super::Shared;
use super::super::queue::Event;
use super::super::service::note;
use super::super::waiters::Waiters;
use super::state::{Answer, Frame, Received, Refused, Said, State};
use crate::answer::named;
use crate::failure::Failure;

/// A WebSocket that the application is called for.
#[derive(Debug)]
pub(in super::super) struct Conversation {
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
    /// Until the handshake is answered.
    in_progress: Option<InProgress>,
    /// Somebody waits on the event loop.
    is_awaited: bool,
    /// Who waits on the I/O thread: for the answer to the handshake, then for messages.
    client: Option<Waker>,
}

impl Conversation {
    pub(super) fn new(shared: &Arc<Shared>, request: request::Parts) -> Self {
        let offered = request.extensions.get::<Subprotocols>();
        let offered = offered.map(|offered| offered.0.clone());
        Self {
            shared: Arc::clone(shared),
            id: request.extensions.get::<RequestId>().copied(),
            inner: Mutex::new(Inner {
                state: State::new(offered.unwrap_or_default()),
                in_progress: request.extensions.get::<InProgress>().cloned(),
                request: Some(Box::new(request)),
                is_awaited: false,
                client: None,
            }),
            waiters: Waiters::default(),
        }
    }

    pub(super) fn id(&self) -> Option<RequestId> {
        self.id
    }

    pub(in super::super) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the handshake is answered with.
    pub(super) fn poll_answer(&self, context: &Context<'_>) -> Poll<Answer> {
        let mut inner = self.inner();
        let Some(answer) = inner.state.take_answer() else {
            note(&mut inner.client, context);
            return Poll::Pending;
        };
        let in_progress = inner.in_progress.take();
        drop(inner);
        drop(in_progress);
        Poll::Ready(answer)
    }

    /// What goes to the client next; none: whoever asks is woken.
    pub(super) fn next_leaving(self: &Arc<Self>, context: &Context<'_>) -> Option<Frame> {
        let (frame, wakes) = {
            let mut inner = self.inner();
            let (frame, has_room) = inner.state.next_leaving();
            if frame.is_none() {
                note(&mut inner.client, context);
            }
            let wakes = frame.is_some() && has_room && std::mem::take(&mut inner.is_awaited);
            (frame, wakes)
        };
        if wakes {
            self.wake();
        }
        frame
    }

    /// Whether more of the client is to be read; whoever asks is woken when it is again.
    pub(super) fn has_room(&self, context: &Context<'_>) -> bool {
        let mut inner = self.inner();
        note(&mut inner.client, context);
        inner.state.has_room()
    }

    /// Whether the application has ended it, and the client is sent all.
    pub(super) fn is_done(&self) -> bool {
        self.inner().state.is_done()
    }

    /// The client says something.
    pub(super) fn arrive(self: &Arc<Self>, frame: Frame) {
        self.change(|state| state.arrive(frame));
    }

    /// Nothing comes any more, and nobody waits for an answer.
    pub(super) fn leave(self: &Arc<Self>) {
        let (unused, is_overdue) = {
            let mut inner = self.inner();
            let unused = (inner.request.take(), inner.in_progress.take());
            let is_begun = unused.0.is_none();
            let is_overdue = unused.1.as_ref().is_some_and(InProgress::is_overdue);
            (unused, is_begun && is_overdue)
        };
        drop(unused);
        self.change(State::leave);
        if is_overdue {
            self.shared.push(Event::CancelSocket(Arc::clone(self)));
        }
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let wakes = {
            let mut inner = self.inner();
            change(&mut inner.state);
            std::mem::take(&mut inner.is_awaited)
        };
        if wakes {
            self.wake();
        }
    }

    fn wake(self: &Arc<Self>) {
        self.shared.push(Event::WakeSocket(Arc::clone(self)));
    }

    /// The request, when the application is about to be called; none where nobody waits for it any more.
    pub(in super::super) fn take_request(&self) -> Option<Box<request::Parts>> {
        self.inner().request.take()
    }

    /// What the application gets; none: it waits, and is woken.
    pub(super) fn receive(&self) -> Option<Received> {
        let mut inner = self.inner();
        let had_room = inner.state.has_room();
        let received = inner.state.receive();
        inner.is_awaited |= received.is_none();
        let client = inner.client.take_if(|_| !had_room);
        drop(inner);
        if let Some(client) = client {
            self.shared.resume(client);
        }
        received
    }

    /// What the application says; what comes back is to be said again, when whoever says it is woken.
    pub(super) fn send(&self, said: Said) -> Result<Option<Frame>, Refused> {
        let mut inner = self.inner();
        let later = inner.state.send(said)?;
        inner.is_awaited |= later.is_some();
        let client = inner.client.take_if(|_| later.is_none());
        drop(inner);
        if let Some(client) = client {
            self.shared.resume(client);
        }
        Ok(later)
    }

    /// The application has returned.
    pub(super) fn finish(&self) {
        let finished = self.inner().state.finish();
        match finished {
            Ok(()) => self.changed(),
            Err(failure) => self.fail(&failure),
        }
    }

    /// The application has failed.
    pub(in super::super) fn fail(&self, failure: &Failure) {
        let (is_answer, is_seen) = self.inner().state.fail(failure);
        self.changed();
        let (request, trace_id) = named(self.id);
        if !is_seen {
            tracing::debug!(request, trace_id, error = %failure, "the application failed, and the WebSocket was closed");
        } else if !is_answer {
            tracing::error!(request, trace_id, error = %failure, "the application failed, its WebSocket is closed");
        }
    }

    /// Nothing of Python works on it any more.
    pub(in super::super) fn end(&self) {
        self.waiters.end();
        let in_progress = self.inner().in_progress.take();
        drop(in_progress);
    }

    fn changed(&self) {
        let client = self.inner().client.take();
        if let Some(client) = client {
            self.shared.resume(client);
        }
    }
}
