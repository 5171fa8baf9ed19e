//! Until when the session of a handshake may go on: a client that has shown a certificate must show another one when that has ended. The library
//! passes what is in a ticket on as it is, and does not say whose it is; so it is noted for as long as a handshake is worked on.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    /// Of the handshake that this thread works on, in seconds since 1970; none where no certificate was shown.
    static END: Cell<Option<i64>> = const { Cell::new(None) };
}

/// The certificates that the client of the handshake has shown end then.
pub(super) fn note(end: i64) {
    END.set(Some(end));
}

/// When they do.
pub(super) fn noted() -> Option<i64> {
    END.get()
}

pin_project_lite::pin_project! {
    /// A handshake, with what is noted of it.
    #[derive(Debug)]
    pub struct Noted<F> {
        #[pin]
        handshake: F,
        end: Option<i64>,
    }
}

impl<F> Noted<F> {
    /// Of a handshake that begins.
    pub fn new(handshake: F) -> Self {
        let end = None;
        Self { handshake, end }
    }
}

impl<F: Future> Future for Noted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let outer = END.replace(*this.end);
        let polled = this.handshake.poll(context);
        *this.end = END.replace(outer);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_is_noted_of_a_handshake_is_its_own_however_many_take_turns() {
        let handshake = |end| {
            let mut turns = 0;
            Noted::new(poll_fn(move |_| {
                turns += 1;
                match turns {
                    1 => {
                        assert_eq!(noted(), None);
                        note(end);
                        Poll::Pending
                    }
                    _ => Poll::Ready(noted()),
                }
            }))
        };
        let mut context = Context::from_waker(Waker::noop());
        let (mut one, mut other) = (pin!(handshake(1)), pin!(handshake(2)));
        assert!(one.as_mut().poll(&mut context).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());
        assert_eq!(one.as_mut().poll(&mut context), Poll::Ready(Some(1)));
        assert_eq!(other.as_mut().poll(&mut context), Poll::Ready(Some(2)));
        assert_eq!(noted(), None);
    }
}
