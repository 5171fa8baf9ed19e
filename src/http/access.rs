//! What the access log shall say of one request, gathered on its way.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderName, Method, Request, Response, StatusCode, Version};

use super::Origin;
use super::dress::stated_length;
use super::trace_context::TraceContext;
use crate::access_log::{AccessLog, Entry};
use crate::app::Client;
use crate::auth::{Claims, Refusal};
use crate::scoreboard::RequestId;
use crate::sys::clock;
use crate::tls::Encryption;

/// Of a request whose client was gone before it was answered, as nginx has it; nobody was sent it.
const CLIENT_GONE: u16 = 499;

/// What is known of a request so far.
#[derive(Debug)]
pub(super) struct Access {
    log: Arc<AccessLog>,
    client: Option<IpAddr>,
    tls: Option<Encryption>,
    trace: Option<TraceContext>,
    method: Method,
    version: Version,
    texts: Texts,
    claims: Option<Arc<Claims>>,
    rule: Option<usize>,
    refused: Option<Refused>,
    status: u16,
    bytes: u64,
    /// As the head of the answer says.
    length: Option<u64>,
    /// When the application was called, monotonic, and how long it took to begin its answer.
    app_called: Duration,
    app: Duration,
    is_whole: bool,
}

/// Why a request was refused: on its answer, so that it is on the line too.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    code: &'static str,
    reason: String,
}

impl Refused {
    pub(super) fn new(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code,
            reason: refusal.reason.clone(),
        }
    }

    pub(super) fn for_reason(code: &'static str, reason: &str) -> Self {
        let reason = reason.to_owned();
        Self { code, reason }
    }
}

/// Texts of the head, in one piece of memory: the application gets the head itself.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    host: Option<Range<usize>>,
    user_agent: Option<Range<usize>>,
    referer: Option<Range<usize>>,
}

impl Texts {
    fn add(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        start..self.bytes.len()
    }

    fn of(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    fn of_some(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        range.map(|range| self.of(range))
    }
}

impl Access {
    /// Of a request that has just begun; none where it gets no line.
    pub(super) fn begin<B>(
        log: Option<&Arc<AccessLog>>,
        request: &Request<B>,
        (origin, client): (&Origin, Client),
    ) -> Option<Box<Self>> {
        let log = log?;
        let (uri, fields) = (request.uri(), request.headers());
        if !log.is_for(uri.path()) {
            return None;
        }
        let of_field = |name: HeaderName| fields.get(name).map(http::HeaderValue::as_bytes);
        let query = uri.query().and_then(|query| log.query(query));
        let referer = of_field(REFERER).map(|referer| log.referer(referer));
        // A request of HTTP/2 need not have the field.
        let authority = uri
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        let mut texts = Texts::default();
        texts.path = texts.add(uri.path().as_bytes());
        texts.query = query.map(|query| texts.add(query.as_bytes()));
        texts.host = of_field(HOST).or(authority).map(|host| texts.add(host));
        texts.user_agent = of_field(USER_AGENT).map(|agent| texts.add(agent));
        texts.referer = referer.map(|referer| texts.add(&referer));
        Some(Box::new(Self {
            log: Arc::clone(log),
            client: client.address,
            tls: origin.encryption,
            trace: request.extensions().get().copied(),
            method: request.method().clone(),
            version: request.version(),
            texts,
            claims: None,
            rule: None,
            refused: None,
            status: CLIENT_GONE,
            bytes: 0,
            length: None,
            app_called: Duration::ZERO,
            app: Duration::ZERO,
            is_whole: false,
        }))
    }

    pub(super) fn decided_by(&mut self, rule: Option<usize>) {
        self.rule = rule;
    }

    pub(super) fn claims(&mut self, claims: &Arc<Claims>) {
        self.claims = Some(Arc::clone(claims));
    }

    /// The application is called.
    pub(super) fn app_begins(&mut self) {
        self.app_called = clock::monotonic();
    }

    /// It has begun its answer, or has not in time.
    pub(super) fn app_ends(&mut self) {
        self.app = clock::monotonic().saturating_sub(self.app_called);
    }

