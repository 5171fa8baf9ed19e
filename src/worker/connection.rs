//! One connection: hyper's HTTP/1.1, with the time-outs and the drain that hyper leaves to its caller.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::drain::Open;
use super::heir::Heir;
use super::intake::Intake;
use crate::app::AppService;
use crate::channel::ToMaster;
use crate::http::activity::{Activity, BetweenRequests, Judgement, Limits, Phase};
use crate::http::wire::{Bounds, Malformed};
use crate::http::{Origin, Pipeline, request_timeout};
use crate::scoreboard::{Connection, SeatWriter};
use crate::sys::clock;
use crate::sys::socket::has_unread_bytes;

/// A client that was told that its time is up, or that its request is malformed, has this long to take note.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A client that still sends when it is answered and its connection ends is listened to for so long, and for so many bytes:
/// to close a socket with unread bytes resets the connection, and the reset may overtake the answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_MAX: usize = 64 << 20;

/// So many fields hyper reads unless told otherwise.
const HEADERS_OF_HYPER: usize = 100;

/// What all connections of a worker share.
#[derive(Debug)]
pub(super) struct Serving<S> {
    pub(super) pipeline: Pipeline<S>,
    pub(super) limits: Limits,
    /// How large a request may be.
    pub(super) bounds: Bounds,
    /// How long an idle connection stays when the worker drains: a request may be on its way.
    pub(super) linger: Duration,
    pub(super) open: Open,
    /// Who goes on with idle connections when the worker drains.
    pub(super) heir: OnceLock<Heir>,
    /// What the master shall know of accept queues.
    pub(super) words: mpsc::UnboundedSender<ToMaster>,
    pub(super) seat: SeatWriter,
}

/// A stream of a client.
pub(super) trait ClientStream:
    AsyncRead + AsyncWrite + AsFd + Unpin + Send + Sync + 'static
{
}
impl<T: AsyncRead + AsyncWrite + AsFd + Unpin + Send + Sync + 'static> ClientStream for T {}

/// Who is at the other end, and where it was accepted.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) peer: Option<SocketAddr>,
    /// As the configuration names it.
    pub(super) listener: Arc<str>,
}

impl<S> Serving<S> {
    /// Who goes on with idle connections of `listener`.
    fn heir_of(&self, listener: &str) -> Option<&Heir> {
        self.heir.get().filter(|heir| heir.takes(listener))
    }
}

/// Serves `stream`, just accepted, in a task of its own.
pub(super) fn start<S: AppService>(
    stream: impl ClientStream,
    client: Client,
    serving: Arc<Serving<S>>,
) {
    let counted = serving.seat.connection_opened();
    begin((stream, Activity::new()), client, serving, counted);
}

/// Goes on with `stream`, which another worker has served.
pub(super) fn resume<S: AppService>(
    stream: impl ClientStream,
    client: Client,
    between: BetweenRequests,
    serving: Arc<Serving<S>>,
) {
    let counted = serving.seat.connection_adopted();
    let activity = Activity::resumed(between);
    begin((stream, activity), client, serving, counted);
}

fn begin<S: AppService>(
    (stream, activity): (impl ClientStream, Activity),
    client: Client,
    serving: Arc<Serving<S>>,
    counted: Connection,
) {
    // Counted before the task runs, so that a drain that begins now waits for it.
    let open = serving.open.enter();
    tokio::spawn(async move {
        let stream = Watched::new(stream, activity, serving.bounds, BytesMut::new());
        serve(stream, client, &serving).await;
        drop((open, counted));
    });
}

