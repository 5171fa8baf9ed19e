//! A thread that calls the application and turns the event loop of the worker between calls, so that nobody is woken for what comes and for what
//! goes; where [`Queue::may_be_led`](super::queue::Queue::may_be_led) says so.

use std::time::Duration;

use destrier::sys::clock;
use pyo3::prelude::*;
use tokio::task::yield_now;

use super::Shared;
use crate::fork;

/// After so much time with calls the event loop has its turn again.
const BATCH: Duration = Duration::from_micros(500);

/// How far this thread is with it.
#[derive(Debug)]
pub(super) struct Leading<'a> {
    shared: &'a Shared,
    /// When it has turned the event loop last, monotonic.
    turned: Duration,
}

impl<'a> Leading<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            turned: Duration::ZERO,
        }
    }

    /// No request waits: turns the event loop until one does, where that is worth it. Returns whether it was.
    pub(super) fn turn(&mut self, py: Python<'_>) -> bool {
        if self.shared.queue.may_be_led()
            && self.turn_until(py, self.shared.queue.comes()).is_some()
        {
            return true;
        }
        self.shared.loan.give_back();
        false
    }

    /// Calls the application, at this time, monotonic, and sees afterwards to the event loop where this thread has had it.
    pub(super) fn call(&mut self, py: Python<'_>, since: Duration, call: impl FnOnce()) {
        let Shared { loan, queue, .. } = self.shared;
        let had_it = loan.is_held_here();
        call();
        if !had_it {
            return;
        }
        if !loan.is_held_here() {
            queue.note_hindrance();
        } else if since.saturating_sub(self.turned) > BATCH && queue.depth() > 0 {
            if queue.may_be_led() {
                self.turn_between(py);
            } else {
                loan.give_back();
            }
        }
    }

    /// Others wait for their answers, and for being read.
    fn turn_between(&mut self, py: Python<'_>) {
        let done = async {
            // The answers go out, and the system is asked for news; those are read.
            yield_now().await;
            yield_now().await;
        };
        let _wanted_back = self.turn_until(py, done);
    }

    /// None: it is wanted back.
    fn turn_until(&mut self, py: Python<'_>, done: impl Future<Output = ()> + Send) -> Option<()> {
        // A child of the application must not take what is the worker's.
        fork::leave_if_child(|| None);
        let Shared {
            loan, completions, ..
        } = self.shared;
        let turned = py.detach(|| {
            loan.turn(async {
                completions.deliver();
                done.await;
            })
        });
        self.turned = clock::monotonic();
        turned
    }
}
