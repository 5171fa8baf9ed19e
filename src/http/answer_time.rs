//! How long an application may take: its own time, not that in which it waits for its client's body.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::app::{Awaited, BodyEnd};
use crate::sys::clock;

/// What `answering` comes to, unless it takes longer than `limit`, not counting how long it waits for the body; then it is dropped.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    body: &BodyEnd,
    answering: impl Future<Output = T>,
) -> Option<T> {
    let Some(limit) = limit else {
        return Some(answering.await);
    };
    let called = clock::monotonic_coarse();
    let mut answering = pin!(answering);
    let (mut begun, mut timer) = (None, pin!(None));
    poll_fn(|context| {
        if let Poll::Ready(answer) = answering.as_mut().poll(context) {
            return Poll::Ready(Some(answer));
        }
        // Only now: many answers are there at once, and need no timer.
        let begun = *begun.get_or_insert_with(|| {
            let ticked = clock::monotonic_coarse().saturating_sub(called);
            // A tick says nothing of how long ago it was called: its time must not be over too early.
            Instant::now() - ticked.saturating_sub(clock::TICK_MAX)
        });
        if timer.is_none() {
            timer.set(Some(sleep_until(begun + limit)));
        }
        let Some(mut timer) = timer.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        loop {
            ready!(timer.as_mut().poll(context));
            // While the body is waited for no timer runs here: there is one for that.
            let Awaited::InAll(awaited) = body.awaited(context) else {
                return Poll::Pending;
            };
            let end = begun + limit + awaited;
            if end <= Instant::now() {
                return Poll::Ready(None);
            }
            timer.as_mut().reset(end);
        }
    })
    .await
}
