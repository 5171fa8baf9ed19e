//! Applications of real frameworks, unchanged, with uvloop and without.

use std::io::Read as _;

use super::serving;
use crate::support::command;
use crate::support::eventually;
use crate::support::python;
use crate::support::server::Server;
use crate::support::shapes::{
    a_site_streams, a_site_streams_and_sends_on, a_site_takes_what_it_is_sent, ask, content, get,
    json_of,
};

/// What they need, at the versions that were tried.
const PACKAGES: [&str; 6] = [
    "starlette==1.10.0",
    "fastapi==0.165.0",
    "django==5.2.19",
    "uvloop==0.23.0",
    "websockets==17.4",
    "python-multipart==0.0.34",
];

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
            .arg(crate::support::shapes::folder("asgi").join("client.py"))
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
    a_site_takes_what_it_is_sent(server, framework);
    a_site_streams_and_sends_on(server);
    let file = get(server, "/file");
    let source = include_str!("../../fixtures/asgi/frameworks.py");
    assert_eq!(content(&file), source, "{framework}");
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
    a_site_streams(&server);
}

#[test]
fn uvloop_is_the_event_loop_where_it_is_installed() {
    let uses = |setup: crate::support::server::Setup| {
        let server = setup.start();
        let seen = json_of(&get(&server, "/scope"));
        seen["asynchronous"].as_str().unwrap().to_owned()
    };
    assert_eq!(uses(super::shapes()), "asyncio.unix_events");
    let python = environment();
    assert_eq!(uses(super::shapes().set("app.python", python)), "uvloop");
}
