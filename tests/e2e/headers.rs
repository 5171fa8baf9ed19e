//! Header fields of every answer: none of ours but what is asked for, and the application's own first.

use destrier::sys::clock;

use crate::support::plain::{Plain, ask};
use crate::support::server::Setup;
use crate::support::tls::Authority;
use crate::tls;

/// The names of the fields of an answer, sorted.
fn names(answer: &Plain) -> Vec<String> {
    let lines = answer.head.lines().skip(1);
    let names = lines.filter_map(|line| line.split_once(':'));
    let mut names: Vec<_> = names.map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    names
}

#[test]
fn an_answer_says_nothing_that_nobody_asked_for() {
    let server = Setup::new().start();
    let own = [
        "connection",
        "content-length",
        "content-type",
        "date",
        "x-request-id",
    ];
    for line in ["GET /hello", "GET /missing", "HEAD /hello"] {
        assert_eq!(names(&ask(&server, line, &[])), own, "{line}");
    }
    let answer = ask(&server, "GET /hello", &[]);
    let date = httpdate::parse_http_date(answer.field("date").unwrap()).unwrap();
    let now = std::time::UNIX_EPOCH + clock::unix();
    let age = now.duration_since(date).unwrap_or_default();
    assert!(age.as_secs() < 5, "{age:?}");
}

#[test]
fn every_answer_has_the_fields_that_are_configured() {
    let server = Setup::new()
        .set("headers.preset", "strict")
        .set("headers.default.X-Frame-Options", "SAMEORIGIN")
        .set("headers.default.Referrer-Policy", "")
        .set("headers.default.Server", "mine")
        .set(
            "headers.default.Content-Security-Policy",
            "default-src 'self'",
        )
        .set("health.readiness_path", "/readyz")
        .start();
    // The application's answers, those in its place, and those to what it is not asked about.
    for line in [
        "GET /hello",
        "GET /missing",
        "GET /readyz",
        "OPTIONS *",
        "GET /a%2fb",
        "GET /status/204",
    ] {
        let answer = ask(&server, line, &[]);
        assert_eq!(
            answer.field("x-content-type-options"),
            Some("nosniff"),
            "{line}"
        );
        assert_eq!(
            answer.field("x-frame-options"),
            Some("SAMEORIGIN"),
            "{line}"
        );
        assert_eq!(
            answer.field("cross-origin-opener-policy"),
            Some("same-origin")
        );
        assert_eq!(answer.field("server"), Some("mine"), "{line}");
        assert_eq!(
            answer.field("content-security-policy"),
            Some("default-src 'self'")
        );
        assert_eq!(answer.field("referrer-policy"), None, "{line}");
        // Not over https, so it would mean nothing (RFC 6797 section 7.2).
        assert_eq!(answer.field("strict-transport-security"), None, "{line}");
    }
}

#[test]
fn the_fields_of_the_application_win() {
    let server = Setup::new()
        .set("headers.default.Cache-Control", "max-age=9")
        .set("health.readiness_path", "/readyz")
        .set("headers.default.X-Mine", "1")
        .start();
    let own = ask(&server, "GET /readyz", &[]);
    assert_eq!(
        names(&own)
            .iter()
            .filter(|name| *name == "cache-control")
            .count(),
        1
    );
    assert_eq!(own.field("cache-control"), Some("no-store"));
    assert_eq!(own.field("x-mine"), Some("1"));
    let other = ask(&server, "GET /hello", &[]);
    assert_eq!(other.field("cache-control"), Some("max-age=9"));
}

#[test]
fn browsers_are_told_to_stay_with_https_only_over_https() {
    let authority = Authority::new();
    let server = tls::setup(&authority)
        .set("headers.preset", "strict")
        .start();
    let answer = authority.client().get(server.port(), "/hello").unwrap();
    let said = answer.to_ascii_lowercase();
    assert!(
        said.contains("strict-transport-security: max-age=31536000\r\n"),
        "{answer}"
    );
    // By the word of a proxy that took off TLS too, and of nobody else.
    for (trusted, said) in [("127.0.0.1", Some("max-age=31536000")), ("192.0.2.1", None)] {
        let server = Setup::new()
            .set("headers.preset", "strict")
            .set("server.trusted_proxies", vec![trusted])
            .start();
        let answer = ask(&server, "GET /hello", &["x-forwarded-proto: https"]);
        assert_eq!(answer.field("strict-transport-security"), said, "{trusted}");
    }
}
