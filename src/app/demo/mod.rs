//! The small JSON service that destrier carries, so that a fresh checkout has something real to protect.
//!
//! Its routes are an inspection kit as well: whoever tests a proxy, a client or a rule sees what arrived.

mod answers;
mod events;
mod faults;
mod websocket;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use answers::Body;
use futures_util::future::Either;
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Boot;
use crate::app::{BoxError, Draining, RequestBody};
use websocket::Talk;

/// The demo application.
#[derive(Debug, Clone)]
pub struct Demo {
    routes: Arc<matchit::Router<Route>>,
}

#[derive(Debug, Clone, Copy)]
enum Route {
    Home,
    Hello,
    Me,
    Admin,
    Echo,
    Count,
    Headers,
    Status,
    Stream,
    Events,
    Big,
    Slow,
    Hints,
    Pid,
    WsEcho,
    WsHeaders,
    WsClose,
    WsBig,
    WsEvents,
    Crash,
    Hang,
    Leak,
    Exit,
    Stuck,
}

const ROUTES: [(&str, Route); 19] = [
    ("/", Route::Home),
    ("/hello", Route::Hello),
    ("/me", Route::Me),
    ("/admin", Route::Admin),
    ("/echo", Route::Echo),
    ("/count", Route::Count),
    ("/headers", Route::Headers),
    ("/status/{code}", Route::Status),
    ("/stream", Route::Stream),
    ("/events", Route::Events),
    ("/big", Route::Big),
    ("/slow", Route::Slow),
    ("/hints", Route::Hints),
    ("/pid", Route::Pid),
    ("/ws/echo", Route::WsEcho),
    ("/ws/headers", Route::WsHeaders),
    ("/ws/close", Route::WsClose),
    ("/ws/big", Route::WsBig),
    ("/ws/events", Route::WsEvents),
];

/// Only with `app.faults`.
const FAULTS: [(&str, Route); 5] = [
    ("/fault/crash", Route::Crash),
    ("/fault/hang", Route::Hang),
    ("/fault/leak", Route::Leak),
    ("/fault/exit", Route::Exit),
    ("/fault/stuck", Route::Stuck),
];

/// Boots it, in a worker.
///
/// # Errors
/// None in practice: its routes are fixed.
#[expect(clippy::needless_pass_by_value, reason = "the shape of an `App`")]
pub fn boot(boot: Boot) -> Ready<Result<Demo, BoxError>> {
    ready(routes(&boot).map(|routes| Demo {
        routes: Arc::new(routes),
    }))
}

fn routes(boot: &Boot) -> Result<matchit::Router<Route>, BoxError> {
    let mut routes = matchit::Router::new();
    let faults: &[_] = if boot.config.app.faults { &FAULTS } else { &[] };
    for (path, route) in ROUTES.iter().chain(faults) {
        routes.insert(*path, *route)?;
    }
    Ok(routes)
}

impl tower_service::Service<Request<RequestBody>> for Demo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (route, code) = match self.routes.at(request.uri().path()) {
            Ok(found) => (
                Some(*found.value),
                found.params.get("code").map(str::to_owned),
            ),
            Err(_) => (None, None),
        };
        match route {
            Some(route) => answer(route, code.as_deref(), request),
            None => at_once(answers::not_found()),
        }
    }
}

/// An answer that is there, or one that takes time: memory is for the second.
type Answering = Either<Ready<Answered>, Pin<Box<dyn Future<Output = Answered> + Send>>>;
type Answered = Result<Response<Body>, Infallible>;

fn at_once(answer: Response<Body>) -> Answering {
    Either::Left(ready(Ok(answer)))
}

fn in_time(answer: impl Future<Output = Response<Body>> + Send + 'static) -> Answering {
    Either::Right(Box::pin(async { Ok(answer.await) }))
}

