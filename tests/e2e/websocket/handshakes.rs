//! Opening handshakes, byte for byte, and their answers.

use super::wire::{BINARY, Frame, TEXT, Wire, close, frame, handshake};
use crate::support::kit::Kit;

type Case = (&'static str, &'static [(&'static str, &'static str)], u16);

/// Section of RFC 6455 and what is sent; fields that differ from a good handshake; the status.
const CASES: &[Case] = &[
    ("4.2.1 a good one", &[], 101),
    (
        "4.2.1 Upgrade in any case",
        &[("Upgrade", "WebSocket")],
        101,
    ),
    (
        "4.2.1 Upgrade is a list",
        &[("Upgrade", "foo, websocket")],
        101,
    ),
    (
        "4.2.1 Connection is a list",
        &[("Connection", "keep-alive, Upgrade")],
        101,
    ),
    (
        "4.2.1 an Origin",
        &[("Origin", "https://other.example")],
        101,
    ),
    ("4.2.1 no body", &[("Content-Length", "0")], 101),
    (
        "9.1 an extension that is not known",
        &[("Sec-WebSocket-Extensions", "x-unknown; a=1")],
        101,
    ),
    (
        "9.1 an extension that is not used",
        &[(
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits",
        )],
        101,
    ),
    (
        "11.3.4 subprotocols",
        &[("Sec-WebSocket-Protocol", "chat, superchat")],
        101,
    ),
    (
        "11.3.4 subprotocols in two fields",
        &[
            ("Sec-WebSocket-Protocol", "chat"),
            ("Sec-WebSocket-Protocol", "b"),
        ],
        101,
    ),
    ("4.2.1 no Upgrade", &[("Upgrade", "-")], 400),
    ("4.2.1 another Upgrade", &[("Upgrade", "h2c")], 400),
    (
        "4.2.1 Upgrade with a version",
        &[("Upgrade", "websocket/13")],
        400,
    ),
    ("4.2.1 no Connection", &[("Connection", "-")], 400),
    (
        "4.2.1 another Connection",
        &[("Connection", "keep-alive")],
        400,
    ),
    ("4.2.1 no key", &[("Sec-WebSocket-Key", "-")], 400),
    ("4.2.1 an empty key", &[("Sec-WebSocket-Key", "")], 400),
    (
        "4.2.1 a short key",
        &[("Sec-WebSocket-Key", "c2hvcnQ=")],
        400,
    ),
    (
        "4.2.1 a long key",
        &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZWFuZG1vcmU=")],
        400,
    ),
    (
        "4.2.1 a key without padding",
        &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ")],
        400,
    ),
    (
        "4.2.1 a key of the other alphabet",
        &[("Sec-WebSocket-Key", "__hlIHNhbXBsZSBub25jZQ==")],
        400,
    ),
    (
        "4.2.1 a key that is not canonical",
        &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZR==")],
        400,
    ),
    (
        "11.3.1 two keys",
        &[
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        400,
    ),
    ("4.4 no version", &[("Sec-WebSocket-Version", "-")], 426),
    ("4.4 an old version", &[("Sec-WebSocket-Version", "8")], 426),
    (
        "4.4 a version to come",
        &[("Sec-WebSocket-Version", "14")],
        426,
    ),
    (
        "4.4 a version that is none",
        &[("Sec-WebSocket-Version", "thirteen")],
        426,
    ),
    (
        "4.4 several versions",
        &[("Sec-WebSocket-Version", "13, 8")],
        426,
    ),
    (
        "11.3.5 two versions",
        &[
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Version", "13"),
        ],
        400,
    ),
    ("4.2.1 a body", &[("Content-Length", "5")], 400),
    (
        "4.2.1 a body in chunks",
        &[("Transfer-Encoding", "chunked")],
        400,
    ),
    ("4.2.1 no Host", &[("Host", "-")], 400),
    (
        "10.2 two Origins",
        &[
            ("Origin", "https://a.example"),
            ("Origin", "https://b.example"),
        ],
        400,
    ),
    (
        "11.3.4 no subprotocol",
        &[("Sec-WebSocket-Protocol", "")],
        400,
    ),
    (
        "11.3.4 a subprotocol that is no token",
        &[("Sec-WebSocket-Protocol", "a b")],
        400,
    ),
    (
        "11.3.4 a subprotocol with a separator",
        &[("Sec-WebSocket-Protocol", "chat, a/b")],
        400,
    ),
    (
        "9.1 an extension that is no token",
        &[("Sec-WebSocket-Extensions", "a b")],
        400,
    ),
    (
        "9.1 a parameter without a name",
        &[("Sec-WebSocket-Extensions", "a; =1")],
        400,
    ),
    (
        "9.1 a quote that does not end",
        &[("Sec-WebSocket-Extensions", "a; b=\"c")],
        400,
    ),
];

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_handshake_gets_its_status() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let mut wrong = Vec::new();
        for (what, changes, expected) in CASES {
            let mut wire = Wire::connect(&server);
            wire.send(&handshake("/ws/echo", changes));
            let head = wire.head();
            if status(&head) != *expected {
                wrong.push(format!("{kit:?}: {what}: {expected}, but {head}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn the_method_and_the_version_of_http_are_those_of_a_handshake() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let good = String::from_utf8(handshake("/ws/echo", &[])).unwrap();
        for (begin, expected) in [
            ("GET /ws/echo HTTP/1.0", 400),
            ("POST /ws/echo HTTP/1.1", 400),
            ("HEAD /ws/echo HTTP/1.1", 400),
            ("OPTIONS /ws/echo HTTP/1.1", 400),
        ] {
            let mut wire = Wire::connect(&server);
            wire.send(good.replace("GET /ws/echo HTTP/1.1", begin).as_bytes());
            assert_eq!(status(&wire.head()), expected, "{begin}");
        }
    }
}

#[test]
fn the_answer_is_that_of_rfc_6455() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let (_, head) = Wire::open_with(
            &server,
            "/ws/echo",
            &[("Sec-WebSocket-Protocol", "chat, b")],
        );
        let lines: Vec<_> = head.lines().map(str::to_lowercase).collect();
        for line in [
            "upgrade: websocket",
            "connection: upgrade",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
            "sec-websocket-protocol: chat",
        ] {
            assert!(lines.iter().any(|each| each == line), "{line}: {head}");
        }
        assert!(!head.contains("extensions"), "{head}");
        let (_, head) = Wire::open_with(&server, "/ws/echo", &[]);
        assert!(!head.contains("protocol"), "{head}");
    }
}

#[test]
fn a_client_of_another_version_learns_which_one_is_spoken() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let mut wire = Wire::connect(&server);
        wire.send(&handshake("/ws/echo", &[("Sec-WebSocket-Version", "7")]));
        let head = wire.head().to_lowercase();
        for line in [
            "sec-websocket-version: 13\r\n",
            "upgrade: websocket\r\n",
            "connection: close, upgrade\r\n",
        ] {
            assert!(head.contains(line), "{line}: {head}");
        }
    }
}

