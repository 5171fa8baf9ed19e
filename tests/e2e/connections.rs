//! One connection: its time-outs, and what a drain means to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::client::Blocking;
use crate::support::server::Setup;
use crate::support::{eventually, timed};

/// Everything until the server closes.
fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_request_whose_head_does_not_end_is_answered_with_408() {
    let server = Setup::new().set("http.header_timeout", "300ms").start();
    let mut stream = server.connect();
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost:").unwrap();
    let (answer, took) = timed(|| rest(stream));
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(took >= Duration::from_millis(250), "{took:?}");
}

/// RFC 9110 section 9.3.2.
#[test]
fn the_408_to_a_head_has_no_content() {
    let server = Setup::new().set("http.header_timeout", "300ms").start();
    let mut stream = server.connect();
    stream.write_all(b"HEAD /hello HTTP/1.1\r\nhost:").unwrap();
    let answer = rest(stream);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_request_that_two_programs_could_read_differently_ends_its_connection() {
    let server = Setup::new().start();
    for head in [
        "GET /hello HTTP/1.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost: a b\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n",
        "POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut stream = server.connect();
        // What follows must not be taken for a request of its own.
        let request = format!("{head}GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let answer = rest(stream);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}{answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{head}{answer}");
    }
    let mut stream = server.connect();
    stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n").unwrap();
    assert!(rest(stream).starts_with("HTTP/1.0 200 "));
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let server = Setup::new().set("http.header_timeout", "300ms").start();
    assert_eq!(rest(server.connect()), "");
}

#[test]
fn an_idle_connection_is_closed_after_keep_alive() {
    let server = Setup::new().set("http.keep_alive", "300ms").start();
    let mut stream = server.connect();
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n")
        .unwrap();
    let (answer, took) = timed(|| rest(stream));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let wanted = Duration::from_millis(250)..Duration::from_secs(5);
    assert!(wanted.contains(&took), "{took:?}");
}

#[test]
fn a_head_that_begins_on_an_idle_connection_has_its_own_time() {
    let server = Setup::new().set("http.header_timeout", "300ms").start();
    let mut stream = server.connect();
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n")
        .unwrap();
    let answered = stream.read(&mut [0; 4096]).unwrap();
    assert!(answered > 0);
    stream.write_all(b"GET /hello HTTP/1.1\r\n").unwrap();
    let (answer, took) = timed(|| rest(stream));
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn an_idle_connection_gets_an_answer_while_its_worker_drains() {
    let server = Setup::new().start();
    let mut connection = Blocking::open(&server.address()).unwrap();
    let old = connection.get("/pid").unwrap();
    assert!(!old.closes());
    server.reload();
    // The order to drain may still be on its way.
    eventually("the last answer", || {
        let answer = connection.get("/pid").unwrap();
        assert_eq!(answer.pid(), old.pid());
        answer.closes().then_some(())
    });
    assert!(!server.pids().contains(&old.pid().unwrap()));
}

#[test]
fn a_head_that_has_begun_is_answered_by_a_worker_that_drains() {
    let server = Setup::new().set("http.drain_linger", "0s").start();
    let mut stream = server.connect();
    stream.write_all(b"GET /hello HTTP/1.1\r\n").unwrap();
    // A whole exchange on another connection: by then the first bytes of this one have long arrived.
    Blocking::open(&server.address())
        .unwrap()
        .get("/hello")
        .unwrap();
    server.until("a connection", |status| {
        status
            .workers
            .iter()
            .any(|worker| worker.connections > 0)
            .then_some(())
    });
    server.reload();
    stream.write_all(b"host: test\r\n\r\n").unwrap();
    let answer = rest(stream);
    // Whether it also says `Connection: close` depends on whether the order to drain has arrived yet.
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn an_idle_connection_is_let_go_after_the_linger() {
    let server = Setup::new().set("http.drain_linger", "200ms").start();
    let mut stream = server.connect();
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n")
        .unwrap();
    server.until("an answer", |status| {
        (status.totals.requests == 1).then_some(())
    });
    server.reload();
    assert!(rest(stream).starts_with("HTTP/1.1 200 "));
    server.until_workers(2);
}

#[test]
fn an_answer_that_was_under_way_when_the_drain_began_ends_its_connection() {
    let server = Setup::new().start();
    let mut stream = server.connect();
    // More than the buffers of both ends hold, so that the answer is under way until it is read.
    stream
        .write_all(b"GET /big?n=33554432 HTTP/1.1\r\nhost: test\r\n\r\n")
        .unwrap();
    let mut start = [0; 1024];
    stream.read_exact(&mut start).unwrap();
    server.reload();
    let (rest, took) = timed(|| rest(stream));
    assert!(rest.len() > 33_000_000, "{}", rest.len());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// The head of the first answer is out, and did not say that the connection ends.
#[test]
fn a_request_behind_an_answer_that_was_under_way_when_the_drain_began_is_answered() {
    // In pieces, of which some come after the drain has begun; or in one, which the client takes then.
    for first in ["/stream?ms=100&n=8&size=4", "/big?n=33554432"] {
        for is_pipelined in [true, false] {
            let server = Setup::new().start();
            let mut stream = server.connect();
            let ask = |target| format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n");
            stream.write_all(ask(first).as_bytes()).unwrap();
            if is_pipelined {
                stream.write_all(ask("/hello").as_bytes()).unwrap();
            }
            let head = read_until(&mut stream, b"\r\n\r\n");
            assert!(!head.contains("connection: close"), "{head}");
            server.reload();
            if first.starts_with("/big") {
                stream.read_exact(&mut vec![0; 33_554_432]).unwrap();
            } else {
                read_until(&mut stream, b"\r\n0\r\n\r\n");
            }
            if !is_pipelined {
                stream.write_all(ask("/hello").as_bytes()).unwrap();
            }
            let answer = rest(stream);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{first}: {answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
    }
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn an_answer_that_is_being_read_is_not_broken_by_a_head_that_does_not_end() {
    const LENGTH: usize = 32 << 20;
    let server = Setup::new().set("http.header_timeout", "300ms").start();
    let mut stream = server.connect();
    stream
        .write_all(format!("GET /big?n={LENGTH} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
        .unwrap();
    stream.read_exact(&mut [0; 1024]).unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\n").unwrap();
    // Longer than the head may take: another connection says when.
    assert_eq!(rest(server.connect()), "");
    let text = rest(stream);
    // Behind the answer it may say so.
    let answer = text.split("HTTP/1.1 408").next().unwrap_or_default();
    assert!(answer.len() > LENGTH - 1024, "{} bytes", answer.len());
}
