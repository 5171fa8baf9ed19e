//! How the process ends when the application does not let go of its threads.
//!
//! An interpreter that is finalised while one of its threads is in the application below a frame of Rust aborts when that
//! thread comes back. So it is finalised only when the main thread has come back by itself; otherwise what the application has
//! registered with `atexit` is called here, and the process exits at once.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use destrier::logging;
use destrier::sys::process;
use destrier::worker::WorkerExit;
use pyo3::prelude::*;

use crate::service::Engine;

/// How long the main thread may take to come back when the worker has served; its requests were waited for before.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long `atexit` functions may take where the main thread does not come back.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Knows whether the main thread has come back.
#[derive(Clone, Default)]
pub(crate) struct Watcher(Arc<(Mutex<bool>, Condvar)>);

impl Watcher {
    /// On the main thread: it is about to leave the interpreter.
    pub(crate) fn left(&self) {
        let (has_left, changed) = &*self.0;
        *has_left.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// On the thread of the worker, when it has served: another thread sees to it that the process ends.
    pub(crate) fn served(self, exit: WorkerExit, engine: Arc<OnceLock<Engine>>) {
        let watch = move || {
            let more = engine.get().map_or(Duration::ZERO, Engine::time_left);
            if !self.wait(PATIENCE + more) {
                if let Some(engine) = engine.get() {
                    engine.tell_who_is_busy();
                }
                let last = Self::default();
                let told = last.clone();
                // Attaching may take for ever: a thread may be in C code that holds the interpreter.
                let speaker = thread::Builder::new().spawn(move || {
                    Python::attach(say_last_words);
                    told.left();
                });
                let _out_of_time = speaker.is_ok() && last.wait(LAST_WORDS);
                logging::flush();
                process::exit_at_once(exit.into());
            }
        };
        let watching = thread::Builder::new()
            .name("destrier-exit".to_owned())
            .spawn(watch);
        if let Err(error) = watching {
            tracing::error!(%error, "cannot watch the end of the interpreter");
        }
    }

    fn wait(&self, patience: Duration) -> bool {
        let (has_left, changed) = &*self.0;
        let guard = has_left.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, patience, |has_left| !*has_left);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What finalisation would call; then what was printed is written.
fn say_last_words(py: Python<'_>) {
    let said = py.run(
        c"import atexit, sys\natexit._run_exitfuncs()\nsys.stdout.flush()\nsys.stderr.flush()",
        None,
        None,
    );
    if let Err(error) = said {
        tracing::warn!(%error, "the application's `atexit` functions failed");
    }
}
