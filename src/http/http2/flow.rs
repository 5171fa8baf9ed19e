//! An answer on one of many streams of a connection: it is handed on in pieces, and it is known whether it waits for its client.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::sys::clock;

/// So much of an answer is handed on at once. The codec holds what it was given until the client wants it, and takes the next
/// piece only then.
const PIECE: usize = 16 * 1024;

/// Since when an answer waits until its client takes more of it: shared by its body and by whoever ends it.
#[derive(Debug, Clone, Default)]
pub struct Flow(Arc<AtomicU64>);

impl Flow {
    /// Since when it waits, monotonic; `None`: it waits for the application, or for nothing.
    pub fn waits_since(&self) -> Option<Duration> {
        let since = self.0.load(Relaxed);
        (since > 0).then(|| Duration::from_nanos(since))
    }

    fn wait(&self) {
        let now = u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(now, Relaxed);
    }

    fn go_on(&self) {
        self.0.store(0, Relaxed);
    }
}

pin_project_lite::pin_project! {
    /// A body in pieces.
    #[derive(Debug)]
    pub struct Paced<B> {
        #[pin]
        body: B,
        // What was taken of `body` and not handed on.
        left: Bytes,
        flow: Flow,
    }
}

impl<B> Paced<B> {
    /// Of a body, which notes in `flow` when it waits.
    pub fn new(body: B, flow: Flow) -> Self {
        let left = Bytes::new();
        Self { body, left, flow }
    }
}

impl<B: Body<Data = Bytes>> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        // Whoever asks for more has room for it.
        this.flow.go_on();
        if this.left.is_empty() {
            match ready!(this.body.poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.left = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = this.left.split_to(this.left.len().min(PIECE));
        this.flow.wait();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left.len() as u64;
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + left);
        }
        hint.set_lower(rest.lower() + left);
        hint
    }
}

pin_project_lite::pin_project! {
    /// One stream being served, which is given up when its client takes nothing of its answer for too long.
    pub struct Stalling<F> {
        #[pin]
        serving: F,
        flow: Flow,
        limit: Duration,
        on_stall: Arc<dyn Fn() + Send + Sync>,
        timer: Option<Pin<Box<tokio::time::Sleep>>>,
    }
}

impl<F> Stalling<F> {
    /// `serving`, for as long as `flow` does not wait for `limit`; `on_stall` is called when it does.
    pub fn new(
        serving: F,
        flow: Flow,
        limit: Duration,
        on_stall: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let timer = None;
        Self {
            serving,
            flow,
            limit,
            on_stall,
            timer,
        }
    }
}

impl<F> fmt::Debug for Stalling<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Stalling")
            .field("flow", &self.flow)
            .finish_non_exhaustive()
    }
}

impl<F: Future<Output = ()>> Future for Stalling<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.serving.poll(context).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let Some(since) = this.flow.waits_since() else {
                return Poll::Pending;
            };
            let left = (since + *this.limit).saturating_sub(clock::monotonic());
            if left.is_zero() {
                (this.on_stall)();
                return Poll::Ready(());
            }
            // Where it is there, it fires at the latest when the answer is overdue.
            let timer = this
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            ready!(timer.as_mut().poll(context));
            *this.timer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use http_body_util::{BodyExt, Full};

    use super::*;

    /// Says one thing, and goes on for ever.
    struct Once(Option<Bytes>);

    impl Body for Once {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let said = self.0.take();
            said.map_or(Poll::Pending, |said| {
                Poll::Ready(Some(Ok(Frame::data(said))))
            })
        }
    }

    #[tokio::test]
    async fn a_body_is_handed_on_in_pieces_and_whole() {
        let content = Bytes::from(b"0123456789".repeat(20_000));
        let body = Paced::new(Full::new(content.clone()), Flow::default());
        assert_eq!(body.size_hint().exact(), Some(200_000));
        let mut body = body;
        let mut got = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= PIECE);
            got.extend(data);
            assert_eq!(body.size_hint().exact(), Some(200_000 - got.len() as u64));
            assert_eq!(body.is_end_stream(), got.len() == 200_000);
        }
        assert_eq!(got, content);
    }

    #[tokio::test]
    async fn a_body_waits_for_its_client_from_each_piece_on_until_it_is_asked_for_the_next() {
        let flow = Flow::default();
        let mut body = Paced::new(Once(Some(Bytes::from_static(b"a"))), flow.clone());
        assert_eq!(flow.waits_since(), None);
        body.frame().await.unwrap().unwrap();
        assert!(flow.waits_since().is_some());
        let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
        assert!(polled.is_pending());
        assert_eq!(flow.waits_since(), None, "it is the application's turn");
    }

    #[tokio::test]
    async fn who_takes_nothing_for_too_long_is_given_up_and_nobody_else() {
        let forever = std::future::pending::<()>;
        let limit = Duration::from_millis(20);
        let flow = Flow::default();
        flow.wait();
        Stalling::new(forever(), flow.clone(), limit, Arc::new(|| ())).await;
        flow.go_on();
        let mut serving = Box::pin(Stalling::new(
            forever(),
            flow,
            Duration::ZERO,
            Arc::new(|| ()),
        ));
        let polled = poll_fn(|context| Poll::Ready(serving.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    }
}
