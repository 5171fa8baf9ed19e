//! The way of one request, in order: request id, scoreboard, its head, the token service, token and rules, path, forged fields,
//! whether workers died of it, application, answer.

mod access;
pub mod activity;
mod admit;
mod answer_time;
mod asked;
mod body;
mod call;
mod client_certificate;
mod compression;
mod date;
mod dress;
mod executed;
mod files;
mod fingerprint;
mod forged;
mod forwarded;
pub mod fresh_keys;
mod head;
pub mod http2;
mod identity_fields;
mod in_progress;
mod malformed;
mod origin;
mod places;
mod probe;
mod refuse;
mod reply;
mod span;
mod stream;
mod target;
mod throttle;
mod token_service;
mod told;
mod trace_context;
mod track;
mod unserved;
pub mod websocket;
pub mod wire;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use access::Access;
use asked::Asked;
pub use body::ResponseBody;
use bytes::Bytes;
use call::Called;
pub use client_certificate::ClientCertificates;
pub use compression::Policy;
pub use files::Folders;
pub use forwarded::Forwarding;
use fresh_keys::FreshKeys;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
pub use in_progress::InProgress;
pub use origin::Origin;
use places::Places;
pub use places::PlacesSettings;
pub use probe::{Probe, Probed};
pub use reply::needs_tls;
use span::OpenSpan;
use tokio::sync::Notify;
use told::Told;
pub use trace_context::TraceContext;
use track::Track;
use unserved::Unserved;

use crate::access_log::AccessLog;
use crate::app::{AppService, Arriving, BodyEnd, BodyPace, Client, Draining, RequestBody, Witness};
use crate::auth::{Guard, Passed};
use crate::config::{Headers, TraceContexts};
use crate::rate_limit::RateLimits;
use crate::replay::ReplayCache;
use crate::scoreboard::{RequestId, SeatWriter};
use crate::sys::clock;
use crate::telemetry::Recorder;
use crate::tokens;
use malformed::Malformed;
use stream::StreamEnd;

/// The field in which an answer has the id of its request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every request of one worker goes through.
#[derive(Debug)]
pub struct Pipeline<S> {
    guard: Arc<Guard>,
    fresh_keys: Arc<FreshKeys>,
    tokens: Option<Box<tokens::Service>>,
    app: S,
    seat: SeatWriter,
    replay: Option<Arc<ReplayCache>>,
    rates: Option<Box<RateLimits>>,
    witness: Option<Arc<dyn Witness>>,
    unserved: Unserved,
    places: Places,
    settings: Settings,
    /// Wakes whoever waits for the worker to have served enough.
    served_out: Notify,
    /// Wakes whoever waits for a request to be stuck.
    stuck: Arc<Notify>,
    /// Once it begins, answers say `Connection: close` where nobody goes on with the connection.
    draining: Draining,
    told: Told,
    id_high: u64,
    id_low: AtomicU64,
}

/// What concerns every request of a worker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The worker's number, for logs.
    pub worker: u64,
    /// So many requests are enough for one connection.
    pub keep_alive_requests: Option<u32>,
    /// How each request gets a line in the access log; absent: it gets none.
    pub access_log: Option<Arc<AccessLog>>,
    /// So many requests are enough for one worker.
    pub max_requests: Option<u64>,
    /// The path on which this worker says whether the server wants requests.
    pub readiness_path: Option<String>,
    /// From the drain until event streams are ended.
    pub stream_grace: Duration,
    /// How many bytes a message may have that a client sends on a WebSocket.
    pub max_message: u64,
    /// Whether a request that ended workers again and again is blocked for a while.
    pub poison_guard: bool,
    /// Whose word on the trace of a request counts.
    pub trace_context: TraceContexts,
    /// Who takes the spans of requests; absent: nobody.
    pub recorder: Option<Arc<dyn Recorder>>,
    /// What proxies say of their clients.
    pub forwarding: Forwarding,
    /// Whose word on the certificates of clients counts.
    pub client_certificates: ClientCertificates,
    /// How large a request may be.
    pub bounds: wire::Bounds,
    /// How many bytes its body may have where no rule decides.
    pub max_body: u64,
    /// How slowly it may come.
    pub body_pace: BodyPace,
    /// How many requests the application works on at once, and how many wait for that.
    pub places: PlacesSettings,
    /// Folders whose files are answers.
    pub folders: Folders,
    /// Which answers are compressed.
    pub compression: Policy,
    /// What every answer says that does not say otherwise.
    pub headers: Headers,
}

/// What a worker shares with others, and with the master.
#[derive(Debug)]
pub struct Shared {
    /// Where it says what it does.
    pub seat: SeatWriter,
    /// The proofs that were shown to any worker; absent where no issuer asks for proofs.
    pub replay: Option<Arc<ReplayCache>>,
    /// What clients have used of the rates of its rules; absent where no rule has one.
    pub rates: Option<Box<RateLimits>>,
    /// Who knows what the threads of the application do; absent where it has none.
    pub witness: Option<Arc<dyn Witness>>,
}

