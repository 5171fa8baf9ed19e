//! A thread of the interpreter that calls the application, as others may know it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use destrier::RequestId;
use destrier::sys::clock;
use pyo3::prelude::*;

/// What others may know of a thread.
#[derive(Debug)]
pub(crate) struct Seat {
    /// `threading.get_ident`.
    pub(super) ident: u64,
    pub(super) name: String,
    call: Mutex<Option<Call>>,
}

/// The call that a thread is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) request: Option<RequestId>,
    since: Duration,
}

impl Call {
    pub(super) fn age(&self) -> Duration {
        clock::monotonic().saturating_sub(self.since)
    }
}

impl Seat {
    /// Of this thread.
    pub(crate) fn of_this_thread(py: Python<'_>) -> PyResult<Self> {
        let thread = py.import("threading")?.call_method0("current_thread")?;
        Ok(Self {
            ident: thread.getattr("ident")?.extract()?,
            name: thread.getattr("name")?.extract()?,
            call: Mutex::new(None),
        })
    }

    /// It calls the application for a request, since this time, monotonic.
    pub(crate) fn enter(&self, request: Option<RequestId>, since: Duration) {
        *self.lock() = Some(Call { request, since });
    }

    /// The call has returned.
    pub(crate) fn leave(&self) {
        *self.lock() = None;
    }

    pub(super) fn call(&self) -> Option<Call> {
        *self.lock()
    }

    pub(super) fn executes(&self, request: RequestId) -> bool {
        self.call().and_then(|call| call.request) == Some(request)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Call>> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
