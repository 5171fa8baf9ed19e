//! The life of the process: one thread of Rust does what a worker does, the main thread of the interpreter is the application's.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use destrier::app::{self, Loan, StandIn};
use destrier::config::{self, Interface};
use destrier::interpreter::{self, Received};
use destrier::scoreboard::SeatWriter;
use destrier::sys::{listener, signals};
use destrier::worker::{self, Task, WorkerExit};
use destrier::{App, Boot, BoxError};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::exit::Watcher;
use crate::failure::LoadFailure;
use crate::fork::{self, Children};
use crate::service::{Engine, PythonService};
use crate::witness::Witness;
use crate::{application, asgi, package, template, wsgi};

/// What the main thread is asked for.
struct Load {
    worker: u64,
    python: config::Python,
    graceful_timeout: Duration,
    answer: oneshot::Sender<Result<PythonService, LoadFailure>>,
}

/// The application as a worker sees it: the main thread imports it.
struct Imported {
    main: mpsc::Sender<Load>,
    witness: Witness,
    loan: Loan,
    /// Until they are listened to.
    children: Mutex<Option<Children>>,
    /// Why there is no application, where something stands in for it.
    failure: OnceLock<String>,
    /// Where the code of the application failed, as it is told.
    traceback: OnceLock<String>,
}

impl App for Imported {
    type Service = PythonService;

    async fn boot(&self, boot: Boot) -> Result<PythonService, BoxError> {
        let children = self.children.lock();
        if let Some(children) = children.unwrap_or_else(PoisonError::into_inner).take() {
            drop(tokio::spawn(children.log(boot.worker)));
        }
        let python = boot.config.app.python.clone();
        let python = python.ok_or("no Python application is named")?;
        if let Some(failure) = self.failure.get() {
            let stand_in = StandIn::new(failure, None);
            return Ok(PythonService::StandIn(Arc::new(stand_in)));
        }
        let is_written = python.reload_on_change;
        let (answer, loaded) = oneshot::channel();
        let load = Load {
            worker: boot.worker,
            python,
            graceful_timeout: boot.config.workers.graceful_timeout,
            answer,
        };
        // The main thread listens as long as this one runs.
        self.main.send(load)?;
        match loaded.await? {
            Ok(service) => Ok(service),
            // Whoever is writing it shall see why, and mend it.
            Err(LoadFailure { reason, traceback }) if is_written => {
                let stand_in = StandIn::new(&reason, traceback.as_deref());
                self.failure.get_or_init(|| reason);
                Ok(PythonService::StandIn(Arc::new(stand_in)))
            }
            Err(failure) => {
                if let Some(traceback) = failure.told_traceback() {
                    self.traceback.get_or_init(|| traceback);
                }
                Err(failure.into())
            }
        }
    }

    fn witness(&self) -> Option<Arc<dyn app::Witness>> {
        Some(Arc::new(self.witness.clone()))
    }

    fn loan(&self) -> Option<Loan> {
        Some(self.loan.clone())
    }