impl<S: AppService> Pipeline<S> {
    /// Of a worker: `request_ids` is a random number that no other worker has.
    pub fn new(
        (guard, fresh_keys): (Arc<Guard>, Arc<FreshKeys>),
        tokens: Option<Box<tokens::Service>>,
        app: S,
        Shared {
            seat,
            replay,
            rates,
            witness,
        }: Shared,
        settings: Settings,
        request_ids: u64,
    ) -> Self {
        let draining = Draining::default();
        let places = Places::new(settings.places, seat.clone());
        Self {
            guard,
            fresh_keys,
            tokens,
            app,
            seat,
            replay,
            rates,
            witness,
            unserved: Unserved::new(),
            places,
            settings,
            served_out: Notify::new(),
            stuck: Arc::new(Notify::new()),
            told: Told::new(draining.clone()),
            draining,
            id_high: request_ids,
            id_low: AtomicU64::new(1),
        }
    }

    /// From now on each answer ends its connection (RFC 9112 section 9.6), unless another worker goes on with it, and event streams end after their grace.
    pub fn start_draining(&self) {
        self.draining.begin(clock::monotonic());
    }

    /// Whether that is so.
    pub fn draining(&self) -> &Draining {
        &self.draining
    }

    /// Returns when `max_requests` have begun.
    pub async fn served_out(&self) {
        self.served_out.notified().await;
    }

    /// Returns when a request is stuck: its client was answered with 504, and the application works on.
    pub async fn stuck(&self) {
        self.stuck.notified().await;
    }

    /// Answers one request. Whatever goes wrong is an answer too.
    ///
    /// # Errors
    /// None; the type is what hyper asks for.
    pub async fn handle(
        &self,
        mut request: Request<Arriving>,
        origin: &Origin,
    ) -> Result<Response<ResponseBody<S::Body>>, Infallible> {
        let id = self.next_id();
        let has_body = !request.body().is_end_stream();
        let is_old = request.version() < Version::HTTP_11;
        origin.activity.set_end_is_a_close(is_old);
        origin.activity.begin_request(has_body);
        let forwarding = &self.settings.forwarding;
        let (client, id) = forwarding.take(request.headers_mut(), origin, id);
        let tracing = (self.settings.trace_context, self.settings.recorder.as_ref());
        let id = trace_context::begin(&mut request, id, tracing, origin.is_proxy);
        let mut track = self.track(&id, &request, origin, client);
        let (mut head, body) = request.into_parts();
        let body_end = origin.activity.body_end(has_body);
        let is_optional = has_body
            && match head.version {
                Version::HTTP_11 => head.headers.contains_key(EXPECT),
                version => version > Version::HTTP_11,
            };
        let pace = self.settings.body_pace;
        let body = RequestBody::new(body, body_end.clone(), is_optional, pace);
        let mut body = body.counted_by(&self.seat);
        if let Some(answer) =
            self.answer_without_rule(&head, &id, client.is_https || origin.is_proxy)
        {
            drop(body);
            return Ok(self.answer(Err(answer), track, &id, &body_end));
        }
        // The service's own routes are judged by no rule; without a service this is one comparison.
        if let Some(tokens) = &self.tokens
            && let Some(endpoint) = tokens.endpoint(head.uri.path())
        {
            let asked = token_service::Asked {
                endpoint,
                head,
                id,
                client,
            };
            // Boxed: the memory of every connection would else have room for a login.
            let response = Box::pin(token_service::answer(tokens, asked, body)).await;
            return Ok(self.answer(Err(response), track, &id, &body_end));
        }
        let answer = match self.admit(&mut head, (origin, client), &mut track).await {
            Err(refusal) => {
                drop(body);
                Err(self.refuse(&refusal, head.method.as_str(), head.uri.path(), &id))
            }
            Ok(Passed {
                claims,
                proof: _,
                audited,
                request_timeout,
                max_body,
                rule,
            }) => {
                body.set_limit(max_body.unwrap_or(self.settings.max_body));
                if let Some(refusal) = audited {
                    self.note_audit(&refusal, &head, &id);
                }
                let throttled = self.throttled(rule, claims.as_deref(), &head, client, &id);
                let blocked =
                    throttled.or_else(|| self.blocked(&head, claims.as_deref(), &track, &id));
                if let Some(claims) = &claims {
                    track.asked.is_authenticated = true;
                    track.claims(claims);
                }
                if let Some(response) = blocked {
                    drop(body);
                    Err(response)
                } else if body.is_too_large() {
                    drop(body);
                    let (method, path) = (head.method.as_str(), head.uri.path());
                    Err(self.refuse_malformed(Malformed::BodyTooLarge, method, path, &id))
                } else {
                    if let Some(file) = self.file(&head, request_timeout, &id).await {
                        drop(body);
                        return Ok(self.answer_with_file(file, track, &id, &body_end));
                    }
                    self.told.begin(&mut head.extensions);
                    if let Some(claims) = claims {
                        head.extensions.insert(claims);
                    }
                    head.extensions.insert(id);
                    origin.describe_in(&mut head.extensions, client);
                    if head.version == Version::HTTP_11 {
                        head.extensions.insert(origin.activity.early_hints());
                    }
                    self.ask_upgrade(&mut head, &origin.activity.upgrade);
                    if let Some(in_progress) = track.in_progress() {
                        head.extensions.insert(in_progress);
                    }
                    let request = Request::from_parts(head, body);
                    let called = Called {
                        id: &id,
                        limit: request_timeout,
                        rule,
                        activity: &origin.activity,
                        body_end: &body_end,
                    };
                    // Pinned where it is made: to be awaited it would be moved once more.
                    pin!(self.call(request, called, &mut track)).await
                }
            }
        };
        Ok(self.answer(answer, track, &id, &body_end))
    }

