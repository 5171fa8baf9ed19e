//! The applications of `tests/fixtures/wsgi` and `tests/fixtures/asgi`: how they are asked, and what is expected of either interface.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use destrier::sys::clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::client;
use super::python;
use super::server::{Server, Setup};

/// The folder of the applications that speak `interface`, which is also the name of its key.
pub(crate) fn folder(interface: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(interface)
}

/// What a module of that folder serves, in one worker.
pub(crate) fn serving(interface: &str, application: &str) -> Setup {
    python::bare()
        .set(&format!("app.{interface}"), application)
        .set("app.chdir", folder(interface).to_str().unwrap())
        .set("workers.count", 1)
}

/// What comes back on a connection of its own, to the end.
pub(crate) fn talk(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // Where it is cut, what came before counts.
    let _cut = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A client of HTTP/1.0, to which the end of the connection may be that of the answer, sees that it is not.
#[track_caller]
pub(crate) fn is_reset(server: &Server, target: &str) {
    let mut stream = server.connect();
    let head = format!("GET {target} HTTP/1.0\r\nHost: a.example\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let end = stream.read_to_end(&mut Vec::new());
    let kind = end.as_ref().map_err(io::Error::kind);
    assert_eq!(
        kind,
        Err(io::ErrorKind::ConnectionReset),
        "{target}: {end:?}"
    );
}

pub(crate) fn get(server: &Server, target: &str) -> String {
    request(server, "GET", target)
}

pub(crate) fn request(server: &Server, method: &str, target: &str) -> String {
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    talk(server, head.as_bytes())
}

pub(crate) fn post(server: &Server, path: &str, kind: &str, body: &[u8]) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    talk(server, &[head.as_bytes(), body].concat())
}

/// Asks, and leaves the answer to be read.
pub(crate) fn ask(server: &Server, target: &str) -> TcpStream {
    let mut connection = server.connect();
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    connection
}

/// The content of an answer that is not sent in chunks.
pub(crate) fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// The same of one that is JSON.
pub(crate) fn json_of(answer: &str) -> Value {
    serde_json::from_str(content(answer)).unwrap_or_else(|_| panic!("{answer}"))
}

/// What the application has noted.
pub(crate) fn events(server: &Server) -> String {
    content(&get(server, "/events")).to_owned()
}

/// The memory of the one worker, in bytes.
pub(crate) fn memory(server: &Server) -> u64 {
    content(&get(server, "/memory")).parse().unwrap()
}

/// An answer: what it begins with, fields it has, what it ends with.
pub(crate) type Wanted = (&'static str, &'static [&'static str], &'static str);

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\n";
pub(crate) const CHUNKED: &str = "transfer-encoding: chunked";
const FAILED: Wanted = (
    "HTTP/1.1 500 Internal Server Error\r\n",
    &["content-type: application/json"],
    "\"code\":\"error\"}",
);

#[track_caller]
pub(crate) fn check(name: &str, answer: &str, (start, fields, end): Wanted) {
    assert!(answer.starts_with(start), "{name}: {answer}");
    assert!(answer.ends_with(end), "{name}: {answer}");
    for field in fields {
        assert!(answer.contains(&format!("\r\n{field}")), "{name}: {answer}");
    }
}

/// Each answer, by its path, arrives so; and of fields that concern the connection none that the application has set.
pub(crate) fn arrive<'a>(
    server: &Server,
    answers: impl IntoIterator<Item = &'a (&'a str, Wanted)>,
) {
    for (name, wanted) in answers {
        check(name, &get(server, &format!("/{name}")), *wanted);
    }
    let answer = get(server, "/hop_by_hop");
    assert!(!answer.contains("keep-alive:"), "{answer}");
    assert_eq!(answer.matches("connection:").count(), 1, "{answer}");
    assert!(!answer.contains("transfer-encoding:"), "{answer}");
}

/// Each answer, by its path, cannot be sent: its client gets a 500, and the log says why. The worker goes on.
pub(crate) fn are_refused(server: &Server, answers: &[(&str, &str)]) {
    for (name, reason) in answers {
        let mark = server.log.mark();
        let answer = get(server, &format!("/{name}"));
        check(name, &answer, FAILED);
        let line = server.wait_for_log(mark, "the application failed");
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(reason), "{name}: {error}");
        let id = line["request"].as_str().unwrap();
        assert!(answer.contains(&format!("x-request-id: {id}")), "{name}");
    }
    assert_eq!(server.pids().len(), 1);
    assert_eq!(content(&get(server, "/one")), "hello");
}

/// A HEAD request gets the field of each answer, by its path, and no content.
pub(crate) fn head_has(server: &Server, answers: &[(&str, &str)]) {
    for (name, field) in answers {
        let answer = request(server, "HEAD", &format!("/{name}"));
        check(name, &answer, (OK, &[], "\r\n\r\n"));
        assert!(answer.contains(field), "{name}: {answer}");
    }
}

