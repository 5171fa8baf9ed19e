//! One call of the application for a request: its `receive` and its `send`, and what becomes of its task.

use std::sync::Arc;

use bytes::Bytes;
use destrier::EarlyHints;
use pyo3::exceptions::{PyConnectionError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::Context;
use super::awaitable::{Awaitable, Operation};
use super::exchange::Exchange;
use super::messages::Message;
use super::path_send;
use super::running::Ending;
use super::state::{Received, Refused, Sent};
use super::turn::Active;
use super::waiters::Waiters;
use crate::failure::Failure;
use crate::fork;

/// What the application is given for a request.
#[pyclass(frozen, name = "Request", module = "destrier_python")]
pub(super) struct Call {
    context: Arc<Context>,
    exchange: Arc<Exchange>,
    hints: Option<EarlyHints>,
    /// Until the task is over.
    active: Active,
}

impl Call {
    pub(super) fn new(
        context: &Arc<Context>,
        exchange: Arc<Exchange>,
        hints: Option<EarlyHints>,
    ) -> Self {
        Self {
            context: Arc::clone(context),
            exchange,
            hints,
            active: context.enter(),
        }
    }
}

#[pymethods]
impl Call {
    /// The next message of the client.
    fn receive(&self) -> Awaitable {
        fork::leave_if_child(|| self.exchange.id());
        let receiving = Receiving(Arc::clone(&self.exchange));
        Awaitable::new(Arc::clone(&self.context.tools), receiving)
    }

    /// A message for the client.
    fn send(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        fork::leave_if_child(|| self.exchange.id());
        let done = || self.context.tools.done(py);
        match Message::of(message)? {
            Message::Start(head) => match self.exchange.start(head) {
                Ok(()) => Ok(done()),
                Err(refused) => Err(error_of(refused)),
            },
            Message::Body(content, more) => {
                let sending = Sending {
                    exchange: Arc::clone(&self.exchange),
                    content,
                    more,
                };
                if sending.attempt(py)?.is_some() {
                    return Ok(done());
                }
                let awaitable = Awaitable::new(Arc::clone(&self.context.tools), sending);
                Ok(Py::new(py, awaitable)?.into_any())
            }
            Message::Path(path) => {
                path_send::send(&self.context.shared, &self.exchange, &path)?;
                Ok(done())
            }
            Message::EarlyHint(fields) => {
                if let Some(hints) = &self.hints
                    && let Err(error) = hints.send(&fields)
                {
                    tracing::debug!(%error, "early hints of the application were not sent");
                }
                Ok(done())
            }
        }
    }
}

impl Call {
    /// The application has come to its end.
    fn end(&self, py: Python<'_>) {
        self.exchange.end();
        self.active.leave();
        self.context.stop_if_idle_or_log(py);
    }
}

impl Ending for Py<Call> {
    fn finished(&self, py: Python<'_>) {
        let call = self.get();
        fork::leave_if_child(|| call.exchange.id());
        call.exchange.finish();
        call.end(py);
    }

    fn failed(&self, py: Python<'_>, exception: &PyErr, failure: &Failure) {
        let call = self.get();
        fork::leave_if_child_after(py, || call.exchange.id(), exception);
        call.exchange.fail(failure);
        call.end(py);
    }
}

struct Receiving(Arc<Exchange>);

impl Operation for Receiving {
    fn attempt(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(received) = self.0.receive() else {
            return Ok(None);
        };
        let message = PyDict::new(py);
        let kind = intern!(py, "type");
        match received {
            Received::Content(content, more) => {
                message.set_item(kind, intern!(py, "http.request"))?;
                message.set_item(intern!(py, "body"), PyBytes::new(py, &content))?;
                message.set_item(intern!(py, "more_body"), more)?;
            }
            Received::Disconnect => message.set_item(kind, intern!(py, "http.disconnect"))?,
        }
        Ok(Some(message.into_any().unbind()))
    }

    fn waiters(&self) -> &Waiters {
        self.0.waiters()
    }
}

struct Sending {
    exchange: Arc<Exchange>,
    content: Bytes,
    more: bool,
}

impl Operation for Sending {
    fn attempt(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.exchange.send(py, &self.content, self.more) {
            Ok(Sent::Later) => Ok(None),
            Ok(Sent::All | Sent::TooLong | Sent::TooShort(_)) => Ok(Some(py.None())),
            Err(refused) => Err(error_of(refused)),
        }
    }

    fn waiters(&self) -> &Waiters {
        self.exchange.waiters()
    }
}

/// What the application sees where its message is not taken.
pub(super) fn error_of(refused: Refused) -> PyErr {
    match refused {
        Refused::NotStarted => PyRuntimeError::new_err(
            "content was sent before http.response.start: that message comes first",
        ),
        Refused::StartedTwice => PyRuntimeError::new_err(
            "http.response.start was sent a second time: an answer has one head",
        ),
        Refused::AfterTheEnd => PyRuntimeError::new_err(
            "the answer is complete: nothing follows an http.response.body without more_body=True",
        ),
        // An OSError, as ASGI asks for.
        Refused::Gone => PyConnectionError::new_err("the client is gone"),
    }
}
