//! Bodies of requests as an ASGI application receives them.

use std::io::{Read as _, Write as _};

use super::shapes;
use crate::support::eventually;
use crate::support::shapes::{
    a_long_upload_is_not_kept, ask, chunk, content, described, events, get, memory, noise, talk,
    upload_in_chunks, uploads_arrive,
};

#[test]
fn an_upload_of_any_length_arrives_byte_for_byte_over_asgi() {
    let lengths = [0, 1, 65_535, 65_536, 65_537, 1 << 20, 5 << 20];
    uploads_arrive(&shapes().start(), &lengths);
}

#[test]
fn fifty_megabytes_in_chunks_arrive_byte_for_byte_over_asgi_and_are_not_kept() {
    a_long_upload_is_not_kept(&shapes().start());
}

#[test]
fn what_the_application_does_not_read_yet_is_not_kept_in_memory() {
    let server = shapes().start();
    let before = memory(&server);
    let bytes = noise(30_000_000);
    let uploading = {
        let address = server.port();
        let bytes = bytes.clone();
        std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let head = format!(
                "POST /reads_late HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                bytes.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&bytes).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
    };
    server.until_in_flight(1);
    for _ in 0..20 {
        let now = memory(&server);
        assert!(now < before + 10_000_000, "{before} -> {now}");
    }
    get(&server, "/opens");
    assert_eq!(content(&uploading.join().unwrap()), described(&bytes));
}

#[test]
fn pieces_go_both_ways_at_once() {
    let server = shapes().start();
    let mut stream = server.connect();
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 1000];
    for piece in ["first", "second", "third"] {
        stream.write_all(&chunk(piece.as_bytes())).unwrap();
        while !seen.ends_with(&format!("{piece}\r\n")) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(str::from_utf8(&buffer[..count]).unwrap());
        }
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    while !seen.ends_with("\r\n0\r\n\r\n") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(str::from_utf8(&buffer[..count]).unwrap());
    }
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked_when_the_application_wants_it() {
    let server = shapes().start();
    let mut stream = server.connect();
    stream
        .write_all(b"POST /digest HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .unwrap();
    let mut start = [0; 25];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(content(&answer), described(b"body"));
    let answer = talk(
        &server,
        b"POST /reads_nothing HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn what_a_cancelled_task_was_about_to_receive_is_not_lost() {
    let server = shapes().start();
    for length in [4, 300_000] {
        let bytes = vec![b'b'; length];
        let answer = upload_in_chunks(&server, "/reads_as_a_task", &bytes, 20_000);
        assert!(
            content(&answer).as_bytes() == bytes,
            "{length}: {}",
            answer.len()
        );
    }
}

#[test]
fn an_upload_that_ends_early_is_a_disconnect() {
    let server = shapes().start();
    let mut connection = server.connect();
    connection
        .write_all(
            b"POST /notes_what_comes HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\nbegun",
        )
        .unwrap();
    eventually("the start", || (events(&server) == "begun").then_some(()));
    drop(connection);
    eventually("the message", || {
        (events(&server) == "begun,http.disconnect").then_some(())
    });
    server.until_in_flight(0);
}

#[test]
fn an_upload_that_nobody_reads_does_not_disturb_the_next_request_of_asgi() {
    let server = shapes().start();
    let body = noise(1000);
    let head = b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let next = b"GET /known_length HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = talk(&server, &[head.as_slice(), &body, next].concat());
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.ends_with("fourmore"), "{answers}");
    drop(ask(&server, "/one"));
}
