//! What goes out ahead of an answer on its stream (RFC 9110 section 15.2): 100 for who waits to be asked for a body, hints.

use std::time::Duration;

use super::wire::*;
use super::{curl, get};
use crate::support::kit::Kit;
use crate::support::server::Server;

/// `:status` as the codec writes it the first time (RFC 7541 section 6.2.1 and appendix B), and each time.
const CONTINUE: &[u8] = &[0x48, 0x82, 0x08, 0x01];
const EARLY_HINTS: &[u8] = &[0x48, 0x82, 0x08, 0x19];
const OK: &[u8] = &[0x88];
const NOT_FOUND: &[u8] = &[0x8d];
const CONTENT_TOO_LARGE: &[u8] = &[0x48, 0x83, 0x68, 0x2c, 0xff];

/// An upload whose client waits until it is told to go on.
fn waiting(path: &str, length: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a.example"),
        ("content-length", length),
        ("expect", "100-continue"),
    ];
    frame(HEADERS, END_HEADERS, 1, &block(&fields))
}

/// Beginnings of the heads on the first stream.
fn heads(seen: &Seen) -> Vec<&[u8]> {
    let heads = seen.heads.iter().filter(|(stream, _)| *stream == 1);
    heads.map(|(_, head)| &head[..]).collect()
}

#[track_caller]
fn assert_heads(seen: &Seen, begin: &[&[u8]]) {
    let heads = heads(seen);
    assert_eq!(heads.len(), begin.len(), "{seen:?}");
    for (head, begin) in heads.iter().zip(begin) {
        assert!(head.starts_with(begin), "{seen:?}");
    }
}

#[test]
fn who_waits_over_http_2_is_told_to_go_on_when_the_body_is_wanted() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().start();
        let mut wire = Wire::open(&server);
        wire.send(&waiting("/echo", "5"));
        let seen = wire.until(|seen| !seen.heads.is_empty());
        assert_heads(seen, &[CONTINUE]);
        wire.send(&frame(DATA, END_STREAM, 1, b"hello"));
        let seen = wire.until(|seen| seen.complete.contains(&1));
        assert_heads(seen, &[CONTINUE, OK]);
        assert_eq!(seen.data, 5);
    });
}

#[test]
fn who_waits_over_http_2_for_nothing_gets_the_answer_alone() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("http.max_body", 100).start();
        let mut cases = vec![("/echo", "1000", CONTENT_TOO_LARGE)];
        // For WSGI a body is read before the application is asked.
        if kit != Kit::Wsgi {
            cases.push(("/nowhere", "5", NOT_FOUND));
        }
        for (path, length, begin) in cases {
            let mut wire = Wire::open(&server);
            wire.send(&waiting(path, length));
            let seen = wire.until(|seen| seen.complete.contains(&1));
            assert_heads(seen, &[begin]);
        }
    });
}

#[test]
fn who_does_not_wait_over_http_2_is_not_told_to_go_on() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().start();
        let mut wire = Wire::open(&server);
        let all = [waiting("/echo", "5"), frame(DATA, END_STREAM, 1, b"hello")].concat();
        wire.send(&all);
        let seen = wire.until(|seen| seen.complete.contains(&1));
        assert_heads(seen, &[OK]);
    });
}

#[test]
fn hints_go_out_at_once_on_their_stream() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().start();
        let mut wire = Wire::open(&server);
        wire.send(&get(1, "/hints?ms=60000"));
        let seen = wire.until(|seen| !seen.heads.is_empty());
        assert_heads(seen, &[EARLY_HINTS]);
        // The answer is not waited for, and neither is it by who is asked next.
        wire.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
        wire.send(&get(3, "/hints?ms=0"));
        let seen = wire.until(|seen| seen.complete.contains(&3));
        assert!(!seen.ended && seen.heads.len() == 3, "{seen:?}");
    });
}

#[test]
fn curl_sees_hints_and_is_told_to_go_on() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().start();
        let answer = curl(&server, "/hints?ms=0", &["--include"]);
        assert!(
            answer.starts_with(
                "HTTP/2 103 \r\nlink: </style.css>; rel=preload; as=style\r\n\r\nHTTP/2 200 \r\n"
            ),
            "{kit:?}: {answer}"
        );
        assert_eq!(told(&server), "HTTP/2 100 ");
    });
}

/// The first line of what `curl` is told when it asks whether to go on.
fn told(server: &Server) -> String {
    let answer = curl(
        server,
        "/echo",
        &[
            "--include",
            "--header",
            "expect: 100-continue",
            // It waits for longer than it may take at all.
            "--expect100-timeout",
            &Duration::from_mins(1).as_secs().to_string(),
            "--data",
            "something",
        ],
    );
    answer.lines().next().unwrap_or_default().to_owned()
}