    /// The head of the answer is known.
    pub(super) fn answered<B>(&mut self, response: &Response<B>) {
        self.status = response.status().as_u16();
        self.refused = response.extensions().get().cloned();
        let has_content =
            self.method != Method::HEAD && !matches!(self.status, 100..=199 | 204 | 205 | 304);
        self.length = if has_content {
            stated_length(response.headers())
        } else {
            Some(0)
        };
    }

    /// So many bytes it has, where that is known and its head does not say it.
    pub(super) fn will_send(&mut self, bytes: Option<u64>) {
        self.length = self.length.or(bytes);
    }

    /// It has as many bytes as come of it.
    pub(super) fn compresses(&mut self) {
        self.length = None;
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Nothing is left of the answer.
    pub(super) fn whole(&mut self) {
        self.is_whole = true;
    }

    /// Writes the line; `started` is monotonic.
    pub(super) fn write(&self, id: RequestId, started: Duration, queued: Duration) {
        let duration = clock::monotonic().saturating_sub(started);
        let texts = &self.texts;
        let claims = self.claims.as_deref();
        let is_whole = self.is_whole || self.length.is_some_and(|length| self.bytes >= length);
        let trace_id = self.trace.as_ref().map(TraceContext::trace_id);
        let span_id = self.trace.as_ref().map(TraceContext::span_id);
        self.log.write(&Entry {
            time: clock::unix().saturating_sub(duration),
            request_id: &id,
            client: self.client,
            method: self.method.as_str().as_bytes(),
            host: texts.of_some(texts.host.as_ref()),
            path: texts.of(&texts.path),
            query: texts.of_some(texts.query.as_ref()),
            version: Some(self.version),
            status: self.status,
            bytes: self.bytes,
            duration,
            app: self.app,
            queued,
            subject: claims.and_then(Claims::subject),
            issuer: claims.and_then(Claims::issuer),
            rule: self.rule.and_then(|rule| self.log.rule(rule)),
            refusal: self.refused.as_ref().map(|refused| refused.code),
            reason: self.refused.as_ref().map(|refused| &*refused.reason),
            user_agent: texts.of_some(texts.user_agent.as_ref()),
            referer: texts.of_some(texts.referer.as_ref()),
            tls: self.tls.and_then(Encryption::version),
            trace_id: trace_id.as_deref(),
            span_id: span_id.as_deref(),
            aborted: self.status == CLIENT_GONE || !is_whole,
        });
    }
}

/// A request whose head hyper has not seen, or that was answered without its knowledge.
pub(super) struct Unread<'a> {
    pub(super) id: RequestId,
    /// When it was known to be none, monotonic.
    pub(super) started: Duration,
    pub(super) origin: &'a Origin,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) version: Option<Version>,
}

impl Unread<'_> {
    /// Writes its line.
    pub(super) fn write(&self, log: &AccessLog, answer: &Response<Bytes>) {
        if !log.is_for(self.path) {
            return;
        }
        let refused: Option<&Refused> = answer.extensions().get();
        let has_content = self.method != "HEAD" && self.version != Some(Version::HTTP_2);
        let duration = clock::monotonic().saturating_sub(self.started);
        log.write(&Entry {
            time: clock::unix().saturating_sub(duration),
            request_id: &self.id,
            client: self.origin.client().address,
            method: self.method.as_bytes(),
            host: None,
            path: self.path.as_bytes(),
            query: None,
            version: self.version,
            status: answer.status().as_u16(),
            bytes: if has_content {
                answer.body().len() as u64
            } else {
                0
            },
            duration,
            app: Duration::ZERO,
            queued: Duration::ZERO,
            subject: None,
            issuer: None,
            rule: None,
            refusal: refused.map(|refused| refused.code),
            reason: refused.map(|refused| &*refused.reason),
            user_agent: None,
            referer: None,
            tls: self.origin.encryption.and_then(Encryption::version),
            trace_id: None,
            span_id: None,
            aborted: false,
        });
    }

    /// Of a stream of HTTP/2 that is reset: nothing is sent, so that the status is what it would have been.
    pub(super) fn write_reset(&self, log: &AccessLog, reason: &str) {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        answer
            .extensions_mut()
            .insert(Refused::for_reason("invalid_request", reason));
        self.write(log, &answer);
    }
}
