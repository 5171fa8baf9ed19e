//! What an application that runs on threads of its own can be asked about them, also while they do not answer.

use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use crate::scoreboard::RequestId;

/// An answer on its way; it comes within about a second.
pub type Asking<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Knows the threads of an application. It is asked on the event loop, which it never holds up.
pub trait Witness: fmt::Debug + Send + Sync + 'static {
    /// What is done for a request now.
    fn sight(&self, request: RequestId) -> Asking<Sighting>;

    /// What every thread does now.
    fn sight_all(&self) -> Asking<Threads>;

    /// A file in memory into which the process writes what its threads did when it dies of a fault.
    fn last_words(&self) -> Option<OwnedFd>;
}

/// What is done for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// A thread executes it: the calls that it is in, the last one last.
    Executing(String),
    /// A thread executes it, and no thread can run Python: code that is no Python holds the interpreter. The calls of its thread,
    /// the last one first, where they can be seen.
    InterpreterHeld(Option<String>),
    /// It waits for a thread: all of them execute others.
    Waiting,
    /// Nothing.
    Nothing,
}

/// The threads of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    /// No thread can run Python: code that is no Python holds the interpreter.
    pub interpreter_is_held: bool,
    /// Each of them, with what it does.
    pub threads: Vec<ThreadSight>,
    /// Those that were left out, for there are so many.
    pub left_out: usize,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadSight {
    /// What it is called.
    pub name: String,
    /// The request that it executes.
    pub request: Option<RequestId>,
    /// For so long.
    pub busy_for: Option<Duration>,
    /// The calls that it is in, cut where they are very many.
    pub stack: String,
}
