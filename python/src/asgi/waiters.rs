//! Who waits on the event loop of Python for something that the I/O thread brings.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;

/// The task that works on a request, and the futures that it, or a task of its own, awaits. Touched on the event loop only.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    task: Option<Py<PyAny>>,
    futures: Vec<Py<PyAny>>,
}

impl Waiters {
    /// The task begins.
    pub(super) fn begin(&self, task: Py<PyAny>) {
        self.content().task = Some(task);
    }

    /// It is over.
    pub(super) fn end(&self) {
        let content = std::mem::take(&mut *self.content());
        drop(content);
    }

    /// `future` is resolved when something happens.
    pub(super) fn add(&self, future: Py<PyAny>) {
        self.content().futures.push(future);
    }

    /// Something has happened: whoever waits looks again.
    pub(super) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let futures = std::mem::take(&mut self.content().futures);
        for future in futures {
            let future = future.bind(py);
            // Its task may have been cancelled.
            if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
                future.call_method1(intern!(py, "set_result"), (py.None(),))?;
            }
        }
        Ok(())
    }

    /// The same, where nobody can be told of an error.
    pub(super) fn wake_or_log(&self, py: Python<'_>) {
        if let Err(error) = self.wake(py) {
            tracing::error!(%error, "cannot wake a task of the application");
        }
    }

    /// The task is to end.
    pub(super) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let task = self.content().task.as_ref().map(|task| task.clone_ref(py));
        if let Some(task) = task {
            task.call_method0(py, intern!(py, "cancel"))?;
        }
        Ok(())
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
