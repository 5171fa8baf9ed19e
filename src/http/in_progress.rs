//! Who still works on a request, and what is done about one that nobody waits for any more.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, Uri};

use super::activity::Activity;
use crate::app::{Sighting, Witness};
use crate::logging::cut;
use crate::scoreboard::{Executing, InFlight, RequestId};
use crate::sys::clock;
use crate::sys::executor::Executor;

/// After the 504, who works on the request has this long to notice that it was dropped.
const NOTICE: Duration = Duration::from_secs(1);

/// A request extension: whoever holds a clone works on the request.
///
/// A request that takes longer than its `request_timeout` is answered with 504 and its future is dropped, which is the end
/// of it in asynchronous code. Work on a thread of its own goes on. Where that work holds a clone of this, or the request
/// itself or its extensions, and still does a second later, the request is stuck: the log says so, and the worker is
/// replaced, the new one first, while all other requests in it finish. Drop it when the work is done.
///
/// ```
/// use destrier::InProgress;
/// # async fn work() {}
/// # fn sum() -> u64 { 0 }
///
/// async fn handle<B>(request: http::Request<B>) -> u64 {
///     let in_progress = request.extensions().get::<InProgress>().cloned();
///     let summing = tokio::task::spawn_blocking(move || {
///         let _in_progress = in_progress;
///         sum()
///     });
///     summing.await.unwrap_or_default()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct InProgress(Arc<Work>);

/// What is done for a request, by whomever.
#[derive(Debug)]
pub(super) struct Work {
    in_flight: InFlight,
    client: Arc<Activity>,
    is_overdue: AtomicBool,
}

impl InProgress {
    /// Of a request that has begun on this connection.
    pub(super) fn new(in_flight: InFlight, client: Arc<Activity>) -> Self {
        Self(Arc::new(Work {
            in_flight,
            client,
            is_overdue: AtomicBool::new(false),
        }))
    }

    /// This thread works on it from now on, until what is returned is dropped, which is to be before this is: where the process dies
    /// of what the thread does, it is the request's doing.
    pub fn executed_by<'a>(&self, thread: &'a Executor) -> Executing<'a> {
        self.0.in_flight.executing_in(thread.executing())
    }

    /// It waited for so long until a thread of the application was free.
    pub fn waited(&self, time: Duration) {
        self.0.in_flight.waited(time);
    }

    /// Whether its client has closed its side of the connection, or is gone: to begin with the request now would most often be in vain. To be
    /// asked while somebody waits for the answer.
    pub fn client_has_left(&self) -> bool {
        self.0.client.peer_has_left()
    }

    /// Its note on the scoreboard.
    pub(super) fn in_flight(&self) -> &InFlight {
        &self.0.in_flight
    }

    /// Whether its time is over: its client is answered with 504, and what else is done for it is in vain. Where the request's
    /// future is dropped and this is false, its client has left.
    pub fn is_overdue(&self) -> bool {
        self.0.is_overdue.load(Acquire)
    }

    /// Before its future is dropped.
    pub(super) fn set_overdue(&self) {
        self.0.is_overdue.store(true, Release);
    }

    /// Lets it go, but sees whether others hold it.
    pub(super) fn let_go(self) -> Weak<Work> {
        Arc::downgrade(&self.0)
    }
}

/// A request whose client was answered with 504.
#[derive(Debug)]
pub(super) struct Overdue {
    pub(super) worker: u64,
    pub(super) id: RequestId,
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// The place of the rule that let it pass, from 0.
    pub(super) rule: Option<usize>,
    /// When it began, monotonic.
    pub(super) started: Duration,
    /// Whoever still works on it.
    pub(super) working: Weak<Work>,
}

impl Overdue {
    /// Says so, with what is done for it now, where that can be seen.
    pub(super) async fn tell(&self, witness: Option<&dyn Witness>) {
        let age = self.age();
        let sighting = match witness {
            Some(witness) => Some(witness.sight(self.id).await),
            None => None,
        };
        let (thread, stack) = sighting.as_ref().map_or((None, None), seen);
        tracing::error!(
            request = %self.id,
            trace_id = self.id.trace_id(),
            method = cut(self.method.as_str()),
            path = cut(self.uri.path()),
            rule = self.rule.map(|rule| format!("auth.rule[{rule}]")),
            age = %age,
            worker = self.worker,
            thread,
            stack,
            "the application did not answer in time"
        );
    }

    /// Returns whether it is stuck, as soon as that is certain, and says so.
    pub(super) async fn is_stuck(&self) -> bool {
        tokio::time::sleep(NOTICE).await;
        let is_stuck = self.working.strong_count() > 0;
        if is_stuck {
            tracing::error!(
                request = %self.id,
                trace_id = self.id.trace_id(),
                method = cut(self.method.as_str()),
                path = cut(self.uri.path()),
                age = %self.age(),
                worker = self.worker,
                "a request is stuck: its client has long been answered, and the application still works on it"
            );
        }
        is_stuck
    }

    fn age(&self) -> humantime::FormattedDuration {
        let age = clock::monotonic().saturating_sub(self.started);
        let milliseconds = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        humantime::format_duration(Duration::from_millis(milliseconds))
    }
}

/// In words: what the thread of a request does, and where.
fn seen(sighting: &Sighting) -> (Option<&'static str>, Option<&str>) {
    match sighting {
        Sighting::Executing(stack) => (Some("executes it"), Some(stack)),
        Sighting::InterpreterHeld(stack) => (
            Some(
                "executes it, and no thread of this worker can run Python: code that is no Python holds the interpreter (the GIL)",
            ),
            stack.as_deref(),
        ),
        Sighting::Waiting => (Some("none: it waits for one, all execute others"), None),
        Sighting::Nothing => (None, None),
    }
}
