//! Bodies of requests as an application reads them.

use std::io::{Read as _, Write as _};

use super::shapes;
use crate::support::shapes::{
    a_long_upload_is_not_kept, content, described, get, noise, talk, uploads_arrive,
};
use crate::support::{eventually, os};

const MIB: usize = 1 << 20;

#[test]
fn an_upload_of_any_length_arrives_byte_for_byte() {
    let lengths = [0, 1, 65_536, MIB - 1, MIB, MIB + 1, 5 * MIB];
    uploads_arrive(&shapes().start(), &lengths);
}

#[test]
fn fifty_megabytes_in_chunks_arrive_byte_for_byte_and_are_not_kept_in_memory() {
    a_long_upload_is_not_kept(&shapes().start());
}

#[test]
fn a_slow_upload_holds_no_thread_below_a_mebibyte() {
    // There is one thread.
    let server = shapes().start();
    let mut slow = server.connect();
    slow.write_all(b"POST /digest HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\nbegun")
        .unwrap();
    server.until_in_flight(1);
    for _ in 0..10 {
        assert_eq!(content(&get(&server, "/one")), "hello");
    }
    let mut rest = noise(1_000_000 - 5);
    slow.write_all(&rest).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    rest.splice(0..0, *b"begun");
    assert_eq!(content(&answer), described(&rest));
}

#[test]
fn lines_are_read_as_from_a_file() {
    let server = shapes().start();
    for (way, wanted) in [
        ("readline", r"[b'one\n', b'two', b' more\n', b'three', b'']"),
        ("readlines", r"[b'one\n', b'two more\n', b'three']"),
        ("hint", r"[b'one\n', b'|', b'two more\n', b'three']"),
        ("iterate", r"[b'one\n', b'two more\n', b'three']"),
        ("read", r"[b'on', b'', b'e\ntwo more\nthree', b'']"),
    ] {
        let request = format!(
            "POST /lines?{way} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 18\r\n\r\none\ntwo more\nthree"
        );
        let answer = talk(&server, request.as_bytes());
        assert_eq!(content(&answer), wanted, "{way}");
    }
}

#[test]
fn an_upload_that_nobody_reads_does_not_disturb_the_next_request() {
    let server = shapes().start();
    let mut connection = server.connect();
    let body = noise(1000);
    let head = b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let next = b"GET /several HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = [head.as_slice(), &body, next].concat();
    connection.write_all(&all).unwrap();
    let mut answers = String::new();
    connection.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.ends_with("one two three"), "{answers}");
}

#[test]
fn what_was_sent_in_chunks_has_a_length_for_those_who_read_by_it() {
    let server = shapes().start();
    let request = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let answer = talk(&server, request);
    assert_eq!(content(&answer), "body");
}

#[test]
fn an_upload_that_ends_early_is_no_whole_one_to_the_application() {
    let server = shapes().start();
    let mut connection = server.connect();
    let head = b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\nbegun";
    connection.write_all(head).unwrap();
    server.until_in_flight(1);
    drop(connection);
    // The thread is free again.
    assert_eq!(content(&get(&server, "/one")), "hello");
    server.until_in_flight(0);
}

#[test]
fn an_upload_that_the_end_of_the_worker_cuts_is_no_whole_one_to_the_application() {
    let server = shapes().start();
    let note = server.folder().join("note");
    let mut connection = server.connect();
    let head = format!(
        "POST /notes_the_end HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\nNote: {}\r\n\r\n",
        note.display()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&noise(2_000_000)).unwrap();
    server.until_in_flight(1);
    // Its workers wait for nothing then.
    os::kill(server.pid);
    let end = eventually("a note", || std::fs::read_to_string(&note).ok());
    assert_eq!(end, "cut");
}
