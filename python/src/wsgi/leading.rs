//! A thread that calls the application and turns the event loop of the worker between calls, so that nobody is woken for what comes and for what
//! goes; where [`Queue::may_be_led`](super::queue::Queue::may_be_led) says so.

use std::time::Duration;

use destrier::sys::clock;
use pyo3::prelude::*;

use super::Shared;

/// After so much time with calls the event loop has its turn again.
const BATCH: Duration = Duration::from_micros(500);

/// How far this thread is with it.
#[derive(Debug)]
pub(super) struct Leading<'a> {
    shared: &'a Shared,
    /// When it has turned the event loop last, monotonic.
    turned: Duration,
    /// It had it when the call began.
    had_it: bool,
}

impl<'a> Leading<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            turned: Duration::ZERO,
            had_it: false,
        }
    }

    /// No request waits: turns the event loop until one does, where that is worth it. Returns whether it was.
    pub(super) fn turn(&mut self, py: Python<'_>) -> bool {
        if self.shared.queue.may_be_led() && self.turn_now(py).is_some() {
            return true;
        }
        self.shared.loan.give_back();
        false
    }

    /// The application is about to be called.
    pub(super) fn begin_call(&mut self) {
        self.had_it = self.shared.loan.is_lent();
    }

    /// It has returned from a call that began at this time, monotonic.
    pub(super) fn end_call(&mut self, py: Python<'_>, since: Duration) {
        if !self.had_it {
            return;
        }
        if !self.shared.loan.is_lent() {
            self.shared.queue.note_hindrance();
        } else if since.saturating_sub(self.turned) > BATCH {
            // Others wait for their answers, and for being read.
            self.turn_now(py);
        }
    }

    /// None: it is wanted back.
    fn turn_now(&mut self, py: Python<'_>) -> Option<()> {
        let Shared {
            loan,
            completions,
            queue,
            ..
        } = self.shared;
        let turned = py.detach(|| {
            loan.turn(async {
                completions.deliver();
                if queue.depth() > 0 {
                    // What waits goes out first, and what has come is read.
                    tokio::task::yield_now().await;
                }
                queue.comes().await;
            })
        });
        self.turned = clock::monotonic();
        turned
    }
}
