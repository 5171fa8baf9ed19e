//! The trace that a request belongs to reaches the application and the logs.

use std::io::{Read as _, Write as _};

use serde_json::Value;

use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, plain};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What the application sees of a request with these lines in its head.
fn seen(server: &Server, lines: &str) -> String {
    let mut stream = server.connect();
    let head = format!("GET /headers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn traced(who: &str) -> Server {
    Setup::new()
        .set("workers.count", 1)
        .set("http.trace_context", who)
        .set("access_log.enabled", true)
        .start()
}

fn lines(server: &Server, count: usize) -> Vec<Value> {
    eventually("lines of the access log", || {
        let lines = server.log.since(Mark::START);
        let lines: Vec<Value> = lines
            .into_iter()
            .filter(|line| line["target"] == "access")
            .collect();
        (lines.len() == count).then_some(lines)
    })
}

#[test]
fn a_trace_goes_on_and_the_application_and_the_log_are_told() {
    let server = traced("all");
    let own = format!("traceparent: {PARENT}\r\ntracestate: a=1\r\n");
    let answer = seen(&server, &own);
    assert!(
        answer.contains("00-4bf92f3577b34da6a3ce929d0e0e4736-") && answer.contains("a=1"),
        "{answer}"
    );
    let another = seen(&server, "traceparent: anything\r\ntracestate: a=1\r\n");
    assert!(
        another.contains("traceparent") && !another.contains("a=1"),
        "{another}"
    );
    let lines = lines(&server, 2);
    assert_eq!(lines[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    for (line, answer) in lines.iter().zip([answer, another]) {
        let (trace, span) = (
            line["trace_id"].as_str().unwrap(),
            line["span_id"].as_str().unwrap(),
        );
        assert!(
            answer.contains(&format!("00-{trace}-{span}-0")),
            "{line} {answer}"
        );
    }
}

#[test]
fn who_is_no_trusted_proxy_begins_a_trace_and_where_it_is_off_nothing_is_touched() {
    let own = format!("traceparent: {PARENT}\r\n");
    let server = traced("trusted");
    assert!(!seen(&server, &own).contains("4bf92f3577b34da6a3ce929d0e0e4736"));
    let server = traced("off");
    assert!(seen(&server, &own).contains(PARENT));
    assert_eq!(lines(&server, 1)[0]["trace_id"], Value::Null);
}

#[test]
fn lines_of_the_log_about_a_request_name_its_trace_beside_its_id() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut setup = Setup::new()
        .set("workers.count", 1)
        .set("http.trace_context", "all")
        .set("app.faults", true);
    setup.config.set_auth(
        "[[auth.rule]]\npath = \"/fault/**\"\naccess = \"public\"\n[[auth.issuer]]\nsecret_file = \"secret\"\n",
    );
    let secret = setup.folder().join("secret");
    crate::support::tls::put(&secret, "a secret that is long enough to sign");
    let server = setup.start();
    let own = format!("traceparent: {PARENT}");
    let refused = plain::ask(&server, "GET /hello", &[&own]);
    assert_eq!(refused.status, 401);
    let line = server.wait_for_log(Mark::START, "refused");
    assert_eq!(line["trace_id"], TRACE);
    assert_eq!(line["request"], refused.field("x-request-id").unwrap());
    // A worker that dies of it tells nobody, but what was in flight stands on the scoreboard.
    seen_or_cut(&server, &own);
    let line = server.wait_for_log(Mark::START, "worker died");
    let executing = line["executing"].as_str().unwrap();
    assert!(executing.ends_with(&format!(" trace {TRACE}")), "{line}");
    let told = server.until("the death", |status| status.deaths.first().cloned());
    assert_eq!(told.executing.unwrap().trace_id.as_deref(), Some(TRACE));
}

/// The worker dies of it.
fn seen_or_cut(server: &Server, field: &str) {
    let mut stream = server.connect();
    let head = format!("GET /fault/crash HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let _cut = stream.read_to_end(&mut Vec::new());
}
