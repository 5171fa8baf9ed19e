//! One call of the application for a WebSocket: its `receive` and its `send`, and what becomes of its task.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyConnectionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::super::Context;
use super::super::awaitable::{Awaitable, Operation};
use super::super::running::Ending;
use super::super::turn::Active;
use super::super::waiters::Waiters;
use super::conversation::Conversation;
use super::messages;
use super::state::{Frame, Refused, Said};
use crate::failure::Failure;
use crate::fork;

/// What the application is given for a WebSocket.
#[pyclass(frozen, name = "WebSocket", module = "destrier_python")]
pub(in super::super) struct SocketCall {
    context: Arc<Context>,
    conversation: Arc<Conversation>,
    /// Until the task is over.
    active: Active,
}

impl SocketCall {
    pub(in super::super) fn new(context: &Arc<Context>, conversation: Arc<Conversation>) -> Self {
        Self {
            context: Arc::clone(context),
            conversation,
            active: context.enter(),
        }
    }
}

#[pymethods]
impl SocketCall {
    /// The next message of the client.
    fn receive(&self) -> Awaitable {
        fork::leave_if_child(|| self.conversation.id());
        let receiving = Receiving(Arc::clone(&self.conversation));
        Awaitable::new(Arc::clone(&self.context.tools), receiving)
    }

    /// A message for the client.
    fn send(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        fork::leave_if_child(|| self.conversation.id());
        let said = messages::said(message)?;
        let later = self
            .conversation
            .send(said)
            .map_err(|refused| error_of(&refused))?;
        let Some(frame) = later else {
            return Ok(self.context.tools.done(py));
        };
        let sending = Sending {
            conversation: Arc::clone(&self.conversation),
            frame: Mutex::new(Some(frame)),
        };
        let awaitable = Awaitable::new(Arc::clone(&self.context.tools), sending);
        Ok(Py::new(py, awaitable)?.into_any())
    }
}

impl SocketCall {
    /// The application has come to its end.
    fn end(&self, py: Python<'_>) {
        self.conversation.end();
        self.active.leave();
        self.context.stop_if_idle_or_log(py);
    }
}

impl Ending for Py<SocketCall> {
    fn finished(&self, py: Python<'_>) {
        let call = self.get();
        fork::leave_if_child(|| call.conversation.id());
        call.conversation.finish();
        call.end(py);
    }

    fn failed(&self, py: Python<'_>, exception: &PyErr, failure: &Failure) {
        let call = self.get();
        fork::leave_if_child_after(py, || call.conversation.id(), exception);
        call.conversation.fail(failure);
        call.end(py);
    }
}

struct Receiving(Arc<Conversation>);

impl Operation for Receiving {
    fn attempt(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let received = self.0.receive();
        received
            .map(|received| messages::message(py, received))
            .transpose()
    }

    fn waiters(&self) -> &Waiters {
        self.0.waiters()
    }
}

struct Sending {
    conversation: Arc<Conversation>,
    frame: Mutex<Option<Frame>>,
}

impl Operation for Sending {
    fn attempt(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = frame.take() {
            let later = self.conversation.send(Said::Frame(said));
            *frame = later.map_err(|refused| error_of(&refused))?;
        }
        Ok(frame.is_none().then(|| py.None()))
    }

    fn waiters(&self) -> &Waiters {
        self.conversation.waiters()
    }
}

fn error_of(refused: &Refused) -> PyErr {
    let text = match refused {
        // An OSError, as ASGI asks for.
        Refused::Gone => return PyConnectionError::new_err("the WebSocket is closed"),
        Refused::NotOffered(chosen) => {
            return PyValueError::new_err(format!(
                "the subprotocol {chosen:?} is none that the client offers"
            ));
        }
        Refused::NotAccepted => "websocket.send before websocket.accept: that message comes first",
        Refused::AcceptedTwice => "the handshake was answered before",
        Refused::Closed => {
            "the application has closed the WebSocket: nothing follows websocket.close"
        }
        Refused::NotStarted => {
            "websocket.http.response.body before websocket.http.response.start: that message comes first"
        }
    };
    PyRuntimeError::new_err(text)
}