    fn stands_in(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    fn traceback(&self) -> Option<String> {
        self.traceback.get().cloned()
    }
}

/// Becomes the worker, or the template, that the parcel in descriptor `parcel` describes. Called once, on the main thread, with every
/// signal blocked. Returns what the process shall exit with.
#[pyfunction]
pub(crate) fn serve(py: Python<'_>, parcel: i32) -> PyResult<u8> {
    match interpreter::receive(parcel)? {
        Received::Worker(mut received) => {
            received.start_log()?;
            let handled = signals::handle_as_worker();
            handled.map_err(|error| PyOSError::new_err(error.to_string()))?;
            run(py, received.task, None)
        }
        Received::Template(template) => template::run(py, template),
    }
}

/// Serves as `task` says, the application `preloaded` where a template has imported it. On the main thread, with every signal blocked.
/// Returns what the process shall exit with.
pub(crate) fn run(py: Python<'_>, task: Task, mut preloaded: Option<Py<PyAny>>) -> PyResult<u8> {
    let failed = |error: &dyn std::fmt::Display| PyOSError::new_err(error.to_string());
    package::tell_issuers(py, &task.config.auth)?;
    let (address, workers) = (first_address(&task), task.workers);
    let shown = (task.seat.clone(), task.config.http.clone());
    let (main, mut asked) = mpsc::channel();
    // Before the worker watches over its own end, so that it sees a signal first.
    let witness = Witness::new(py)?;
    let python = task.config.app.python.as_ref();
    let loan = match python.map(|python| python.interface) {
        Some(Interface::Asgi) => Loan::for_another_event_loop(),
        Some(Interface::Wsgi) | None => Loan::default(),
    };
    let imported = Imported {
        main,
        witness: witness.clone(),
        loan: loan.clone(),
        children: Mutex::new(Some(fork::watch(py)?)),
        failure: task
            .failure
            .clone()
            .map_or_else(OnceLock::new, OnceLock::from),
        traceback: OnceLock::new(),
    };
    let watcher = Watcher::default();
    let watched = watcher.clone();
    let started: Arc<OnceLock<Engine>> = Arc::default();
    let engine = Arc::clone(&started);
    let io = thread::Builder::new().name("destrier-io".to_owned());
    let io = io.spawn(move || {
        let worker = task.worker;
        if let Err(error) = signals::unblock_faults() {
            tracing::warn!(worker, %error, "cannot unblock signals of faults");
        }
        let exit = worker::run(task, &imported);
        watched.served(exit, engine);
        exit
    })?;
    // The threads of the application inherit this; those of Rust leave signals to them.
    signals::unblock_all().map_err(|error| failed(&error))?;
    loop {
        let asked = &mut asked;
        let Ok(load) = py.detach(move || asked.recv()) else {
            break;
        };
        let loaded = preloaded.take().map_or_else(
            || application::load(py, Some(load.worker), &load.python),
            Ok,
        );
        let application = match loaded {
            Ok(application) => application,
            Err(error) => {
                // Whoever no longer waits for it is leaving.
                let _leaving = load.answer.send(Err(error));
                continue;
            }
        };
        let engine = engine_of(&load, (address.clone(), workers), (&witness, &loan), &shown)?;
        // Asked once in a worker.
        let engine = started.get_or_init(|| engine);
        let (service, application) = (engine.service(), application.bind(py));
        let named = format!("`{}`", load.python.application);
        // Before the worker says that it is ready.
        match engine.start(application, &named) {
            Ok(others) => {
                // Without whoever waited for it no request can come.
                drop(load.answer.send(Ok(service)));
                engine.run(application, others)?;
            }
            Err(error) => drop(load.answer.send(Err(error))),
        }
    }
    let exit = py.detach(|| io.join()).unwrap_or(WorkerExit::BootFailed);
    watcher.left();
    Ok(exit.into())
}

/// What runs the application.
fn engine_of(
    load: &Load,
    ((server_name, server_port), workers): ((String, u16), u16),
    (witness, loan): (&Witness, &Loan),
    (seat, http): &(SeatWriter, config::Http),
) -> PyResult<Engine> {
    match load.python.interface {
        Interface::Wsgi => {
            let most = |most: Option<u32>| {
                most.and_then(|most| usize::try_from(most).ok())
                    .unwrap_or(usize::MAX)
            };
            let settings = wsgi::Settings {
                threads: most(http.max_in_flight).min(load.python.threads.into()),
                limits: wsgi::Limits {
                    waiting: most(Some(http.queue)),
                    wait: http.max_queue_wait,
                },
                is_multiprocess: workers > 1,
                server_name,
                server_port,
            };
            let engine = wsgi::Engine::new(settings, witness.clone(), seat.clone(), loan.clone());
            Ok(Engine::Wsgi(engine))
        }
        Interface::Asgi => {
            let settings = asgi::Settings {
                worker: load.worker,
                server_name,
                server_port,
                graceful_timeout: load.graceful_timeout,
            };
            Ok(Engine::Asgi(asgi::Engine::new(
                settings,
                witness.clone(),
                loan.clone(),
            )?))
        }
    }
}

/// The name and the port that the application is told it is served at: those of the first address that has any.
fn first_address(task: &Task) -> (String, u16) {
    let addresses = task.listeners.iter().filter_map(|listener| {
        let address = listener::local_address(&listener.socket);
        address.ok().flatten()
    });
    let mut named = addresses.map(|address| (address.ip().to_string(), address.port()));
    // PEP 3333 wants both, also where there is a Unix socket only.
    named.next().unwrap_or_else(|| ("localhost".to_owned(), 80))
}
