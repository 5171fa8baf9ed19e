//! ASGI 3: an application that runs on an event loop of `asyncio` on the main thread, behind a service that answers on the I/O thread.
//!
//! The I/O thread tells the event loop what there is to do ([`queue`]), in groups, with one descriptor. A turn of it ([`turn`]) calls the
//! application with a [`scope`]; what that receives and sends ([`call`], [`messages`]) goes through the [`exchange`] of its request, where
//! [`state`] decides what may follow what, and the I/O thread is woken in groups too ([`Completions`]). What is easier to say in Python
//! is in `runner.py`: the life of the loop, and the lifespan of the application.

mod awaitable;
mod body;
mod call;
mod exchange;
mod leading;
mod messages;
mod path_send;
mod queue;
mod running;
mod scope;
mod service;
mod state;
mod stream;
mod tools;
mod turn;
mod waiters;
mod websocket;

use std::ffi::CStr;
use std::io;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use destrier::app::Loan;
use destrier::sys::clock;
use destrier::sys::wakeup::Wakeup;
use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::runtime::Handle;

use queue::Queue;
use scope::Scopes;
pub(crate) use service::AsgiService;
pub(crate) use stream::StreamBody;
use tools::Tools;
use turn::{Active, Turn};

use crate::completions::{Completion, Completions};
use crate::failure::LoadFailure;
use crate::witness::{Seat, Witness};

/// The part that is easier to say in Python.
const SOURCE: &CStr = c_str!(include_str!("runner.py"));

/// So long before its worker would be killed the application must have come to its end.
const MARGIN: Duration = Duration::from_secs(1);

/// What an application sees that is the same for every request, and how long it may take for its end.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// For logs.
    pub(crate) worker: u64,
    /// `server`: the address that is listened on, or its host.
    pub(crate) server_name: String,
    /// And its port.
    pub(crate) server_port: u16,
    /// `workers.graceful_timeout`.
    pub(crate) graceful_timeout: Duration,
}

/// The application of one worker.
#[derive(Debug, Clone)]
pub(crate) struct Engine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    /// Who is asked what the event loop does when it stands still.
    witness: Witness,
    queue: Queue,
    /// The event loop of the worker.
    loan: Loan,
    /// Tasks of the I/O thread that can go on.
    completions: Completions<Waker>,
    /// That of the I/O thread, with the first request.
    begun: OnceLock<Handle>,
    /// When the drain began, monotonic.
    drains_since: OnceLock<Duration>,
    /// Tasks of the application that are not over.
    active: AtomicUsize,
}

/// What everything has that runs on the event loop.
#[derive(Debug)]
struct Context {
    shared: Arc<Shared>,
    tools: Arc<Tools>,
    /// No request can come any more.
    is_closed: AtomicBool,
    /// Stops the event loop.
    stop: Py<PyAny>,
}

/// An application that has started up.
#[derive(Debug)]
pub(crate) struct Started<'py>(Bound<'py, PyAny>);

