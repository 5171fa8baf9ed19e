//! Applications of real frameworks, unchanged, with uvloop and without.

use std::io::Read as _;

use super::{ask, content, get, serving, talk};
use crate::support::command;
use crate::support::eventually;
use crate::support::python;
use crate::support::server::Server;

/// What they need, at the versions that were tried.
const PACKAGES: [&str; 6] = [
    "starlette==1.10.0",
    "fastapi==0.165.0",
    "django==5.2.19",
    "uvloop==0.23.0",
    "websockets==17.4",
    "python-multipart==0.0.34",
];

fn post(server: &Server, path: &str, kind: &str, body: &[u8]) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    talk(server, &[head.as_bytes(), body].concat())
}

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(content(answer)).unwrap_or_else(|_| panic!("{answer}"))
}

fn environment() -> String {
    python::environment("asgi", &PACKAGES).display().to_string()
}

#[test]
fn starlette_and_fastapi_run_unchanged() {
    let python = environment();
    for framework in ["starlette", "fastapi"] {
        let server = serving(&format!("frameworks:{framework}()"))
            .set("app.python", python.as_str())
            .start();
        uses(&server, framework);
        let client = command::command(python.as_ref())
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/asgi/client.py"
            ))
            .arg(server.port().to_string())
            .status();
        assert!(client.unwrap().success(), "{framework}");
    }
}

fn uses(server: &Server, framework: &str) {
    let hello = get(server, "/hello");
    assert_eq!(content(&hello), "hello", "{framework}");
    assert!(hello.contains("\r\nx-marked: yes\r\n"), "{hello}");
    assert_eq!(
        content(&get(server, "/threaded")),
        "threaded",
        "{framework}"
    );
    assert_eq!(content(&get(server, "/caf%C3%A9")), "café", "{framework}");
    assert_eq!(content(&get(server, "/state")), "\"open\"", "{framework}");
    let form = post(
        server,
        "/form",
        "application/x-www-form-urlencoded",
        b"a=1&b=%20",
    );
    assert_eq!(json(&form), serde_json::json!({"a": "1", "b": " "}));
    let sent = serde_json::json!({"list": [1, null, "\u{20ac}"]});
    let echoed = post(
        server,
        "/json",
        "application/json",
        sent.to_string().as_bytes(),
    );
    assert_eq!(json(&echoed), sent, "{framework}");
    for length in [10, 3_000_000] {
        let body = [
            b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
                .as_slice(),
            &vec![b'y'; length],
            b"\r\n--x--\r\n",
        ]
        .concat();
        let uploaded = post(server, "/upload", "multipart/form-data; boundary=x", &body);
        assert_eq!(
            json(&uploaded),
            serde_json::json!({"length": length, "name": "f"}),
            "{framework}"
        );
    }
    let streamed = get(server, "/stream");
    assert!(
        streamed.ends_with("\r\n\r\n2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n"),
        "{streamed}"
    );
    let file = get(server, "/file");
    let source = include_str!("../../fixtures/asgi/frameworks.py");
    assert_eq!(content(&file), source, "{framework}");
    let moved = get(server, "/moved");
    assert!(moved.starts_with("HTTP/1.1 302 "), "{moved}");
    assert!(moved.contains("\r\nlocation: /hello\r\n"), "{moved}");
    let mark = server.log.mark();
    let failed = get(server, "/fails");
    assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
    server.wait_for_log(mark, "the application failed after its answer");
    assert_eq!(content(&get(server, "/later")), "now", "{framework}");
    has_noted(server, "later");
    let mut client = ask(server, "/endless");
    client.read_exact(&mut [0; 5000]).unwrap();
    drop(client);
    has_noted(server, "closed");
    server.until_in_flight(0);
}

fn has_noted(server: &Server, event: &str) {
    eventually(event, || {
        let events = get(server, "/events");
        content(&events).contains(event).then_some(())
    });
}

#[test]
fn django_runs_over_asgi() {
    let server = serving("frameworks:django()")
        .set("app.python", environment())
        .start();
    assert_eq!(content(&get(&server, "/hello")), "hello");
    assert_eq!(content(&get(&server, "/threaded")), "threaded");
    let streamed = get(&server, "/stream");
    assert!(
        streamed.ends_with("\r\n\r\n2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n"),
        "{streamed}"
    );
}

#[test]
fn uvloop_is_the_event_loop_where_it_is_installed() {
    let uses = |setup: crate::support::server::Setup| {
        let server = setup.start();
        let seen = json(&get(&server, "/scope"));
        seen["asynchronous"].as_str().unwrap().to_owned()
    };
    assert_eq!(uses(super::shapes()), "asyncio.unix_events");
    let python = environment();
    assert_eq!(uses(super::shapes().set("app.python", python)), "uvloop");
}
