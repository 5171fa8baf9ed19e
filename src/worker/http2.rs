//! One connection of HTTP/2: hyper's, with the time-outs, the floods and the drain that hyper leaves to its caller.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Client, Serving};
use super::linger::Linger;
use super::timer::Timer;
use super::watched::{ClientStream, LAST_WORDS, Watched};
use crate::app::AppService;
use crate::http::activity::{Activity, Judgement, Phase};
use crate::http::http2::{Flow, Frames, POISON, Paced, Stalling};
use crate::scoreboard::ConnectionLimit;
use crate::sys::clock;

/// So many requests that a client takes back may wait to be noticed before its connection ends: to make work and take it back is an attack
/// (CVE-2023-44487).
const RESETS_MAX: usize = 64;

/// So many streams may the codec reset in the life of a connection: to have it do so is one as well (CVE-2025-8671). What still comes of
/// uploads that were refused a while ago counts too, and a proxy makes the requests of many.
const RESETS_BY_CODEC_MAX: usize = 1024;

/// So much of a body may be on its way to an application that does not read it.
const WINDOW: u32 = 256 * 1024;

/// After GOAWAY so much more is taken in, and nobody looks at it.
const LINGER_MAX: usize = 1 << 20;

/// So much of all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

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
    let head_max = u32::try_from(head_max).unwrap_or(u32::MAX);
    let stream = Framed::new(stream);
    let activity = Arc::clone(&stream.watched.activity);
    let origin = client.origin(&activity, &serving.proxies);
    let on_stall = {
        let (serving, listener) = (Arc::clone(serving), Arc::clone(&client.listener));
        let source = client.source();
        move || {
            let limit = ConnectionLimit::WriteTimeout;
            serving.limited.ended(limit, &listener, source);
        }
    };
    let on_stall: Arc<dyn Fn() + Send + Sync> = Arc::new(on_stall);
    let streams = Streams::new(serving.limits.write_timeout, Arc::clone(&on_stall));
    let (pipeline, begun) = (Arc::clone(serving), streams.clone());
    let service = service_fn(move |request| {
        let (pipeline, origin) = (Arc::clone(&pipeline), origin.clone());
        let flow = begun.begin();
        // Boxed: hyper and the runtime pass it on, and move it each time.
        Box::pin(async move {
            let answer = pipeline.pipeline.handle_http2(request, &origin).await;
            answer.map(|answer| answer.map(|body| Paced::new(body, flow)))
        })
    });
    let mut connection = pin!(
        http2::Builder::new(streams)
            .max_concurrent_streams(settings.max_streams)
            .max_header_list_size(head_max)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_local_error_reset_streams(RESETS_BY_CODEC_MAX)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut timer = Timer::new(clock::monotonic() + serving.limits.header_timeout);
    let draining = serving.pipeline.draining();
    let mut drain_begun = pin!(draining.begun());
    let mut linger_until = None;
    let mut told_to_go = false;
    loop {
        tokio::select! {
            biased;
            () = &mut drain_begun, if linger_until.is_none() => {
                linger_until = Some(clock::monotonic() + serving.linger.max(LAST_WORDS));
                timer.look_again_at(clock::monotonic());
                // GOAWAY, once with the highest stream there can be and, when the client has taken note, with the last one that is
                // answered (RFC 9113 section 6.8).
                connection.as_mut().graceful_shutdown();
            }
            () = carried_enough(&activity, settings.keep_alive_requests), if !told_to_go => {
                told_to_go = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = timer.elapsed(&activity, &serving.limits, linger_until) => {
                match activity.judge(clock::monotonic(), &serving.limits, linger_until) {
                    Judgement::Wait(until) => timer.look_again_at(until),
                    // Of HTTP/1.1 only.
                    Judgement::Park => {}
                    Judgement::Cut => return on_stall(),
                    Judgement::Close | Judgement::TimedOut => {
                        connection.as_mut().graceful_shutdown();
                        // It may have begun a request just now, which is answered; one that is slow to end says no more.
                        while tokio::time::timeout(LAST_WORDS, &mut connection).await.is_err()
                            && activity.phase() == Phase::Busy
                        {}
                        return;
                    }
                }
            }
        }
    }
}

/// Returns when a connection has carried so many requests as it may. Nobody need wake it: they begin where the connection is served.
fn carried_enough(activity: &Activity, limit: Option<u32>) -> impl Future<Output = ()> {
    poll_fn(move |_| {
        if activity.has_carried(limit) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
}

/// Serves each stream in a task of its own, for as long as its client takes what it is sent.
#[derive(Clone)]
struct Streams {
    /// Of the stream that hyper has just begun: it makes the answer, then asks for the task.
    begun: Arc<Mutex<Option<Flow>>>,
    write_timeout: Duration,
    on_stall: Arc<dyn Fn() + Send + Sync>,
}

impl Streams {
    fn new(write_timeout: Duration, on_stall: Arc<dyn Fn() + Send + Sync>) -> Self {
        let begun = Arc::default();
        Self {
            begun,
            write_timeout,
            on_stall,
        }
    }

    fn begin(&self) -> Flow {
        let flow = Flow::default();
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(flow.clone());
        flow
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, serving: F) {
        let begun = self
            .begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let flow = begun.unwrap_or_default();
        let on_stall = Arc::clone(&self.on_stall);
        tokio::spawn(Stalling::new(serving, flow, self.write_timeout, on_stall));
    }
}

/// A stream whose frames are looked at on their way to the codec.
#[derive(Debug)]
struct Framed<T> {
    watched: Watched<T>,
    frames: Frames,
    /// What follows the frames of an offender in the place of those that it sends; none while all is well.
    instead: Option<Instead>,
    /// All was said.
    linger: Option<Linger>,
}

/// The rest of the frame that the codec is in, which counts for nothing, and a frame that it refuses.
#[derive(Debug)]
struct Instead {
    zeros: usize,
    poison: &'static [u8],
}

impl<T> Framed<T> {
    fn new(watched: Watched<T>) -> Self {
        Self {
            watched,
            frames: Frames::default(),
            instead: None,
            linger: None,
        }
    }
}

impl Instead {
    /// Puts what there is room for; nothing when all was said.
    fn put(&mut self, buffer: &mut ReadBuf<'_>) {
        let zeros = self.zeros.min(buffer.remaining());
        buffer.initialize_unfilled_to(zeros).fill(0);
        buffer.advance(zeros);
        self.zeros -= zeros;
        let (now, later) = self
            .poison
            .split_at(self.poison.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.poison = later;
    }
}

impl<T: ClientStream> AsyncRead for Framed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(instead) = &mut this.instead {
            instead.put(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(this.watched.poll_bytes(context, buffer))?;
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        let passed = this.frames.pass(arrived, clock::monotonic());
        this.watched.activity.set_midway(this.frames.is_midway());
        if let Err((offence, end)) = passed {
            tracing::debug!(%offence, "a connection is ended");
            buffer.set_filled(before + end);
            this.instead = Some(Instead {
                zeros: this.frames.payload_left(),
                poison: POISON,
            });
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: ClientStream> AsyncWrite for Framed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.watched).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.watched).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.watched.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.watched).poll_flush(context)
    }

    /// Says that nothing more comes, and listens for a while, so that no reset overtakes GOAWAY.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.watched).poll_shutdown(context))?;
        }
        let linger = this
            .linger
            .get_or_insert_with(|| Linger::new(LAST_WORDS, LINGER_MAX));
        linger
            .poll(context, |context, buffer| {
                this.watched.poll_bytes(context, buffer)
            })
            .map(Ok)
    }
}
