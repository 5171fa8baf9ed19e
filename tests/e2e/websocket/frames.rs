//! Frames, byte for byte, and what comes back.

use std::fmt::Write as _;
use std::io::Read as _;
use std::time::Duration;

use super::wire::{
    BINARY, BINARY_BEGINS, CLOSE, ENDS, Frame, GOES_ON, PING, PONG, TEXT, TEXT_BEGINS, Wire, close,
    frame, handshake,
};
use crate::support::eventually;
use crate::support::kit::Kit;
use crate::support::plain::take_slowly;

/// Section of RFC 6455 and what is sent; what comes back before the Close frame; its code.
type Case = (&'static str, Vec<Vec<u8>>, Vec<Frame>, u16);

/// What a client sends to end a case that goes well.
fn bye() -> Vec<u8> {
    close(1000)
}

fn back(first: u8, payload: &[u8]) -> Vec<Frame> {
    vec![Frame::new(first, payload)]
}

fn cases() -> Vec<Case> {
    let mut cases = good();
    cases.extend(bad());
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        cases.push((
            "7.4 a code that may be sent",
            vec![close(code)],
            vec![],
            code,
        ));
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        cases.push((
            "7.4 a code that may not be sent",
            vec![close(code)],
            vec![],
            1002,
        ));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push((
            "5.2 a reserved opcode",
            vec![frame(0x80 | opcode, b"")],
            vec![],
            1002,
        ));
        cases.push((
            "5.2 a reserved opcode after a message",
            vec![
                frame(TEXT, b"a"),
                frame(0x80 | opcode, b"b"),
                frame(PING, b""),
            ],
            back(TEXT, b"a"),
            1002,
        ));
    }
    for bits in [0x10, 0x20, 0x40, 0x70] {
        for first in [TEXT, BINARY, PING, CLOSE] {
            cases.push((
                "5.2 a reserved bit",
                vec![frame(first | bits, b"")],
                vec![],
                1002,
            ));
        }
    }
    cases
}

