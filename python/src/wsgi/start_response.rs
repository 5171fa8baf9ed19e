//! `start_response` and the `write` that it returns (PEP 3333, "The `start_response()` Callable").

use std::sync::Arc;

use pyo3::exceptions::{
    PyAssertionError, PyConnectionError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::exchange::{Exchange, Flow, Refused};
use crate::failure::kind_of;
use crate::fork;
use crate::head::{Head, HeadError};
use crate::text;

/// What an application calls before it answers. One serves many requests, one after the other.
#[pyclass(frozen, name = "StartResponse", module = "destrier_python")]
#[derive(Debug)]
pub(super) struct StartResponse {
    exchange: Arc<Exchange>,
    write: Py<Write>,
}

impl StartResponse {
    pub(super) fn new(py: Python<'_>, exchange: Arc<Exchange>) -> PyResult<Self> {
        let write = Write {
            exchange: Arc::clone(&exchange),
        };
        Ok(Self {
            exchange,
            write: Py::new(py, write)?,
        })
    }

    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Whether somebody else has kept this, or its `write`, from a request that is over.
    #[expect(
        deprecated,
        reason = "the other way is unsafe code; a count that is too high costs a new object, and no other thread has the interpreter"
    )]
    pub(super) fn is_kept(this: &Py<Self>, py: Python<'_>) -> bool {
        this.get_refcnt(py) > 1 || this.get().write.get_refcnt(py) > 1
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info = None))]
    fn __call__(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Write>> {
        let head = read_head(status, headers)?;
        match self.exchange.start(head, exc_info.is_some()) {
            Ok(()) => Ok(self.write.clone_ref(py)),
            Err(Refused::Twice) => Err(PyAssertionError::new_err(
                "start_response was called a second time, without exc_info",
            )),
            Err(Refused::TooLate) => Err(exc_info.map_or_else(
                || PyAssertionError::new_err("the headers have been sent"),
                original,
            )),
            Err(Refused::Over) => Err(PyRuntimeError::new_err("the request is over")),
        }
    }
}

/// The exception of `sys.exc_info()`.
fn original(exc_info: &Bound<'_, PyAny>) -> PyErr {
    let py = exc_info.py();
    let exception = || -> PyResult<PyErr> {
        let (_kind, value, traceback): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) =
            exc_info.extract()?;
        let value = value.call_method1(intern!(py, "with_traceback"), (traceback,))?;
        Ok(PyErr::from_value(value))
    };
    exception().unwrap_or_else(|error| error)
}

fn read_head(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Head> {
    let wrong = |error: HeadError| PyValueError::new_err(error.to_string());
    let status = text_of(status, || "the status".to_owned())?;
    let mut head = Head::new(text::utf8(&status.encode_utf8()?)?).map_err(wrong)?;
    for header in headers.try_iter()? {
        let header = header?;
        let pair = header.cast::<PyTuple>().map_err(|_| {
            PyTypeError::new_err(format!(
                "a header must be a tuple of a name and a value, not {}",
                kind_of(&header)
            ))
        })?;
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
        let name = text_of(&name, || "the name of a header".to_owned())?;
        let name = name.encode_utf8()?;
        let name = text::utf8(&name)?;
        let value = text_of(&value, || format!("the value of header {name:?}"))?;
        // Half a pair of surrogates is no character at all.
        let value = value
            .encode_utf8()
            .map_err(|_| wrong(HeadError::NotLatin1(name.to_owned())))?;
        if !head.add(name, text::utf8(&value)?).map_err(wrong)? {
            tracing::debug!(
                header = name,
                "the application set a header that is the server's to set: it was left out"
            );
        }
    }
    Ok(head)
}

fn text_of<'a, 'py>(
    value: &'a Bound<'py, PyAny>,
    what: impl Fn() -> String,
) -> PyResult<&'a Bound<'py, PyString>> {
    value.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!("{} must be str, not {}", what(), kind_of(value)))
    })
}

/// Sends content at once, for applications that cannot return it (PEP 3333, "The `write()` Callable").
#[pyclass(frozen, name = "Write", module = "destrier_python")]
#[derive(Debug)]
pub(super) struct Write {
    exchange: Arc<Exchange>,
}

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, content: &Bound<'_, PyAny>) -> PyResult<()> {
        let bytes = content.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("write takes bytes, not {}", kind_of(content)))
        })?;
        fork::leave_if_child(|| self.exchange.request());
        let sent = self.exchange.send(py, bytes.as_bytes());
        match sent.map_err(|failure| PyRuntimeError::new_err(failure.to_string()))? {
            Flow::Go => Ok(()),
            // An exception is the one way to tell an application that would go on for ever.
            Flow::Stop if self.exchange.is_streaming() => {
                self.exchange.abandon();
                Err(PyConnectionError::new_err("the client is gone"))
            }
            Flow::Stop => Ok(()),
        }
    }
}
