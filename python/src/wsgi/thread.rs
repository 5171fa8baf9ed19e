//! A Python thread that serves: what it keeps from one request to the next, and what others may know of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use destrier::sys::executor::Executor;
use destrier::{InProgress, Overloaded, RequestId};
use http::Method;
use pyo3::prelude::*;

use super::environ::Environ;
use super::exchange::Exchange;
use super::input::Input;
use super::service::Job;
use super::start_response::StartResponse;
use super::{Shared, call};
use crate::failure::Failure;
use crate::fork;
use crate::witness::Seat;

/// A thread of the application.
#[derive(Debug)]
pub(super) struct Thread {
    shared: Arc<Shared>,
    environ: Environ,
    start_response: Py<StartResponse>,
    seat: Arc<Seat>,
    executor: Executor,
}

impl Thread {
    pub(super) fn new(py: Python<'_>, shared: &Arc<Shared>) -> PyResult<Self> {
        Ok(Self {
            shared: Arc::clone(shared),
            environ: Environ::new(py, &shared.settings)?,
            start_response: start_response(py, shared)?,
            seat: Arc::new(Seat::of_this_thread(py)?),
            executor: Executor::this_thread(),
        })
    }

    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Answers one request, which was taken at this time, monotonic, and had waited for so long where all threads were busy. Whatever
    /// goes wrong costs that request only.
    pub(super) fn serve(
        &mut self,
        py: Python<'_>,
        app: &Bound<'_, PyAny>,
        job: Job,
        (since, waited): (Duration, Option<Duration>),
    ) {
        if let (Some(waited), Some(request)) = (waited, job.head.extensions.get::<InProgress>()) {
            request.waited(waited);
            if request.client_has_left() {
                let outcome = Err(Failure::Overloaded(Overloaded::ClientHasLeft));
                // Whoever waits for it may just have noticed, too.
                drop(job.answer.send(outcome));
                return;
            }
        }
        let request = job.head.extensions.get::<RequestId>().copied();
        self.seat.enter(request, since);
        // The panic hook has logged what and where; the answer is gone with the exchange.
        let caught = catch_unwind(AssertUnwindSafe(|| self.call(py, app, job, request)));
        fork::leave_if_child(|| request);
        self.start_response.get().exchange().end();
        self.seat.leave();
        let is_kept = StartResponse::is_kept(&self.start_response, py);
        // Whoever kept it must not answer the next request.
        if (is_kept || caught.is_err())
            && let Ok(fresh) = start_response(py, &self.shared)
        {
            self.start_response = fresh;
        }
    }

    fn call(&mut self, py: Python<'_>, app: &Bound<'_, PyAny>, job: Job, id: Option<RequestId>) {
        let Job { head, body, answer } = job;
        let in_progress = head.extensions.get::<InProgress>();
        let executed = in_progress.map(|request| request.executed_by(&self.executor));
        let start_response = self.start_response.bind(py).clone();
        let exchange = start_response.get().exchange();
        exchange.begin(id, head.method == Method::HEAD, answer);
        let length = body.length();
        if length.is_none() {
            // Somebody has to bring it, while it is read here.
            self.shared.loan.give_back();
        }
        let input = match Bound::new(py, Input::new(body)) {
            Ok(input) => input,
            Err(exception) => return exchange.fail(Failure::of_exception(py, &exception)),
        };
        let environ = self.environ.of(py, &head, length, input.clone().into_any());
        match environ {
            Ok(environ) => call::call(py, app, environ, &start_response),
            Err(exception) => exchange.fail(Failure::of_exception(py, &exception)),
        }
        // Now, and not when the application lets go of it: the rest of a body is in the way of the next request.
        input.get().close();
        // Until here it is worked on.
        drop(executed);
        drop(head);
    }
}

fn start_response(py: Python<'_>, shared: &Arc<Shared>) -> PyResult<Py<StartResponse>> {
    let exchange = Arc::new(Exchange::new(Arc::clone(shared)));
    Py::new(py, StartResponse::new(py, exchange)?)
}
