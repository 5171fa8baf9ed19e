//! The application's own code, run under the name of the request it runs for: a crash in it is that request's doing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::track::Track;

pin_project_lite::pin_project! {
    /// A future of the application. What it does when it is polled, and when it is dropped, it does for the request.
    #[derive(Debug)]
    pub(super) struct Executed<'a, F> {
        #[pin]
        future: Option<F>,
        track: &'a Track,
    }

    impl<F> PinnedDrop for Executed<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _executing = this.track.executing();
            this.future.set(None);
        }
    }
}

impl<'a, F> Executed<'a, F> {
    pub(super) fn new(future: F, track: &'a Track) -> Self {
        let future = Some(future);
        Self { future, track }
    }
}

impl<F: Future> Future for Executed<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _executing = this.track.executing();
        match this.future.as_pin_mut() {
            Some(future) => future.poll(context),
            // It is there until it is dropped.
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::http::activity::Activity;
    use crate::http::asked::Asked;
    use crate::scoreboard::{RequestId, Scoreboard};

    /// Notes what is being executed when it is let go of.
    struct Noting<F: Fn()>(F);

    impl<F: Fn()> Drop for Noting<F> {
        fn drop(&mut self) {
            self.0();
        }
    }

    #[test]
    fn the_request_is_executed_while_its_future_is_polled_and_while_it_is_dropped() {
        let scoreboard = Scoreboard::new().expect("memory");
        let seat = scoreboard.writer(0);
        let executing = seat.crash_note().executing;
        let id = RequestId::new(0, 1);
        let began = Duration::from_secs(1);
        let in_flight = seat.begin(&id, "GET", "/", began);
        let asked = Asked::default();
        let track = Track::begin(
            id,
            began,
            Arc::new(Activity::new()),
            in_flight,
            (None, None),
            asked,
        );
        let (polled, dropped) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let at_its_end = Noting(|| dropped.set(executing.load(Relaxed)));
        let polling = poll_fn(|_| {
            polled.set(executing.load(Relaxed));
            Poll::<()>::Pending
        });
        let future = async move {
            let _held = at_its_end;
            polling.await;
        };
        let mut executed = Box::pin(Executed::new(future, &track));
        assert_eq!(executing.load(Relaxed), 0);
        let mut context = Context::from_waker(Waker::noop());
        assert!(executed.as_mut().poll(&mut context).is_pending());
        assert_eq!((polled.get(), executing.load(Relaxed)), (1, 0));
        drop(executed);
        assert_eq!((dropped.get(), executing.load(Relaxed)), (1, 0));
    }
}
