//! WebSockets of an ASGI application: how they open, what goes over them, how they end.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::shapes;
use crate::support::eventually;
use crate::support::journal::Mark;
use crate::support::server::Server;
use crate::support::shapes::{content, events, get};
use crate::websocket::wire::{
    BINARY, CLOSE, Frame, PING, PONG, TEXT, Wire, close, frame, handshake,
};

fn rejected(server: &Server, target: &str) -> String {
    let mut wire = Wire::connect(server);
    wire.send(&handshake(target, &[("Connection", "Upgrade")]));
    wire.head()
}

fn said(wire: &mut Wire) -> Frame {
    wire.next().unwrap().unwrap()
}

#[test]
fn messages_go_both_ways_over_a_websocket_of_asgi() {
    let server = shapes().start();
    let offer = [("Sec-WebSocket-Protocol", "chat, other")];
    let (mut wire, head) = Wire::open_with(&server, "/echoes", &offer);
    let head = head.to_lowercase();
    assert!(
        head.contains("\r\nsec-websocket-protocol: chat\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nx-greeting: hello\r\n"), "{head}");
    for length in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let payload = vec![b'a'; length];
        for kind in [TEXT, BINARY] {
            wire.send(&frame(kind, &payload));
            assert!(said(&mut wire) == Frame::new(kind, &payload), "{length}");
        }
    }
    wire.send(&frame(TEXT, "gr\u{fc}\u{df}e".as_bytes()));
    assert_eq!(
        said(&mut wire),
        Frame::new(TEXT, "gr\u{fc}\u{df}e".as_bytes())
    );
    wire.send(&frame(PING, b"ping"));
    assert_eq!(said(&mut wire), Frame::new(PONG, b"ping"));
    let farewell = [&4001_u16.to_be_bytes()[..], b"enough"].concat();
    wire.send(&frame(CLOSE, &farewell));
    assert_eq!(said(&mut wire).code(), Some(4001));
    wire.assert_ends();
    eventually("the end", || {
        (events(&server) == "4001 enough,gone").then_some(())
    });
}

#[test]
fn an_application_knows_how_its_client_has_left() {
    let server = shapes().start();
    let mut wire = Wire::open(&server, "/echoes");
    wire.send(&frame(CLOSE, b""));
    assert!(said(&mut wire).code().is_some());
    eventually("no code", || {
        (events(&server) == "1005 ,gone").then_some(())
    });
    get(&server, "/forget");
    drop(Wire::open(&server, "/echoes"));
    eventually("no word", || {
        (events(&server) == "1006 ,gone").then_some(())
    });
}

#[test]
fn an_application_is_told_what_its_websocket_is() {
    let server = shapes().start();
    let offer = [("Sec-WebSocket-Protocol", "chat, other")];
    let (mut wire, _) = Wire::open_with(&server, "/shows", &offer);
    let shown: Value = serde_json::from_slice(&said(&mut wire).payload).unwrap();
    assert_eq!(
        shown,
        json!({
            "type": "websocket", "scheme": "ws", "path": "/shows", "subprotocols": ["chat", "other"],
            "http_version": "1.1", "extensions": {"websocket.http.response": {}}, "claims": null,
        })
    );
    let farewell = [&3000_u16.to_be_bytes()[..], b"shown"].concat();
    assert_eq!(said(&mut wire), Frame::new(CLOSE, &farewell));
    wire.send(&close(3000));
    wire.assert_ends();
    eventually("the end", || {
        (events(&server) == "websocket.disconnect 3000 shown").then_some(())
    });
}

