//! One connection: hyper's HTTP/1.1, with the time-outs and the drain that hyper leaves to its caller; HTTP/2 when it begins so.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::addresses::{Addresses, Counted};
use super::descriptors::Descriptors;
use super::drain::Open;
use super::heir::Heir;
use super::http2;
use super::limited::Limited;
use super::parked::{Served, Turn};
use super::proxy_header::{Announced, Source};
use super::proxy_protocol::ProxyListeners;
use super::timer::Timer;
use super::tls::{self, Agreed, SecureListeners, SecureStream};
use super::watched::{ClientStream, Watched, break_off, say_farewell};
use super::websocket::Upgradable;
use crate::app::{AppService, Arriving, Draining, ReadyTasks, spawn_counted};
use crate::channel::ToMaster;
use crate::config::TrustedProxies;
use crate::http::activity::{Activity, BetweenRequests, Judgement, Limits, Phase};
use crate::http::http2::Opening;
use crate::http::wire::{Bounds, Malformed};
use crate::http::{Origin, Pipeline};
use crate::scoreboard::{Connection, ConnectionLimit, SeatWriter};
use crate::sys::clock;
use crate::tls::Protocol;

/// So many fields hyper reads unless told otherwise.
const HEADERS_OF_HYPER: usize = 100;

/// What all connections of a worker share.
#[derive(Debug)]
pub(super) struct Serving<S> {
    pub(super) pipeline: Pipeline<S>,
    pub(super) limits: Limits,
    /// How long a peer that vanished goes unnoticed.
    pub(super) dead_peer_timeout: Option<Duration>,
    /// How large a request may be.
    pub(super) bounds: Bounds,
    /// What is spoken besides HTTP/1.1; absent where nothing is.
    pub(super) http2: Option<http2::Settings>,
    /// The listeners that speak TLS.
    pub(super) tls: SecureListeners,
    /// The listeners that speak the PROXY protocol.
    pub(super) proxy_protocol: ProxyListeners,
    /// Whose word on their clients counts.
    pub(super) proxies: TrustedProxies,
    pub(super) open: Open,
    pub(super) descriptors: Descriptors,
    pub(super) addresses: Addresses,
    /// What limits have done to connections.
    pub(super) limited: Limited,
    /// Who goes on with idle connections when the worker drains.
    pub(super) heir: OnceLock<Heir>,
    /// What the master shall know of accept queues.
    pub(super) words: mpsc::UnboundedSender<ToMaster>,
    pub(super) seat: SeatWriter,
    /// Who counts tasks that are ready; none where nobody asks.
    pub(super) ready: Option<ReadyTasks>,
}

/// Who is at the other end, and where it was accepted.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: Option<SocketAddr>,
    /// What the peer has said of the connection in a PROXY header; none where it speaks for itself.
    pub(super) announced: Option<Announced>,
    /// As the configuration names it.
    pub(super) listener: Arc<str>,
    /// What was agreed on when the connection was encrypted; none where it is plain.
    pub(super) agreed: Option<Agreed>,
    /// Among the connections of its address.
    pub(super) counted: Counted,
}

