//! Where requests come close to each other the event loop of Python turns that of the worker too, so that nobody is woken for what comes and
//! for what goes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use destrier::app::{Density, Left, Loan};
use pyo3::prelude::*;

use super::queue::{Event, Queue};
use super::{Context, Shared};
use crate::fork;

/// So much is begun before the event loop of the worker has its turn again.
const BATCH: usize = 32;

/// Where it had to wait for so long the thread that it belongs to does better.
const LONG_TURN: Duration = Duration::from_millis(1);

/// How it stands.
#[derive(Debug)]
pub(super) struct Leading {
    context: Arc<Context>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the event loop calls where there is something to do in that of the worker; none before the begin and after the end.
    led: Option<Py<PyAny>>,
    density: Density,
    /// What is waited for meanwhile.
    descriptor: Option<i32>,
    /// When the event loop of the worker was turned last, monotonic.
    turned: Duration,
}

impl Leading {
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            state: Mutex::default(),
        }
    }

    pub(super) fn begin(&self, led: Py<PyAny>) {
        self.state().led = Some(led);
    }

    /// The event loop of Python has come to its end.
    pub(super) fn end(&self, py: Python<'_>) -> PyResult<()> {
        let _it_holds_this = self.state().led.take();
        self.leave(py)
    }

    /// So many events were taken.
    pub(super) fn note(&self, events: usize) {
        self.state().density.note(events, Shared::now());
    }

    /// At the end of a turn: whether the event loop of the worker is turned here, from now on where that is worth it.
    pub(super) fn leads(&self, py: Python<'_>) -> bool {
        let now = Shared::now();
        let mut state = self.state();
        if state.descriptor.is_some() {
            let is_late = now.saturating_sub(state.turned) > LONG_TURN;
            if self.loan().is_lent() && !is_late {
                return true;
            }
            // It was taken back in this turn, or soon would be.
            state.density.note_hindrance();
            drop(state);
            self.leave_or_log(py);
            return false;
        }
        if !state.density.is_close(now) {
            return false;
        }
        let led = state.led.as_ref().map(|led| led.bind(py).clone());
        drop(state);
        let (Some(descriptor), Some(led)) = (self.loan().descriptor(), led) else {
            return false;
        };
        match self.context.tools.add_reader(descriptor, &led) {
            Ok(()) => {
                let mut state = self.state();
                state.descriptor = Some(descriptor);
                state.density.note_begin(now);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the event loop of Python cannot wait for that of the worker");
                let mut state = self.state();
                state.density.note_begin(now);
                state.density.note_hindrance();
                false
            }
        }
    }

    /// Whether it still is, at the begin of a turn.
    pub(super) fn still_leads(&self, py: Python<'_>) -> bool {
        if self.state().descriptor.is_some() && self.loan().is_lent() {
            return true;
        }
        // Nothing has come for a while.
        self.leave_or_log(py);
        false
    }

    /// Turns it, and returns what is to be done now, and whether it is to be turned again after that.
    pub(super) fn turn(&self, py: Python<'_>, queue: &Queue) -> (VecDeque<Event>, Left) {
        // A child of the application must not take what is the worker's.
        fork::leave_if_child(|| None);
        let shared = &self.context.shared;
        // Without the interpreter: what is dropped there may be the application's.
        let left = py.detach(|| self.loan().turn_briefly(|| shared.completions.deliver()));
        self.state().turned = Shared::now();
        (queue.take(BATCH), left.unwrap_or(Left::Nothing))
    }

    /// It is not any more.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let descriptor = self.state().descriptor.take();
        let Some(descriptor) = descriptor else {
            return Ok(());
        };
        self.loan().give_back();
        self.context.tools.remove_reader(py, descriptor)
    }

    fn leave_or_log(&self, py: Python<'_>) {
        if let Err(error) = self.leave(py) {
            tracing::error!(%error, "the event loop of Python waits for that of the worker for ever");
        }
    }

    fn loan(&self) -> &Loan {
        &self.context.shared.loan
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
