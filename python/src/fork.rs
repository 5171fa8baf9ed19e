//! Processes that the application forks. One that comes back from the application must not serve: its connections, its queue and its
//! threads are copies of what the worker goes on with. It exits, and the worker says so.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use destrier::RequestId;
use destrier::sys::{listener, readiness};
use pyo3::exceptions::PySystemExit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Set in whatever is forked from this process through the interpreter.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// On which children say that they came back. A log is no way: its lock may have been held when they were forked.
static REPORTS: OnceLock<PipeWriter> = OnceLock::new();

/// What children say.
#[derive(Debug)]
pub(crate) struct Children(PipeReader);

#[pyfunction]
fn note_child() {
    IS_CHILD.store(true, Relaxed);
}

/// From now on children know that they are some.
///
/// # Errors
/// pipe(2); the interpreter has no `os.register_at_fork`.
pub(crate) fn watch(py: Python<'_>) -> PyResult<Children> {
    let (reports, report) = std::io::pipe()?;
    let _set_once = REPORTS.set(report);
    let options = PyDict::new(py);
    options.set_item("after_in_child", wrap_pyfunction!(note_child, py)?)?;
    py.import("os")?
        .call_method("register_at_fork", (), Some(&options))?;
    Ok(Children(reports))
}

/// Ends this process, if it is a child. Called wherever the application gives a request back.
pub(crate) fn leave_if_child(request: impl FnOnce() -> Option<RequestId>) {
    if IS_CHILD.load(Relaxed) {
        leave(request(), 1);
    }
}

/// As [`leave_if_child`], where the application has raised this: `sys.exit` is how a child means to end.
pub(crate) fn leave_if_child_after(
    py: Python<'_>,
    request: impl FnOnce() -> Option<RequestId>,
    exception: &PyErr,
) {
    if IS_CHILD.load(Relaxed) {
        leave(request(), exit_code(py, exception));
    }
}

fn exit_code(py: Python<'_>, exception: &PyErr) -> u8 {
    if !exception.is_instance_of::<PySystemExit>(py) {
        return 1;
    }
    let code = exception.value(py).getattr(intern!(py, "code"));
    // As the interpreter has it: none is success, what is no number is a failure.
    code.map_or(1, |code| {
        if code.is_none() {
            0
        } else {
            code.extract().unwrap_or(1)
        }
    })
}

fn leave(request: Option<RequestId>, code: u8) -> ! {
    if let Some(mut report) = REPORTS.get() {
        let trace = request.and_then(|request| request.trace_id());
        let request = request
            .map(|request| request.to_string())
            .unwrap_or_default();
        let trace = trace.unwrap_or_default();
        let line = format!("{} {code} {request} {trace}\n", process::id());
        // The worker may be gone.
        let _unheard = report.write_all(line.as_bytes());
    }
    destrier::sys::process::exit_at_once(code)
}

impl Children {
    /// Logs what they say, for ever.
    pub(crate) async fn log(self, worker: u64) {
        let watched = listener::set_nonblocking(&self.0)
            .and_then(|()| Ok(OwnedFd::from(self.0.try_clone()?)))
            .and_then(readiness::readable);
        let reports = match watched {
            Ok(reports) => reports,
            Err(error) => {
                tracing::warn!(worker, %error, "cannot see which processes of the application come back");
                return;
            }
        };
        let mut pipe = self.0;
        let mut bytes = [0; 4096];
        while let Ok(mut ready) = reports.readable().await {
            match pipe.read(&mut bytes) {
                Ok(count) => tell(worker, bytes.get(..count).unwrap_or_default()),
                Err(_) => ready.clear_ready(),
            }
        }
    }
}

fn tell(worker: u64, lines: &[u8]) {
    for line in String::from_utf8_lossy(lines).lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().filter(|word| !word.is_empty());
        let (pid, code, request, trace_id) = (word(), word(), word(), word());
        tracing::warn!(
            worker,
            pid,
            code,
            request,
            trace_id,
            "a process that the application forked came back into the server, and has exited: it must end with `os._exit`"
        );
    }
}