/// One connection brings these answers, by their paths, one after the other; that of `fails` is a 500.
pub(crate) fn one_connection_brings(server: &Server, names: &[&str]) {
    let mut connection = client::Blocking::open(&server.address()).unwrap();
    for name in names {
        let answer = connection.get(&format!("/{name}"));
        let is_failure = matches!(answer, Err(client::Failure::NotSuccess(500)));
        assert!(
            answer.is_ok() || (*name == "fails" && is_failure),
            "{name}: {answer:?}"
        );
    }
}

/// The content of `/download`, read slowly, does not pile up in the worker.
pub(crate) fn a_slow_download_needs_little_memory(server: &Server) {
    let before = memory(server);
    let mut slow = ask(server, "/download");
    let mut piece = vec![0; 1 << 16];
    let (mut read, mut most) = (0, before);
    for _ in 0..40 {
        read += slow.read(&mut piece).unwrap();
        most = most.max(memory(server));
    }
    let rest = io::copy(&mut slow, &mut io::sink()).unwrap();
    let all = read as u64 + rest;
    assert!(all > 131_072_000, "{all}");
    most = most.max(memory(server));
    assert!(most < before + 16_000_000, "{before} -> {most}");
}

/// The first piece of `/first_then_waits` arrives before the application is let go on.
pub(crate) fn the_first_piece_does_not_wait(server: &Server) {
    let mut reader = BufReader::new(ask(server, "/first_then_waits"));
    let mut line = String::new();
    while line != "first\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the answer ended");
    }
    get(server, "/opens");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "6\r\nsecond\r\n0\r\n\r\n");
}

/// Bytes that are not all the same, the same ones each time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// What `/digest` says of these bytes.
pub(crate) fn described(bytes: &[u8]) -> String {
    let mut text = format!("{} ", bytes.len());
    for byte in digest(&SHA256, bytes).as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends in chunks of this size without reading, then reads the whole answer.
pub(crate) fn upload_in_chunks(server: &Server, path: &str, bytes: &[u8], size: usize) -> String {
    let mut stream = server.connect();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    for piece in bytes.chunks(size).map(chunk) {
        stream.write_all(&piece).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Bodies of these lengths arrive as they were sent, with a length and in chunks.
pub(crate) fn uploads_arrive(server: &Server, lengths: &[usize]) {
    for &length in lengths {
        let bytes = noise(length);
        let answer = post(server, "/digest", "application/octet-stream", &bytes);
        assert_eq!(content(&answer), described(&bytes), "{length}");
        let answer = upload_in_chunks(server, "/digest", &bytes, 10_007);
        assert_eq!(content(&answer), described(&bytes), "{length} in chunks");
    }
}

/// Fifty megabytes in chunks arrive as they were sent, and the worker does not keep them.
pub(crate) fn a_long_upload_is_not_kept(server: &Server) {
    let before = memory(server);
    let bytes = noise(50_000_000);
    let answer = upload_in_chunks(server, "/digest", &bytes, 65_537);
    assert_eq!(content(&answer), described(&bytes));
    let after = memory(server);
    assert!(after < before + 20_000_000, "{before} -> {after}");
}

/// What a site of `framework` does with what it is sent.
pub(crate) fn a_site_takes_what_it_is_sent(server: &Server, framework: &str) {
    let form = post(
        server,
        "/form",
        "application/x-www-form-urlencoded",
        b"a=1&b=%20",
    );
    assert_eq!(json_of(&form), json!({"a": "1", "b": " "}));
    let sent = json!({"list": [1, null, "\u{20ac}"]});
    let echoed = post(
        server,
        "/json",
        "application/json",
        sent.to_string().as_bytes(),
    );
    assert_eq!(json_of(&echoed), sent, "{framework}");
    for length in [10, 3_000_000] {
        let body = [
            b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
                .as_slice(),
            &vec![b'y'; length],
            b"\r\n--x--\r\n",
        ]
        .concat();
        let uploaded = post(server, "/upload", "multipart/form-data; boundary=x", &body);
        assert_eq!(
            json_of(&uploaded),
            json!({"length": length, "name": "f"}),
            "{framework}"
        );
    }
}

/// And how it answers: piece by piece, and with another place.
pub(crate) fn a_site_streams_and_sends_on(server: &Server) {
    a_site_streams(server);
    let moved = get(server, "/moved");
    assert!(moved.starts_with("HTTP/1.1 302 "), "{moved}");
    assert!(moved.contains("\r\nlocation: /hello\r\n"), "{moved}");
}

pub(crate) fn a_site_streams(server: &Server) {
    let streamed = get(server, "/stream");
    assert!(
        streamed.ends_with("\r\n\r\n2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n"),
        "{streamed}"
    );
}

/// A server that wants a token, claims of every kind, and a token that has them.
pub(crate) fn with_claims(mut setup: Setup) -> (Server, Value, String) {
    const SECRET: &str = "a secret of thirty-two octets!!!";
    setup.config.set_auth(
        "[[auth.issuer]]\nname = \"secret\"\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/**\"\n",
    );
    let secret = setup.folder().join("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let claims = json!({
        "sub": "andr\u{e9}", "exp": clock::unix().as_secs() + 600, "n": -7, "x": 1.5, "big": u64::MAX,
        "list": ["a", null, true], "nested": {"roles": ["r"]},
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
    (setup.start(), claims, token)
}
