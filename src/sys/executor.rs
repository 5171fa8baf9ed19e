//! Threads besides the event loop that execute requests, each with what it executes: so that a signal handler which runs on one
//! of them knows. Its memory is there from the start, for a handler must neither allocate nor wait.

use std::sync::atomic::{
    AtomicI32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use nix::unistd::{Pid, gettid};

/// So many are known. What one beyond them executes is not.
const MAX: usize = 1024;

/// A thread that may execute requests.
#[derive(Debug)]
struct Place {
    /// 0: nobody's.
    thread: AtomicI32,
    executing: AtomicU64,
}

static PLACES: [Place; MAX] = [const {
    Place {
        thread: AtomicI32::new(0),
        executing: AtomicU64::new(0),
    }
}; MAX];

/// The word of all threads for which there is no place. Nobody reads it.
static NOWHERE: AtomicU64 = AtomicU64::new(0);

/// A thread that executes requests, until this is dropped, by that very thread.
#[derive(Debug)]
pub struct Executor(Option<&'static Place>);

impl Executor {
    /// This thread.
    pub fn this_thread() -> Self {
        let thread = gettid().as_raw();
        let taken = |place: &&Place| {
            let taken = place.thread.compare_exchange(0, thread, Acquire, Relaxed);
            taken.is_ok()
        };
        Self(PLACES.iter().find(taken))
    }

    /// What it executes just now; 0: nothing.
    pub fn executing(&self) -> &'static AtomicU64 {
        self.0.map_or(&NOWHERE, |place| &place.executing)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.executing.store(0, Relaxed);
            place.thread.store(0, Release);
        }
    }
}

/// What this thread executes; `None` where it is no executor. Async-signal-safe.
pub(super) fn executed_by(thread: Pid) -> Option<u64> {
    let mut places = PLACES.iter();
    let place = places.find(|place| place.thread.load(Relaxed) == thread.as_raw())?;
    Some(place.executing.load(Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_executes_is_known_until_it_is_none_of_them_any_more() {
        let there = std::thread::spawn(|| {
            let thread = gettid();
            assert_eq!(executed_by(thread), None);
            let executor = Executor::this_thread();
            executor.executing().store(7, Relaxed);
            let other = std::thread::spawn(move || (executed_by(thread), executed_by(gettid())));
            assert_eq!(other.join().unwrap(), (Some(7), None));
            drop(executor);
            assert_eq!(executed_by(thread), None);
        });
        there.join().unwrap();
    }
}
