//! The life of a template: imports the application once, on the main thread, and forks the workers of its generation.

use std::ffi::CStr;
use std::io;

use destrier::channel::FromTemplate;
use destrier::config::Preload;
use destrier::interpreter::{Forked, Order, Template};
use destrier::logging;
use destrier::sys::{process, signals};
use destrier::worker::{Task, WorkerExit};
use pyo3::exceptions::PyOSError;
use pyo3::ffi::c_str;
use pyo3::prelude::*;

use crate::{application, worker};

/// What is easier to see in Python.
const SOURCE: &CStr = c_str!(include_str!("template.py"));

/// So many reasons are told: one is enough.
const TOLD_MAX: usize = 8;

/// Becomes the template, and in each process that it forks the worker. With every signal blocked. Returns what the process shall exit
/// with.
pub(crate) fn run(py: Python<'_>, mut template: Box<Template>) -> PyResult<u8> {
    let failed = |error: &dyn std::fmt::Display| PyOSError::new_err(error.to_string());
    template.start_log()?;
    signals::handle_as_worker().map_err(|error| failed(&error))?;
    // Those that end it must reach it while it imports.
    signals::unblock_all().map_err(|error| failed(&error))?;
    let Some(python) = template.config().app.python.clone() else {
        return Err(failed(&"the configuration names no Python application"));
    };
    let module = PyModule::from_code(py, SOURCE, c"<destrier>", c"destrier_template")?;
    let watch = module.getattr("Watch")?.call0();
    let application = match application::load(py, None, &python) {
        Ok(application) => application,
        Err(error) => {
            let reason = error.to_string();
            if let Some(text) = error.told_traceback() {
                let _gone = template.say(&FromTemplate::Traceback { text });
            }
            let _gone = template.say(&FromTemplate::Failed { reason });
            return Ok(WorkerExit::BootFailed.into());
        }
    };
    if let Some(problem) = problem(watch) {
        let reason = format!("`app.preload`: the application cannot be forked, for {problem}");
        let always = python.preload == Preload::Always;
        let _gone = template.say(&if always {
            FromTemplate::Failed {
                reason: format!("{reason}. Make them when the first request comes, or set `app.preload` to \"auto\" or false"),
            }
        } else {
            FromTemplate::Unfit { reason }
        });
        // The interpreter would wait for its threads. An exit function that fails has printed why.
        drop(module.getattr("end")?.call0());
        logging::flush();
        process::exit_at_once(if always {
            WorkerExit::BootFailed.into()
        } else {
            WorkerExit::Done.into()
        });
    }
    module.getattr("settle")?.call0()?;
    if template.say(&FromTemplate::Ready).is_err() {
        return Ok(WorkerExit::Done.into());
    }
    loop {
        let (waited, order) = py.detach(|| {
            let order = template.next_order();
            (template, order)
        });
        let forking = match order {
            Ok(Order::Fork(forking)) => forking,
            Ok(Order::End) => return Ok(WorkerExit::Done.into()),
            Err(error) => {
                tracing::error!(%error, "the template cannot hear its master");
                return Ok(WorkerExit::Done.into());
            }
        };
        match waited.fork(forking, || fork(py)) {
            Ok(Forked::Template(forked)) => template = forked,
            Ok(Forked::Worker(task)) => return Ok(serve(py, *task, application)),
            Err(error) => {
                tracing::error!(%error, "the template cannot answer its master");
                return Ok(WorkerExit::Done.into());
            }
        }
    }
}

/// Why the application cannot be forked. A system that shows nothing, without /proc, is a reason too.
fn problem(watch: PyResult<Bound<'_, PyAny>>) -> Option<String> {
    let problems = watch.and_then(|watch| watch.call_method0("end")?.extract::<Vec<String>>());
    match problems {
        Ok(problems) if problems.is_empty() => None,
        Ok(mut problems) => {
            let more = problems.len().saturating_sub(TOLD_MAX);
            problems.truncate(TOLD_MAX);
            problems.extend((more > 0).then(|| format!("and {more} more")));
            Some(format!("its import has made {}", problems.join("; ")))
        }
        Err(error) => Some(format!(
            "it cannot be seen what its import has made: {error}"
        )),
    }
}

/// In a worker. What goes wrong is told here: the channel that the loader would tell it on is the template's.
fn serve(py: Python<'_>, task: Task, application: Py<PyAny>) -> u8 {
    let worker = task.worker;
    let blocked = signals::block_all().map_err(|error| PyOSError::new_err(error.to_string()));
    let served = blocked.and_then(|()| worker::run(py, task, Some(application)));
    served.unwrap_or_else(|error| {
        tracing::error!(worker, %error, "cannot become a worker");
        WorkerExit::BootFailed.into()
    })
}

/// As the interpreter does it, for functions that are registered with `os.register_at_fork` and its own state.
fn fork(py: Python<'_>) -> io::Result<i32> {
    let pid = py.import("os").and_then(|os| os.call_method0("fork"));
    let pid = pid.and_then(|pid| pid.extract());
    pid.map_err(|error| {
        let errno: Option<i32> = error
            .value(py)
            .getattr("errno")
            .and_then(|errno| errno.extract())
            .ok();
        errno.map_or_else(
            || io::Error::other(error.to_string()),
            io::Error::from_raw_os_error,
        )
    })
}