fn good() -> Vec<Case> {
    let long: Vec<u8> = (0..70_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let text = "κόσμε 𝄞".as_bytes();
    let mut cases: Vec<Case> = vec![
        (
            "5.6 a text",
            vec![frame(TEXT, text), bye()],
            back(TEXT, text),
            1000,
        ),
        (
            "5.6 an empty text",
            vec![frame(TEXT, b""), bye()],
            back(TEXT, b""),
            1000,
        ),
        (
            "5.6 bytes",
            vec![frame(BINARY, b"\xff\0"), bye()],
            back(BINARY, b"\xff\0"),
            1000,
        ),
        (
            "5.4 two fragments",
            vec![frame(TEXT_BEGINS, b"a"), frame(ENDS, b"b"), bye()],
            back(TEXT, b"ab"),
            1000,
        ),
        (
            "5.4 three fragments",
            vec![
                frame(BINARY_BEGINS, b"a"),
                frame(GOES_ON, b"b"),
                frame(ENDS, b"c"),
                bye(),
            ],
            back(BINARY, b"abc"),
            1000,
        ),
        (
            "5.4 empty fragments",
            vec![
                frame(TEXT_BEGINS, b""),
                frame(GOES_ON, b""),
                frame(ENDS, b""),
                bye(),
            ],
            back(TEXT, b""),
            1000,
        ),
        (
            "5.5 a ping between fragments",
            vec![
                frame(TEXT_BEGINS, b"a"),
                frame(PING, b"p"),
                frame(ENDS, b"b"),
                bye(),
            ],
            vec![Frame::new(PONG, b"p"), Frame::new(TEXT, b"ab")],
            1000,
        ),
        (
            "5.5.2 a ping",
            vec![frame(PING, b"hello"), bye()],
            back(PONG, b"hello"),
            1000,
        ),
        (
            "5.5.2 the longest ping",
            vec![frame(PING, &[0xfe; 125]), bye()],
            back(PONG, &[0xfe; 125]),
            1000,
        ),
        (
            "5.5.3 a pong nobody asked for",
            vec![frame(PONG, b"x"), frame(TEXT, b"a"), bye()],
            back(TEXT, b"a"),
            1000,
        ),
        ("5.5.1 no code", vec![frame(CLOSE, b"")], vec![], 1005),
        (
            "5.5.1 a reason",
            vec![frame(CLOSE, b"\x03\xe8bye")],
            vec![],
            1000,
        ),
        (
            "5.5.1 the longest reason",
            vec![frame(CLOSE, &[&[3, 232][..], &[b'x'; 123]].concat())],
            vec![],
            1000,
        ),
        (
            "5.5.1 what follows a Close frame does not count",
            vec![bye(), frame(TEXT, b"a"), vec![0xff; 10]],
            vec![],
            1000,
        ),
        (
            "8.1 a character in two fragments",
            vec![
                frame(TEXT_BEGINS, b"\xf0\x9d"),
                frame(ENDS, b"\x84\x9e"),
                bye(),
            ],
            back(TEXT, "𝄞".as_bytes()),
            1000,
        ),
    ];
    for length in [125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = &long[..length];
        cases.push((
            "5.2 lengths",
            vec![frame(BINARY, payload), bye()],
            back(BINARY, payload),
            1000,
        ));
    }
    cases
}

fn bad() -> Vec<Case> {
    let mut cases: Vec<Case> = vec![
        ("5.1 no mask", vec![vec![0x81, 1, b'a']], vec![], 1002),
        (
            "5.1 no mask on a control frame",
            vec![vec![0x89, 0]],
            vec![],
            1002,
        ),
        (
            "5.1 no mask on a Close frame",
            vec![vec![0x88, 2, 3, 232]],
            vec![],
            1002,
        ),
        (
            "5.2 sixteen bits for a short length",
            vec![vec![0x82, 0xfe, 0, 5, 0, 0, 0, 0, 1, 2, 3, 4, 5]],
            vec![],
            1002,
        ),
        (
            "5.2 64 bits for a short length",
            vec![vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0]],
            vec![],
            1002,
        ),
        (
            "5.2 the highest bit of a length",
            vec![vec![0x82, 0xff, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
            vec![],
            1002,
        ),
        (
            "5.2 more than can be",
            vec![vec![
                0x82, 0xff, 127, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
            ]],
            vec![],
            1009,
        ),
        (
            "5.4 an end without a beginning",
            vec![frame(ENDS, b"a")],
            vec![],
            1002,
        ),
        (
            "5.4 a middle without a beginning",
            vec![frame(GOES_ON, b"a")],
            vec![],
            1002,
        ),
        (
            "5.4 a message in a message",
            vec![frame(TEXT_BEGINS, b"a"), frame(TEXT, b"b")],
            vec![],
            1002,
        ),
        (
            "5.4 a beginning in a message",
            vec![frame(BINARY_BEGINS, b"a"), frame(BINARY_BEGINS, b"b")],
            vec![],
            1002,
        ),
        (
            "5.4 an end after the end",
            vec![
                frame(TEXT_BEGINS, b"a"),
                frame(ENDS, b"b"),
                frame(ENDS, b"c"),
            ],
            back(TEXT, b"ab"),
            1002,
        ),
        (
            "5.5 a long ping",
            vec![frame(PING, &[0; 126])],
            vec![],
            1002,
        ),
        (
            "5.5 a long pong",
            vec![frame(PONG, &[0; 126])],
            vec![],
            1002,
        ),
        (
            "5.5 a long Close frame",
            vec![frame(CLOSE, &[&[3, 232][..], &[b'x'; 124]].concat())],
            vec![],
            1002,
        ),
        (
            "5.5 a ping in fragments",
            vec![frame(0x09, b"a"), frame(ENDS, b"b")],
            vec![],
            1002,
        ),
        (
            "5.5 a Close frame in fragments",
            vec![frame(0x08, b"\x03\xe8")],
            vec![],
            1002,
        ),
        (
            "5.5.1 half a code",
            vec![frame(CLOSE, b"\x03")],
            vec![],
            1002,
        ),
        (
            "5.5.1 a reason that is not UTF-8",
            vec![frame(CLOSE, b"\x03\xe8\xce\xba\xff")],
            vec![],
            1007,
        ),
        (
            "8.1 half a character at the end of fragments",
            vec![frame(TEXT_BEGINS, b"a"), frame(ENDS, b"\xce")],
            vec![],
            1007,
        ),
        (
            "8.1 what is wrong is noticed before its end",
            vec![frame(TEXT_BEGINS, b"\xff")],
            vec![],
            1007,
        ),
        (
            "8.1 half a frame is enough",
            vec![frame(TEXT, &[&b"\xf4\x90"[..], &[b'a'; 100]].concat())[..10].to_vec()],
            vec![],
            1007,
        ),
        (
            "8.1 after a good text",
            vec![frame(TEXT, b"a"), frame(TEXT, b"\xff")],
            back(TEXT, b"a"),
            1007,
        ),
    ];
    for text in [
        &b"\xff"[..],
        b"\x80",
        b"\xc0\xaf",
        b"\xce",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\xaf",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"abc\xe2\x82",
    ] {
        cases.push((
            "8.1 a text that is not UTF-8",
            vec![frame(TEXT, text)],
            vec![],
            1007,
        ));
    }
    cases
}

/// Sends `bytes` in these pieces, sees what comes back.
fn wrong(
    wire: &mut Wire,
    bytes: &[u8],
    pieces: &mut dyn FnMut() -> usize,
    case: &Case,
) -> Option<String> {
    let (what, _, expected, code) = case;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(pieces().clamp(1, rest.len()));
        wire.send(piece);
        rest = later;
    }
    let (mut frames, ended) = wire.rest();
    let last = frames.pop();
    let is_right =
        ended.is_ok() && frames == *expected && last.as_ref().and_then(Frame::code) == Some(*code);
    (!is_right).then(|| format!("{what}: {code}, but {frames:?} {last:?} {ended:?}"))
}

#[test]
fn every_frame_gets_what_it_deserves_however_its_bytes_arrive() {
    let errors = Kit::each(&Kit::WITH_WEBSOCKET, send_all).concat();
    assert!(errors.is_empty(), "\n{errors}");
}

fn send_all(kit: Kit) -> String {
    let server = kit.setup().start();
    let mut random = fastrand::Rng::with_seed(1);
    let mut errors = String::new();
    for case in cases() {
        let bytes = case.1.concat();
        let mut ways: Vec<Box<dyn FnMut() -> usize>> = vec![Box::new(|| usize::MAX)];
        if bytes.len() < 1000 {
            ways.push(Box::new(|| 1));
            ways.push(Box::new(|| random.usize(1..9)));
        } else {
            ways.push(Box::new(|| random.usize(1..30_000)));
        }
        for mut way in ways {
            let mut wire = Wire::open(&server, "/ws/echo");
            if let Some(error) = wrong(&mut wire, &bytes, &mut way, &case) {
                writeln!(errors, "{kit:?}: {error}").unwrap();
            }
        }
    }
    eventually("no connection is left", || {
        (server.connections() == 0).then_some(())
    });
    errors
}

#[test]
fn a_message_may_be_so_long_and_no_longer_whole_or_in_fragments() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().set("websocket.max_message", "10KiB").start();
        let whole = |length: usize| vec![frame(BINARY, &vec![0; length]), bye()];
        let halves = |length: usize| {
            let half = vec![0; length / 2];
            vec![
                frame(BINARY_BEGINS, &half),
                frame(PING, b""),
                frame(ENDS, &half),
                bye(),
            ]
        };
        for (frames, code) in [
            (whole(10_240), 1000),
            (whole(10_241), 1009),
            (halves(10_240), 1000),
            (halves(10_242), 1009),
            ([whole(10_240), whole(10_240)].concat(), 1000),
        ] {
            let mut wire = Wire::open(&server, "/ws/echo");
            wire.send(&frames.concat());
            assert_eq!(wire.until_close(), code);
        }
        let mut wire = Wire::open(&server, "/ws/echo");
        let header = [&[0x82, 0xff][..], &70_000_u64.to_be_bytes(), &[0; 4]].concat();
        wire.send(&header);
        assert_eq!(wire.until_close(), 1009, "its header is enough");
        wire.assert_ends();
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().set("http.write_timeout", "300ms").start();
        let mark = server.log.mark();
        let _deaf = Wire::open(&server, "/ws/big?n=60000000");
        let mut idle = Wire::open(&server, "/ws/echo");
        eventually("only the idle one is left", || {
            (server.connections() == 1).then_some(())
        });
        assert_eq!(server.count_log(mark, "panic"), 0);
        idle.send(&frame(TEXT, b"still there"));
        assert_eq!(idle.next().unwrap(), Some(Frame::new(TEXT, b"still there")));
    }
}

