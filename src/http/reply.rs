//! Answers that destrier gives in the application's place: a JSON body of the shape that users of Django REST Framework know.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE,
    DATE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, Response, StatusCode};

use super::{REQUEST_ID, date};
use crate::auth::Refusal;
use crate::scoreboard::RequestId;

/// The answer to a request that may not pass.
pub(super) fn refusal(refusal: &Refusal) -> Response<Bytes> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = json(status, refusal.detail, refusal.code);
    // A challenge is made of configured words; one that is no header value cannot be sent.
    if let Some(Ok(challenge)) = refusal.challenge.as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        // What would be served (RFC 6455 section 4.4, RFC 9110 section 15.5.22).
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // What is lacking may be there at any moment, and another proof has another place in the replay cache.
        let soon = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, soon);
    }
    response
}

/// What an answer says of its connection, where it says something of its own.
pub(super) fn connection(status: StatusCode, closes: bool) -> Option<&'static str> {
    match status {
        // The connection goes on, as a WebSocket: the application has said so.
        StatusCode::SWITCHING_PROTOCOLS => None,
        // The field `Upgrade` needs an option (RFC 9110 section 7.8).
        StatusCode::UPGRADE_REQUIRED if closes => Some("close, upgrade"),
        _ => closes.then_some("close"),
    }
}

/// The answer to a request on which the application failed.
pub(super) fn application_failed() -> Response<Bytes> {
    json(
        StatusCode::INTERNAL_SERVER_ERROR,
        "A server error occurred.",
        "error",
    )
}

/// The answer to a request on which the application took too long.
pub(super) fn request_timed_out() -> Response<Bytes> {
    json(
        StatusCode::GATEWAY_TIMEOUT,
        "The application did not answer in time.",
        "request_timed_out",
    )
}

/// The answer to a request whose head or body did not arrive in time.
pub(super) fn body_timeout() -> Response<Bytes> {
    closing(json(
        StatusCode::REQUEST_TIMEOUT,
        "The request did not arrive in time.",
        "request_timeout",
    ))
}

/// The answer to a request that may be tried again after `left` (RFC 9110 section 10.2.3: whole seconds).
pub(super) fn blocked(left: Duration) -> Response<Bytes> {
    let mut response = json(
        StatusCode::SERVICE_UNAVAILABLE,
        "The request cannot be served for now.",
        "blocked",
    );
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer to a client that makes too many requests: more are let pass after so many seconds. The words are those of Django REST
/// Framework.
pub(super) fn throttled(seconds: u32) -> Response<Bytes> {
    let plural = if seconds == 1 { "" } else { "s" };
    let detail = format!("Request was throttled. Expected available in {seconds} second{plural}.");
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, &detail, "throttled");
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

/// The answer to a request for which the application has no time.
pub(super) fn overloaded() -> Response<Bytes> {
    let mut response = json(
        StatusCode::SERVICE_UNAVAILABLE,
        "The server is overloaded.",
        "overloaded",
    );
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

/// The answer to a load balancer: whether the server wants requests.
pub(super) fn readiness(method: &Method, is_ready: bool) -> Response<Bytes> {
    let mut response = if !is_read(method) {
        only_read()
    } else if is_ready {
        json(StatusCode::OK, "The server is ready.", "ready")
    } else {
        json(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is about to stop.",
            "stopping",
        )
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a client that asks where it gets a token (RFC 9728 section 3.2). Pages of other sites may ask too.
pub(super) fn metadata(method: &Method, document: &str) -> Response<Bytes> {
    if !is_read(method) {
        return only_read();
    }
    let mut response = json_of(StatusCode::OK, document.to_owned());
    let anybody = HeaderValue::from_static("*");
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, anybody);
    response
}

/// The answer where there is no such file.
pub(super) fn not_found() -> Response<Bytes> {
    unreadable(StatusCode::NOT_FOUND)
}

/// The answer where a file cannot be read: 404, 500, or 503 where that will pass.
pub(super) fn unreadable(status: StatusCode) -> Response<Bytes> {
    match status {
        StatusCode::NOT_FOUND => json(status, "Not found.", "not_found"),
        StatusCode::SERVICE_UNAVAILABLE => overloaded(),
        _ => json(status, "The file could not be read.", "error"),
    }
}

/// The answer where the disk took too long.
pub(super) fn file_timed_out() -> Response<Bytes> {
    json(
        StatusCode::GATEWAY_TIMEOUT,
        "The file could not be read in time.",
        "request_timed_out",
    )
}

fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

pub(super) fn only_read() -> Response<Bytes> {
    let mut refusal = json(
        StatusCode::METHOD_NOT_ALLOWED,
        "Method not allowed.",
        "method_not_allowed",
    );
    let allowed = HeaderValue::from_static("GET, HEAD");
    refusal.headers_mut().insert(ALLOW, allowed);
    refusal
}

fn json(status: StatusCode, detail: &str, code: &str) -> Response<Bytes> {
    json_of(status, body(detail, code))
}

fn json_of(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn body(detail: &str, code: &str) -> String {
    serde_json::json!({ "detail": detail, "code": code }).to_string()
}

/// The same answer, as the last one of its connection.
pub(super) fn closing(mut answer: Response<Bytes>) -> Response<Bytes> {
    if let Some(options) = connection(answer.status(), true) {
        let options = HeaderValue::from_static(options);
        answer.headers_mut().insert(CONNECTION, options);
    }
    answer
}

/// The answer to `OPTIONS *`, which asks the whole server whether it is there (RFC 9110 section 9.3.7).
pub(super) fn options() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.headers_mut().insert(ALLOW, methods);
    response
}

/// The whole answer to a client that speaks HTTP where TLS is spoken, as it goes over the wire.
pub fn needs_tls() -> Vec<u8> {
    let answer = json(
        StatusCode::BAD_REQUEST,
        "This port speaks TLS: use an address that begins with https.",
        "tls_required",
    );
    on_the_wire(answer, None, false)
}

/// A last answer as it goes over the wire, where hyper cannot give it. `is_head`: to a HEAD, which gets no content.
pub(super) fn on_the_wire(
    answer: Response<Bytes>,
    id: Option<RequestId>,
    is_head: bool,
) -> Vec<u8> {
    let (head, body) = closing(answer).into_parts();
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
    let id = id.and_then(|id| id.written(HeaderValue::from_bytes).ok());
    let own = [
        (REQUEST_ID, id),
        (CONTENT_LENGTH, Some(body.len().into())),
        (DATE, date::now()),
    ];
    let own = own
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)));
    for (name, value) in head.headers.iter().chain(own) {
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    if !is_head {
        text.extend(&body);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_to_come_back_too_early() {
        let retry_after = |left| blocked(left).headers()[RETRY_AFTER].clone();
        assert_eq!(retry_after(Duration::from_millis(1)), "1");
        assert_eq!(retry_after(Duration::from_secs(5)), "5");
        assert_eq!(retry_after(Duration::from_millis(5001)), "6");
    }
}