impl Engine {
    /// Of a worker that has not begun to serve.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(crate) fn new(settings: Settings, witness: Witness, loan: Loan) -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            settings,
            witness,
            queue: Queue::new(Wakeup::new()?),
            loan,
            completions: Completions::new(None),
            begun: OnceLock::new(),
            drains_since: OnceLock::new(),
            active: AtomicUsize::new(0),
        })))
    }

    /// What answers requests. The engine is closed when the last clone of it is gone.
    pub(crate) fn service(&self) -> AsgiService {
        AsgiService::new(Arc::clone(&self.0))
    }

    /// Makes the event loop, and has the application start up (ASGI, "Lifespan Protocol").
    ///
    /// # Errors
    /// Why it did not; what else there is to know is in the log too.
    pub(crate) fn start<'py>(
        &self,
        app: &Bound<'py, PyAny>,
        named: &str,
    ) -> Result<Started<'py>, LoadFailure> {
        let py = app.py();
        let module = PyModule::from_code(py, SOURCE, c"<destrier>", c"destrier_runner")?;
        let runner = module.getattr("Runner")?.call1((app, named))?;
        let started = runner.call_method0("start")?;
        let (reason, traceback): (Option<String>, Option<String>) = started.extract()?;
        let Some(reason) = reason else {
            return Ok(Started(runner));
        };
        if let Some(traceback) = &traceback {
            let (worker, traceback) = (self.0.settings.worker, traceback.trim_end());
            tracing::error!(worker, "the application failed to start up\n{traceback}");
        }
        Err(LoadFailure { reason, traceback })
    }

    /// Runs the event loop until no request can come any more and the application has come to its end. That may be never: it is for the
    /// caller to see to it that the process ends.
    ///
    /// # Errors
    /// What an application gets cannot be made.
    pub(crate) fn run(&self, app: &Bound<'_, PyAny>, started: Started<'_>) -> PyResult<()> {
        let (py, Started(runner)) = (app.py(), started);
        let context = Arc::new(Context {
            shared: Arc::clone(&self.0),
            tools: Arc::new(Tools::new(&runner.getattr("loop")?)?),
            is_closed: AtomicBool::new(false),
            stop: runner.getattr("stop")?.unbind(),
        });
        let state = runner.getattr("state")?.cast_into::<PyDict>()?;
        let scopes = Scopes::new(py, &self.0.settings, state)?;
        let turn = Turn::new(py, &context, app, scopes, runner.getattr("close")?)?;
        let turn = Bound::new(py, turn)?;
        let descriptor = self.0.queue.wakeup().number();
        // It is of no request: many are under way on it.
        let seat = Arc::new(Seat::of_this_thread(py)?);
        self.0.witness.join(&seat);
        runner.call_method1("run", (descriptor, &turn))?;
        turn.get().end(py)?;
        self.0.witness.leave(&seat);
        let patience = self.0.time_left().as_secs_f64();
        let problem: Option<String> = runner.call_method1("end", (patience,))?.extract()?;
        if let Some(problem) = problem {
            let worker = self.0.settings.worker;
            tracing::error!(worker, "the application failed to shut down: {problem}");
        }
        Ok(())
    }

    /// How long the application may still take for its end.
    pub(crate) fn time_left(&self) -> Duration {
        self.0.time_left()
    }

    /// Logs how many tasks have not come to an end.
    pub(crate) fn tell_who_is_busy(&self) {
        let (worker, tasks) = (self.0.settings.worker, self.0.tasks());
        tracing::warn!(worker, tasks, "the application does not come to its end");
    }
}

impl Completion for Waker {
    fn complete(self) {
        self.wake();
    }
}

impl Shared {
    /// A task of the I/O thread can go on.
    fn resume(&self, task: Waker) {
        self.completions.push(task);
        // At the end of a turn all are told; beside one nobody else would.
        if !self.queue.is_turning() {
            self.completions.announce();
        }
    }

    fn runtime(&self) -> Option<&Handle> {
        self.begun.get()
    }

    /// Requests and WebSockets that the application works on.
    fn tasks(&self) -> usize {
        self.active.load(Relaxed)
    }

    fn note_drain(&self) {
        self.drains_since.get_or_init(Self::now);
    }

    /// How long the application may still take before its worker would be killed.
    fn time_left(&self) -> Duration {
        let graceful_timeout = self.settings.graceful_timeout;
        let margin = MARGIN.min(graceful_timeout / 2);
        let since = *self.drains_since.get_or_init(Self::now);
        (since + graceful_timeout).saturating_sub(margin + Self::now())
    }

    /// Now, monotonic.
    fn now() -> Duration {
        clock::monotonic()
    }
}

impl Context {
    /// A task of the application begins.
    fn enter(&self) -> Active {
        Active::new(&self.shared)
    }

    /// Stops the event loop where nothing can come and nothing is under way.
    fn stop_if_idle(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_closed.load(SeqCst) && self.shared.tasks() == 0 {
            self.stop.call0(py)?;
        }
        Ok(())
    }

    fn stop_if_idle_or_log(&self, py: Python<'_>) {
        if let Err(error) = self.stop_if_idle(py) {
            tracing::error!(%error, "cannot stop the event loop of the application");
        }
    }
}