#[test]
fn a_client_that_takes_a_little_of_a_long_message_all_the_time_is_not_cut_off() {
    const LENGTH: usize = 20_000_000;
    for kit in Kit::WITH_WEBSOCKET {
        let request = handshake(&format!("/ws/big?n={LENGTH}"), &[]);
        let (taken, mut stream, _server) = take_slowly(kit, &request);
        stream.read_exact(&mut vec![0; LENGTH - taken]).unwrap();
    }
}

#[test]
fn a_client_that_does_not_answer_a_close_is_not_waited_for() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().set("http.write_timeout", "300ms").start();
        let mark = server.log.mark();
        let mut wire = Wire::open(&server, "/ws/close?code=4001&reason=enough");
        assert_eq!(wire.until_close(), 4001);
        // It goes on as if nothing had been said.
        wire.send(&frame(TEXT, b"and another thing"));
        wire.assert_ends();
        // That of ASGI is let go of as soon as it is closed.
        if kit == Kit::Demo {
            let ended = server.wait_for_log(mark, "a WebSocket is ended");
            let reason = ended["reason"].as_str().unwrap();
            assert!(reason.contains("did not answer"), "{ended}");
        }
        eventually("nothing is left of it", || {
            (server.connections() == 0).then_some(())
        });
    }
}