#[test]
fn an_answer_that_opens_nothing_leaves_the_connection_as_it_was() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let mut wire = Wire::connect(&server);
        wire.send(&handshake("/status/403", &[]));
        assert_eq!(status(&wire.head()), 403);
        let mut wire = Wire::connect(&server);
        wire.send(&handshake("/status/204", &[]));
        assert_eq!(status(&wire.head()), 204);
        wire.send(&handshake("/ws/echo", &[]));
        assert_eq!(status(&wire.head()), 101);
        wire.send(&frame(TEXT, b"hello"));
        assert_eq!(wire.next().unwrap(), Some(Frame::new(TEXT, b"hello")));
    }
}

#[test]
fn a_route_that_speaks_websocket_says_so_to_others() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let mut wire = Wire::connect(&server);
        wire.send(b"GET /ws/echo HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = wire.head();
        assert_eq!(status(&head), 426, "{head}");
    }
}

#[test]
fn a_websocket_may_be_asked_for_by_http_1_after_other_requests() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let mut wire = Wire::connect(&server);
        wire.send(b"GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status(&wire.head()), 204);
        wire.send(&handshake("/ws/echo", &[]));
        assert_eq!(status(&wire.head()), 101);
        wire.send(&frame(BINARY, b"\xff"));
        assert_eq!(wire.next().unwrap(), Some(Frame::new(BINARY, b"\xff")));
        wire.send(&close(1000));
        assert_eq!(wire.until_close(), 1000);
        wire.assert_ends();
    }
}
