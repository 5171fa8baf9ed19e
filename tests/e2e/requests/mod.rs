//! What a request may be: some hundred of them as bytes, each sent at once, in pieces and behind another one.
//!
//! However its bytes arrive, the same has to come of a request, and what follows it is taken for a request of its own if and only if
//! the connection goes on.

mod case;
mod chunks;
mod connections;
mod fields;
mod framing;
mod lines;
mod wire;

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use case::{Case, Want};
use wire::{Answer, exchange};

use crate::support::PATIENCE;
use crate::support::journal::Mark;
use crate::support::kit::Kit;
use crate::support::server::{Server, Setup};

/// What follows a request: it is answered if the connection goes on, and ends it.
const NEXT: &str = "GET /status/207 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const BEFORE: &str = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";

/// Larger bodies would only cost time.
const AUTH: &str = r#"
[[auth.rule]]
path = "/count"
access = "public"
max_body = "2MiB"
[[auth.rule]]
path = "/**"
access = "public"
"#;

fn start(kit: Kit) -> Server {
    let mut setup = kit
        .setup()
        .set("http.max_body", "1MiB")
        .set("workers.count", 1);
    setup.config.set_auth(AUTH);
    setup.start()
}

/// Sends each case in each way to each application, and tells all that went wrong.
#[track_caller]
fn hold(cases: &[Case]) {
    assert!(cases.len() >= 50, "{} cases", cases.len());
    let wrong = Kit::each(&Kit::ALL, |kit| send_all(kit, cases)).concat();
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn send_all(kit: Kit, cases: &[Case]) -> String {
    let server = start(kit);
    let address = server.port();
    let mut wrong = String::new();
    for case in cases.iter().filter(|case| !case.not_with.contains(&kit)) {
        let alone = [case.sent.as_slice(), NEXT.as_bytes()].concat();
        let behind = [BEFORE.as_bytes(), &alone].concat();
        let first = case.before.clone();
        let second = [&[200], first.as_slice()].concat();
        let ways = [
            ("at once", vec![alone.as_slice()], &first),
            ("in pieces", in_pieces(&alone), &first),
            ("behind another", vec![behind.as_slice()], &second),
        ];
        for (way, pieces, before) in ways {
            let answers = exchange(
                address,
                &pieces,
                case.sent.starts_with(b"HEAD").then_some(before.len()),
            );
            if let Err(what) = judge(case, before, &answers) {
                let Case { name, rule, .. } = case;
                writeln!(wrong, "{kit:?}: {name} ({rule}), {way}: {what}").unwrap();
            }
        }
    }
    wrong
}

/// Byte by byte; what is long in pieces of any length.
fn in_pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut random = fastrand::Rng::with_seed(bytes.len() as u64);
    let longest = if bytes.len() < 1000 {
        1
    } else {
        bytes.len() / 8
    };
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(1..=longest).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn judge(case: &Case, before: &[u16], answers: &Result<Vec<Answer>, String>) -> Result<(), String> {
    let answers = answers.as_ref().map_err(Clone::clone)?;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let (wanted, goes_on) = match &case.want {
        Want::Served(status) => (status, true),
        Want::Last(status) | Want::Refused(status) => (status, false),
    };
    let next: &[u16] = if goes_on { &[207] } else { &[] };
    let is_right = wanted
        .iter()
        .any(|status| statuses == [before, &[*status], next].concat());
    if !is_right {
        return Err(format!("{statuses:?}"));
    }
    let answer = &answers[before.len()];
    let text = format!("{}{}", answer.head, answer.body);
    if let Want::Refused(_) = case.want {
        let fields = [
            "content-type: application/json",
            "connection: close",
            "date: ",
            "content-length: ",
            "x-request-id: ",
        ];
        if let Some(field) = fields.iter().find(|field| !answer.head.contains(**field)) {
            return Err(format!("no {field:?}: {text}"));
        }
        if !case.sent.starts_with(b"HEAD") && !answer.body.contains("\"code\":") {
            return Err(format!("no code: {text}"));
        }
    }
    if let Some(missing) = case.says.iter().find(|said| !text.contains(said.as_str())) {
        return Err(format!("does not say {missing:?}: {text}"));
    }
    if let Some(said) = case
        .never_says
        .iter()
        .find(|never| text.contains(never.as_str()))
    {
        return Err(format!("says {said:?}: {text}"));
    }
    Ok(())
}

#[test]
fn a_request_line_has_one_reading() {
    hold(&lines::cases());
}

#[test]
fn fields_have_one_reading() {
    hold(&fields::cases());
}

#[test]
fn a_body_has_one_end() {
    hold(&framing::cases());
}

#[test]
fn chunks_have_one_reading() {
    hold(&chunks::cases());
}

#[test]
fn a_connection_goes_on_as_long_as_both_sides_say() {
    hold(&connections::cases());
}

#[test]
fn a_refused_head_is_logged_and_counted_like_any_other_request() {
    let server = Setup::new().set("access_log.enabled", true).start();
    let pieces = [b"GET /hello?secret=1 HTTP/3.0\r\nhost: a\r\n\r\n".as_slice()];
    let answers = exchange(server.port(), &pieces, None).unwrap();
    assert_eq!(answers[0].status, 505);
    let refused = server.wait_for_log(Mark::START, "refused");
    assert_eq!(refused["status"], 505);
    assert_eq!(refused["path"], "/hello");
    assert!(refused["reason"].as_str().unwrap().contains("version"));
    let access = server.wait_for_log(Mark::START, "request");
    assert_eq!(
        (&access["method"], &access["path"], &access["status"]),
        (&"GET".into(), &"/hello".into(), &505.into())
    );
    assert_eq!(access["request_id"], refused["request"]);
    let totals = server.status().totals;
    assert_eq!(
        (totals.refused, totals.by_status_class),
        (1, [0, 0, 0, 0, 1])
    );
}

/// Whoever sends first and reads then is reset, unless the server listens on for a while.
#[test]
fn a_client_that_still_sends_gets_its_answer() {
    for kit in Kit::ALL {
        let server = start(kit);
        let body = vec![b'x'; 8 << 20];
        for head in [
            format!(
                "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ),
            "POST /echo HTTP/2.0\r\nhost: a\r\n\r\n".to_owned(),
            format!(
                "POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ),
        ] {
            let mut stream = TcpStream::connect(server.port()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let wanted = ["HTTP/1.1 413", "HTTP/1.1 505", "HTTP/1.1 404"];
            assert!(
                wanted.iter().any(|start| answer.starts_with(start)),
                "{answer}"
            );
            assert!(answer.contains("connection: close"), "{answer}");
        }
    }
}

#[test]
fn a_client_that_has_said_all_gets_its_answers() {
    for kit in Kit::ALL {
        let server = start(kit);
        for target in ["/hello", "/slow?ms=100", "/stream?n=3&ms=100"] {
            let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
            for count in [1, 3] {
                let mut stream = TcpStream::connect(server.port()).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(request.repeat(count).as_bytes()).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answers = String::new();
                stream.read_to_string(&mut answers).unwrap();
                let given = answers.matches("HTTP/1.1 200").count();
                assert_eq!(given, count, "{kit:?} {target}: {answers}");
            }
        }
    }
}

/// hyper has all of such an answer at once, long before its client has.
#[test]
fn a_client_that_has_said_all_gets_all_of_a_large_answer() {
    const LENGTH: usize = 20_000_000;
    for kit in Kit::ALL {
        let server = start(kit);
        let request = format!("GET /big?n={LENGTH} HTTP/1.1\r\nhost: a\r\n\r\n");
        for _ in 0..20 {
            let mut stream = TcpStream::connect(server.port()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let got = io::copy(&mut stream, &mut io::sink()).unwrap();
            assert!(got > LENGTH as u64, "{kit:?}: {got}");
        }
    }
}

/// Old clients send one behind a body (RFC 9112 section 2.2). The connection is as idle as without it.
#[test]
fn an_empty_line_behind_a_request_begins_none() {
    let setup = |kit: Kit| kit.setup().set("workers.count", 1);
    let sent = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello\r\n";
    for kit in Kit::ALL {
        let server = setup(kit)
            .set("http.header_timeout", "200ms")
            .set("http.keep_alive", "3s")
            .start();
        for ends in [true, false] {
            let mut stream = TcpStream::connect(server.port()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            if ends {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            let mut answers = String::new();
            stream.read_to_string(&mut answers).unwrap();
            assert_eq!(
                answers.matches("HTTP/1.1 ").count(),
                1,
                "{kit:?}: {answers}"
            );
        }
    }
}

#[test]
fn a_request_that_breaks_off_is_malformed() {
    for kit in Kit::ALL {
        let server = start(kit);
        for part in [
            "GET /hello HTT",
            "GET /hello HTTP/1.1\r\nhost: a\r\n",
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhell",
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        ] {
            let mut stream = TcpStream::connect(server.port()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(part.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{part}: {answer}");
        }
    }
}

/// Whoever asks for more and more and reads nothing is not listened to any longer.
#[test]
fn answers_that_nobody_reads_stop_the_reading() {
    for kit in Kit::ALL {
        const MOST: usize = 64 << 20;
        let server = start(kit);
        let mut stream = TcpStream::connect(server.port()).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let requests = "GET /big?n=65536 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
        let mut sent = 0;
        while sent < MOST {
            match stream.write(requests.as_bytes()) {
                Ok(count) => sent += count,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        assert!(sent < MOST, "{sent} bytes of requests were taken");
        // And it goes on when they are read.
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; 1 << 20];
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read_exact(&mut bytes).map(|()| bytes)
        });
        assert!(
            reader
                .join()
                .unwrap()
                .unwrap()
                .starts_with(b"HTTP/1.1 200 OK\r\n")
        );
    }
}
