//! What each route answers.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde_json::{Value, json};
use tokio::time::Interval;

use crate::app::{BoxError, Client, RequestBody};
use crate::auth::Claims;
use crate::tls::ClientCertificate;

/// The body of any answer.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The most that `/big` makes and `/echo` holds in memory.
pub(super) const BODY_MAX: usize = 64 << 20;

/// The most noise in a chunk of `/stream`.
const NOISE_MAX: u32 = 1 << 20;

pub(super) fn home() -> Response<Body> {
    let routes = [
        "/hello",
        "/me",
        "/admin",
        "/echo",
        "/count",
        "/headers",
        "/status/{code}",
        "/stream?ms=N&n=N&size=N",
        "/events?ms=N&deaf=1",
        "/big?n=N",
        "/slow?ms=N",
        "/hints?ms=N",
        "/pid",
        "/ws/echo",
        "/ws/headers",
        "/ws/close?code=N&reason=TEXT",
        "/ws/big?n=N",
        "/ws/events?ms=N&deaf=1",
    ];
    json(
        StatusCode::OK,
        &json!({ "application": "demo", "version": env!("CARGO_PKG_VERSION"), "routes": routes }),
    )
}

/// The least that an application can do, for benches.
pub(super) fn hello() -> Response<Body> {
    json_of(
        StatusCode::OK,
        Bytes::from_static(br#"{"message":"hello"}"#),
    )
}

pub(super) fn me(request: &Request<RequestBody>) -> Response<Body> {
    let claims = request.extensions().get::<Arc<Claims>>();
    let subject = claims.and_then(|claims| claims.subject());
    json(
        StatusCode::OK,
        &json!({ "subject": subject, "claims": claims.map(|claims| claims.as_map()) }),
    )
}

pub(super) fn admin(request: &Request<RequestBody>) -> Response<Body> {
    let claims = request.extensions().get::<Arc<Claims>>();
    let subject = claims
        .and_then(|claims| claims.subject())
        .unwrap_or("anonymous");
    json(
        StatusCode::OK,
        &json!({ "message": format!("welcome, {subject}") }),
    )
}

/// The whole body back, with its content type.
pub(super) async fn echo(request: Request<RequestBody>) -> Response<Body> {
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let limited = http_body_util::Limited::new(request.into_body(), BODY_MAX);
    match limited.collect().await {
        Ok(body) => {
            let mut response = Response::new(full(body.to_bytes()));
            let content_type =
                content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        }
        Err(error) => unreadable(error.as_ref()),
    }
}

/// The length of the body, which may be longer than memory.
pub(super) async fn count(request: Request<RequestBody>) -> Response<Body> {
    let mut body = request.into_body();
    let mut length: u64 = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(error) => return unreadable(error.as_ref()),
        }
    }
    json(StatusCode::OK, &json!({ "length": length }))
}

/// The fields as the application sees them: names in lower case, several values as an array.
pub(super) fn headers(request: &Request<RequestBody>) -> Response<Body> {
    json(StatusCode::OK, &seen(request))
}

/// What arrived of a request.
pub(super) fn seen(request: &Request<RequestBody>) -> Value {
    let fields: BTreeMap<&str, Value> = request
        .headers()
        .keys()
        .map(|name| {
            let values = request.headers().get_all(name).iter();
            let mut values: Vec<Value> = values
                .map(|value| {
                    String::from_utf8_lossy(value.as_bytes())
                        .into_owned()
                        .into()
                })
                .collect();
            let value = if values.len() == 1 {
                values.remove(0)
            } else {
                Value::Array(values)
            };
            (name.as_str(), value)
        })
        .collect();
    let mut seen = json!({ "method": request.method().as_str(), "path": request.uri().path(), "query": request.uri().query(), "headers": fields });
    let extensions = request.extensions();
    let scheme = extensions.get::<Scheme>();
    let scheme = scheme.map(|scheme| ("scheme", json!(scheme.as_str())));
    let certificate = extensions.get::<ClientCertificate>().map(|shown| {
        let shown = json!({ "subject": shown.subject(), "names": shown.names() });
        ("client_certificate", shown)
    });
    let client = extensions.get::<Client>().map(|client| {
        let shown =
            json!({ "address": client.address, "port": client.port, "is_https": client.is_https });
        ("client", shown)
    });
    if let Some(seen) = seen.as_object_mut() {
        let more = scheme.into_iter().chain(certificate).chain(client);
        seen.extend(more.map(|(key, value)| (key.to_owned(), value)));
    }
    seen
}

