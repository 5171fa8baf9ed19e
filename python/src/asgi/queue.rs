//! What the event loop of Python is told by the I/O thread, in groups: one wake-up for many.
//!
//! Whoever puts something in has the I/O thread do first what it can do at once, which puts in more: a [`Waker`] wakes the event loop
//! after that. One that is awake is not woken: at the end of its turn it looks whether there is more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use destrier::sys::wakeup::Wakeup;
use tokio::sync::Notify;

use super::Shared;
use super::exchange::Exchange;
use super::websocket::Conversation;

/// Something for the event loop.
#[derive(Debug)]
pub(super) enum Event {
    /// The application is to be called for a request.
    Call(Arc<Exchange>),
    /// For a request, something has happened that somebody awaits.
    Wake(Arc<Exchange>),
    /// The time of a request is over.
    Cancel(Arc<Exchange>),
    /// The application is to be called for a WebSocket.
    Connect(Arc<Conversation>),
    /// For a WebSocket, something has happened that somebody awaits.
    WakeSocket(Arc<Conversation>),
    /// The time in which a WebSocket was to be opened is over.
    CancelSocket(Arc<Conversation>),
    /// No request can come any more.
    Close,
}

/// The queue, and how far the event loop is with it.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wakeup: Wakeup,
    /// For the [`Waker`], while there is one.
    wanted: Notify,
    has_waker: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// The event loop was woken and has not come.
    is_woken: bool,
    /// It has come, and what it was told of has not been done. It looks again when that is so.
    is_turning: bool,
    /// So often it has done all it was told.
    turns: u64,
    /// Somebody looks again soon.
    is_watched: bool,
}

/// What is to be done after something was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Done,
    /// Whoever pushed looks again soon, with [`Queue::look`], until that says otherwise.
    Watch,
}

/// How far the event loop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has done what it was told.
    Idle,
    /// It has not, after so many turns.
    Busy(u64),
}

impl Queue {
    pub(super) fn new(wakeup: Wakeup) -> Self {
        Self {
            state: Mutex::default(),
            wakeup,
            wanted: Notify::new(),
            has_waker: AtomicBool::new(false),
        }
    }

    /// What becomes readable when something was put in.
    pub(super) fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    pub(super) fn push(&self, event: Event) -> Pushed {
        let (is_first, watches) = {
            let mut state = self.state();
            let is_first = state.events.is_empty();
            state.events.push_back(event);
            (is_first, !std::mem::replace(&mut state.is_watched, true))
        };
        if is_first {
            if self.has_waker.load(SeqCst) {
                self.wanted.notify_one();
            } else {
                self.wake();
            }
        }
        if watches { Pushed::Watch } else { Pushed::Done }
    }

    /// Wakes the event loop where something waits for it and it would not come by itself.
    pub(super) fn wake(&self) {
        let wakes = {
            let mut state = self.state();
            let wakes = !state.events.is_empty() && !state.is_woken && !state.is_turning;
            state.is_woken |= wakes;
            wakes
        };
        if wakes {
            self.wakeup.wake();
        }
    }

    /// All that waits, for the event loop, which was woken.
    pub(super) fn take_woken(&self) -> VecDeque<Event> {
        // Before it looks: whoever puts something in after that is seen at the end of the turn.
        self.wakeup.clear();
        let mut state = self.state();
        state.is_woken = false;
        state.take(usize::MAX)
    }

    /// The first of it, `most` at the most, where it was awake.
    pub(super) fn take(&self, most: usize) -> VecDeque<Event> {
        self.state().take(most)
    }

    /// The event loop has come by itself, and looks what waits before it goes.
    pub(super) fn begin(&self) {
        self.state().is_turning = true;
    }

    /// What was taken has been done, as far as it could be at once. Returns whether more waits: then the event loop takes that next.
    pub(super) fn turned(&self) -> bool {
        let mut state = self.state();
        state.turns = state.turns.wrapping_add(1);
        state.is_turning = !state.events.is_empty() && !state.is_woken;
        state.is_turning
    }

    /// Whether the event loop is about to say that it has turned.
    pub(super) fn is_turning(&self) -> bool {
        self.state().is_turning
    }

    /// How far it is. When it is idle nobody looks any more.
    pub(super) fn look(&self) -> Progress {
        let mut state = self.state();
        if state.is_woken || state.is_turning || !state.events.is_empty() {
            return Progress::Busy(state.turns);
        }
        state.is_watched = false;
        Progress::Idle
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, most: usize) -> VecDeque<Event> {
        self.is_turning = true;
        let rest = self.events.split_off(self.events.len().min(most));
        std::mem::replace(&mut self.events, rest)
    }
}

/// What wakes the event loop when the I/O thread has done what it could do at once. While there is one nobody else does; when it is
/// dropped, as the runtime of that thread ends, whoever puts something in wakes the event loop itself.
#[derive(Debug)]
pub(super) struct Waker(Arc<Shared>);

impl Waker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.queue.has_waker.store(true, SeqCst);
        Self(shared)
    }

    /// Does so each time, for ever. As a task of the I/O thread it comes after those that are ready when it is wanted.
    pub(super) async fn wake_always(self) {
        loop {
            self.0.queue.wanted.notified().await;
            self.0.queue.wake();
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        let queue = &self.0.queue;
        queue.has_waker.store(false, SeqCst);
        // Somebody may have relied on it.
        queue.wake();
    }
}
