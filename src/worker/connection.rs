//! One connection: hyper's HTTP/1.1, with the time-outs and the drain that hyper leaves to its caller.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::drain::Open;
use crate::app::AppService;
use crate::channel::ToMaster;
use crate::http::activity::{Activity, Judgement, Limits, Phase};
use crate::http::{Origin, Pipeline, request_timeout};
use crate::scoreboard::SeatWriter;
use crate::sys::clock;
use crate::sys::socket::has_unread_bytes;

/// A client that was told that its time is up has this long to take note.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What all connections of a worker share.
#[derive(Debug)]
pub(super) struct Serving<S> {
    pub(super) pipeline: Pipeline<S>,
    pub(super) limits: Limits,
    /// How long an idle connection stays when the worker drains: a request may be on its way.
    pub(super) linger: Duration,
    pub(super) open: Open,
    /// What the master shall know of accept queues.
    pub(super) words: mpsc::UnboundedSender<ToMaster>,
    pub(super) seat: SeatWriter,
}

/// A stream of a client.
pub(super) trait ClientStream:
    AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static
{
}
impl<T: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static> ClientStream for T {}

/// Serves `stream` in a task of its own.
pub(super) fn start<S: AppService>(
    stream: impl ClientStream,
    peer: Option<SocketAddr>,
    serving: Arc<Serving<S>>,
) {
    // Counted before the task runs, so that a drain that begins now waits for it.
    let open = serving.open.enter();
    let counted = serving.seat.connection_opened();
    tokio::spawn(async move {
        serve(stream, peer, &serving).await;
        drop((open, counted));
    });
}

async fn serve<S: AppService>(
    stream: impl ClientStream,
    peer: Option<SocketAddr>,
    serving: &Arc<Serving<S>>,
) {
    let activity = Arc::new(Activity::new());
    let origin = Origin {
        peer,
        activity: Arc::clone(&activity),
    };
    let pipeline = Arc::clone(serving);
    let service = service_fn(move |request| {
        let (pipeline, origin) = (Arc::clone(&pipeline), origin.clone());
        async move { pipeline.pipeline.handle(request, &origin).await }
    });
    let stream = Watched {
        stream,
        activity: Arc::clone(&activity),
    };
    // hyper's own limit on the head would also count the time in which a connection is idle.
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut timer = Timer::new(clock::monotonic() + serving.limits.header_timeout);
    let draining = serving.pipeline.draining();
    let mut drain_begun = pin!(draining.begun());
    let mut linger_until = draining
        .is_draining()
        .then(|| clock::monotonic() + serving.linger);
    loop {
        tokio::select! {
            biased;
            // An error here is the client's: it went away or spoke no HTTP, and hyper has answered what could be answered.
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = &mut drain_begun, if linger_until.is_none() => {
                linger_until = Some(clock::monotonic() + serving.linger);
                timer.look_again_at(clock::monotonic());
                // An answer whose head has gone out cannot say `Connection: close` any more; hyper ends the connection
                // after it all the same. One that is idle would be ended at once, without its linger.
                if activity.phase() == Phase::Busy {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
            () = timer.elapsed(&activity, &serving.limits, linger_until) => {
                let now = clock::monotonic();
                match activity.judge(now, &serving.limits, linger_until) {
                    Judgement::Wait(until) => timer.look_again_at(until),
                    Judgement::Close => {
                        let parts = connection.into_parts();
                        let stream = parts.io.into_inner().stream;
                        // A request that has arrived just now must be answered: take its bytes in first.
                        if !has_unread_bytes(&stream) {
                            return;
                        }
                        return serve_again(stream, peer, serving).await;
                    }
                    Judgement::Cut => return,
                    Judgement::TimedOut => {
                        let mut stream = connection.into_parts().io.into_inner().stream;
                        // Whether the client still listens is its affair.
                        let last_words = async {
                            let _gone = stream.write_all(&request_timeout()).await;
                            let _gone = stream.shutdown().await;
                        };
                        let _gone = tokio::time::timeout(LAST_WORDS, last_words).await;
                        return;
                    }
                }
            }
        }
    }
}

/// Serves a connection once more whose client spoke just when it was to be closed.
fn serve_again<'a, S: AppService>(
    stream: impl ClientStream,
    peer: Option<SocketAddr>,
    serving: &'a Arc<Serving<S>>,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(serve(stream, peer, serving))
}

/// A stream that notes what passes through it.
#[derive(Debug)]
struct Watched<T> {
    stream: T,
    activity: Arc<Activity>,
}

impl<T: ClientStream> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.read_some();
        }
        polled
    }
}

impl<T: ClientStream> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.set_write_blocked(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.set_write_blocked(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// One timer a connection. It is moved when it fires, and before that only to an earlier time, so that a busy connection
/// pays for it once in a time-out.
struct Timer {
    at: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    fn new(at: Duration) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(instant(at)));
        Self { at, sleep }
    }

    fn look_again_at(&mut self, at: Duration) {
        self.at = at;
        self.sleep.as_mut().reset(instant(at));
    }

    /// Waits for its time, or for the one at which `activity` is due as the connection has just left it.
    fn elapsed(
        &mut self,
        activity: &Activity,
        limits: &Limits,
        linger_until: Option<Duration>,
    ) -> impl Future<Output = ()> {
        poll_fn(move |context| {
            if let Some(due) = activity.due(limits, linger_until)
                && due < self.at
            {
                self.look_again_at(due);
            }
            self.sleep.as_mut().poll(context)
        })
    }
}

fn instant(at: Duration) -> Instant {
    Instant::now() + at.saturating_sub(clock::monotonic())
}
