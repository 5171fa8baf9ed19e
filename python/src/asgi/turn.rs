//! A turn of the event loop of Python: what it does when the I/O thread has woken it, or, where it turns the event loop of the worker too,
//! when there is something to do in that.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, PoisonError};

use destrier::EarlyHints;
use destrier::app::Left;
use pyo3::PyClass;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::call::Call;
use super::exchange::Exchange;
use super::leading::Leading;
use super::queue::Event;
use super::running::{Ending, Running};
use super::scope::Scopes;
use super::waiters::Waiters;
use super::websocket::{Conversation, SocketCall};
use super::{Context, Shared};
use crate::failure::Failure;

/// What `add_reader` calls.
#[pyclass(frozen, name = "Turn", module = "destrier_python")]
pub(super) struct Turn {
    work: Arc<Work>,
    /// Called when what is ready now has had its turn.
    turned: Py<Turned>,
}

/// What a turn is made of.
struct Work {
    context: Arc<Context>,
    app: Py<PyAny>,
    scopes: Mutex<Scopes>,
    /// Called when no request can come any more.
    close: Py<PyAny>,
    leading: Leading,
}

impl Turn {
    pub(super) fn new(
        py: Python<'_>,
        context: &Arc<Context>,
        app: &Bound<'_, PyAny>,
        scopes: Scopes,
        close: Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let work = Arc::new(Work {
            context: Arc::clone(context),
            app: app.clone().unbind(),
            scopes: Mutex::new(scopes),
            close: close.unbind(),
            leading: Leading::new(context),
        });
        let turned = Py::new(py, Turned(Arc::clone(&work)))?;
        let led = Led {
            work: Arc::clone(&work),
            turned: turned.clone_ref(py),
        };
        work.leading.begin(Py::new(py, led)?.into_any());
        Ok(Self { work, turned })
    }

    /// The event loop has come to its end.
    pub(super) fn end(&self, py: Python<'_>) -> PyResult<()> {
        self.work.leading.end(py)
    }
}

impl Work {
    fn act_all(&self, py: Python<'_>, events: VecDeque<Event>) {
        for event in events {
            if let Err(error) = self.act(py, event) {
                tracing::error!(%error, "the event loop of the application cannot do what it is told");
            }
        }
    }

    /// Where this leads it turns the event loop of the worker; then it does what waits. `turned` is called after that, if there was anything.
    fn go_on(&self, turned: &Bound<'_, Turned>, leads: bool) -> PyResult<()> {
        let (py, shared) = (turned.py(), &self.context.shared);
        let (mut events, left) = if leads {
            // The answers go out, and what has come is read.
            self.leading.turn(py, &shared.queue)
        } else {
            (VecDeque::new(), Left::Nothing)
        };
        if events.is_empty() && left == Left::Nothing {
            let more_waits = shared.queue.turned();
            shared.completions.announce();
            if !more_waits {
                return Ok(());
            }
            // It is awake, and nobody has woken it for these. What else is ready has its turn in between.
            events = shared.queue.take(usize::MAX);
        }
        self.leading.note(events.len());
        self.act_all(py, events);
        self.context.tools.call_soon(turned)
    }

    fn act(&self, py: Python<'_>, event: Event) -> PyResult<()> {
        match event {
            Event::Call(exchange) => {
                if let Err(exception) = self.call(py, &exchange) {
                    exchange.fail(&Failure::of_exception(py, &exception));
                    exchange.end();
                    self.context.stop_if_idle_or_log(py);
                }
                Ok(())
            }
            Event::Wake(exchange) => exchange.waiters().wake(py),
            Event::Cancel(exchange) => exchange.waiters().cancel(py),
            Event::Connect(conversation) => {
                if let Err(exception) = self.connect(py, &conversation) {
                    conversation.fail(&Failure::of_exception(py, &exception));
                    conversation.end();
                    self.context.stop_if_idle_or_log(py);
                }
                Ok(())
            }
            Event::WakeSocket(conversation) => conversation.waiters().wake(py),
            Event::CancelSocket(conversation) => conversation.waiters().cancel(py),
            Event::Close => {
                self.context.is_closed.store(true, SeqCst);
                let patience = self.context.shared.time_left().as_secs_f64();
                self.close.bind(py).call1((patience,))?;
                self.context.stop_if_idle(py)
            }
        }
    }