async fn serve<S: AppService>(
    stream: Watched<impl ClientStream>,
    client: Client,
    serving: &Arc<Serving<S>>,
) {
    let activity = Arc::clone(&stream.activity);
    let origin = Origin {
        peer: client.peer,
        activity: Arc::clone(&activity),
    };
    let (pipeline, of_requests) = (Arc::clone(serving), origin.clone());
    let service = service_fn(move |request| {
        let (pipeline, origin) = (Arc::clone(&pipeline), of_requests.clone());
        async move { pipeline.pipeline.handle(request, &origin).await }
    });
    // hyper's own limit on the head would also count the time in which a connection is idle.
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None);
    // Its own bounds are never reached: what is larger does not get to it. Without a word on headers it needs no memory for them.
    if serving.bounds.headers > HEADERS_OF_HYPER {
        builder.max_headers(serving.bounds.headers);
    }
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut timer = Timer::new(clock::monotonic() + serving.limits.header_timeout);
    let draining = serving.pipeline.draining();
    let mut drain_begun = pin!(draining.begun());
    let mut linger_until = draining
        .is_draining()
        .then(|| clock::monotonic() + serving.linger);
    loop {
        tokio::select! {
            biased;
            // Before a request that has just arrived is answered: its answer says whether the connection goes on.
            () = &mut drain_begun, if linger_until.is_none() => {
                linger_until = Some(clock::monotonic() + serving.linger);
                timer.look_again_at(clock::monotonic());
                // An answer whose head has gone out cannot say `Connection: close` any more; hyper ends the connection
                // after it all the same. One that is idle would be ended at once, without its linger.
                if serving.heir_of(&client.listener).is_some() {
                    activity.set_goes_on();
                } else if activity.phase() == Phase::Busy {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
            // An error here is the client's: it went away or spoke no HTTP, and hyper has answered what could be answered.
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                let stream = connection.into_parts().io.into_inner();
                return stream.let_go().await;
            }
            malformed = malformed_in_turn(&activity) => {
                let stream = connection.into_parts().io.into_inner();
                let answer = serving.pipeline.refuse_unread(malformed, stream.intake.held(), &origin);
                return stream.say_last(&answer).await;
            }
            between = between_requests(&activity, serving, &client), if linger_until.is_some() => {
                let parts = connection.into_parts();
                let Watched { stream, intake, .. } = parts.io.into_inner();
                let mut read_before = BytesMut::from(parts.read_buf);
                read_before.unsplit(intake.into_held());
                // Bytes that were read belong to a request, which must be answered here.
                if read_before.is_empty()
                    && let Some(heir) = serving.heir_of(&client.listener)
                    && heir.pass(&stream, &client.listener, between).await
                {
                    return;
                }
                let activity = Activity::resumed(between);
                let stream = Watched::new(stream, activity, serving.bounds, read_before);
                return serve_again(stream, client, serving).await;
            }
            () = timer.elapsed(&activity, &serving.limits, linger_until) => {
                let now = clock::monotonic();
                match activity.judge(now, &serving.limits, linger_until) {
                    Judgement::Wait(until) => timer.look_again_at(until),
                    Judgement::Close => {
                        let parts = connection.into_parts();
                        let Watched { stream, intake, .. } = parts.io.into_inner();
                        let read_before = intake.into_held();
                        // A request that has arrived just now must be answered: take its bytes in first.
                        if read_before.is_empty() && !has_unread_bytes(&stream) {
                            return;
                        }
                        let stream = Watched::new(stream, Activity::new(), serving.bounds, read_before);
                        return serve_again(stream, client, serving).await;
                    }
                    Judgement::Cut => return,
                    Judgement::TimedOut => {
                        let stream = connection.into_parts().io.into_inner();
                        return stream.say_last(&request_timeout()).await;
                    }
                }
            }
        }
    }
}

/// Serves a connection once more whose client spoke just when it was to be closed, or that could not be passed on.
fn serve_again<'a, S: AppService>(
    stream: Watched<impl ClientStream>,
    client: Client,
    serving: &'a Arc<Serving<S>>,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(serve(stream, client, serving))
}

/// Returns when nothing is under way on a connection that another worker goes on with. Nobody need wake it: what makes it
/// so happens where the connection is served, in the same task, and before this is asked.
fn between_requests<S>(
    activity: &Activity,
    serving: &Serving<S>,
    client: &Client,
) -> impl Future<Output = BetweenRequests> {
    poll_fn(|_| {
        let between = serving
            .heir_of(&client.listener)
            .and_then(|_| activity.between_requests());
        between.map_or(Poll::Pending, Poll::Ready)
    })
}

/// Returns when something malformed has arrived and everything before it is answered. Nobody need wake it, as with
/// [`between_requests`]. Bytes whose turn has come are read by hyper once more, which does not know of them.
fn malformed_in_turn(activity: &Activity) -> impl Future<Output = Malformed> {
    poll_fn(|context| {
        if activity.take_turn() {
            context.waker().wake_by_ref();
        }
        let malformed = activity.malformed_in_turn();
        malformed.map_or(Poll::Pending, Poll::Ready)
    })
}

/// A stream that notes what passes through it, and lets nothing pass that is malformed.
#[derive(Debug)]
struct Watched<T> {
    stream: T,
    activity: Arc<Activity>,
    intake: Intake,
}

impl<T> Watched<T> {
    /// `read_before` was read of it already.
    fn new(stream: T, activity: Activity, bounds: Bounds, read_before: BytesMut) -> Self {
        Self {
            stream,
            activity: Arc::new(activity),
            intake: Intake::new(bounds, read_before),
        }
    }
}

impl<T: ClientStream> Watched<T> {
    /// Says this, and ends the connection.
    async fn say_last(mut self, answer: &[u8]) {
        // Whether the client still listens is its affair.
        let last_words = async {
            let _gone = self.stream.write_all(answer).await;
            let _gone = self.stream.shutdown().await;
        };
        let _gone = tokio::time::timeout(LAST_WORDS, last_words).await;
        linger(&mut self.stream).await;
    }

    /// Ends the connection after its last answer, which its client shall get although it still sends.
    async fn let_go(mut self) {
        if self.intake.is_unfinished() || has_unread_bytes(&self.stream) {
            linger(&mut self.stream).await;
        }
    }
}

/// Takes in what a client sends that nobody wants, until it has enough.
async fn linger(stream: &mut impl ClientStream) {
    let reading = async {
        let mut bytes = vec![0; 8 << 10];
        let mut left = LINGER_MAX;
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            left = left.saturating_sub(count);
            if left == 0 {
                return;
            }
        }
    };
    let _long_enough = tokio::time::timeout(LINGER, reading).await;
}

impl<T: ClientStream> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.intake
            .poll_read(&mut this.stream, &this.activity, context, buffer)
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
