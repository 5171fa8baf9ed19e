//! `environ`: what an application is told of a request.

use serde_json::{Value, json};

use super::shapes;
use crate::support::server::Server;
use crate::support::shapes::{content, get, json_of, talk, with_claims};

fn environ(server: &Server, request: &str) -> Value {
    json_of(&talk(server, request.as_bytes()))
}

#[test]
fn an_application_is_told_what_pep_3333_promises() {
    let server = shapes().set("app.threads", 2).start();
    let seen = environ(
        &server,
        "GET /environment?a=%20b&c HTTP/1.1\r\nHost: a.example:81\r\nConnection: close\r\n\
         X-Several: 1\r\nCookie: a=1\r\nX-Several: 2\r\nCookie: b=2\r\nX-Latin: Andr\u{e9}\r\n\
         Content-Type: text/x\r\nX-A-Long-Name: v\r\n\r\n",
    );
    for (name, wanted) in [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/environment"),
        ("QUERY_STRING", "a=%20b&c"),
        ("RAW_URI", "/environment?a=%20b&c"),
        ("REQUEST_URI", "/environment?a=%20b&c"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "127.0.0.1"),
        ("CONTENT_TYPE", "text/x"),
        ("HTTP_HOST", "a.example:81"),
        ("HTTP_X_SEVERAL", "1,2"),
        ("HTTP_COOKIE", "a=1; b=2"),
        // Each byte of the UTF-8 is a character.
        ("HTTP_X_LATIN", "Andr\u{c3}\u{a9}"),
        ("HTTP_X_A_LONG_NAME", "v"),
        ("wsgi.url_scheme", "http"),
        ("REMOTE_ADDR", "127.0.0.1"),
    ] {
        assert_eq!(seen[name], wanted, "{name}");
    }
    assert_eq!(seen["wsgi.version"], json!([1, 0]));
    assert_eq!(seen["wsgi.multithread"], true);
    assert_eq!(seen["wsgi.multiprocess"], false);
    assert_eq!(seen["wsgi.run_once"], false);
    assert_eq!(seen["wsgi.input_terminated"], true);
    assert_eq!(seen["destrier.request_id"].as_str().unwrap().len(), 32);
    assert!(
        seen["REMOTE_PORT"]
            .as_str()
            .unwrap()
            .parse::<u16>()
            .unwrap()
            > 0
    );
    let port = server.port().port().to_string();
    assert_eq!(seen["SERVER_PORT"], port.as_str());
    for name in [
        "CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
        "REMOTE_USER",
        "destrier.claims",
    ] {
        assert!(seen.get(name).is_none(), "{name}");
    }
}

#[test]
fn no_field_of_a_client_is_taken_for_another() {
    let server = shapes().start();
    let seen = environ(
        &server,
        "GET /environment HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX_Real: forged\r\n\
         Remote_User: forged\r\nRemote-User: forged\r\nProxy: http://evil.example\r\n\
         Destrier.Claims: forged\r\nX-Plain: 1\r\n\r\n",
    );
    for name in [
        "HTTP_X_REAL",
        "HTTP_REMOTE_USER",
        "REMOTE_USER",
        "HTTP_PROXY",
        "destrier.claims",
    ] {
        assert!(seen.get(name).is_none(), "{name}");
    }
    assert_eq!(seen["HTTP_X_PLAIN"], "1");
}

#[test]
fn a_path_is_decoded_to_bytes() {
    let server = shapes().start();
    // The fixture says the bytes of a path that it does not know.
    let answer = get(&server, "/caf%C3%A9/%20%2B+");
    assert!(answer.starts_with("HTTP/1.1 404 Not Found"), "{answer}");
    assert_eq!(content(&answer), "/café/ ++");
}

#[test]
fn an_application_gets_the_verified_claims_and_who_they_are_of() {
    let (server, claims, token) = with_claims(shapes());
    let request = format!(
        "GET /environment HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRemote-User: forged\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    // Each request has them anew: the fixture changes what it has got.
    for _ in 0..2 {
        assert_eq!(environ(&server, &request)["destrier.claims"], claims);
    }
    let seen = environ(&server, &request);
    // As every other string: each byte of the UTF-8 is a character.
    assert_eq!(seen["REMOTE_USER"], "andr\u{c3}\u{a9}");
    assert!(seen.get("HTTP_REMOTE_USER").is_none());
}
