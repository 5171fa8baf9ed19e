//! How long whoever reads a body has waited for its client: the clock and the one timer to what `pace` decides.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::{Pace, Patience};
use super::request_body::Fault;

/// The waits for one body.
#[derive(Debug)]
pub(super) struct Wait {
    patience: Patience,
    /// When the one began that is under way.
    since: Option<Instant>,
    /// It is moved when it fires and not before, for each wait may end later than the one before: so a body that comes fast
    /// costs it about nothing.
    timer: Option<Pin<Box<Sleep>>>,
    /// The time is over, and what has come meanwhile was looked at.
    has_looked_again: bool,
}

impl Wait {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            patience: Patience::new(pace),
            since: None,
            timer: None,
            has_looked_again: false,
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.since.is_some()
    }

    /// Goes on with a wait, or begins one; ready when it is too long.
    pub(super) fn poll(&mut self, runtime: &Handle, context: &mut Context<'_>) -> Poll<Fault> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let Some((bound, fault)) = self.patience.bound() else {
            return Poll::Pending;
        };
        let until = since + bound;
        // Whoever reads it may be on a thread of its own, which has no timers.
        let _runtime = runtime.enter();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if until <= Instant::now() {
                break;
            }
            timer.as_mut().reset(until);
        }
        // Where the worker was busy for longer than that, bytes may have come that it has not read yet: that is done before
        // this is asked again.
        if !std::mem::replace(&mut self.has_looked_again, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(fault)
    }

    /// Ends the wait that is under way, where one is: with so many bytes. How long it was.
    pub(super) fn end(&mut self, bytes: u64) -> Option<Duration> {
        let waited = self.since.take()?.elapsed();
        self.patience.waited(waited, bytes);
        self.has_looked_again = false;
        Some(waited)
    }
}