    /// Calls the application for a request.
    fn call(&self, py: Python<'_>, exchange: &Arc<Exchange>) -> PyResult<()> {
        // Its client may have left before its turn.
        let Some(request) = exchange.take_request() else {
            return Ok(());
        };
        let scope = {
            let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
            scopes.http(py, &request)?
        };
        let hints = request.extensions.get::<EarlyHints>().cloned();
        // It holds what says that the request is worked on.
        drop(request);
        let call = Call::new(&self.context, Arc::clone(exchange), hints);
        self.begin(&scope, &Bound::new(py, call)?, exchange.waiters())
    }

    /// Calls the application for a WebSocket.
    fn connect(&self, py: Python<'_>, conversation: &Arc<Conversation>) -> PyResult<()> {
        let Some(request) = conversation.take_request() else {
            return Ok(());
        };
        let scope = {
            let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
            scopes.websocket(py, &request)?
        };
        drop(request);
        let call = SocketCall::new(&self.context, Arc::clone(conversation));
        let waiters = conversation.waiters();
        self.begin(&scope, &Bound::new(py, call)?, waiters)
    }

    /// Makes a task of the application with the `receive` and the `send` of `call`, which is told when it is over.
    fn begin<C: PyClass>(
        &self,
        scope: &Bound<'_, PyDict>,
        call: &Bound<'_, C>,
        waiters: &Waiters,
    ) -> PyResult<()>
    where
        Py<C>: Ending,
    {
        let py = call.py();
        let methods = call.as_any();
        let (receive, send) = (
            methods.getattr(intern!(py, "receive"))?,
            methods.getattr(intern!(py, "send"))?,
        );
        let coroutine = self.app.bind(py).call1((scope, receive, send))?;
        let running = Running::new(&coroutine, call.clone().unbind())?;
        let task = self.context.tools.task(Bound::new(py, running)?.as_any())?;
        waiters.begin(task.unbind());
        Ok(())
    }
}

#[pymethods]
impl Turn {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let context = &self.work.context;
        self.work.leading.still_leads(py);
        let events = context.shared.queue.take_woken();
        self.work.leading.note(events.len());
        self.work.act_all(py, events);
        // After the first steps of the tasks that were made here.
        context.tools.call_soon(self.turned.bind(py))
    }
}

/// What the event loop calls when what was ready at its turn is done.
#[pyclass(frozen, name = "Turned", module = "destrier_python")]
struct Turned(Arc<Work>);

#[pymethods]
impl Turned {
    fn __call__(this: &Bound<'_, Self>) -> PyResult<()> {
        let (work, py) = (&this.get().0, this.py());
        let leads = work.leading.leads(py);
        work.go_on(this, leads)
    }
}

/// What the event loop calls where there is something to do in that of the worker, which it turns too.
#[pyclass(frozen, name = "Led", module = "destrier_python")]
struct Led {
    work: Arc<Work>,
    turned: Py<Turned>,
}

#[pymethods]
impl Led {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        if !self.work.leading.still_leads(py) {
            return Ok(());
        }
        self.work.context.shared.queue.begin();
        self.work.go_on(self.turned.bind(py), true)
    }
}

/// A task of the application that is not over.
#[derive(Debug)]
pub(super) struct Active {
    shared: Arc<Shared>,
    is_over: AtomicBool,
}

impl Active {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.active.fetch_add(1, Relaxed);
        Self {
            shared: Arc::clone(shared),
            is_over: AtomicBool::new(false),
        }
    }

    /// It is over.
    pub(super) fn leave(&self) {
        if !self.is_over.swap(true, Relaxed) {
            self.shared.active.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.leave();
    }
}
