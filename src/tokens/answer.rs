//! What the token service answers, in the words and with the fields of Django REST Framework and `SimpleJWT`.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

/// An answer before it is written down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// Seconds until it makes sense to ask again.
    retry_after: Option<u32>,
}

impl Answer {
    pub(super) const fn new(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            body,
            retry_after: None,
        }
    }

    pub(super) const fn ok(body: Value) -> Self {
        Self::new(StatusCode::OK, body)
    }

    /// `{"detail": …}`, as a view refuses.
    pub(super) fn detail(status: StatusCode, detail: &str) -> Self {
        Self::new(status, json!({ "detail": detail }))
    }

    /// A token is refused.
    pub(super) fn token(detail: &str) -> Self {
        let body = json!({ "detail": detail, "code": "token_not_valid" });
        Self::new(StatusCode::UNAUTHORIZED, body)
    }

    /// Whoever asks for a token is refused, for whatever reason.
    pub(super) fn no_account() -> Self {
        let detail = "No active account found with the given credentials";
        Self::detail(StatusCode::UNAUTHORIZED, detail)
    }

    /// The user of a token does not exist or is not active.
    pub(super) fn no_account_of_token() -> Self {
        let detail = "No active account found for the given token.";
        Self::detail(StatusCode::UNAUTHORIZED, detail)
    }

    /// What is wrong with the fields, in their order.
    pub(super) fn fields(errors: Vec<(&str, Vec<String>)>) -> Self {
        let errors = errors.into_iter();
        let body: Map<String, Value> = errors
            .map(|(field, errors)| (field.to_owned(), errors.into()))
            .collect();
        Self::new(StatusCode::BAD_REQUEST, body.into())
    }

    pub(super) fn not_allowed(method: &str) -> Self {
        let detail = format!("Method \"{method}\" not allowed.");
        Self::detail(StatusCode::METHOD_NOT_ALLOWED, &detail)
    }

    pub(super) fn too_large(most: usize) -> Self {
        let detail = format!("The request body is larger than {} KiB.", most / 1024);
        Self::detail(StatusCode::PAYLOAD_TOO_LARGE, &detail)
    }

    /// Too much is asked for; the words are those of its throttling.
    pub(super) fn throttled(seconds: u32) -> Self {
        let plural = if seconds == 1 { "" } else { "s" };
        let detail =
            format!("Request was throttled. Expected available in {seconds} second{plural}.");
        Self {
            retry_after: Some(seconds),
            ..Self::detail(StatusCode::TOO_MANY_REQUESTS, &detail)
        }
    }

    /// The database does not answer.
    pub(super) fn unavailable() -> Self {
        let detail = "Service temporarily unavailable, try again later.";
        Self {
            retry_after: Some(1),
            ..Self::detail(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// As it goes to the client; the fields are those of Django's default middleware.
    pub(super) fn into_response(
        self,
        challenge: &HeaderValue,
        allow: &'static str,
    ) -> Response<Bytes> {
        const NEVER_KEPT: &str = "no-store";
        let mut response = Response::new(Bytes::from(self.body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, "application/json"),
            (ALLOW, allow),
            (HeaderName::from_static("x-frame-options"), "DENY"),
            (HeaderName::from_static("x-content-type-options"), "nosniff"),
            (HeaderName::from_static("referrer-policy"), "same-origin"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
            // Tokens are nothing for a cache (RFC 6749 section 5.1).
            (CACHE_CONTROL, NEVER_KEPT),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, challenge.clone());
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
