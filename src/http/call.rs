//! The application is called: its answer, or what is said in its place.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use super::activity::Activity;
use super::answer_time::within;
use super::executed::Executed;
use super::in_progress::Overdue;
use super::malformed::Malformed;
use super::track::Track;
use super::{Pipeline, reply};
use crate::app::{AppService, BodyEnd, BoxError, Fault, Overloaded, RequestBody};
use crate::scoreboard::RequestId;

/// A request that the application is called for.
pub(super) struct Called<'a> {
    pub(super) id: &'a RequestId,
    /// How long the answer may take.
    pub(super) limit: Option<Duration>,
    /// The place of the rule that let it pass.
    pub(super) rule: Option<usize>,
    pub(super) activity: &'a Activity,
    pub(super) body_end: &'a BodyEnd,
}

/// Why the application's answer is none.
enum Failure {
    Panic,
    Body(Fault),
}

/// Polls code of the application; none where it panics, of which the panic hook has logged what and where.
pub(super) fn poll_app<F: Future>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<Option<F::Output>> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
        Ok(polled) => polled.map(Some),
        Err(_panic) => Poll::Ready(None),
    }
}

impl<S: AppService> Pipeline<S> {
    /// The application's answer; or ours, when it failed. A panic costs the request that caused it and no other.
    pub(super) async fn call(
        &self,
        request: Request<RequestBody>,
        called: Called<'_>,
        track: &mut Track,
    ) -> Result<Response<S::Body>, Response<Bytes>> {
        let Called {
            id, limit, rule, ..
        } = called;
        self.enter(id, called.activity, track).await?;
        let named = (request.method().clone(), request.uri().clone());
        track.app_begins();
        let answering = async {
            let mut app = self.app.clone();
            poll_fn(|context| app.poll_ready(context)).await?;
            app.call(request).await
        };
        let outcome = {
            let mut answering = pin!(Executed::new(answering, track));
            let caught = poll_fn(|context| {
                let polled = poll_app(answering.as_mut(), context);
                let polled = polled.map(|answer| answer.ok_or(Failure::Panic));
                // What the application makes of half a body is no answer to the request.
                match called.body_end.fault() {
                    Some(fault) => Poll::Ready(Err(Failure::Body(fault))),
                    None => polled,
                }
            });
            let outcome = within(limit, called.body_end, caught).await;
            if outcome.is_none() {
                track.set_overdue();
            }
            outcome
        };
        track.app_ends();
        let Some(outcome) = outcome else {
            let (method, uri) = named;
            let (started, working) = track.give_up();
            self.give_up(Overdue {
                worker: self.settings.worker,
                id: *id,
                method,
                uri,
                rule,
                started,
                working,
            });
            return Err(reply::request_timed_out());
        };
        match outcome {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                let error: BoxError = error.into();
                if let Some(overloaded) = error.downcast_ref::<Overloaded>() {
                    return Err(self.overloaded(*overloaded, overloaded.reason(), id));
                }
                tracing::error!(request = %id, trace_id = id.trace_id(), %error, "the application failed");
                Err(reply::application_failed())
            }
            Err(Failure::Panic) => {
                tracing::error!(request = %id, trace_id = id.trace_id(), "the application panicked");
                Err(reply::application_failed())
            }
            Err(Failure::Body(fault)) => {
                let malformed = match fault {
                    Fault::TooLarge => Malformed::BodyTooLarge,
                    Fault::TimedOut => Malformed::BodyTimeout,
                    Fault::TooSlow => Malformed::BodyTooSlow,
                    Fault::Trailer => Malformed::TrailerField,
                    Fault::BrokeOff => {
                        let malformed = called.activity.malformed();
                        malformed.unwrap_or(Malformed::BrokeOff)
                    }
                };
                let (method, uri) = named;
                Err(self.refuse_malformed(malformed, method.as_str(), uri.path(), id))
            }
        }
    }

    /// A request was answered with 504, and the application's future was dropped.
    fn give_up(&self, overdue: Overdue) {
        let (stuck, witness) = (Arc::clone(&self.stuck), self.witness.clone());
        tokio::spawn(async move {
            overdue.tell(witness.as_deref()).await;
            if overdue.is_stuck().await {
                stuck.notify_one();
            }
        });
    }
}
