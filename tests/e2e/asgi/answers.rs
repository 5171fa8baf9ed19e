//! Each shape of an answer, and what goes over the wire for it.

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::shapes;
use crate::support::eventually;
use crate::support::shapes::{
    CHUNKED, OK, Wanted, are_refused, arrive, ask, check, content, events, get, head_has, is_reset,
    one_connection_brings, request, talk,
};

/// Answers that can be sent.
const SENT: &[(&str, Wanted)] = &[
    (
        "one",
        (
            OK,
            &["content-length: 5", "content-type: text/plain"],
            "\r\n\r\nhello",
        ),
    ),
    (
        "known_length",
        (OK, &["content-length: 8"], "\r\n\r\nfourmore"),
    ),
    (
        "pieces",
        (OK, &[CHUNKED], "\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"),
    ),
    ("nothing", (OK, &["content-length: 0"], "\r\n\r\n")),
    (
        "bare",
        ("HTTP/1.1 299 ", &["content-length: 1"], "\r\n\r\nx"),
    ),
    (
        "no_content",
        ("HTTP/1.1 204 No Content\r\n", &[], "\r\n\r\n"),
    ),
    (
        "not_modified",
        (
            "HTTP/1.1 304 Not Modified\r\n",
            &["etag: \"1\""],
            "\r\n\r\n",
        ),
    ),
    (
        "cookies",
        (OK, &["set-cookie: a=1", "set-cookie: b=2"], "\r\n\r\nx"),
    ),
    (
        "generator_of_headers",
        (OK, &["x-a: 1", "x-b: 1"], "\r\n\r\nx"),
    ),
    ("hop_by_hop", (OK, &["content-length: 1"], "\r\n\r\nx")),
    ("too_long", (OK, &["content-length: 2"], "\r\n\r\nab")),
    (
        "too_long_pieces",
        (OK, &["content-length: 3"], "\r\n\r\nabc"),
    ),
    (
        "reads_nothing",
        (OK, &["content-length: 6"], "\r\n\r\nunread"),
    ),
    ("echo", (OK, &["content-length: 0"], "\r\n\r\n")),
];

/// Answers that cannot be sent, and what the log says of each.
const REFUSED: &[(&str, &str)] = &[
    (
        "silent",
        "returned without an answer: it sent no http.response.start",
    ),
    ("head_only", "no http.response.body followed"),
    ("body_first", "content was sent before http.response.start"),
    ("twice", "http.response.start was sent a second time"),
    ("text", "`body` must be bytes, not str"),
    (
        "text_in_header",
        "the name of a header must be bytes, not str",
    ),
    (
        "text_in_value",
        "the value of header \"x-text\" must be bytes, not str",
    ),
    (
        "no_pair",
        "a header must be a pair of a name and a value, not bytes",
    ),
    ("line_break", "\"X-Broken\" has a line break"),
    (
        "bad_status",
        "the status must be a number from 200 to 999, not 1000",
    ),
    ("text_status", "`status` must be int, not str"),
    ("no_status", "`status` is missing in http.response.start"),
    (
        "informational",
        "the status must be a number from 200 to 999, not 103",
    ),
    (
        "unknown_message",
        "`websocket.accept` is no message that answers a request",
    ),
    ("no_type", "the message has no `type`"),
    ("no_dict", "send takes a dict, not str"),
    ("fails", "ValueError: it failed"),
    ("fails_after_start", "ValueError: it failed late"),
    ("exits", "SystemExit: 7"),
    ("interrupts", "KeyboardInterrupt"),
    ("cancelled", "CancelledError"),
    ("recurses", "RecursionError"),
];

/// Answers of which the client must see that they are not whole, and what the log says of each.
const CUT: &[(&str, &str, &str)] = &[
    (
        "too_short",
        "\r\n\r\nabcd",
        "shorter than its Content-Length says",
    ),
    (
        "too_short_pieces",
        "\r\n\r\nabcd",
        "shorter than its Content-Length says",
    ),
    (
        "fails_in_the_middle",
        "\r\n\r\n5\r\nbegun\r\n",
        "failed in the middle of its answer",
    ),
    (
        "returns_in_the_middle",
        "\r\n\r\n5\r\nbegun\r\n",
        "failed in the middle of its answer",
    ),
];

#[test]
fn every_shape_of_an_asgi_answer_arrives_as_it_should() {
    arrive(&shapes().start(), SENT);
}

#[test]
fn an_asgi_answer_that_breaks_a_rule_is_a_500_and_the_log_says_which() {
    are_refused(&shapes().start(), REFUSED);
}