impl Client {
    /// Whose connection it is; none has no address.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        match self.announced.map(|announced| announced.source) {
            None | Some(Source::Peer) => self.peer,
            Some(Source::Unix) => None,
            Some(Source::Address(address)) => Some(address),
        }
    }

    /// Whether what comes on it is the word of one of `proxies`. Where a proxy only passes bytes on that is not its own word, but
    /// that of whom it names, and of nobody where it names nobody.
    fn is_proxy(&self, proxies: &TrustedProxies) -> bool {
        match self.announced.map(|announced| announced.source) {
            None => proxies.trust(self.peer.map(|peer| peer.ip())),
            Some(Source::Address(address)) => proxies.trust(Some(address.ip())),
            Some(Source::Peer | Source::Unix) => false,
        }
    }

    /// What the pipeline knows of it.
    pub(super) fn origin(&self, activity: &Arc<Activity>, proxies: &TrustedProxies) -> Origin {
        let agreed = self.agreed.as_ref();
        let came_encrypted = self.announced.is_some_and(|announced| announced.is_https);
        Origin {
            source: self.source(),
            is_proxy: self.is_proxy(proxies),
            activity: Arc::clone(activity),
            is_https: agreed.is_some() || came_encrypted,
            encryption: agreed.and_then(|agreed| agreed.encryption),
            certificate: agreed.and_then(|agreed| agreed.certificate.clone()),
        }
    }
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
    let is_announced = serving.proxy_protocol.contain(&client.listener);
    let is_secure = serving.tls.of(&client.listener).is_some();
    if !is_announced && !is_secure {
        let stream = plain(stream, Activity::new(), &serving);
        begin(stream, client, serving, counted);
        return;
    }
    // As for a plain one: a drain waits for what was accepted, and so for its handshake.
    let open = serving.open.enter();
    let ready = serving.ready.clone();
    let serve = async move {
        let announced = if is_announced {
            // Boxed, as below.
            Box::pin(announce(stream, client, &serving)).await
        } else {
            Some((stream, client))
        };
        match announced {
            Some((stream, client)) if is_secure => serve_secure(stream, client, serving).await,
            Some((stream, client)) => {
                let stream = plain(stream, Activity::new(), &serving);
                serve(stream, client, serving, ()).await;
            }
            None => {}
        }
        drop((open, counted));
    };
    spawn_counted(serve, ready.as_ref());
}

/// Learns from its PROXY header whose connection it is; none where there is none, or its client has enough.
async fn announce<T: ClientStream, S: AppService>(
    mut stream: T,
    mut client: Client,
    serving: &Serving<S>,
) -> Option<(T, Client)> {
    let until = (serving.pipeline.draining(), serving.limits.drain_linger);
    let from = (&*client.listener, client.peer);
    let announced = serving.proxy_protocol.announced(&mut stream, from, until);
    client.announced = Some(announced.await?);
    client.counted = serving.enter_at(&client.listener, client.source())?;
    Some((stream, client))
}

async fn serve_secure<S: AppService>(
    stream: impl ClientStream,
    client: Client,
    serving: Arc<Serving<S>>,
) {
    // Boxed: the memory of every connection would else have room for a handshake.
    let Some((stream, agreed)) = Box::pin(secure(stream, &client, &serving)).await else {
        return;
    };
    let protocol = agreed.protocol;
    let client = Client {
        agreed: Some(agreed),
        ..client
    };
    let stream = Watched::new(stream, Activity::new(), serving.bounds);
    match protocol {
        Protocol::Http1 => serve(stream, client, serving, ()).await,
        Protocol::Http2 => {
            stream.activity.set_http2();
            // Boxed: the memory of every connection would else have room for it.
            Box::pin(http2::serve(stream, client, &serving)).await;
        }
    }
}

/// A stream that is not encrypted. Where nothing has been said on it yet, its client may begin with HTTP/2.
fn plain<T: ClientStream, S>(stream: T, activity: Activity, serving: &Serving<S>) -> Watched<T> {
    let mut stream = Watched::new(stream, activity, serving.bounds);
    if serving.http2.is_some() && stream.activity.phase() == Phase::Fresh {
        stream.opening = Opening::Unknown;
    }
    stream
}

async fn secure<S: AppService>(
    stream: impl ClientStream,
    client: &Client,
    serving: &Serving<S>,
) -> Option<(SecureStream, Agreed)> {
    let tls = serving.tls.of(&client.listener)?;
    let until = (serving.pipeline.draining(), serving.limits.drain_linger);
    let from = (&*client.listener, client.source());
    tls::handshake(stream, (&serving.tls, tls), from, until).await
}

/// Goes on with `stream`, which another worker has served.
pub(super) fn resume<S: AppService>(
    stream: impl ClientStream,
    client: Client,
    between: BetweenRequests,
    serving: Arc<Serving<S>>,
) {
    let counted = serving.seat.connection_adopted();
    let stream = plain(stream, Activity::resumed(between), &serving);
    begin(stream, client, serving, counted);
}

