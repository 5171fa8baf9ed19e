//! What `receive()` and `send()` return: a coroutine without a frame, which waits for the I/O thread.
//!
//! What is awaited is only a future that says "look again". So nothing is taken of a request before the task that asks for it goes on,
//! and nothing is lost with one that is cancelled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;

use super::tools::{Tools, thrown};
use super::waiters::Waiters;

/// What is waited for.
pub(super) trait Operation: Send + Sync {
    /// What came of it; none: not yet, and its [`Waiters`] are woken.
    fn attempt(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>>;

    /// Who is woken then.
    fn waiters(&self) -> &Waiters;
}

/// A coroutine that attempts something until it is done.
#[pyclass(frozen, name = "Awaitable", module = "destrier_python")]
pub(super) struct Awaitable {
    tools: Arc<Tools>,
    state: Mutex<State>,
}

struct State {
    /// None once it is over.
    operation: Option<Box<dyn Operation>>,
    /// The iterator of the future that is awaited.
    waiting: Option<Py<PyAny>>,
}

impl Awaitable {
    pub(super) fn new(tools: Arc<Tools>, operation: impl Operation + 'static) -> Self {
        Self {
            tools,
            state: Mutex::new(State {
                operation: Some(Box::new(operation)),
                waiting: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (operation, waiting) = {
            let mut state = self.state();
            (state.operation.take(), state.waiting.take())
        };
        let Some(operation) = operation else {
            return Err(PyRuntimeError::new_err(
                "what receive() or send() returned was awaited twice",
            ));
        };
        let mut waiting = waiting.map(|waiting| waiting.into_bound(py));
        loop {
            if let Some(future) = waiting.take() {
                match future.call_method0(intern!(py, "__next__")) {
                    Ok(yielded) => {
                        let mut state = self.state();
                        state.operation = Some(operation);
                        state.waiting = Some(future.unbind());
                        return Ok(yielded.unbind());
                    }
                    // It is resolved: look again.
                    Err(error) if error.is_instance_of::<PyStopIteration>(py) => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(outcome) = operation.attempt(py)? {
                return Err(PyStopIteration::new_err((outcome,)));
            }
            let future = self.tools.future(py)?;
            waiting = Some(future.call_method0(intern!(py, "__await__"))?);
            operation.waiters().add(future.unbind());
        }
    }
}

#[pymethods]
impl Awaitable {
    fn __await__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py)
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py)
    }

    /// The task that awaits it is cancelled, or whoever drives it throws.
    #[pyo3(signature = (kind, value = None, _traceback = None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.close();
        Err(thrown(kind, value))
    }

    fn close(&self) {
        let (operation, waiting) = {
            let mut state = self.state();
            (state.operation.take(), state.waiting.take())
        };
        drop((operation, waiting));
    }
}
