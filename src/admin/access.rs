//! Who may read the metrics: over TCP whoever shows a token that the rule of `[admin]` is content with.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::routes;
use crate::auth::{Guard, Refusal, RequestView, UnixTime, Verdict};
use crate::sys::clock;

/// Lets a request pass, or says why not.
pub(super) async fn judge(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match verdict(&guard, &request) {
        Verdict::Pass(_) => next.run(request).await,
        Verdict::Refuse(refusal) => refused(&refusal),
    }
}

pub(super) fn verdict(guard: &Guard, request: &Request) -> Verdict {
    let view = RequestView {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query(),
        headers: request.headers(),
        client_certificate: None,
        client_names: &[],
        is_https: false,
    };
    guard.judge(&view, UnixTime(clock::unix().as_secs()))
}

fn refused(refusal: &Refusal) -> Response {
    tracing::debug!(reason = refusal.reason, "admin: refused");
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    let body = serde_json::json!({ "detail": refusal.detail, "code": refusal.code });
    let mut response = (status, routes::JSON, Body::from(body.to_string())).into_response();
    let challenge = refusal.challenge.as_deref().map(HeaderValue::from_str);
    if let Some(Ok(challenge)) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
