//! Answers that are compressed: for whom, which, without a wait, and within bounds. The client is curl, which undoes it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use socket2::SockRef;

use crate::support::plain::{ask, head};
use crate::support::server::{Server, Setup};
use crate::support::{command, eventually, os};

fn compressing() -> Setup {
    let all = ["zstd", "br", "gzip"].map(toml::Value::from);
    Setup::new().set("compression.algorithms", all.to_vec())
}

/// What curl makes of it: the head, and the content as it was.
#[track_caller]
fn curl(server: &Server, target: &str, options: &[&str]) -> (String, Vec<u8>) {
    let head = server.folder().join(format!("head{}", fastrand::u64(..)));
    let body = server.folder().join(format!("body{}", fastrand::u64(..)));
    let mut curl = command::command(Path::new("curl"));
    curl.args(["-sS", "--max-time", "60", "-D"])
        .arg(&head)
        .arg("-o")
        .arg(&body);
    curl.args(options)
        .arg(format!("http://{}{target}", server.port()));
    let outcome = command::run(curl);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let head = fs::read_to_string(&head).unwrap().to_ascii_lowercase();
    (head, fs::read(&body).unwrap_or_default())
}

#[test]
fn every_algorithm_gives_the_same_content_over_either_protocol() {
    let server = compressing().start();
    for protocol in ["--http1.1", "--http2-prior-knowledge", "--http1.0"] {
        for algorithm in ["zstd", "br", "gzip"] {
            let wish = format!("accept-encoding: {algorithm}");
            let options = [protocol, "--compressed", "-H", &wish];
            for (target, size) in [
                ("/big?n=3000000", 3_000_000),
                ("/stream?n=20&size=70000", 0),
            ] {
                let (head, body) = curl(&server, target, &options);
                let coding = format!("content-encoding: {algorithm}\r\n");
                assert!(head.contains(&coding), "{protocol} {target} {head}");
                assert!(head.contains("vary: accept-encoding\r\n"), "{head}");
                assert!(!head.contains("content-length"), "{head}");
                if size > 0 {
                    assert!(body.len() == size && body.iter().all(|byte| *byte == b'x'));
                } else {
                    assert_eq!(String::from_utf8_lossy(&body).lines().count(), 20);
                    assert!(
                        body.len() > 20 * 70_000 && body.ends_with(b"\n"),
                        "{}",
                        body.len()
                    );
                }
            }
        }
    }
}

#[test]
fn what_need_not_or_must_not_be_compressed_is_sent_as_it_is() {
    let server = compressing().start();
    for (target, options, coding) in [
        ("/big?n=5000", vec![], Some("zstd")),
        ("/big?n=900", vec![], None),
        ("/hello", vec![], None),
        ("/stream", vec![], Some("zstd")),
        ("/big?n=5000", vec!["-H", "authorization: Basic eA=="], None),
        ("/big?n=5000", vec!["-b", "session=1"], None),
        ("/status/204", vec![], None),
    ] {
        let wish = ["--compressed", "-H", "accept-encoding: gzip, br, zstd"];
        let (head, _) = curl(&server, target, &[&wish[..], &options].concat());
        let said = head
            .lines()
            .find_map(|line| line.strip_prefix("content-encoding: "));
        assert_eq!(said, coding, "{target} {options:?}");
    }
    // An event stream does not end: its head is enough.
    let mut stream = server.connect();
    stream
        .write_all(b"GET /events?ms=10 HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n")
        .unwrap();
    let events = head(&mut stream).to_ascii_lowercase();
    assert!(!events.contains("content-encoding"), "{events}");
    let (head, _) = curl(&server, "/big?n=5000", &[]);
    assert!(head.contains("vary: accept-encoding") && head.contains("content-length: 5000"));
}

#[test]
fn nothing_is_compressed_unless_it_is_asked_for_and_secrets_only_where_that_is_too() {
    let server = Setup::new().start();
    let (head, _) = curl(&server, "/big?n=5000", &["--compressed"]);
    assert!(
        !head.contains("content-encoding") && !head.contains("vary"),
        "{head}"
    );
    let server = compressing().set("compression.authenticated", true).start();
    let (head, _) = curl(&server, "/big?n=5000", &["--compressed", "-b", "session=1"]);
    assert!(head.contains("content-encoding: "), "{head}");
}

