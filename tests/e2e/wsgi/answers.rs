//! Each shape of an answer, and what goes over the wire for it.

use super::{serving, shapes};
use crate::support::eventually;
use crate::support::journal::Mark;
use crate::support::shapes::{
    CHUNKED, OK, Wanted, are_refused, arrive, check, content, events, get, head_has, is_reset,
    one_connection_brings, request, talk,
};

/// Answers that keep to PEP 3333.
const LAWFUL: &[(&str, Wanted)] = &[
    (
        "one",
        (
            OK,
            &["content-length: 5", "content-type: text/plain"],
            "\r\n\r\nhello",
        ),
    ),
    (
        "several",
        (OK, &["content-length: 13"], "\r\n\r\none two three"),
    ),
    ("nothing", (OK, &["content-length: 0"], "\r\n\r\n")),
    ("empty_piece", (OK, &["content-length: 0"], "\r\n\r\n")),
    ("a_tuple", (OK, &["content-length: 2"], "\r\n\r\nab")),
    (
        "generator",
        (OK, &[CHUNKED], "\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"),
    ),
    (
        "late_start",
        (
            "HTTP/1.1 202 Accepted\r\n",
            &[CHUNKED],
            "\r\n\r\n4\r\nlate\r\n0\r\n\r\n",
        ),
    ),
    (
        "generator_of_known_length",
        (OK, &["content-length: 8"], "\r\n\r\nfourmore"),
    ),
    (
        "iterator_of_one_known_piece",
        (OK, &["content-length: 4"], "\r\n\r\nfour"),
    ),
    (
        "generator_of_nothing",
        (OK, &["content-length: 0"], "\r\n\r\n"),
    ),
    (
        "closing",
        (OK, &[CHUNKED], "\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
    ),
    (
        "own_reason",
        (
            "HTTP/1.1 299 Quite fine\r\n",
            &["content-length: 1"],
            "\r\n\r\nx",
        ),
    ),
    (
        "not_found",
        (
            "HTTP/1.1 404 Not Found\r\n",
            &["content-length: 2"],
            "\r\n\r\nno",
        ),
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
    ("latin1", (OK, &["x-name: Andr\u{fffd}"], "\r\n\r\nx")),
    (
        "written",
        (
            OK,
            &[CHUNKED],
            "\r\n\r\n8\r\nwritten \r\n4\r\nand \r\n8\r\nreturned\r\n0\r\n\r\n",
        ),
    ),
    (
        "only_written",
        (OK, &["content-length: 7"], "\r\n\r\nwritten"),
    ),
    (
        "replaced",
        (
            "HTTP/1.1 503 Service Unavailable\r\n",
            &["content-length: 5"],
            "\r\n\r\nsorry",
        ),
    ),
    ("a_file", (OK, &[CHUNKED], "\r\n0\r\n\r\n")),
    (
        "a_file_in_memory",
        (OK, &["content-length: 6"], "\r\n\r\nmemory"),
    ),
    ("kinds", (OK, &[], "\r\n\r\nfine")),
    ("complains", (OK, &[], "\r\n\r\nx")),
];

/// Answers that break a rule, but can be sent.
const MENDED: &[(&str, Wanted)] = &[
    ("hop_by_hop", (OK, &["content-length: 1"], "\r\n\r\nx")),
    (
        "content_of_204",
        ("HTTP/1.1 204 No Content\r\n", &[], "\r\n\r\n"),
    ),
    ("too_long", (OK, &["content-length: 2"], "\r\n\r\nab")),
    (
        "too_long_generator",
        (OK, &["content-length: 3"], "\r\n\r\nabc"),
    ),
];

/// Answers that cannot be sent, and what the log says of each.
const REFUSED: &[(&str, &str)] = &[
    ("text", "must be made of bytes, not str"),
    ("a_string", "must be made of bytes, not str"),
    ("bare_bytes", "return a list of them"),
    (
        "none",
        "returned NoneType, which is not an iterable of bytes",
    ),
    ("no_start", "did not call start_response"),
    ("no_start_generator", "did not call start_response"),
    ("line_break", "\"X-Broken\" has a line break"),
    ("line_break_in_status", "the status must be three digits"),
    (
        "not_latin1",
        "\"X-Wide\" has characters that are not in ISO-8859-1",
    ),
    ("bad_name", "\"X Bad\" cannot be the name of a header"),
    ("bytes_in_header", "\"X-Bytes\" must be str, not bytes"),
    ("bad_status", "the status must be three digits"),
    ("informational", "the status must be three digits from 200"),
    ("two_lengths", "'Content-Length' must be one number"),
    ("twice", "a second time, without exc_info"),
    ("fails", "ValueError: it failed"),
    ("fails_after_start", "ValueError: it failed late"),
    ("fails_in_generator", "ValueError: before the first piece"),
    ("exits", "SystemExit: 7"),
    ("interrupts", "KeyboardInterrupt"),
    ("out_of_memory", "MemoryError"),
    ("recurses", "RecursionError"),
];

/// Answers of which the client must see that they are not whole: what it gets of them.
const CUT: &[(&str, &str)] = &[
    ("too_short", "\r\n\r\nabcd"),
    ("too_short_generator", "\r\n\r\nabcd"),
    ("too_late", "\r\n\r\n5\r\nbegun\r\n"),
    ("fails_in_the_middle", "\r\n\r\n5\r\nbegun\r\n"),
];

#[test]
fn every_shape_of_an_answer_arrives_as_it_should() {
    arrive(&shapes().start(), LAWFUL.iter().chain(MENDED));
}

#[test]
fn what_wsgiref_validate_says_of_the_server_is_nothing() {
    let server = serving("shapes:validated").start();
    for (name, wanted) in LAWFUL {
        check(name, &get(&server, &format!("/{name}")), {
            // The validator returns an iterator, so that no length is known.
            let (start, _, _) = *wanted;
            (start, &[], "")
        });
    }
    let posted = talk(
        &server,
        b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
    );
    assert!(posted.contains("\r\nbody\r\n"), "{posted}");
}

#[test]
fn an_answer_that_breaks_a_rule_is_a_500_and_the_log_says_which() {
    are_refused(&shapes().start(), REFUSED);
}

#[test]
fn an_answer_that_ends_early_does_not_look_whole() {
    let server = shapes().start();
    for (name, end) in CUT {
        let target = format!("/{name}");
        let answer = get(&server, &target);
        assert!(answer.starts_with(OK), "{name}: {answer}");
        assert!(answer.ends_with(end), "{name}: {answer}");
        is_reset(&server, &target);
    }
    let events = events(&server);
    assert!(events.contains("fails_in_the_middle"), "{events}");
}

#[test]
fn a_head_request_gets_the_fields_and_no_content() {
    let server = shapes().start();
    head_has(
        &server,
        &[
            ("one", "\r\ncontent-length: 5\r\n"),
            ("only_written", "\r\ncontent-length: 7\r\n"),
        ],
    );
    // Nothing is made for nobody.
    let answer = request(&server, "HEAD", "/endless");
    check("endless", &answer, (OK, &[], "\r\n\r\n"));
    assert!(!answer.contains("content-length: 0"), "{answer}");
    assert_eq!(events(&server), "endless");
}

#[test]
fn close_is_called_whatever_happens() {
    let server = shapes().start();
    for name in [
        "closing",
        "iterator_of_one_known_piece",
        "fails_in_the_middle",
        "too_long_generator",
    ] {
        get(&server, "/forget");
        get(&server, &format!("/{name}"));
        // The client may be faster than the application.
        eventually("it is closed", || (events(&server) == name).then_some(()));
    }
    let mark = server.log.mark();
    assert_eq!(content(&get(&server, "/closes_badly")), "x");
    let line = server.wait_for_log(mark, "the application failed after its answer");
    assert!(line["error"].as_str().unwrap().contains("close failed"));
}

#[test]
fn a_connection_goes_on_after_every_whole_answer() {
    one_connection_brings(
        &shapes().start(),
        &[
            "one",
            "generator",
            "fails",
            "written",
            "no_content",
            "nothing",
            "one",
        ],
    );
}

#[test]
fn what_is_written_to_wsgi_errors_is_in_the_log() {
    let server = shapes().start();
    get(&server, "/complains");
    server.wait_for_log(Mark::START, "a line for the log");
    server.wait_for_log(Mark::START, "and half of another");
}

#[test]
fn what_an_application_keeps_of_a_request_is_of_no_use_in_the_next_one() {
    let server = shapes().start();
    get(&server, "/keeps");
    let answer = get(&server, "/uses_kept");
    assert_eq!(content(&answer), "RuntimeError,RuntimeError,ValueError");
}

#[test]
fn early_hints_go_out_ahead_of_the_answer_to_whoever_knows_them() {
    const HINT: &str =
        "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n";
    let server = shapes().start();
    let answer = get(&server, "/hinted");
    let rest = answer.strip_prefix(HINT);
    let rest = rest.unwrap_or_else(|| panic!("{answer}"));
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(
        content(rest),
        "the field `content-length` is none for hints"
    );
    let of_old = talk(&server, b"GET /hinted HTTP/1.0\r\n\r\n");
    assert!(of_old.starts_with("HTTP/1.0 200 OK\r\n"), "{of_old}");
}
