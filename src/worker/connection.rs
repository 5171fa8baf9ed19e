//! One connection: hyper's HTTP/1.1, with the time-outs and the drain that hyper leaves to its caller.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::drain::Open;
use super::heir::Heir;
use super::tls::{self, Agreed, SecureListeners, SecureStream};
use crate::app::AppService;
use crate::channel::ToMaster;
use crate::http::activity::{Activity, BetweenRequests, Judgement, Limits, Phase};
use crate::http::{Origin, Pipeline, request_timeout};
use crate::scoreboard::{Connection, SeatWriter};
use crate::sys::clock;
use crate::sys::socket::has_unread_bytes;

/// A client that was told that its time is up has this long to take note.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// What all connections of a worker share.
#[derive(Debug)]
pub(super) struct Serving<S> {
    pub(super) pipeline: Pipeline<S>,
    pub(super) limits: Limits,
    /// How long an idle connection stays when the worker drains: a request may be on its way.
    pub(super) linger: Duration,
    /// The listeners that speak TLS.
    pub(super) tls: SecureListeners,
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
    /// Whether the client must be told that the connection ends.
    const SAYS_FAREWELL: bool = false;

    /// Whether something that the client has sent waits to be read.
    fn has_unread(&self) -> bool {
        has_unread_bytes(self)
    }
}
impl ClientStream for TcpStream {}
impl ClientStream for UnixStream {}

/// Who is at the other end, and where it was accepted.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) peer: Option<SocketAddr>,
    /// As the configuration names it.
    pub(super) listener: Arc<str>,
    /// What was agreed on when the connection was encrypted; none where it is plain.
    pub(super) agreed: Option<Agreed>,
}

impl<S> Serving<S> {
    /// Who goes on with the connection of `client` when it is idle. Nobody can with an encrypted one, whose keys are here.
    fn heir_of(&self, client: &Client) -> Option<&Heir> {
        let heir = self.heir.get().filter(|_| client.agreed.is_none());
        heir.filter(|heir| heir.takes(&client.listener))
    }
}

/// Serves `stream`, just accepted, in a task of its own.
pub(super) fn start<S: AppService>(
    stream: impl ClientStream,
    client: Client,
    serving: Arc<Serving<S>>,
) {
    let counted = serving.seat.connection_opened();
    if serving.tls.of(&client.listener).is_none() {
        begin((stream, Activity::new()), client, serving, counted);
        return;
    }
    // As for a plain one: a drain waits for what was accepted, and so for its handshake.
    let open = serving.open.enter();
    tokio::spawn(async move {
        let secured = secure(stream, &client, &serving).await;
        if let Some((stream, agreed)) = secured {
            let client = Client {
                agreed: Some(agreed),
                ..client
            };
            serve(Watched::new(stream, Activity::new()), client, &serving).await;
        }
        drop((open, counted));
    });
}

async fn secure<S: AppService>(
    stream: impl ClientStream,
    client: &Client,
    serving: &Serving<S>,
) -> Option<(SecureStream, Agreed)> {
    let tls = serving.tls.of(&client.listener)?;
    let until = (serving.pipeline.draining(), serving.linger);
    tls::handshake(stream, (&serving.tls, tls), &client.listener, until).await
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
        let stream = Watched::new(stream, activity);
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
        is_https: client.agreed.is_some(),
        certificate: client.agreed.as_ref().and_then(|it| it.certificate.clone()),
    };
    let pipeline = Arc::clone(serving);
    let service = service_fn(move |request| {
        let (pipeline, origin) = (Arc::clone(&pipeline), origin.clone());
        async move { pipeline.pipeline.handle(request, &origin).await }
    });
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
            // Before a request that has just arrived is answered: its answer says whether the connection goes on.
            () = &mut drain_begun, if linger_until.is_none() => {
                linger_until = Some(clock::monotonic() + serving.linger);
                timer.look_again_at(clock::monotonic());
                // An answer whose head has gone out cannot say `Connection: close` any more; hyper ends the connection
                // after it all the same. One that is idle would be ended at once, without its linger.
                if serving.heir_of(&client).is_some() {
                    activity.set_goes_on();
                } else if activity.phase() == Phase::Busy {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
            // An error here is the client's: it went away or spoke no HTTP, and hyper has answered what could be answered.
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                    say_farewell(connection.into_parts().io.into_inner().stream).await;
                }
                return;
            }
            between = between_requests(&activity, serving, &client), if linger_until.is_some() => {
                let parts = connection.into_parts();
                let stream = parts.io.into_inner().stream;
                // Bytes that were read belong to a request, which must be answered here.
                if parts.read_buf.is_empty()
                    && let Some(heir) = serving.heir_of(&client)
                    && heir.pass(&stream, &client.listener, between).await
                {
                    return;
                }
                let mut stream = Watched::new(stream, Activity::resumed(between));
                stream.read_before = parts.read_buf;
                return serve_again(stream, client, serving).await;
            }
            () = timer.elapsed(&activity, &serving.limits, linger_until) => {
                let now = clock::monotonic();
                match activity.judge(now, &serving.limits, linger_until) {
                    Judgement::Wait(until) => timer.look_again_at(until),
                    Judgement::Close => {
                        let parts = connection.into_parts();
                        let stream = parts.io.into_inner().stream;
                        // A request that has arrived just now must be answered: take its bytes in first.
                        if !stream.has_unread() {
                            return say_farewell(stream).await;
                        }
                        let stream = Watched::new(stream, Activity::new());
                        return serve_again(stream, client, serving).await;
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

/// Ends a connection on which nothing is under way any more.
async fn say_farewell<T: ClientStream>(mut stream: T) {
    if T::SAYS_FAREWELL {
        let _gone = tokio::time::timeout(LAST_WORDS, stream.shutdown()).await;
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
            .heir_of(client)
            .and_then(|_| activity.between_requests());
        between.map_or(Poll::Pending, Poll::Ready)
    })
}

/// A stream that notes what passes through it.
#[derive(Debug)]
struct Watched<T> {
    stream: T,
    activity: Arc<Activity>,
    /// What was read of it already, and comes first.
    read_before: Bytes,
}

impl<T> Watched<T> {
    fn new(stream: T, activity: Activity) -> Self {
        Self {
            stream,
            activity: Arc::new(activity),
            read_before: Bytes::new(),
        }
    }
}

impl<T: ClientStream> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read_before.is_empty() {
            let count = buffer.remaining().min(self.read_before.len());
            buffer.put_slice(&self.read_before.split_to(count));
            self.activity.read_some();
            return Poll::Ready(Ok(()));
        }
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
        // What is encrypted waits where it was written to.
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.activity.set_write_blocked(polled.is_pending());
        polled
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
