//! How an application learns that its worker goes.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use tokio::sync::Notify;

/// A request extension: tells whether the worker drains, because of a stop, a reload or its replacement.
///
/// Answers that last, such as event streams, should end soon after it does; clients then connect to another worker. One
/// with the content type `text/event-stream` is ended by the server `http.stream_grace` after the worker was told to go, and
/// a WebSocket is closed with 1001; any other goes on until `workers.graceful_timeout`.
///
/// ```
/// use destrier::Draining;
///
/// async fn next_event() -> String {
///     "event".to_owned()
/// }
///
/// /// The next event, or none when it is time to end the stream.
/// async fn next<B>(request: &http::Request<B>) -> Option<String> {
///     let draining = request.extensions().get::<Draining>().cloned()?;
///     tokio::select! {
///         event = next_event() => Some(event),
///         () = draining.begun() => None,
///     }
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Monotonic nanoseconds at which the drain began; 0: it has not.
    since: AtomicU64,
    told: Notify,
}

impl Draining {
    /// Whether the worker drains.
    pub fn is_draining(&self) -> bool {
        self.0.since.load(Acquire) > 0
    }

    /// Returns when the worker drains, at once if it does already.
    pub async fn begun(&self) {
        // Before it looks: whoever waits from then on is woken.
        let told = self.0.told.notified();
        if !self.is_draining() {
            told.await;
        }
    }

    /// When the drain began, monotonic.
    pub(crate) fn since(&self) -> Option<Duration> {
        let since = self.0.since.load(Acquire);
        (since > 0).then(|| Duration::from_nanos(since))
    }

    /// It begins `now`, monotonic; only the first time counts.
    pub(crate) fn begin(&self, now: Duration) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1);
        let _begun_before = self.0.since.compare_exchange(0, now, Release, Relaxed);
        self.0.told.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::Draining;

    #[test]
    fn whoever_waits_is_told_and_whoever_comes_later_does_not_wait() {
        let draining = Draining::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut told = pin!(draining.begun());
        assert_eq!(told.as_mut().poll(&mut context), Poll::Pending);
        draining.clone().begin(Duration::from_secs(3));
        draining.begin(Duration::from_secs(4));
        assert_eq!(told.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(pin!(draining.begun()).poll(&mut context), Poll::Ready(()));
        assert_eq!(draining.since(), Some(Duration::from_secs(3)));
    }
}
