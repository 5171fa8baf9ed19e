//! Applications of real frameworks, unchanged.

use std::io::Read as _;

use super::{content, get, serving, talk};
use crate::support::python;
use crate::support::server::Server;

/// What they need, at the versions that were tried.
const PACKAGES: [&str; 2] = ["django==5.2.19", "flask==3.1.3"];

fn post(server: &Server, path: &str, kind: &str, body: &[u8]) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    talk(server, &[head.as_bytes(), body].concat()).0
}

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(content(answer)).unwrap_or_else(|_| panic!("{answer}"))
}

#[test]
fn flask_and_django_run_unchanged() {
    let python = python::environment("wsgi", &PACKAGES);
    for framework in ["flask", "django"] {
        let server = serving(&format!("frameworks:{framework}()"))
            .set("app.python", python.to_str().unwrap())
            .set("app.threads", 2)
            .start();
        uses(&server, framework);
    }
}

fn uses(server: &Server, framework: &str) {
    assert_eq!(content(&get(server, "/hello")), "hello", "{framework}");
    assert_eq!(content(&get(server, "/caf%C3%A9")), "café", "{framework}");
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
    let first = get(server, "/visits");
    let (_, cookie) = first.split_once("set-cookie: ").unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let again = format!(
        "GET /visits HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
    );
    let (again, _) = talk(server, again.as_bytes());
    assert_eq!(
        (content(&first), content(&again)),
        ("1", "2"),
        "{framework}"
    );
    let streamed = get(server, "/stream");
    assert!(
        streamed.ends_with("\r\n\r\n2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n"),
        "{streamed}"
    );
    let mut connection = server.connect();
    std::io::Write::write_all(
        &mut connection,
        b"GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    let mut file = Vec::new();
    connection.read_to_end(&mut file).unwrap();
    let mut end = file.iter().rev().take(100_000);
    assert!(end.all(|byte| *byte == b'x'), "{framework}");
    let moved = get(server, "/moved");
    assert!(moved.starts_with("HTTP/1.1 302 "), "{moved}");
    assert!(moved.contains("\r\nlocation: /hello\r\n"), "{moved}");
    let failed = get(server, "/fails");
    assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
}
