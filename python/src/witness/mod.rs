//! What the threads of the interpreter do, for those who ask on the event loop: with the interpreter's own words where it can be
//! had in time, else with those of `faulthandler`, which needs no thread that runs Python.

mod faults;
mod seat;

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use destrier::RequestId;
use destrier::app::{self, Asking, Sighting, ThreadSight, Threads};
use destrier::sys::fault_dump;
use pyo3::ffi::c_str;
use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::answer::named;

pub(crate) use seat::Seat;

/// The part that is easier to say in Python.
const SOURCE: &CStr = c_str!(include_str!("stacks.py"));

/// Whoever has not got the interpreter within this time is told that it is held. A thread that runs Python gives it away every 5 ms
/// (`sys.setswitchinterval`), one that waits for something does not hold it.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many may wait for the interpreter; who asks then is told at once that it is held.
const ASKING_MAX: usize = 4;

/// So many bytes of the stack of a thread are told where it alone was asked for, and where all were.
const ONE_STACK_MAX: usize = 16 << 10;
const STACK_MAX: usize = 8 << 10;

/// So many threads are told.
const THREADS_MAX: usize = 64;

/// Knows the threads of the interpreter in this process.
#[derive(Debug, Clone)]
pub(crate) struct Witness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seats: Mutex<Vec<Arc<Seat>>>,
    /// Who waits for the interpreter.
    asking: AtomicUsize,
    /// The functions of `stacks.py`.
    functions: Py<PyModule>,
    /// Where `faulthandler` writes; none where it does not.
    dump: Option<Mutex<File>>,
}

impl Witness {
    /// Of this process. From now on `faulthandler` tells what its threads did when it dies of a fault.
    ///
    /// # Errors
    /// The interpreter lacks a module of its own.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let functions = PyModule::from_code(py, SOURCE, c"<destrier>", c"destrier_stacks")?;
        let dump = match faults::watch(py) {
            Ok(file) => Some(Mutex::new(file)),
            Err(error) => {
                tracing::warn!(%error, "`faulthandler` cannot be used: a death by a fault will not be told with its place");
                None
            }
        };
        Ok(Self(Arc::new(Inner {
            seats: Mutex::default(),
            asking: AtomicUsize::new(0),
            functions: functions.unbind(),
            dump,
        })))
    }

    /// A thread calls the application from now on.
    pub(crate) fn join(&self, seat: &Arc<Seat>) {
        self.0.seats().push(Arc::clone(seat));
    }

    /// It does not any more.
    pub(crate) fn leave(&self, seat: &Arc<Seat>) {
        self.0.seats().retain(|other| !Arc::ptr_eq(other, seat));
    }

    /// Logs which calls have not returned, where so many requests wait for a thread.
    pub(crate) fn tell_who_is_busy(&self, waiting: usize) {
        for seat in self.0.seats().iter() {
            let Some(call) = seat.call() else { continue };
            let (request, trace_id) = named(call.request);
            tracing::warn!(
                request,
                trace_id,
                thread = seat.name,
                milliseconds = u64::try_from(call.age().as_millis()).unwrap_or(u64::MAX),
                waiting,
                "the application has not returned from a call"
            );
        }
    }
}

impl app::Witness for Witness {
    fn sight(&self, request: RequestId) -> Asking<Sighting> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.sight(request).await })
    }

    fn sight_all(&self) -> Asking<Threads> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.sight_all().await })
    }

    fn last_words(&self) -> Option<OwnedFd> {
        let file = lock(self.0.dump.as_ref()?);
        file.try_clone().map(OwnedFd::from).ok()
    }
}

impl Inner {
    fn seats(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        lock(&self.seats)
    }

