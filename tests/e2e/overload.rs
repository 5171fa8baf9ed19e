//! More requests than the application can work on: some wait in order, the rest is told so at once, and nobody works for who has left.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::http2::wire::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Wire, block, frame};
use crate::support::eventually;
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};

/// One worker whose application works on so many requests at once, while so many wait.
fn start(places: i64, queue: i64, wait: &str) -> Server {
    Setup::faulty()
        .set("workers.count", 1)
        .set("http.max_in_flight", places)
        .set("http.queue", queue)
        .set("http.max_queue_wait", wait)
        .set("health.readiness_path", "/readyz")
        .start()
}

/// Asks for what ends when it is told to.
fn ask(server: &Server, name: &str) -> TcpStream {
    let mut stream = server.connect();
    let request = format!("GET /held/{name} HTTP/1.1\r\nhost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// What the application has begun (`+NAME`) and ended (`-NAME`), in order.
fn held(server: &Server) -> Vec<String> {
    let text = fs::read_to_string(server.folder().join("held")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn until_held(server: &Server, lines: usize) {
    eventually("the application has begun", || {
        (held(server).len() == lines).then_some(())
    });
}

#[track_caller]
fn until_queued(server: &Server, count: u64) {
    server.until(&format!("{count} requests wait"), |status| {
        (status.workers[0].queued == count).then_some(())
    });
}

fn go(server: &Server) {
    fs::write(server.folder().join("go"), "").unwrap();
}

/// The first line of an answer.
#[track_caller]
fn status(stream: &mut TcpStream) -> String {
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    String::from_utf8_lossy(&line).into_owned()
}

#[test]
fn four_are_worked_on_a_hundred_wait_in_order_and_the_rest_is_told_at_once() {
    let server = start(4, 100, "1m");
    let mut streams: Vec<_> = (0..4)
        .map(|number| {
            let stream = ask(&server, &number.to_string());
            until_held(&server, number + 1);
            stream
        })
        .collect();
    for number in 4..104_u64 {
        streams.push(ask(&server, &number.to_string()));
        until_queued(&server, number - 3);
    }
    // Those beyond the queue have their answers while nobody else has.
    for number in 104..200 {
        let mut stream = ask(&server, &number.to_string());
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("\"code\":\"overloaded\""), "{answer}");
    }
    assert_eq!(held(&server), ["+0", "+1", "+2", "+3"]);
    let line = server.wait_for_log(Mark::START, "overloaded");
    assert!(line["reason"].as_str().unwrap().contains("`http.queue`"));
    assert_eq!(server.status().totals.overloaded, 96);
    go(&server);
    for stream in &mut streams {
        assert_eq!(status(stream), "HTTP/1.1 200");
    }
    let lines = held(&server);
    let begun: Vec<_> = lines
        .iter()
        .filter_map(|line| line.strip_prefix('+'))
        .collect();
    let in_order: Vec<_> = (0..104).map(|number| number.to_string()).collect();
    assert_eq!(begun, in_order);
    let mut at_once = 0;
    for line in &lines {
        at_once += if line.starts_with('+') { 1 } else { -1 };
        assert!((0..=4).contains(&at_once), "{lines:?}");
    }
    until_queued(&server, 0);
}

#[test]
fn nobody_waits_for_longer_than_is_said() {
    let server = start(1, 10, "200ms");
    let mut first = ask(&server, "first");
    until_held(&server, 1);
    assert_eq!(status(&mut ask(&server, "late")), "HTTP/1.1 503");
    let line = server.wait_for_log(Mark::START, "overloaded");
    assert!(
        line["reason"]
            .as_str()
            .unwrap()
            .contains("`http.max_queue_wait`")
    );
    go(&server);
    assert_eq!(status(&mut first), "HTTP/1.1 200");
    assert_eq!(status(&mut ask(&server, "next")), "HTTP/1.1 200");
    assert_eq!(held(&server), ["+first", "-first", "+next", "-next"]);
}

#[test]
fn a_request_whose_client_has_left_is_never_begun() {
    let server = start(1, 10, "1m");
    let mut first = ask(&server, "first");
    until_held(&server, 1);
    // One that goes, one that only closes its side, one whose body nobody has read yet.
    drop(ask(&server, "gone"));
    let half = ask(&server, "half");
    half.shutdown(Shutdown::Write).unwrap();
    let mut body = server.connect();
    body.write_all(b"POST /held/body HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\nabc")
        .unwrap();
    let mut wire = Wire::open(&server);
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/held/stream-of-http2"),
        (":authority", "test"),
    ];
    let head = block(&fields);
    wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head));
    until_queued(&server, 2);
    drop(body);
    wire.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    until_queued(&server, 1);
    let mut last = ask(&server, "last");
    until_queued(&server, 2);
    go(&server);
    assert_eq!(status(&mut first), "HTTP/1.1 200");
    assert_eq!(status(&mut last), "HTTP/1.1 200");
    assert_eq!(held(&server), ["+first", "-first", "+last", "-last"]);
    assert_eq!(server.status().totals.overloaded, 0);
}

#[test]
fn an_event_stream_gives_its_place_back_when_it_has_begun_and_probes_need_none() {
    let server = start(1, 0, "1s");
    let mut streams: Vec<_> = (0..3).map(|_| ask(&server, "stream")).collect();
    for stream in &mut streams {
        assert_eq!(status(stream), "HTTP/1.1 200");
    }
    let mut open = server.connect();
    open.write_all(
        b"GET /ws/echo HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
          sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .unwrap();
    assert_eq!(status(&mut open), "HTTP/1.1 101");
    let mut first = ask(&server, "first");
    eventually("it has begun", || {
        held(&server).contains(&"+first".to_owned()).then_some(())
    });
    assert_eq!(status(&mut ask(&server, "second")), "HTTP/1.1 503");
    let mut probe = server.connect();
    probe
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\n\r\n")
        .unwrap();
    assert_eq!(status(&mut probe), "HTTP/1.1 200");
    go(&server);
    assert_eq!(status(&mut first), "HTTP/1.1 200");
}

#[test]
fn time_in_the_queue_is_not_the_applications() {
    let server = Setup::new()
        .set("workers.count", 1)
        .set("http.max_in_flight", 1)
        .set("http.max_queue_wait", "1m")
        .set("http.request_timeout", "800ms")
        .set("access_log.enabled", true)
        .start();
    let slow = b"GET /slow?ms=500 HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut streams = [server.connect(), server.connect(), server.connect()];
    for stream in &mut streams {
        stream.write_all(slow).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(status(stream), "HTTP/1.1 200");
    }
    let waited = |line: &serde_json::Value| line["queue_us"].as_u64() > Some(900_000);
    let line = server
        .log
        .wait_for(Mark::START, crate::support::PATIENCE, waited);
    assert!(line.is_some());
}
