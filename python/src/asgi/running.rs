//! What the task of a request or of a WebSocket runs: the coroutine of the application, and at its end what is to be done then.
//!
//! A callback of the task would be called a turn of the event loop later, and cost a turn for each request.

use pyo3::exceptions::asyncio::CancelledError;
use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};

use super::tools::thrown;
use crate::failure::{Failure, kind_of};

/// Who is told that the application has come to its end.
pub(super) trait Ending: Send + Sync {
    /// It has returned.
    fn finished(&self, py: Python<'_>);

    /// It has raised this.
    fn failed(&self, py: Python<'_>, exception: &PyErr, failure: &Failure);
}

/// A coroutine around that of the application. What that raises ends here, but for the cancellation of its task.
#[pyclass(frozen, name = "Running", module = "destrier_python")]
pub(super) struct Running {
    coroutine: Py<PyAny>,
    /// Its steps.
    steps: Py<PyIterator>,
    ending: Box<dyn Ending>,
}

impl Running {
    /// `coroutine` is anything that can be awaited.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn new(
        coroutine: &Bound<'_, PyAny>,
        ending: impl Ending + 'static,
    ) -> PyResult<Self> {
        let py = coroutine.py();
        let steps = match coroutine.getattr_opt(intern!(py, "__await__"))? {
            Some(begin) => begin.call0()?,
            // Of coroutines that are generators it is they themselves.
            None => coroutine.clone(),
        };
        let steps = steps.cast_into::<PyIterator>().map_err(|_| {
            let kind = kind_of(coroutine);
            PyTypeError::new_err(format!(
                "the application returned {kind}, which cannot be awaited"
            ))
        })?;
        Ok(Self {
            coroutine: coroutine.clone().unbind(),
            steps: steps.unbind(),
            ending: Box::new(ending),
        })
    }

    /// What its task sees of an exception.
    fn end_with(&self, py: Python<'_>, exception: PyErr) -> PyResult<()> {
        if exception.is_instance_of::<PyStopIteration>(py) {
            self.ending.finished(py);
            return Ok(());
        }
        if exception.is_instance_of::<CancelledError>(py) {
            let told = CancelledError::new_err("the task of the request was cancelled");
            let failure = Failure::of_exception(py, &told);
            self.ending.failed(py, &exception, &failure);
            return Err(exception);
        }
        let failure = Failure::of_exception(py, &exception);
        self.ending.failed(py, &exception, &failure);
        Ok(())
    }
}

#[pymethods]
impl Running {
    fn __await__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.steps.bind(py).clone().next() {
            Some(Ok(awaited)) => Ok(Some(awaited.unbind())),
            Some(Err(exception)) => self.end_with(py, exception).map(|()| None),
            None => {
                self.ending.finished(py);
                Ok(None)
            }
        }
    }

    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if value.is_none() {
            let awaited = self.__next__(py)?;
            return awaited.ok_or_else(|| PyStopIteration::new_err(()));
        }
        self.go_on(py, intern!(py, "send"), value)
    }

    /// Its task is cancelled, or whoever drives it throws.
    #[pyo3(signature = (kind, value = None, _traceback = None))]
    fn throw(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let exception = thrown(kind, value).into_value(py);
        self.go_on(py, intern!(py, "throw"), exception.bind(py))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let close = self.coroutine.bind(py).getattr_opt(intern!(py, "close"))?;
        close.map_or(Ok(()), |close| close.call0().map(drop))
    }

    /// What a coroutine says of itself, as in `cr_frame`: that of the application.
    fn __getattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
        Ok(self.coroutine.bind(py).getattr(name)?.unbind())
    }
}

impl Running {
    fn go_on(
        &self,
        py: Python<'_>,
        method: &Bound<'_, PyString>,
        argument: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        match self.steps.bind(py).call_method1(method, (argument,)) {
            Ok(awaited) => Ok(awaited.unbind()),
            Err(exception) => {
                self.end_with(py, exception)?;
                Err(PyStopIteration::new_err(()))
            }
        }
    }
}
