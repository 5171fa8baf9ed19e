//! What destrier calls: puts each request into the queue and waits for its answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use destrier::sys::clock;
use destrier::{BoxError, Overloaded};
use http::{Request, Response, request};
use http_body::Body;
use tokio::sync::oneshot;

use super::Shared;
use super::body::{self, Source};
use super::queue::{Pushed, Refused};
use crate::answer::{AnswerBody, Answering};
use crate::beside::beside;
use crate::completions::Completion;
use crate::failure::Failure;

/// How soon whoever put a request in looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The answer of the application, or why there is none.
pub(super) type Outcome = Result<Response<AnswerBody>, Failure>;

/// A request that waits for a thread. Its head holds `InProgress`, so it is worked on until this is dropped.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) head: request::Parts,
    pub(super) body: Source,
    /// To whoever waits for the answer.
    pub(super) answer: oneshot::Sender<Outcome>,
}

/// An answer on its way to whoever waits for it.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) outcome: Outcome,
    pub(super) to: oneshot::Sender<Outcome>,
}

impl Completion for Answered {
    fn complete(self) {
        // Whoever waited for it is gone: its client, or its time was over.
        drop(self.to.send(self.outcome));
    }
}

/// A request in the queue, as long as somebody waits for its answer: one whose client has left, or whose time is over, is not
/// worked on, so it must not look as if it were.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Mutex<Option<Job>>>);

impl Ticket {
    /// The request, unless nobody waits for it any more.
    pub(super) fn take(&self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The other half of a ticket: whoever waits for the answer.
struct Waiting(Ticket);

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// What answers requests with a WSGI application.
#[derive(Debug, Clone)]
pub(crate) struct WsgiService(Arc<Entrance>);

/// Where requests come in; when it is gone none can.
#[derive(Debug)]
struct Entrance(Arc<Shared>);

impl WsgiService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Entrance(shared)))
    }

    pub(crate) fn call<B>(&self, request: Request<B>) -> Answering
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let shared = Arc::clone(&self.0.0);
        shared.delivers.call_once(|| {
            let delivering = Arc::clone(&shared);
            drop(tokio::spawn(async move {
                delivering.completions.deliver_all().await;
            }));
            let shared = Arc::clone(&shared);
            drop(tokio::spawn(async move {
                loop {
                    shared.loan.taken_back().await;
                    shared.completions.deliver();
                    see_to(&shared, shared.queue.hand_over());
                }
            }));
        });
        let (head, body) = request.into_parts();
        if body.is_end_stream() {
            // Most have none, and what waits for the answer to such a one is small.
            drop(body);
            let begun = begin(&shared, head, Source::none());
            return Box::pin(async move {
                let (_waiting, answered) = begun?;
                answer_of(answered.await)
            });
        }
        Box::pin(async move {
            let (body, bringing) = body::take_in(body).await?;
            let (_waiting, answered) = begin(&shared, head, body)?;
            let is_wanted = |outcome: &Result<Outcome, _>| {
                let answer = outcome
                    .as_ref()
                    .ok()
                    .and_then(|outcome| outcome.as_ref().ok());
                answer.is_some_and(|answer| matches!(answer.body(), AnswerBody::Pieces { .. }))
            };
            answer_of(beside(bringing, answered, is_wanted).await)
        })
    }
}

/// Puts a request into the queue. It is worked on as long as what is returned first is kept.
fn begin(
    shared: &Arc<Shared>,
    head: request::Parts,
    body: Source,
) -> Result<(Waiting, oneshot::Receiver<Outcome>), BoxError> {
    let (answer, answered) = oneshot::channel();
    let job = Job { head, body, answer };
    let job = Arc::new(Mutex::new(Some(job)));
    let waiting = Waiting(Ticket(Arc::clone(&job)));
    put_in(shared, Ticket(job)).map_err(Failure::into_error)?;
    Ok((waiting, answered))
}

fn answer_of<E>(outcome: Result<Outcome, E>) -> Result<Response<AnswerBody>, BoxError> {
    match outcome {
        Ok(outcome) => outcome.map_err(Failure::into_error),
        Err(_) => Err(Failure::new("the call ended without an answer").into()),
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

fn put_in(shared: &Arc<Shared>, job: Ticket) -> Result<(), Failure> {
    let pushed = shared.queue.push(job, shared.loan.is_lent());
    let pushed = pushed.map_err(|refused| match refused {
        Refused::Closed => Failure::new("the worker is about to exit"),
        Refused::Overloaded(overloaded) => Failure::Overloaded(overloaded),
    })?;
    see_to(shared, pushed);
    Ok(())
}

/// Does what is to be done for requests that wait.
fn see_to(shared: &Arc<Shared>, Pushed { watch, time }: Pushed) {
    if watch {
        let shared = Arc::clone(shared);
        drop(tokio::spawn(async move { look_after(&shared).await }));
    }
    if time {
        let shared = Arc::clone(shared);
        drop(tokio::spawn(async move { turn_away(&shared).await }));
    }
}

/// Answers requests that have waited too long, until none waits.
async fn turn_away(shared: &Shared) {
    loop {
        let (expired, next) = shared.queue.expire();
        for job in expired.iter().filter_map(Ticket::take) {
            let answer = Err(Failure::Overloaded(Overloaded::WaitedTooLong));
            // Its client may have left.
            drop(job.answer.send(answer));
        }
        let Some(next) = next else { return };
        tokio::time::sleep(next.saturating_sub(clock::monotonic())).await;
    }
}

/// Looks after requests and answers that wait while no thread comes back, until none do.
async fn look_after(shared: &Shared) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        // In this order: who takes a request after the last look announces the answers before it.
        let goes_on = shared.queue.look();
        shared.completions.deliver();
        if !goes_on {
            return;
        }
    }
}