    /// The answer to what is malformed, and to what neither a rule nor the application decides about.
    fn answer_without_rule(
        &self,
        head: &http::request::Parts,
        id: &RequestId,
        is_secure: bool,
    ) -> Option<Response<Bytes>> {
        let (method, path) = (&head.method, head.uri.path());
        if let Err(malformed) = head::check(head, &self.settings.bounds, is_secure) {
            return Some(self.refuse_malformed(malformed, method.as_str(), path, id));
        }
        if path == "*" {
            return Some(reply::options());
        }
        if self.settings.readiness_path.as_deref() == Some(path) {
            return Some(reply::readiness(method, !self.seat.stop_is_announced()));
        }
        let document = self.guard.metadata_at(path)?;
        Some(reply::metadata(method, document))
    }

    /// The application's answer, or ours, as it goes out.
    fn answer(
        &self,
        answer: Result<Response<S::Body>, Response<Bytes>>,
        mut track: Track,
        id: &RequestId,
        body_end: &BodyEnd,
    ) -> Response<ResponseBody<S::Body>> {
        let answer = self.answer_upgrade(answer, track.upgrade(), id);
        let (closes, asked) = (self.closes(&track, body_end), track.asked);
        let response = match answer {
            // RFC 9110 section 15.3.6: without content, which hyper would send.
            Ok(response) if response.status() == StatusCode::RESET_CONTENT => {
                track.answered(&response);
                response.map(|_| ResponseBody::own(Bytes::new(), track))
            }
            Ok(response) => {
                track.answered(&response);
                let is_event_stream = stream::is_event_stream(response.headers());
                if stream::is_lasting(response.status(), is_event_stream) {
                    track.leave_place();
                }
                let end = is_event_stream
                    .then(|| StreamEnd::new(&self.draining, self.settings.stream_grace));
                response.map(|body| ResponseBody::of_app(body, end, track))
            }
            Err(response) => {
                track.answered(&response);
                response.map(|bytes| ResponseBody::own(bytes, track))
            }
        };
        self.finish(response, id, closes, asked)
    }

    /// Whether the answer is the last one of its connection.
    fn closes(&self, track: &Track, body_end: &BodyEnd) -> bool {
        body_end.is_given_up()
            || (self.draining.is_draining() && !track.connection_goes_on())
            || track.connection_has_carried(self.settings.keep_alive_requests)
    }

    fn track(
        &self,
        id: &RequestId,
        request: &Request<Arriving>,
        origin: &Origin,
        client: Client,
    ) -> Track {
        let started = clock::monotonic();
        let (method, path) = (request.method(), request.uri().path());
        let in_flight = self.seat.begin(id, method.as_str(), path, started);
        let access = Access::begin(self.settings.access_log.as_ref(), request, (origin, client));
        let asked = Asked::of(request, (origin, client), &self.settings.compression);
        let span = OpenSpan::begin(self.settings.recorder.as_ref(), request, client);
        let activity = Arc::clone(&origin.activity);
        Track::begin(*id, started, activity, in_flight, (access, span), asked)
    }

    fn finish(
        &self,
        response: Response<ResponseBody<S::Body>>,
        id: &RequestId,
        closes: bool,
        asked: Asked,
    ) -> Response<ResponseBody<S::Body>> {
        let mut response = dress::dressed(response, asked, &self.settings);
        let closes = closes || (asked.version == Version::HTTP_10 && !dress::has_length(&response));
        if closes && asked.version == Version::HTTP_10 {
            // hyper would add `keep-alive`.
            *response.version_mut() = asked.version;
        }
        self.seat.answered(response.status().as_u16());
        let has_no_content = response.status() == StatusCode::NO_CONTENT
            || response.status() == StatusCode::RESET_CONTENT;
        let options = reply::connection(response.status(), closes);
        let headers = response.headers_mut();
        if has_no_content {
            // RFC 9110 section 8.6: nor does it have a length; hyper says 0 of a 205.
            headers.remove(CONTENT_LENGTH);
            headers.remove(TRANSFER_ENCODING);
        }
        if let Ok(id) = id.written(HeaderValue::from_bytes) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(options) = options {
            headers.insert(CONNECTION, HeaderValue::from_static(options));
        }
        response
    }
}