#[test]
fn a_client_that_breaks_the_rules_is_told_although_it_sends_on() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let mut wire = Wire::open(&server, "/ws/echo");
        wire.wait_at_most(Duration::from_secs(5));
        wire.send(&[frame(0x83, b""), vec![0; 200_000]].concat());
        assert_eq!(wire.until_close(), 1002);
    }
}

#[test]
fn the_demo_says_what_it_was_asked_on_its_websockets() {
    for kit in Kit::WITH_WEBSOCKET {
        let server = kit.setup().start();
        let mut wire = Wire::open(&server, "/ws/close?code=4001&reason=enough");
        let frame = wire.next().unwrap().unwrap();
        assert_eq!(
            frame,
            Frame::new(CLOSE, &[&4001_u16.to_be_bytes()[..], b"enough"].concat())
        );
        wire.send(&close(4001));
        wire.assert_ends();
        let mut wire = Wire::open(&server, "/ws/headers?a=b");
        let text = String::from_utf8(wire.next().unwrap().unwrap().payload).unwrap();
        assert!(
            text.contains("\"sec-websocket-version\":\"13\"") && text.contains("a=b"),
            "{text}"
        );
        let mut wire = Wire::open(&server, "/ws/big?n=100000");
        assert_eq!(wire.next().unwrap().unwrap().payload.len(), 100_000);
        let mut wire = Wire::open(&server, "/ws/events?ms=1");
        for number in 1..20 {
            let expected = Frame::new(TEXT, number.to_string().as_bytes());
            assert_eq!(wire.next().unwrap(), Some(expected));
        }
    }
}
