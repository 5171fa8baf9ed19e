//! Requests that wait for a Python thread, and which threads are woken for them.
//!
//! A thread that holds the interpreter takes one request after the other; waking a second one for each would cost two context
//! switches and win nothing. So a sleeper is woken only when no thread is awake, or when those that are have not come back for a
//! while: then they wait for something, and do not hold the interpreter.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use destrier::sys::clock;

/// A thread that has not come back for so long does not hold the interpreter, or is worth a rival.
const PATIENCE: Duration = Duration::from_micros(200);

/// The queue.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    available: Condvar,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<T>,
    is_closed: bool,
    /// Threads that wait for a request.
    sleeping: usize,
    /// Of those, how many were woken and have not come yet.
    waking: usize,
    /// Threads that are awake.
    awake: usize,
    /// When a request was taken last, monotonic.
    last_pop: Duration,
    /// Whether somebody looks again soon.
    is_watched: bool,
}

/// A request that was taken.
#[derive(Debug)]
pub(super) struct Popped<T> {
    pub(super) job: T,
    /// No other waits.
    pub(super) is_last: bool,
    /// Somebody looks again soon.
    pub(super) is_watched: bool,
}

/// What is to be done after a request was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// A thread is on its way, or none could be.
    Done,
    /// Whoever pushed looks again soon, with [`Queue::look`], until that says otherwise.
    Watch,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                is_closed: false,
                sleeping: 0,
                waking: 0,
                awake: 0,
                last_pop: Duration::ZERO,
                is_watched: false,
            }),
            available: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    /// A thread takes requests from now on.
    pub(super) fn join(&self) {
        self.state().awake += 1;
    }

    /// It does not any more.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.awake = state.awake.saturating_sub(1);
    }

    /// # Errors
    /// The queue is closed, and `job` is lost.
    pub(super) fn push(&self, job: T) -> Result<Pushed, Closed> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Closed);
        }
        state.jobs.push_back(job);
        if state.wakes_one() {
            drop(state);
            self.available.notify_one();
            return Ok(Pushed::Done);
        }
        // Where all threads are busy each of them comes back by itself.
        let needs_watch = state.sleeping > state.waking && !state.is_watched;
        state.is_watched |= needs_watch;
        Ok(if needs_watch {
            Pushed::Watch
        } else {
            Pushed::Done
        })
    }

    /// Looks whether another thread is to be woken. Returns whether to look again soon.
    pub(super) fn look(&self) -> bool {
        let mut state = self.state();
        if state.jobs.is_empty() || state.sleeping == 0 {
            state.is_watched = false;
            return false;
        }
        if state.wakes_one() {
            drop(state);
            self.available.notify_one();
        }
        true
    }

    /// The next request, if one waits.
    pub(super) fn pop(&self) -> Option<Popped<T>> {
        let mut state = self.state();
        let job = state.jobs.pop_front()?;
        state.last_pop = clock::monotonic();
        Some(Popped {
            job,
            is_last: state.jobs.is_empty(),
            is_watched: state.is_watched,
        })
    }

    /// Waits until there may be a request; false: the queue is closed and empty.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state();
        state.awake = state.awake.saturating_sub(1);
        state.sleeping += 1;
        while state.jobs.is_empty() && !state.is_closed {
            state = self
                .available
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.waking = state.waking.saturating_sub(1);
        }
        state.sleeping = state.sleeping.saturating_sub(1);
        state.awake += 1;
        !state.jobs.is_empty()
    }

    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.available.notify_all();
    }

    pub(super) fn depth(&self) -> usize {
        self.state().jobs.len()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Decides whether to wake one, and notes it.
    fn wakes_one(&mut self) -> bool {
        if self.sleeping == 0 || self.waking > 0 {
            return false;
        }
        let is_due = self.awake == 0 || clock::monotonic().saturating_sub(self.last_pop) > PATIENCE;
        if is_due {
            self.waking += 1;
        }
        is_due
    }
}

/// The queue takes nothing any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closed;