#[test]
fn an_asgi_answer_that_ends_early_does_not_look_whole() {
    let server = shapes().start();
    for (name, end, reason) in CUT {
        let mark = server.log.mark();
        let target = format!("/{name}");
        let answer = get(&server, &target);
        assert!(answer.starts_with(OK), "{name}: {answer}");
        assert!(answer.ends_with(end), "{name}: {answer}");
        is_reset(&server, &target);
        eventually("a line", || {
            let lines = server.log.since(mark);
            let mut said = lines.iter().filter_map(|line| line["message"].as_str());
            said.find(|said| said.contains(reason)).map(drop)
        });
    }
}

#[test]
fn a_head_request_gets_the_fields_of_an_asgi_answer_and_no_content() {
    let server = shapes().start();
    head_has(
        &server,
        &[
            ("one", "\r\ncontent-length: 5\r\n"),
            ("known_length", "\r\ncontent-length: 8\r\n"),
        ],
    );
    let answer = request(&server, "HEAD", "/pieces");
    check("pieces", &answer, (OK, &[], "\r\n\r\n"));
}

#[test]
fn after_an_answer_the_application_is_told_that_it_is_over() {
    let server = shapes().start();
    assert_eq!(content(&get(&server, "/works_on")), "x");
    eventually("the event", || {
        (events(&server) == "http.disconnect").then_some(())
    });
    let mark = server.log.mark();
    assert_eq!(content(&get(&server, "/speaks_again")), "x");
    let line = server.wait_for_log(mark, "the application failed after its answer");
    assert!(
        line["error"]
            .as_str()
            .unwrap()
            .contains("the answer is complete")
    );
}

#[test]
fn an_application_may_say_late_that_its_answer_was_complete() {
    let server = shapes().start();
    assert_eq!(content(&get(&server, "/says_late_that_it_was_all")), "four");
    get(&server, "/opens");
    eventually("the end", || (events(&server) == "said").then_some(()));
}

#[test]
fn a_connection_goes_on_after_every_whole_asgi_answer() {
    one_connection_brings(
        &shapes().start(),
        &[
            "one",
            "pieces",
            "fails",
            "known_length",
            "no_content",
            "nothing",
            "one",
        ],
    );
}

#[test]
fn a_file_is_sent_by_its_path() {
    let server = shapes().start();
    let source = include_str!("../../fixtures/asgi/shapes.py");
    let answer = get(&server, "/file");
    assert!(
        answer.contains(&format!("\r\ncontent-length: {}\r\n", source.len())),
        "{answer}"
    );
    assert_eq!(content(&answer), source);
    let missing = get(&server, "/file?/nowhere/at/all");
    assert!(missing.starts_with("HTTP/1.1 500"), "{missing}");
    let folder = get(&server, "/file?/");
    assert!(folder.starts_with("HTTP/1.1 500"), "{folder}");
    // Nobody writes to it: who opened it as a file would wait, and with it the event loop.
    let pipe = server.folder().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let piped = get(&server, &format!("/file?{}", pipe.display()));
    assert!(piped.starts_with("HTTP/1.1 500"), "{piped}");
    let head = request(&server, "HEAD", "/file");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn early_hints_of_an_asgi_application_go_ahead_of_its_answer() {
    let server = shapes().start();
    let answer = get(&server, "/hints");
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert!(answer.starts_with(hints), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhinted"), "{answer}");
}

#[test]
fn requests_are_worked_on_at_once_and_answered_as_they_come() {
    let server = shapes().start();
    let waiting: Vec<_> = (0..20).map(|_| ask(&server, "/waits")).collect();
    server.until_in_flight(20);
    for _ in 0..20 {
        assert_eq!(content(&get(&server, "/one")), "hello");
    }
    get(&server, "/opens");
    for mut waiting in waiting {
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut waiting, &mut answer).unwrap();
        assert_eq!(content(&answer), "waited");
    }
}

#[test]
fn who_sends_on_and_on_where_nothing_more_goes_out_is_told() {
    let server = shapes().start();
    for (method, target) in [("HEAD", "/endless"), ("GET", "/endless_beyond_its_length")] {
        let answer = request(&server, method, target);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        eventually("the application to be told", || {
            (events(&server) == "endless the client is gone").then_some(())
        });
        get(&server, "/forget");
    }
}

#[test]
fn a_head_is_as_http_wants_it_whatever_the_application_gives() {
    let server = shapes().start();
    let answer = get(&server, "/blanks_and_a_date");
    assert!(answer.starts_with("HTTP/1.1 299 \r\n"), "{answer}");
    assert!(answer.contains("\r\nx-blanks: a b\r\n"), "{answer}");
    assert_eq!(answer.matches("\r\ndate: ").count(), 1, "{answer}");
    // It would not know where the answer ends.
    let kept = "GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answer = talk(&server, kept.as_bytes());
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("one two"), "{answer}");
}
