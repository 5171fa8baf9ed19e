//! Applications of real frameworks, unchanged.

use std::io::Read as _;

use super::serving;
use crate::support::python;
use crate::support::server::Server;
use crate::support::shapes::{
    a_site_streams_and_sends_on, a_site_takes_what_it_is_sent, ask, content, get, talk,
};

/// What they need, at the versions that were tried.
const PACKAGES: [&str; 2] = ["django==5.2.19", "flask==3.1.3"];

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
    a_site_takes_what_it_is_sent(server, framework);
    let first = get(server, "/visits");
    let (_, cookie) = first.split_once("set-cookie: ").unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let again = format!(
        "GET /visits HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
    );
    let again = talk(server, again.as_bytes());
    assert_eq!(
        (content(&first), content(&again)),
        ("1", "2"),
        "{framework}"
    );
    a_site_streams_and_sends_on(server);
    let mut connection = ask(server, "/file");
    let mut file = Vec::new();
    connection.read_to_end(&mut file).unwrap();
    let mut end = file.iter().rev().take(100_000);
    assert!(end.all(|byte| *byte == b'x'), "{framework}");
    let failed = get(server, "/fails");
    assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
}