fn begin<S: AppService>(
    stream: Watched<impl ClientStream>,
    client: Client,
    serving: Arc<Serving<S>>,
    counted: Connection,
) {
    // Counted before the task runs, so that a drain that begins now waits for it.
    let open = serving.open.enter();
    let ready = serving.ready.clone();
    let serve = serve(stream, client, serving, (open, counted));
    spawn_counted(serve, ready.as_ref());
}

/// Serves a connection to its end, and keeps what is `kept` until then. No `async fn`, and none around it: such a one has room for
/// what it is given and for where that goes, and a connection that is idle would have all of it twice; and nothing is awaited in it but
/// what happens and what is done last, which is boxed.
fn serve<T: ClientStream, S: AppService>(
    stream: Watched<T>,
    client: Client,
    serving: Arc<Serving<S>>,
    kept: impl Send,
) -> impl Future<Output = ()> + Send {
    let activity = Arc::clone(&stream.activity);
    let origin = Arc::new(client.origin(&activity, &serving.proxies));
    let server = (Arc::clone(&serving), Arc::clone(&origin));
    let connect = move |stream| {
        let (serving, origin) = (Arc::clone(&server.0), Arc::clone(&server.1));
        let (limit, bounds) = (serving.limits.write_timeout, serving.bounds);
        let service = service_fn(move |request| {
            let (serving, origin) = (Arc::clone(&serving), Arc::clone(&origin));
            let request = request.map(Arriving::Connection);
            async move { serving.pipeline.handle(request, &origin).await }
        });
        let stream = TokioIo::new(Upgradable::new(stream, limit));
        hyper_for(bounds)
            .serve_connection(stream, service)
            .with_upgrades()
    };
    let mut served = Served::new(stream, &connect);
    let mut timer = Timer::new(clock::monotonic() + serving.limits.header_timeout);
    async move {
        let _kept = kept;
        let draining = serving.pipeline.draining();
        let mut drain_begun = pin!(drain_begun(draining));
        let mut linger_until = draining
            .is_draining()
            .then(|| clock::monotonic() + serving.limits.drain_linger);
        let last: Pin<Box<dyn Future<Output = ()> + Send>> = loop {
            tokio::select! {
                biased;
                // Before a request that has just arrived is answered: its answer says whether the connection goes on.
                () = &mut drain_begun, if linger_until.is_none() => {
                    linger_until = Some(clock::monotonic() + serving.limits.drain_linger);
                    timer.look_again_at(clock::monotonic());
                    // An answer whose head has gone out cannot say `Connection: close` any more: its connection is idle after it, and
                    // the answer to what its client asks meanwhile says so.
                    if serving.heir_of(&client).is_some() {
                        activity.set_goes_on();
                    }
                }
                turn = &mut served => {
                    let is_told = match turn {
                        Turn::Begins => {
                            let Some(stream) = served.take_back() else {
                                return;
                            };
                            served = Served::new(stream, &connect);
                            continue;
                        }
                        Turn::Gone => false,
                        // The answer breaks off.
                        Turn::Ended(Err(error)) if error.is_user() && activity.end_is_a_close() => {
                            if let Some(stream) = served.take_back() {
                                break_off(&stream.stream);
                            }
                            return;
                        }
                        // An error here is the client's: it went away or spoke no HTTP, and hyper has answered what could be answered.
                        Turn::Ended(Err(error)) => {
                            tracing::debug!(%error, "a connection ended early");
                            false
                        }
                        // hyper has told the client that the connection ends.
                        Turn::Ended(Ok(())) => true,
                    };
                    if let Some(rest) = activity.upgrade.open() {
                        let serving = Arc::clone(&serving);
                        break Box::pin(async move {
                            if rest.0.await {
                                serving.limited.count(ConnectionLimit::WriteTimeout);
                            }
                        });
                    }
                    let Some(mut stream) = served.take_back() else {
                        return;
                    };
                    let says_farewell = T::SAYS_FAREWELL && !is_told;
                    if !says_farewell && !stream.is_listened_to() {
                        return;
                    }
                    break Box::pin(async move {
                        if says_farewell {
                            say_farewell(&mut stream.stream).await;
                        }
                        stream.let_go().await;
                    });
                }
                malformed = malformed_in_turn(&activity) => {
                    let Some(stream) = served.take_back() else {
                        return;
                    };
                    let answer = serving.pipeline.refuse_unread(malformed, stream.intake.held(), &origin);
                    break Box::pin(async move { stream.say_last(&answer).await });
                }
                () = speaks_http2(&activity) => {
                    let Some(stream) = served.take_back() else {
                        return;
                    };
                    let serving = Arc::clone(&serving);
                    break Box::pin(async move { http2::serve(stream, client, &serving).await });
                }
                between = between_requests(&activity, &serving, &client), if linger_until.is_some() => {
                    let Some(stream) = served.take_back() else {
                        return;
                    };
                    break pass_on(stream, client, between, Arc::clone(&serving));
                }
                () = timer.elapsed(&activity, &serving.limits, linger_until) => {
                    let now = clock::monotonic();
                    match activity.judge(now, &serving.limits, linger_until) {
                        Judgement::Wait(until) => timer.look_again_at(until),
                        Judgement::Close => {
                            let Some(mut stream) = served.take_back() else {
                                return;
                            };
                            // A request that has arrived just now must be answered: take its bytes in first.
                            if !stream.intake.holds_request() && !stream.stream.has_unread() {
                                break Box::pin(async move { say_farewell(&mut stream.stream).await });
                            }
                            let stream = stream.again(Activity::new(), serving.bounds);
                            break Box::pin(serve(stream, client, Arc::clone(&serving), ()));
                        }
                        Judgement::Park => {
                            let Some(stream) = served.take_back() else {
                                return;
                            };
                            served = Served::new(stream, &connect);
                        }
                        Judgement::Cut => {
                            let (limit, source) = (ConnectionLimit::WriteTimeout, client.source());
                            if activity.end_is_a_close()
                                && let Some(stream) = served.take_back()
                            {
                                break_off(&stream.stream);
                            }
                            return serving.limited.ended(limit, &client.listener, source);
                        }
                        Judgement::TimedOut => {
                            let Some(stream) = served.take_back() else {
                                return;
                            };
                            let (late, head) = (Malformed::HeadTimeout, stream.intake.held());
                            let answer = serving.pipeline.refuse_unread(late, head, &origin);
                            break Box::pin(async move { stream.say_last(&answer).await });
                        }
                    }
                }
            }
        };
        last.await;
    }
}