#[test]
fn the_answer_to_head_says_what_the_answer_to_get_would() {
    let setup = compressing();
    fs::create_dir(setup.folder().join("site")).unwrap();
    fs::write(setup.folder().join("site/a.css"), "a{}".repeat(5000)).unwrap();
    fs::write(setup.folder().join("site/a.png"), vec![0; 5000]).unwrap();
    let mut folder = toml::Table::new();
    folder.insert("path".to_owned(), "/assets/".into());
    folder.insert("folder".to_owned(), "site".into());
    let server = setup
        .set("http.static", vec![toml::Value::Table(folder)])
        .start();
    let wish = ["accept-encoding: gzip"];
    for (target, is_compressed) in [("/assets/a.css", true), ("/assets/a.png", false)] {
        let [get, head] =
            ["GET", "HEAD"].map(|method| ask(&server, &format!("{method} {target}"), &wish));
        assert_eq!(head.text(), "");
        assert_eq!(
            get.field("content-encoding").is_some(),
            is_compressed,
            "{target}"
        );
        for name in [
            "content-encoding",
            "etag",
            "vary",
            "accept-ranges",
            "content-type",
            "content-length",
        ] {
            assert_eq!(get.field(name), head.field(name), "{target} {name}");
        }
        let tag = get.field("etag").unwrap();
        assert_eq!(tag.starts_with("W/"), is_compressed, "{tag}");
        // It is the same file, however it went out; a part is one of what is on the disk.
        let condition = format!("if-none-match: {tag}");
        assert_eq!(
            ask(&server, &format!("GET {target}"), &[wish[0], &condition]).status,
            304
        );
        let part = ask(
            &server,
            &format!("GET {target}"),
            &[wish[0], "range: bytes=0-2"],
        );
        assert_eq!((part.status, part.field("content-encoding")), (206, None));
        assert_eq!(part.body.len(), 3);
    }
    let (_, body) = curl(&server, "/assets/a.css", &["--compressed"]);
    assert_eq!(body, "a{}".repeat(5000).as_bytes());
    // Nothing of a request is in a file: a cookie keeps no file from being compressed.
    let known = ask(&server, "GET /assets/a.css", &[wish[0], "cookie: a=b"]);
    assert_eq!(known.field("content-encoding"), Some("gzip"));
}

#[test]
fn what_an_application_has_said_so_far_is_not_held_back() {
    let server = compressing().start();
    for algorithm in ["zstd", "br", "gzip"] {
        let mut stream = server.connect();
        // The next chunk comes after a minute.
        let request = format!(
            "GET /stream?ms=60000 HTTP/1.1\r\nhost: a\r\naccept-encoding: {algorithm}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let head = head(&mut stream).to_ascii_lowercase();
        assert!(
            head.contains(&format!("content-encoding: {algorithm}")),
            "{head}"
        );
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes).unwrap();
    }
}

#[test]
fn a_client_that_reads_nothing_of_an_endless_compressed_answer_costs_bounded_memory() {
    let server = compressing()
        .set("workers.count", 1)
        .set("http.write_timeout", "60s")
        .start();
    let worker = server.pids()[0];
    let kilobytes = || os::status_size(worker, "VmRSS") >> 10;
    ask(
        &server,
        "GET /stream?n=100&size=10000",
        &["accept-encoding: zstd"],
    );
    let before = kilobytes();
    let mut streams = Vec::new();
    for algorithm in ["zstd", "br", "gzip", "identity"] {
        for _ in 0..5 {
            let mut stream = server.connect();
            SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
            let request = format!(
                "GET /stream?n=1000000000&size=100000 HTTP/1.1\r\nhost: a\r\naccept-encoding: {algorithm}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).unwrap();
            head(&mut stream);
            streams.push(stream);
        }
    }
    // Once nobody takes anything the worker rests, and has made no more than there is room for.
    let mut last = os::processor_time(worker);
    eventually("the worker waits for its clients", || {
        std::thread::park_timeout(std::time::Duration::from_millis(300));
        let now = os::processor_time(worker);
        let rests = now.saturating_sub(last) < std::time::Duration::from_millis(20);
        last = now;
        rests.then_some(())
    });
    let used = kilobytes().saturating_sub(before);
    assert!(used < 20 * 4096, "{used} KiB for 20 answers");
    assert_eq!(ask(&server, "GET /hello", &[]).status, 200);
    drop(streams);
    eventually("all have gone", || {
        (server.connections() <= 1).then_some(())
    });
}