#[test]
fn a_websocket_that_the_application_does_not_accept_is_an_answer() {
    let server = shapes().start();
    let head = rejected(&server, "/rejects");
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    eventually("the end", || {
        (events(&server) == "websocket.disconnect").then_some(())
    });
    let mut wire = Wire::connect(&server);
    wire.send(&handshake("/denies", &[]));
    let head = wire.head();
    assert!(head.starts_with("HTTP/1.1 418 "), "{head}");
    assert!(head.contains("\r\nx-kind: teapot\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-length: 15\r\n"), "{head}");
    for (name, reason) in [
        (
            "leaves_before",
            "without websocket.accept or websocket.close",
        ),
        ("fails_before", "ValueError: before it was open"),
        (
            "chooses_what_nobody_offers",
            "the subprotocol \"none\" is none that the client offers",
        ),
        ("sends_before", "websocket.send before websocket.accept"),
    ] {
        let mark = server.log.mark();
        let head = rejected(&server, &format!("/{name}"));
        assert!(head.starts_with("HTTP/1.1 500 "), "{name}: {head}");
        let line = server.wait_for_log(mark, "the application failed");
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[test]
fn an_application_that_returns_or_fails_closes_its_websocket() {
    let server = shapes().start();
    for (name, code) in [("returns", 1000), ("fails_inside", 1011)] {
        let mut wire = Wire::open(&server, &format!("/{name}"));
        assert_eq!(said(&mut wire).code(), Some(code), "{name}");
        wire.send(&close(code));
        wire.assert_ends();
    }
    let line = server.wait_for_log(
        Mark::START,
        "the application failed, its WebSocket is closed",
    );
    assert!(
        line["error"]
            .as_str()
            .unwrap()
            .contains("ValueError: inside")
    );
}

#[test]
fn a_client_that_reads_slowly_holds_up_the_application_and_not_the_memory() {
    let server = shapes().start();
    let before: u64 = content(&get(&server, "/memory")).parse().unwrap();
    let mut wire = Wire::open(&server, "/floods");
    let (mut most, mut length) = (before, 0);
    for _ in 0..40 {
        length += said(&mut wire).payload.len();
        most = most.max(content(&get(&server, "/memory")).parse().unwrap());
    }
    loop {
        let next = said(&mut wire);
        if next.first == CLOSE {
            break;
        }
        length += next.payload.len();
    }
    assert_eq!(length, 2000 * 65536);
    most = most.max(content(&get(&server, "/memory")).parse().unwrap());
    assert!(most < before + 16_000_000, "{before} -> {most}");
}

#[test]
fn an_application_that_reads_slowly_holds_up_its_client_and_not_the_memory() {
    let server = shapes().start();
    let before: u64 = content(&get(&server, "/memory")).parse().unwrap();
    let mut wire = Wire::open(&server, "/reads_slowly");
    let mut writer = wire.clone_writer();
    let writing = std::thread::spawn(move || {
        let message = frame(BINARY, &vec![7; 60_000]);
        for _ in 0..500 {
            std::io::Write::write_all(&mut writer, &message).unwrap();
        }
        std::io::Write::write_all(&mut writer, &frame(TEXT, b"end")).unwrap();
    });
    for _ in 0..20 {
        let now: u64 = content(&get(&server, "/memory")).parse().unwrap();
        assert!(now < before + 10_000_000, "{before} -> {now}");
    }
    get(&server, "/opens");
    assert_eq!(said(&mut wire), Frame::new(TEXT, b"30000000"));
    writing.join().unwrap();
}

#[test]
fn a_message_that_is_too_long_never_reaches_the_application() {
    let server = shapes().set("websocket.max_message", "1KiB").start();
    let mut wire = Wire::open(&server, "/echoes");
    wire.send(&frame(TEXT, &[b'a'; 1025]));
    assert_eq!(wire.until_close(), 1009);
    eventually("the end", || {
        events(&server).ends_with("gone").then_some(())
    });
    assert!(!events(&server).contains('a'));
}

#[test]
fn a_drain_closes_the_websockets_of_asgi() {
    let server = shapes()
        .set("http.stream_grace", "300ms")
        .set("workers.graceful_timeout", "10s")
        .start();
    let mut wire = Wire::open(&server, "/echoes");
    let mark = server.log.mark();
    server.signal(Signal::SIGHUP);
    assert_eq!(wire.until_close(), 1001);
    wire.send(&close(1001));
    wire.assert_ends();
    server.wait_for_log(mark, "worker finished");
}

#[test]
fn what_was_said_before_the_end_is_answered_before_it() {
    let server = shapes().start();
    for (end, code) in [(close(4000), 4000), (frame(0x83, b""), 1002)] {
        let mut wire = Wire::open(&server, "/echoes");
        let said_at_once = [frame(TEXT, b"a"), frame(BINARY, b"b"), end].concat();
        wire.send(&said_at_once);
        assert_eq!(said(&mut wire), Frame::new(TEXT, b"a"));
        assert_eq!(said(&mut wire), Frame::new(BINARY, b"b"));
        assert_eq!(wire.until_close(), code);
    }
    // One that does not deal with it is waited for a second.
    let mut wire = Wire::open(&server, "/reads_slowly");
    wire.send(&[frame(TEXT, b"a"), close(1000)].concat());
    assert_eq!(wire.until_close(), 1000);
}

#[test]
fn the_answer_that_opens_a_websocket_has_no_length() {
    let server = shapes().start();
    let (_wire, head) = Wire::open_with(&server, "/accepts_with_a_length", &[]);
    let head = head.to_lowercase();
    assert!(
        head.contains("x-own: 1") && !head.contains("content-length"),
        "{head}"
    );
}
