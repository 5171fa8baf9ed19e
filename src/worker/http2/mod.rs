//! One connection of HTTP/2: h2's codec, with the time-outs, the floods and the drain that it leaves to its caller.

mod codec;
mod framed;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use h2::server::Builder;

use super::connection::{Client, Serving};
use super::timer::Timer;
use super::watched::{ClientStream, LAST_WORDS, Watched, say_farewell};
use crate::app::{AppService, spawn_counted};
use crate::http::Origin;
use crate::http::activity::{Activity, Judgement, Phase};
use crate::http::http2::Unsent;
use crate::scoreboard::ConnectionLimit;
use crate::sys::clock;
use codec::{Accepted, Codec};

/// So many requests that a client takes back may wait to be noticed before its connection ends: to make work and take it back is an attack
/// (CVE-2023-44487).
const RESETS_MAX: usize = 64;

/// So many streams may the codec reset in the life of a connection: to have it do so is one as well (CVE-2025-8671). What still comes of
/// uploads that were refused a while ago counts too, and a proxy makes the requests of many.
const RESETS_BY_CODEC_MAX: usize = 1024;

/// So much of a body may be on its way to an application that does not read it.
const WINDOW: u32 = 256 * 1024;

/// So much of all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// So much of an answer waits beside its stream to be sent.
const SEND_BUFFER: usize = 64 * 1024;

/// The codec takes in heads of so many times `http.max_head`: what it refuses itself is neither logged nor counted, and most heads that
/// are too large are so by little.
const CODEC_HEADS: usize = 2;

/// How HTTP/2 is spoken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// `http.max_streams`.
    pub(super) max_streams: u32,
    /// `http.keep_alive_requests`.
    pub(super) keep_alive_requests: Option<u32>,
}

/// Serves a connection that began as HTTP/2 does, to its end.
pub(super) async fn serve<S: AppService>(
    stream: Watched<impl ClientStream>,
    client: Client,
    serving: &Arc<Serving<S>>,
) {
    let Some(settings) = serving.http2 else {
        return;
    };
    let head_max = serving.bounds.head.saturating_mul(CODEC_HEADS);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(head_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(Some(RESETS_BY_CODEC_MAX))
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    let activity = Arc::clone(&stream.activity);
    let session = Arc::new(Session {
        origin: client.origin(&activity, &serving.proxies),
        source: client.source(),
        listener: client.listener,
        serving: Arc::clone(serving),
    });
    let mut codec = Codec::new(&builder, stream, settings.keep_alive_requests);
    let end = speak(&mut codec, &session, &activity).await;
    if end == End::Cut {
        return session.stalled();
    }
    if let Some(mut stream) = codec.into_left() {
        say_farewell(&mut stream.stream).await;
        stream.let_go().await;
    }
}

/// How a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing more is to be said on it.
    Done,
    /// Its client takes nothing.
    Cut,
}

async fn speak<T: ClientStream, S: AppService>(
    codec: &mut Codec<T>,
    session: &Arc<Session<S>>,
    activity: &Activity,
) -> End {
    let serving = &session.serving;
    let mut timer = Timer::new(clock::monotonic() + serving.limits.header_timeout);
    let draining = serving.pipeline.draining();
    let mut drain_begun = pin!(draining.begun());
    let mut linger_until = None;
    loop {
        tokio::select! {
            biased;
            () = &mut drain_begun, if linger_until.is_none() => {
                linger_until = Some(clock::monotonic() + serving.limits.drain_linger.max(LAST_WORDS));
                timer.look_again_at(clock::monotonic());
                codec.go_away();
            }
            () = serve_streams(codec, session) => return End::Done,
            () = timer.elapsed(activity, &serving.limits, linger_until) => {
                match activity.judge(clock::monotonic(), &serving.limits, linger_until) {
                    Judgement::Wait(until) => timer.look_again_at(until),
                    // Of HTTP/1.1 only.
                    Judgement::Park => {}
                    Judgement::Cut => return End::Cut,
                    Judgement::Close | Judgement::TimedOut => {
                        codec.go_away();
                        let mut served = pin!(serve_streams(codec, session));
                        // One that is slow to end says no more; but it may have begun a request just now, whose answer it gets.
                        while tokio::time::timeout(LAST_WORDS, &mut served).await.is_err() {
                            let now = clock::monotonic();
                            if activity.judge(now, &serving.limits, linger_until) == Judgement::Cut {
                                return End::Cut;
                            }
                            if activity.phase() != Phase::Busy && activity.blocked_since().is_none() {
                                break;
                            }
                        }
                        return End::Done;
                    }
                }
            }
        }
    }
}

/// Serves each stream in a task of its own, until the connection has ended. Nothing is lost where this is dropped and called again.
fn serve_streams<T: ClientStream, S: AppService>(
    codec: &mut Codec<T>,
    session: &Arc<Session<S>>,
) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        loop {
            match ready!(codec.poll_accept(context)) {
                Some(Ok(accepted)) => Session::begin(session, accepted),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a connection ended early");
                    return Poll::Ready(());
                }
                None => return Poll::Ready(()),
            }
        }
    })
}

/// What the streams of a connection share.
struct Session<S> {
    serving: Arc<Serving<S>>,
    origin: Origin,
    listener: Arc<str>,
    source: Option<SocketAddr>,
}

impl<S: AppService> Session<S> {
    fn begin(this: &Arc<Self>, (request, mut respond): Accepted) {
        let session = Arc::clone(this);
        // Boxed: the runtime moves it on its way.
        let serve = Box::pin(async move {
            let (serving, limit) = (&session.serving, session.serving.limits.write_timeout);
            let pipeline = &serving.pipeline;
            let sent = pipeline
                .handle_http2(request, &mut respond, &session.origin, limit)
                .await;
            match sent {
                Ok(()) => {}
                Err(Unsent::Stalled) => session.stalled(),
                Err(reason) => tracing::debug!(%reason, "an answer was not sent whole"),
            }
        });
        spawn_counted(serve, this.serving.ready.as_ref());
    }

    /// The client took nothing for too long.
    fn stalled(&self) {
        let limit = ConnectionLimit::WriteTimeout;
        self.serving
            .limited
            .ended(limit, &self.listener, self.source);
    }
}
