//! `scope`: what an ASGI application is told of a request.

use serde_json::{Value, json};

use super::shapes;
use crate::support::server::Server;
use crate::support::shapes::{content, get, json_of, talk, with_claims};

fn scope(server: &Server, request: &str) -> Value {
    json_of(&talk(server, request.as_bytes()))
}

#[test]
fn an_application_is_told_what_asgi_promises() {
    let server = shapes().start();
    let seen = scope(
        &server,
        "POST /scope?a=%20b&c HTTP/1.1\r\nHost: a.example:81\r\nConnection: close\r\n\
         X-Several: 1\r\nCookie: a=1\r\nX-Several: 2\r\nCookie: b=2\r\nContent-Length: 0\r\n\
         X_Forged: 1\r\nProxy: http://evil.example\r\nX-Latin: Andr\u{e9}\r\n\r\n",
    );
    for (name, wanted) in [
        ("type", json!("http")),
        ("asgi", json!({"version": "3.0", "spec_version": "2.5"})),
        ("http_version", json!("1.1")),
        ("method", json!("POST")),
        ("scheme", json!("http")),
        ("path", json!("/scope")),
        ("raw_path", json!({"bytes": "/scope"})),
        ("query_string", json!({"bytes": "a=%20b&c"})),
        ("root_path", json!("")),
        ("server", json!(["127.0.0.1", server.port().port()])),
        ("state", json!({"started": "yes"})),
    ] {
        assert_eq!(seen[name], wanted, "{name}");
    }
    assert_eq!(
        seen["headers"],
        json!([
            ["host", "a.example:81"],
            ["connection", "close"],
            ["x-several", "1"],
            ["x-several", "2"],
            ["content-length", "0"],
            // Each byte of the UTF-8 is a byte.
            ["x-latin", "Andr\u{c3}\u{a9}"],
            ["cookie", "a=1; b=2"],
        ])
    );
    assert_eq!(seen["client"][0], "127.0.0.1");
    assert!(seen["client"][1].as_u64().unwrap() > 0);
    assert_eq!(seen["destrier.request_id"].as_str().unwrap().len(), 32);
    assert_eq!(
        seen["extensions"],
        json!({"http.response.pathsend": {}, "http.response.early_hint": {}})
    );
    assert!(seen.get("destrier.claims").is_none());
    for (name, kind) in [
        ("raw_path", "bytes"),
        ("path", "str"),
        ("headers", "list"),
        ("server", "tuple"),
    ] {
        assert_eq!(seen["types"][name], kind, "{name}");
    }
}

#[test]
fn a_path_of_asgi_is_decoded_to_text_and_there_as_it_was_sent() {
    let server = shapes().start();
    let answer = get(&server, "/caf%C3%A9/%20%2B+");
    assert!(answer.starts_with("HTTP/1.1 404 Not Found"), "{answer}");
    assert_eq!(content(&answer), "/café/ ++");
}

#[test]
fn what_a_request_does_to_its_scope_the_next_one_does_not_see() {
    let server = shapes().start();
    assert_eq!(
        content(&get(&server, "/spoils")),
        "[null, null, null, \"fresh\", 1]"
    );
    // What the lifespan has put there is the same for all.
    assert_eq!(
        content(&get(&server, "/spoils")),
        "[null, null, null, \"fresh\", 2]"
    );
}

#[test]
fn an_asgi_application_gets_the_verified_claims() {
    let (server, claims, token) = with_claims(shapes());
    let request = format!(
        "GET /claims HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    // The application has changed the one, and shows the other; nor does the next request see any of it.
    for _ in 0..2 {
        assert_eq!(scope(&server, &request), claims);
    }
}

#[test]
fn a_trusted_proxy_says_the_scheme_and_the_client() {
    let server = shapes()
        .set(
            "server.trusted_proxies",
            toml::Value::from(vec!["127.0.0.1"]),
        )
        .start();
    let seen = scope(
        &server,
        "GET /scope HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n",
    );
    assert_eq!(seen["scheme"], "https");
    assert_eq!(seen["client"], json!(["192.0.2.7", 0]));
}