/// hyper's settings for HTTP/1.1.
fn hyper_for(bounds: Bounds) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Its limit on the head would also count the time in which a connection is idle.
    builder.header_read_timeout(None);
    // Its bounds are never reached: what is larger does not get to it. As it is it needs no memory for fields.
    if bounds.headers > HEADERS_OF_HYPER {
        builder.max_headers(bounds.headers);
    }
    builder
}

/// Has the heir go on with a connection, or serves it once more where that is not possible.
fn pass_on<S: AppService>(
    stream: Watched<impl ClientStream>,
    client: Client,
    between: BetweenRequests,
    serving: Arc<Serving<S>>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        // Bytes that were read belong to a request, which must be answered here.
        if !stream.intake.holds_request()
            && let Some(heir) = serving.heir_of(&client)
            && heir.pass(&stream.stream, &client, between).await
        {
            return;
        }
        let stream = stream.again(Activity::resumed(between), serving.bounds);
        serve(stream, client, serving, ()).await;
    })
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

/// Returns when the worker drains. It wakes the task, which is the same each time: until it does it need not be asked again.
async fn drain_begun(draining: &Draining) {
    let mut begun = pin!(draining.begun());
    let mut is_asked = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_asked, true) && !draining.is_draining() {
            return Poll::Pending;
        }
        begun.as_mut().poll(context)
    })
    .await;
}

/// Returns when the client has begun with HTTP/2. Nobody need wake it, as in [`between_requests`].
fn speaks_http2(activity: &Activity) -> impl Future<Output = ()> {
    poll_fn(|_| {
        if activity.is_http2() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
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
