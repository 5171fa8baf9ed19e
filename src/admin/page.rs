//! The page for people: three files that are part of the program, and the header fields that keep everything else out of it.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing from elsewhere, nothing inline, no frame around it, and no form that goes anywhere (CSP Level 3).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const FILES: [(&str, &str, &str); 4] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "/dashboard.css",
        "text/css; charset=utf-8",
        include_str!("page/dashboard.css"),
    ),
    (
        "/dashboard.js",
        "text/javascript; charset=utf-8",
        include_str!("page/dashboard.js"),
    ),
    (
        "/dashboard.svg",
        "image/svg+xml",
        include_str!("page/dashboard.svg"),
    ),
];

/// Its files. Nobody needs a token for them: what they show is asked for elsewhere.
pub(super) fn router() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, content_type, text)| {
            router.route(path, get(move || async move { file(content_type, text) }))
        })
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    // Of the program that runs now: after an upgrade it is another one.
    let own = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")];
    (protection(), own, text).into_response()
}

/// For the page, and for what it asks for.
pub(super) fn protection() -> [(HeaderName, HeaderValue); 6] {
    let field = |name, value| (name, HeaderValue::from_static(value));
    [
        field(CONTENT_SECURITY_POLICY, POLICY),
        field(X_CONTENT_TYPE_OPTIONS, "nosniff"),
        field(X_FRAME_OPTIONS, "DENY"),
        field(REFERRER_POLICY, "no-referrer"),
        field(
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        field(
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ]
}
