//! WSGI (PEP 3333): an application that is called on Python threads, behind a service that answers on the I/O thread.
//!
//! A request goes from [`service`] into [`queue`]; a Python thread ([`thread`]) takes it, makes what the application gets ([`environ`],
//! [`input`]), calls it ([`call`]) and hands its answer to [`exchange`], from where [`Completions`] bring it back.

mod body;
mod call;
mod early_hints;
mod environ;
mod errors;
mod exchange;
mod file_wrapper;
mod input;
mod leading;
mod queue;
mod service;
mod sharing;
mod start_response;
mod thread;

use std::sync::{Arc, Once};

use destrier::app::Loan;
use destrier::scoreboard::SeatWriter;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use leading::Leading;
pub(crate) use queue::Limits;
use queue::Queue;
pub(crate) use service::WsgiService;
use service::{Answered, Ticket};
use thread::Thread;

use crate::completions::Completions;
use crate::witness::Witness;

/// What an application sees that is the same for every request.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How many threads call the application.
    pub(crate) threads: usize,
    /// How many requests may wait for one.
    pub(crate) limits: Limits,
    /// Whether other processes serve the same application.
    pub(crate) is_multiprocess: bool,
    /// `SERVER_NAME`: the address that is listened on, or its host.
    pub(crate) server_name: String,
    /// `SERVER_PORT`.
    pub(crate) server_port: u16,
}

/// The application of one worker: requests that wait for a Python thread, and answers on their way back.
#[derive(Debug, Clone)]
pub(crate) struct Engine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    queue: Queue<Ticket>,
    completions: Completions<Answered>,
    /// Whether answers are brought back yet.
    delivers: Once,
    /// The event loop, which the thread that takes requests turns where it is worth it.
    loan: Loan,
    /// Who is asked what its threads do.
    witness: Witness,
}

impl Engine {
    /// Of a worker that has not begun to serve.
    pub(crate) fn new(settings: Settings, witness: Witness, seat: SeatWriter, loan: Loan) -> Self {
        Self(Arc::new(Shared {
            queue: Queue::new(settings.threads, settings.limits, seat),
            settings,
            completions: Completions::new(Some(loan.clone())),
            delivers: Once::new(),
            loan,
            witness,
        }))
    }

    /// What answers requests. The engine is closed when the last clone of it is gone.
    pub(crate) fn service(&self) -> WsgiService {
        WsgiService::new(Arc::clone(&self.0))
    }

    /// How many threads call the application.
    pub(crate) fn threads(&self) -> usize {
        self.0.settings.threads
    }

    /// Starts as many threads as the settings say besides this one, which call the application.
    ///
    /// # Errors
    /// The interpreter starts no more threads. Nothing is called, and those that it did start are gone.
    pub(crate) fn start<'py>(&self, app: &Bound<'py, PyAny>) -> PyResult<Threads<'py>> {
        let mut threads = Threads(Vec::new());
        match self.start_others(app, &mut threads) {
            Ok(()) => Ok(threads),
            Err(error) => {
                self.0.queue.close();
                threads.join()?;
                Err(error)
            }
        }
    }

    fn start_others<'py>(
        &self,
        app: &Bound<'py, PyAny>,
        threads: &mut Threads<'py>,
    ) -> PyResult<()> {
        let py = app.py();
        let threading = py.import("threading")?;
        let rounds = Rounds {
            engine: self.clone(),
            app: app.clone().unbind(),
        };
        let rounds = Bound::new(py, rounds)?;
        for number in 1..self.0.settings.threads {
            // Of the interpreter, which gives them stacks that are large enough for its own depth of calls. Daemons: whether one that
            // does not return holds up the exit is decided elsewhere.
            let options = PyDict::new(py);
            options.set_item("target", &rounds)?;
            options.set_item("name", format!("destrier-{number}"))?;
            options.set_item("daemon", true)?;
            let thread = threading.call_method("Thread", (), Some(&options))?;
            thread.call_method0("start")?;
            threads.0.push(thread);
        }
        Ok(())
    }

    /// Calls the application on this thread, while `others` do, until no request can come any more and all threads are out of
    /// the application. That may be never: it is for the caller to see to it that the process ends.
    ///
    /// # Errors
    /// What an application gets cannot be made.
    pub(crate) fn run(&self, app: &Bound<'_, PyAny>, others: Threads<'_>) -> PyResult<()> {
        self.run_thread(app.py(), app)?;
        others.join()
    }

    /// Calls the application for one request after the other, on this thread, until the engine is closed and no request waits.
    ///
    /// # Errors
    /// What an application gets cannot be made, and nothing was called.
    fn run_thread(&self, py: Python<'_>, app: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut thread = Thread::new(py, &self.0)?;
        let seat = Arc::clone(thread.seat());
        self.0.witness.join(&seat);
        let mut place = self.0.queue.join();
        let mut leading = Leading::new(&self.0);
        loop {
            let Some(popped) = self.0.queue.pop(&mut place) else {
                if leading.turn(py) {
                    continue;
                }
                self.0.completions.announce();
                // Nothing of Rust is locked while this thread waits for the interpreter again.
                if py.detach(|| self.0.queue.wait(&mut place)) {
                    continue;
                }
                break;
            };
            // A batch is brought back with one wake-up; but nothing is held back for the sake of a call that may take long,
            // unless somebody looks again soon.
            if popped.is_last || !popped.is_watched {
                self.0.completions.announce();
            }
            if let Some(job) = popped.job.take() {
                let call = || thread.serve(py, app, job, (popped.at, popped.waited));
                leading.call(py, popped.at, call);
            }
        }
        self.0.queue.leave();
        self.0.witness.leave(&seat);
        Ok(())
    }

    /// Logs which calls have not returned, and how many requests wait for a thread.
    pub(crate) fn tell_who_is_busy(&self) {
        self.0.witness.tell_who_is_busy(self.0.queue.depth());
    }
}

/// Threads of the interpreter.
#[derive(Debug)]
pub(crate) struct Threads<'py>(Vec<Bound<'py, PyAny>>);

impl Threads<'_> {
    fn join(self) -> PyResult<()> {
        for thread in self.0 {
            thread.call_method0("join")?;
        }
        Ok(())
    }
}

/// What a thread of the application runs.
#[pyclass(frozen, module = "destrier_python")]
#[derive(Debug)]
struct Rounds {
    engine: Engine,
    app: Py<PyAny>,
}

#[pymethods]
impl Rounds {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.engine.run_thread(py, self.app.bind(py))
    }
}