pub(super) fn status(status: StatusCode) -> Response<Body> {
    // These two have no body (RFC 9110 sections 15.3.5 and 15.4.5).
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        let mut response =
            Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = status;
        return response;
    }
    json(status, &json!({ "status": status.as_u16() }))
}

/// A body whose length nobody knows beforehand, so it goes out in chunks.
pub(super) fn stream(every: Duration, count: u64, noise: u32) -> Response<Body> {
    let chunks = Chunks {
        next: 0,
        count,
        noise: noise.min(NOISE_MAX) as usize,
        ticks: (!every.is_zero()).then(|| tokio::time::interval(every)),
    };
    let mut response = Response::new(chunks.boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

pub(super) fn big(bytes: usize) -> Response<Body> {
    if bytes > BODY_MAX {
        return too_big();
    }
    let mut response = Response::new(full(Bytes::from(vec![b'x'; bytes])));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

pub(super) fn too_big() -> Response<Body> {
    bad_request(&format!("n must be at most {BODY_MAX}"))
}

pub(super) async fn slow(milliseconds: u64) -> Response<Body> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    json(StatusCode::OK, &json!({ "slept": milliseconds }))
}

/// Says at once what a page needs, and is itself ready after a while.
pub(super) async fn hints(request: &Request<RequestBody>, ms: u64) -> Response<Body> {
    let link = HeaderValue::from_static("</style.css>; rel=preload; as=style");
    let fields = http::HeaderMap::from_iter([(http::header::LINK, link)]);
    let hints = request.extensions().get::<crate::app::EarlyHints>();
    let sent = hints.map(|hints| hints.send(&fields).is_ok());
    tokio::time::sleep(Duration::from_millis(ms)).await;
    json(StatusCode::OK, &json!({ "sent": sent }))
}

pub(super) fn pid() -> Response<Body> {
    json(StatusCode::OK, &json!({ "pid": std::process::id() }))
}

pub(super) fn not_found() -> Response<Body> {
    json(
        StatusCode::NOT_FOUND,
        &json!({ "detail": "Not found.", "code": "not_found" }),
    )
}

pub(super) fn method_not_allowed() -> Response<Body> {
    let mut response = json(
        StatusCode::METHOD_NOT_ALLOWED,
        &json!({ "detail": "Method not allowed.", "code": "method_not_allowed" }),
    );
    response.headers_mut().insert(
        http::header::ALLOW,
        HeaderValue::from_static("GET, HEAD, POST"),
    );
    response
}

pub(super) fn bad_request(detail: &str) -> Response<Body> {
    json(
        StatusCode::BAD_REQUEST,
        &json!({ "detail": detail, "code": "bad_request" }),
    )
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Response<Body> {
    if error.is::<http_body_util::LengthLimitError>() {
        return json(
            StatusCode::PAYLOAD_TOO_LARGE,
            &json!({ "detail": "The body is too large.", "code": "too_large" }),
        );
    }
    bad_request("the body broke off")
}

pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    json_of(status, Bytes::from(value.to_string()))
}

fn json_of(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Frames one after the other, at once or at intervals.
struct Chunks {
    next: u64,
    count: u64,
    /// So many letters stand before the end of each line.
    noise: usize,
    ticks: Option<Interval>,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        if let Some(ticks) = self.ticks.as_mut() {
            ready!(ticks.poll_tick(context));
        }
        if self.next == self.count {
            return Poll::Ready(None);
        }
        let mut text = format!("chunk {}", self.next);
        text.extend(std::iter::repeat_with(fastrand::alphanumeric).take(self.noise));
        text.push('\n');
        self.next += 1;
        Poll::Ready(Some(Ok(http_body::Frame::data(text.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.count
    }
}
