//! Bodies that come slowly: the client is blamed for them and never the application, and a long upload is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::http2::wire::{DATA, END_HEADERS, END_STREAM, HEADERS, Wire, block, frame};
use crate::support::journal::Mark;
use crate::support::kit::Kit;
use crate::support::server::Server;
use crate::support::timed;

const SIZED: &str = "POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n";
const CHUNKED: &str = "POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";

/// What there is to a body in this step, as it is framed.
fn piece(head: &str, bytes: &str) -> String {
    if head == CHUNKED {
        format!("{:x}\r\n{bytes}\r\n", bytes.len())
    } else {
        bytes.to_owned()
    }
}

fn send(server: &Server, text: &str) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// How slow a client is.
#[expect(clippy::disallowed_methods, reason = "it is the client that is slow")]
fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // It may end rudely when the answer has been read.
    let _ended = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[track_caller]
fn assert_refused(server: &Server, answer: &str, key: &str) {
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    let line = server.wait_for_log(Mark::START, "refused");
    assert_eq!(line["status"], 408, "{line}");
    assert!(line["reason"].as_str().unwrap().contains(key), "{line}");
    let blamed = "the application did not answer in time";
    assert_eq!(server.count_log(Mark::START, blamed), 0);
}

#[test]
fn a_body_of_which_nothing_more_comes_is_answered_with_408() {
    Kit::each(&Kit::ALL, |kit| {
        for head in [SIZED, CHUNKED] {
            let server = kit
                .setup()
                .set("http.body_timeout", "300ms")
                .set("http.request_timeout", "200ms")
                .start();
            let mut stream = send(&server, &(head.to_owned() + &piece(head, "abc")));
            let (answer, took) = timed(|| rest(&mut stream));
            assert_refused(&server, &answer, "http.body_timeout");
            assert!(took >= Duration::from_millis(290), "{took:?}");
        }
    });
}

#[test]
fn a_body_that_trickles_is_answered_with_408() {
    Kit::each(&Kit::ALL, |kit| {
        for head in [SIZED, CHUNKED] {
            let server = kit
                .setup()
                .set("http.body_min_rate", "1KiB")
                .set("http.body_timeout", "500ms")
                .start();
            let mut stream = send(&server, head);
            let mut writing = stream.try_clone().unwrap();
            let trickle = thread::spawn(move || {
                for _ in 0..99 {
                    pause(100);
                    if writing.write_all(piece(head, "a").as_bytes()).is_err() {
                        break;
                    }
                }
            });
            assert_refused(&server, &rest(&mut stream), "http.body_min_rate");
            drop(stream);
            trickle.join().unwrap();
        }
    });
}

#[test]
fn a_long_upload_is_not_the_applications_time() {
    Kit::each(&Kit::ALL, |kit| {
        for head in [SIZED, CHUNKED] {
            let server = kit.setup().set("http.request_timeout", "500ms").start();
            let mut stream = send(&server, head);
            for _ in 0..10 {
                pause(150);
                let piece = piece(head, "0123456789");
                stream.write_all(piece.as_bytes()).unwrap();
            }
            if head == CHUNKED {
                stream.write_all(b"0\r\n\r\n").unwrap();
            }
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
    });
}

/// For applications in Python it is read ahead.
#[test]
fn what_nobody_reads_is_not_waited_for_and_the_applications_own_time_counts() {
    Kit::each(&[Kit::Demo], |kit| {
        let server = kit
            .setup()
            .set("http.body_timeout", "100ms")
            .set("http.request_timeout", "600ms")
            .start();
        let slow = SIZED.replace("/echo", "/slow?ms=300");
        let mut answer = [0; 12];
        send(&server, &slow).read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let slow = SIZED.replace("/echo", "/slow?ms=60000");
        send(&server, &slow).read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 504");
    });
}

#[test]
fn a_stream_of_http2_is_answered_with_408_and_its_neighbours_are_served() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("http.body_timeout", "300ms").start();
        let mut wire = Wire::open(&server);
        let head = |method: &str, path: &str| {
            block(&[
                (":method", method),
                (":scheme", "http"),
                (":path", path),
                (":authority", "test"),
            ])
        };
        let post = head("POST", "/echo");
        wire.send(&frame(HEADERS, END_HEADERS, 1, &post));
        wire.send(&frame(DATA, 0, 1, b"abc"));
        wire.until(|seen| seen.resets.contains_key(&1));
        assert!(wire.seen.complete.contains(&1));
        // NO_ERROR: the answer is whole, and no more of the request is wanted (RFC 9113 section 8.1).
        assert_eq!(wire.seen.resets[&1], 0);
        let line = server.wait_for_log(Mark::START, "refused");
        assert_eq!(line["status"], 408, "{line}");
        let get = head("GET", "/hello");
        wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &get));
        wire.until(|seen| seen.complete.contains(&3));
        assert!(wire.seen.complete.contains(&3) && wire.seen.goaway.is_none());
    });
}