fn answer(route: Route, code: Option<&str>, request: Request<RequestBody>) -> Answering {
    if !allows(route, request.method()) {
        return at_once(answers::method_not_allowed());
    }
    at_once(match route {
        Route::Home => answers::home(),
        Route::Hello => answers::hello(),
        Route::Me => answers::me(&request),
        Route::Admin => answers::admin(&request),
        Route::Echo => return in_time(answers::echo(request)),
        Route::Count => return in_time(answers::count(request)),
        Route::Headers => answers::headers(&request),
        Route::Status => match code
            .and_then(|code| code.parse().ok())
            .and_then(final_status)
        {
            Some(status) => answers::status(status),
            None => answers::bad_request("the status must be 200 to 599"),
        },
        Route::Stream => with_query(&request, |query: Stream| {
            answers::stream(Duration::from_millis(query.ms), query.n, query.size)
        }),
        Route::Events => with_query(&request, |query: Events| {
            let (every, draining) = paced(&query, &request);
            events::stream(every, draining)
        }),
        Route::Big => with_query(&request, |query: Big| answers::big(query.n)),
        Route::Slow => match query(&request) {
            Ok(Slow { ms }) => return in_time(answers::slow(ms)),
            Err(refused) => refused,
        },
        Route::Hints => match query(&request) {
            Ok(Slow { ms }) => {
                return in_time(async move { answers::hints(&request, ms).await });
            }
            Err(refused) => refused,
        },
        Route::Pid => answers::pid(),
        Route::WsEcho => websocket::open(request, Talk::Echo),
        Route::WsHeaders => {
            let talk = Talk::headers(&request);
            websocket::open(request, talk)
        }
        Route::WsClose => match query(&request) {
            Ok(close) => websocket::open(request, Talk::Close(close)),
            Err(refused) => refused,
        },
        Route::WsBig => match query(&request).map(|query: Big| Talk::big(query.n)) {
            Ok(Some(talk)) => websocket::open(request, talk),
            Ok(None) => answers::too_big(),
            Err(refused) => refused,
        },
        Route::WsEvents => match query(&request) {
            Ok(query) => {
                let (every, draining) = paced(&query, &request);
                websocket::open(request, Talk::Events(every, draining))
            }
            Err(refused) => refused,
        },
        Route::Crash => faults::crash(),
        Route::Hang => faults::hang(),
        Route::Leak => with_query(&request, |query: Leak| faults::leak(query.mb)),
        Route::Exit => with_query(&request, |query: Exit| faults::exit(query.code)),
        Route::Stuck => match query(&request) {
            Ok(Stuck { ms }) => return in_time(faults::stuck(request, ms)),
            Err(refused) => refused,
        },
    })
}

/// How often something is said, and what tells the end; nothing does where it shall be deaf.
fn paced(query: &Events, request: &Request<RequestBody>) -> (Duration, Option<Draining>) {
    let draining = request.extensions().get::<Draining>().cloned();
    let draining = draining.filter(|_| query.deaf == 0);
    (Duration::from_millis(query.ms), draining)
}

/// What reads takes GET and HEAD; what takes a body takes every method.
fn allows(route: Route, method: &Method) -> bool {
    match route {
        Route::Echo | Route::Count | Route::Headers | Route::Status => true,
        Route::Home
        | Route::Hello
        | Route::Me
        | Route::Admin
        | Route::Stream
        | Route::Events
        | Route::Big
        | Route::Slow
        | Route::Hints
        | Route::Pid
        | Route::WsEcho
        | Route::WsHeaders
        | Route::WsClose
        | Route::WsBig
        | Route::WsEvents
        | Route::Crash
        | Route::Hang
        | Route::Leak
        | Route::Exit
        | Route::Stuck => matches!(*method, Method::GET | Method::HEAD | Method::POST),
    }
}

/// An informational status is no answer (RFC 9110 section 15.2).
fn final_status(code: u16) -> Option<StatusCode> {
    (200..600)
        .contains(&code)
        .then(|| StatusCode::from_u16(code).ok())
        .flatten()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Stream {
    /// Milliseconds from chunk to chunk.
    ms: u64,
    /// How many chunks.
    n: u64,
    /// How many bytes of noise each has beside its number, at most a MiB.
    size: u32,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            ms: 0,
            n: 10,
            size: 0,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Events {
    /// Milliseconds from event to event.
    ms: u64,
    /// 1: the stream does not end by itself when its worker goes.
    deaf: u8,
}

impl Default for Events {
    fn default() -> Self {
        Self { ms: 1000, deaf: 0 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Big {
    /// Bytes.
    n: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    /// Milliseconds.
    ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leak {
    /// Mebibytes.
    mb: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exit {
    #[serde(default)]
    code: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stuck {
    /// Milliseconds; for ever when absent.
    ms: Option<u64>,
}

fn with_query<Q: DeserializeOwned>(
    request: &Request<RequestBody>,
    answer: impl FnOnce(Q) -> Response<Body>,
) -> Response<Body> {
    query(request).map_or_else(|refused| refused, answer)
}

#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn query<Q: DeserializeOwned>(request: &Request<RequestBody>) -> Result<Q, Response<Body>> {
    serde_urlencoded::from_str(request.uri().query().unwrap_or(""))
        .map_err(|error| answers::bad_request(&error.to_string()))
}