    async fn sight(self: Arc<Self>, request: RequestId) -> Sighting {
        let (seat, all_are_busy) = {
            let seats = self.seats();
            let seat = seats.iter().find(|seat| seat.executes(request)).cloned();
            (seat, seats.iter().all(|seat| seat.call().is_some()))
        };
        let Some(seat) = seat else {
            return if all_are_busy {
                Sighting::Waiting
            } else {
                Sighting::Nothing
            };
        };
        let (inner, ident) = (Arc::clone(&self), seat.ident);
        let asked = self.ask(move |py| {
            let functions = inner.functions.bind(py);
            let stack = functions.call_method1("of_thread", (ident, ONE_STACK_MAX));
            stack.and_then(|stack| stack.extract::<Option<String>>())
        });
        match asked.await {
            Some(_) if !seat.executes(request) => Sighting::Nothing,
            Some(Ok(Some(stack))) => Sighting::Executing(stack),
            Some(Ok(None)) => Sighting::Nothing,
            Some(Err(error)) => Sighting::Executing(error.to_string()),
            None => {
                let dump = self.dump().await;
                let of_thread = dump.as_deref().and_then(|dump| {
                    let mut threads = fault_dump::threads(dump);
                    let thread = threads.find(|thread| thread.ident == ident)?;
                    Some(fault_dump::cut(thread.text, ONE_STACK_MAX).to_owned())
                });
                Sighting::InterpreterHeld(of_thread)
            }
        }
    }

    async fn sight_all(self: Arc<Self>) -> Threads {
        type Told = (Vec<(u64, String, String)>, usize);
        let inner = Arc::clone(&self);
        let asked = self.ask(move |py| {
            let functions = inner.functions.bind(py);
            let stacks = functions.call_method1("of_all", (THREADS_MAX, STACK_MAX));
            stacks.and_then(|stacks| stacks.extract::<Told>())
        });
        let (told, left_out, interpreter_is_held) = match asked.await {
            Some(Ok((told, left_out))) => (told, left_out, false),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot see what the threads of the application do");
                (Vec::new(), 0, false)
            }
            None => {
                let dump = self.dump().await.unwrap_or_default();
                let threads = fault_dump::threads(&dump);
                let told = threads.map(|thread| {
                    let stack = thread.text.split_once('\n').map_or("", |(_, calls)| calls);
                    let stack = fault_dump::cut(stack, STACK_MAX).to_owned();
                    (thread.ident, format!("thread {}", thread.ident), stack)
                });
                let told: Vec<_> = told.take(THREADS_MAX).collect();
                (told, 0, true)
            }
        };
        let threads = told
            .into_iter()
            .map(|(ident, name, stack)| self.seen(ident, name, stack));
        Threads {
            interpreter_is_held,
            threads: threads.collect(),
            left_out,
        }
    }

    fn seen(&self, ident: u64, name: String, stack: String) -> ThreadSight {
        let seats = self.seats();
        let seat = seats.iter().find(|seat| seat.ident == ident);
        let call = seat.and_then(|seat| seat.call());
        ThreadSight {
            name: seat.map_or(name, |seat| seat.name.clone()),
            request: call.and_then(|call| call.request),
            busy_for: call.map(|call| call.age()),
            stack,
        }
    }

    /// Asks with the interpreter, on a thread that lives for that only; none: it cannot be had.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(Python<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let asking = Waiting::begin(self)?;
        let asked = on_a_thread(move || {
            let answer = Python::try_attach(question);
            drop(asking);
            answer
        });
        tokio::time::timeout(PATIENCE, asked)
            .await
            .ok()
            .flatten()
            .flatten()
    }

    /// What `faulthandler` says of all threads.
    async fn dump(self: &Arc<Self>) -> Option<String> {
        let inner = Arc::clone(self);
        let dumped = on_a_thread(move || {
            let file = lock(inner.dump.as_ref()?);
            match fault_dump::of_this_process(&file) {
                Ok(dump) => dump,
                Err(error) => {
                    tracing::warn!(%error, "cannot see what the threads of the application do");
                    None
                }
            }
        });
        dumped.await.flatten()
    }
}

/// One who waits for the interpreter.
struct Waiting(Arc<Inner>);

impl Waiting {
    fn begin(inner: &Arc<Inner>) -> Option<Self> {
        let waiting = Self(Arc::clone(inner));
        let others = inner.asking.fetch_add(1, Relaxed);
        (others < ASKING_MAX).then_some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Relaxed);
    }
}

/// What `work` returns, done on a thread of its own; none where no thread can be started.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Whoever asked may have lost patience.
        let _nobody_waits = done.send(work());
    };
    let started = thread::Builder::new()
        .name("destrier-asks".to_owned())
        .spawn(work);
    match started {
        Ok(_) => result.await.ok(),
        Err(error) => {
            tracing::warn!(%error, "cannot start a thread that asks what the others do");
            None
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
