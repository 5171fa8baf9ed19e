//! What destrier calls: tells the event loop of each request and waits for its answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use destrier::app::Witness as _;
use destrier::{BoxError, Draining};
use http::header::EXPECT;
use http::{Request, Response};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use tokio::runtime::Handle;

use super::exchange::{Exchange, Outcome};
use super::queue::{self, Event, Progress, Pushed};
use super::{Shared, body, websocket};
use crate::answer::{AnswerBody, Answering};
use crate::beside::{Bringing, beside};
use crate::failure::Failure;

/// How soon whoever has told the event loop something looks again at first.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// And at last.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(64);

/// An event loop that does not come for so long stands still.
const STILL: Duration = Duration::from_secs(1);

/// What answers requests with an ASGI application.
#[derive(Debug, Clone)]
pub(crate) struct AsgiService(Arc<Entrance>);

/// Where requests come in; when it is gone none can.
#[derive(Debug)]
struct Entrance(Arc<Shared>);

impl AsgiService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Entrance(shared)))
    }

    pub(crate) fn call<B>(&self, request: Request<B>) -> Answering
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let shared = Arc::clone(&self.0.0);
        begin(&shared, request.extensions().get::<Draining>());
        let (mut head, body) = request.into_parts();
        if let Some(upgrade) = head.extensions.remove::<OnUpgrade>() {
            drop(body);
            return Box::pin(async move { websocket::open(&shared, head, upgrade).await });
        }
        let has_content = !body.is_end_stream();
        let is_optional = head.headers.contains_key(EXPECT);
        let exchange = Arc::new(Exchange::new(&shared, head, has_content));
        let (asked, left) = (Arc::clone(&exchange), Arc::clone(&exchange));
        let outcome = outcome(
            move |context| asked.poll_outcome(context),
            move || left.leave(),
        );
        shared.push(Event::Call(Arc::clone(&exchange)));
        if !has_content {
            // Most have none, and what waits for the answer to such a one is small.
            drop(body);
            return Box::pin(async move { outcome.await.map_err(Failure::into_error) });
        }
        let bringing: Bringing = Box::pin(body::bring(body, Arc::clone(&exchange), is_optional));
        Box::pin(async move {
            // A client that was not asked for it by then need not send it (RFC 9110 section 10.1.1).
            let is_wanted = |outcome: &Outcome| {
                let answer = outcome.as_ref().map(Response::body);
                matches!(answer, Ok(AnswerBody::Streamed(_))) && exchange.wants(is_optional)
            };
            let outcome = beside(Some(bringing), outcome, is_wanted).await;
            outcome.map_err(Failure::into_error)
        })
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.push(Event::Close);
    }
}

/// What `poll` comes to. Where this is dropped before, nobody waits for it any more, and `leave` is called.
pub(super) fn outcome<T>(
    mut poll: impl FnMut(&Context<'_>) -> Poll<T>,
    leave: impl FnOnce(),
) -> impl Future<Output = T> {
    let mut waiting = Waiting(Some(leave));
    async move {
        let outcome = poll_fn(|context| poll(context)).await;
        waiting.end();
        outcome
    }
}

/// Calls it when dropped.
struct Waiting<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Waiting<F> {
    fn end(&mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Waiting<F> {
    fn drop(&mut self) {
        if let Some(leave) = self.0.take() {
            leave();
        }
    }
}

/// Whoever asks is woken.
pub(super) fn note(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

/// With the first request: answers are brought back from now on.
fn begin(shared: &Arc<Shared>, draining: Option<&Draining>) {
    shared.begun.get_or_init(|| {
        let completing = Arc::clone(shared);
        drop(tokio::spawn(async move {
            completing.completions.deliver_all().await;
        }));
        drop(tokio::spawn(
            queue::Waker::new(Arc::clone(shared)).wake_always(),
        ));
        let left = Arc::clone(shared);
        drop(tokio::spawn(async move {
            loop {
                left.loan.taken_back().await;
                left.completions.deliver();
                left.queue.wake();
            }
        }));
        if let Some(draining) = draining.cloned() {
            let told = Arc::clone(shared);
            drop(tokio::spawn(async move {
                draining.begun().await;
                told.note_drain();
            }));
        }
        Handle::current()
    });
}

impl Shared {
    /// Tells the event loop something, and looks after it where nobody does.
    pub(super) fn push(self: &Arc<Self>, event: Event) {
        match self.queue.push(event) {
            Pushed::Done => {}
            Pushed::Watch => {
                // At the end of the worker nobody looks.
                if let Ok(runtime) = Handle::try_current() {
                    let shared = Arc::clone(self);
                    drop(runtime.spawn(async move { watch(&shared).await }));
                }
            }
        }
    }
}

/// What the main thread of the interpreter is called (`threading.main_thread`).
const MAIN: &str = "MainThread";

impl Shared {
    /// What the event loop does now, where it can be seen.
    async fn stack(&self) -> Option<String> {
        let threads = self.witness.sight_all().await.threads;
        let main = threads.into_iter().find(|thread| thread.name == MAIN);
        main.map(|main| main.stack)
    }
}

/// Looks after what the event loop was told and what it has done while it does not come back, until it does. What it was told is its
/// tick: one that does not come to take it stands still.
async fn watch(shared: &Shared) {
    let mut known = None;
    let mut since = Shared::now();
    let mut pause = LOOK_AGAIN;
    let mut is_still = false;
    loop {
        tokio::time::sleep(pause).await;
        let progress = shared.queue.look();
        shared.completions.deliver();
        let now = Shared::now();
        let age = now.saturating_sub(since);
        if known == Some(progress) {
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
            if age >= STILL && !is_still {
                is_still = true;
                let (tasks, stack) = (shared.tasks(), shared.stack().await);
                tracing::warn!(
                    tasks,
                    stack,
                    "the event loop of the application stands still: a call that blocks holds up everything else of this worker"
                );
            }
            continue;
        }
        if is_still {
            let milliseconds = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(milliseconds, "the event loop of the application goes on");
        }
        if progress == Progress::Idle {
            return;
        }
        (known, since, pause, is_still) = (Some(progress), now, LOOK_AGAIN, false);
    }
}
