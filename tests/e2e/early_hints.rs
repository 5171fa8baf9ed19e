//! 103 Early Hints: at once, ahead of their own answer and of no other, and only to who can understand them.

use std::io::{Read, Write};

use crate::support::plain::{ask, head};
use crate::support::server::Setup;
use crate::support::tls::Authority;
use crate::tls;

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n";

#[test]
fn hints_go_out_at_once_and_the_answer_follows() {
    let server = Setup::new().start();
    let mut stream = server.connect();
    stream
        .write_all(b"GET /hints?ms=60000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    // The answer comes in a minute.
    assert_eq!(head(&mut stream), HINT);
    let mut stream = server.connect();
    for _ in 0..2 {
        stream
            .write_all(b"GET /hints?ms=0 HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        assert_eq!(head(&mut stream), HINT);
        assert!(head(&mut stream).starts_with("HTTP/1.1 200 OK\r\n"));
        let mut body = [0; 13];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"{\"sent\":true}");
    }
}

#[test]
fn hints_stand_before_their_own_answer_however_many_requests_come_at_once() {
    let server = Setup::new().start();
    let mut stream = server.connect();
    let mut requests = String::new();
    for number in 0..30 {
        // Now and then a large answer, which is not taken before all requests were sent.
        let target = ["/hints?ms=1", "/big?n=100000", "/hints?ms=0", "/hello"][number % 4];
        requests += &["GET ", target, " HTTP/1.1\r\nhost: a\r\n\r\n"].concat();
    }
    requests += "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let mut rest = answers.as_str();
    for number in 0..31 {
        let is_hinted = number < 30 && number % 2 == 0;
        // Hints that would have to wait for a client are left out.
        if is_hinted {
            rest = rest.strip_prefix(HINT).unwrap_or(rest);
        }
        let body = match number {
            _ if is_hinted => "{\"sent\":true}".to_owned(),
            1 | 5 | 9 | 13 | 17 | 21 | 25 | 29 => "x".repeat(100_000),
            _ => "{\"message\":\"hello\"}".to_owned(),
        };
        let (head, after) = rest.split_at(rest.find("\r\n\r\n").unwrap() + 4);
        assert!(head.starts_with("HTTP/1.1 200 "), "{number}: {head}");
        rest = after.strip_prefix(body.as_str()).unwrap();
    }
    assert_eq!(rest, "");
}

#[test]
fn who_would_not_understand_hints_gets_none() {
    let server = Setup::new().start();
    let mut stream = server.connect();
    stream
        .write_all(b"GET /hints?ms=0 HTTP/1.0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "),
        "{answer}"
    );
    assert!(answer.ends_with("{\"sent\":null}"), "{answer}");
}

#[test]
fn hints_are_encrypted_where_the_answer_is() {
    let authority = Authority::new();
    let server = tls::setup(&authority).start();
    let answer = authority
        .client()
        .get(server.port(), "/hints?ms=5")
        .unwrap();
    assert!(answer.starts_with(HINT), "{answer}");
    assert!(
        answer.contains("HTTP/1.1 200 OK\r\n") && answer.ends_with("{\"sent\":true}"),
        "{answer}"
    );
}

#[test]
fn hints_and_the_question_whether_to_go_on_do_not_mix() {
    let server = Setup::new().start();
    let answer = ask(
        &server,
        "POST /hints?ms=0",
        &["content-length: 0", "expect: 100-continue"],
    );
    assert_eq!(answer.head.lines().next(), Some("HTTP/1.1 103 Early Hints"));
    assert!(
        answer.text().starts_with("HTTP/1.1 200 OK\r\n"),
        "{answer:?}"
    );
}
