//! What the event loop of Python is told by the I/O thread, in groups: one wake-up for many.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use destrier::sys::wakeup::Wakeup;

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
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    /// The event loop was woken and has not come.
    is_woken: bool,
    /// It has come, and what it was told of has not been done.
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
        }
    }

    /// What becomes readable when something was put in.
    pub(super) fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    pub(super) fn push(&self, event: Event) -> Pushed {
        let (wakes, watches) = {
            let mut state = self.state();
            state.events.push(event);
            let wakes = !std::mem::replace(&mut state.is_woken, true);
            let watches = !std::mem::replace(&mut state.is_watched, true);
            (wakes, watches)
        };
        if wakes {
            self.wakeup.wake();
        }
        if watches { Pushed::Watch } else { Pushed::Done }
    }

    /// All that waits, for the event loop, whose turn begins.
    pub(super) fn take(&self) -> Vec<Event> {
        // Before it looks: whoever puts something in after that wakes it again.
        self.wakeup.clear();
        let mut state = self.state();
        state.is_woken = false;
        state.is_turning = true;
        std::mem::take(&mut state.events)
    }

    /// What was taken has been done, as far as it could be at once.
    pub(super) fn turned(&self) {
        let mut state = self.state();
        state.is_turning = false;
        state.turns = state.turns.wrapping_add(1);
    }

    /// Whether the event loop is about to say that it has turned.
    pub(super) fn is_turning(&self) -> bool {
        self.state().is_turning
    }

    /// How far it is. When it is idle nobody looks any more.
    pub(super) fn look(&self) -> Progress {
        let mut state = self.state();
        if state.is_woken || state.is_turning {
            return Progress::Busy(state.turns);
        }
        state.is_watched = false;
        Progress::Idle
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
