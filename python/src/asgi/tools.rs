//! What of `asyncio` is used for every request.

use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;

/// The event loop, and what is made with it.
#[derive(Debug)]
pub(super) struct Tools {
    event_loop: Py<PyAny>,
    create_task: Py<PyAny>,
    create_future: Py<PyAny>,
    /// The awaitable of what has been done already.
    done: Py<Done>,
}

impl Tools {
    pub(super) fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        Ok(Self {
            create_task: event_loop.getattr("create_task")?.unbind(),
            create_future: event_loop.getattr("create_future")?.unbind(),
            done: Py::new(py, Done)?,
            event_loop: event_loop.clone().unbind(),
        })
    }

    /// A task that runs `coroutine`.
    pub(super) fn task<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.create_task.bind(coroutine.py()).call1((coroutine,))
    }

    /// A future that nobody has resolved.
    pub(super) fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.create_future.bind(py).call0()
    }

    /// Calls `function` when what is ready now has had its turn.
    pub(super) fn call_soon(&self, function: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = function.py();
        let event_loop = self.event_loop.bind(py);
        event_loop.call_method1(intern!(py, "call_soon"), (function,))?;
        Ok(())
    }

    /// Calls `function` whenever `descriptor` is readable.
    pub(super) fn add_reader(&self, descriptor: i32, function: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = function.py();
        let event_loop = self.event_loop.bind(py);
        event_loop.call_method1(intern!(py, "add_reader"), (descriptor, function))?;
        Ok(())
    }

    /// Calls nothing then any more.
    pub(super) fn remove_reader(&self, py: Python<'_>, descriptor: i32) -> PyResult<()> {
        let event_loop = self.event_loop.bind(py);
        event_loop.call_method1(intern!(py, "remove_reader"), (descriptor,))?;
        Ok(())
    }

    pub(super) fn done(&self, py: Python<'_>) -> Py<PyAny> {
        self.done.clone_ref(py).into_any()
    }
}

/// Awaited, it is None at once.
#[pyclass(frozen, name = "Done", module = "destrier_python")]
#[derive(Debug)]
pub(super) struct Done;

#[pymethods]
impl Done {
    fn __await__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __next__(&self) -> Option<Py<PyAny>> {
        None
    }

    /// As of a coroutine: some make a task of it.
    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (kind, value = None, _traceback = None))]
    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        Err(thrown(kind, value))
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn close(&self) {}
}

/// The exception that `throw` of a coroutine is called with: an exception, or its type and what it is made of.
pub(super) fn thrown(kind: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyErr {
    let exception = match value {
        Some(value) if !value.is_none() => value.clone(),
        _ => kind.clone(),
    };
    PyErr::from_value(exception)
}
