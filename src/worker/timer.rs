//! The timer of one connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::activity::{Activity, Limits};
use crate::sys::clock;

/// One timer a connection. It is moved when it fires, and before that only to an earlier time, so that a busy connection
/// pays for it once in a time-out; and one that is over as soon as it has begun not at all.
pub(super) struct Timer {
    at: Duration,
    /// There since it was needed.
    sleep: Option<Pin<Box<Sleep>>>,
    /// It wakes the task when its time has come, and need not be asked before.
    is_armed: bool,
    /// Nobody has asked yet.
    is_new: bool,
}

impl Timer {
    pub(super) fn new(at: Duration) -> Self {
        Self {
            at,
            sleep: None,
            is_armed: false,
            is_new: true,
        }
    }

    pub(super) fn look_again_at(&mut self, at: Duration) {
        self.at = at;
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(instant(at));
        }
        self.is_armed = false;
    }

    /// Waits for its time, or for the one at which `activity` is due as the connection has just left it; always in the same task.
    pub(super) fn elapsed(
        &mut self,
        activity: &Activity,
        limits: &Limits,
        linger_until: Option<Duration>,
    ) -> impl Future<Output = ()> {
        poll_fn(move |context| {
            if std::mem::take(&mut self.is_new) {
                // Asked again when the system was asked for news: nearly always the first request has come by then, and often it
                // is the last. A timer that is to fire before all others costs a system call.
                return pin!(yield_now()).poll(context);
            }
            if let Some(due) = activity.due(limits, linger_until)
                && due < self.at
            {
                self.look_again_at(due);
            }
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(sleep_until(instant(self.at))));
            if std::mem::replace(&mut self.is_armed, true) && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            sleep.as_mut().poll(context)
        })
    }
}

fn instant(at: Duration) -> Instant {
    Instant::now() + at.saturating_sub(clock::monotonic())
}
