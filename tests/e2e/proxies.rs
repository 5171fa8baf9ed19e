//! Proxies in front: what a PROXY header says of a connection, and what is made of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Address;
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, timed};

const REQUEST: &str = "GET /headers HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 1, 187];

/// A header of version 2: the byte of version and command, that of family and protocol, and the rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// Its only address speaks the PROXY protocol, and every peer of it is trusted.
fn announced() -> Setup {
    Setup::new()
        .set("server.trusted_proxies", vec!["127.0.0.1"])
        .set("server.proxy_protocol", "127.0.0.1:0")
}

/// Everything until the server closes; a reset ends it too.
fn rest(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let _reset = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// What the application saw.
#[track_caller]
fn seen(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// What the application saw of a request on a connection of its own.
#[track_caller]
fn seen_after(server: &Server, header: &[u8]) -> Value {
    let mut stream = server.connect();
    stream
        .write_all(&[header, REQUEST.as_bytes()].concat())
        .unwrap();
    seen(&rest(stream))
}

fn client(address: &str, port: u16) -> Value {
    json!({ "address": address, "port": port, "is_https": false })
}

#[test]
fn the_client_is_who_the_proxy_header_names() {
    let server = announced().set("access_log.enabled", true).start();
    let ipv6 = [
        &[0x20, 1, 0xd, 0xb8],
        &[0; 11][..],
        &[7],
        &[0; 16],
        &[0, 80, 1, 187],
    ]
    .concat();
    for (header, wanted) in [
        (V1.to_vec(), client("192.0.2.7", 4660)),
        (
            b"PROXY TCP6 2001:db8::7 ::1 80 443\r\n".to_vec(),
            client("2001:db8::7", 80),
        ),
        (v2(0x21, 0x11, &IPV4), client("192.0.2.7", 4660)),
        (
            v2(0x21, 0x11, &[IPV4.as_slice(), &[4; 2000]].concat()),
            client("192.0.2.7", 4660),
        ),
        (v2(0x21, 0x21, &ipv6), client("2001:db8::7", 80)),
        (
            v2(0x21, 0x31, &[b'/'; 216]),
            json!({ "address": null, "port": null, "is_https": false }),
        ),
    ] {
        assert_eq!(seen_after(&server, &header)["client"], wanted);
    }
    server.assert_said("\"client\":\"192.0.2.7\"");
}

#[test]
fn a_header_that_names_nobody_leaves_the_peer() {
    let server = announced().start();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ::1 ::1 1 1\r\n".to_vec(),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &IPV4),
        v2(0x21, 0x00, &[]),
    ] {
        assert_eq!(
            seen_after(&server, &header)["client"]["address"],
            "127.0.0.1"
        );
    }
}

#[test]
fn a_proxy_that_has_taken_off_tls_says_so() {
    let server = announced().start();
    let encrypted = [IPV4.as_slice(), &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
    let seen = seen_after(&server, &v2(0x21, 0x11, &encrypted));
    assert_eq!(seen["client"]["is_https"], true);
    assert_eq!(seen["scheme"], "https");
}

#[test]
fn what_follows_a_header_is_untouched_however_it_arrives() {
    let server = announced().start();
    for header in [V1.to_vec(), v2(0x21, 0x11, &IPV4)] {
        let all = [&header, REQUEST.as_bytes()].concat();
        for size in [1, 7, 13, header.len() + 1] {
            let mut stream = server.connect();
            for part in all.chunks(size) {
                stream.write_all(part).unwrap();
            }
            assert_eq!(
                seen(&rest(stream))["client"]["address"],
                "192.0.2.7",
                "{size}"
            );
        }
    }
    // HTTP/2 begins after it as it would without.
    let mut stream = server.connect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(&[V1, preface].concat()).unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "SETTINGS: {frame:?}");
}

/// That the connection is closed without an answer, and why.
#[track_caller]
fn assert_refused(server: &Server, bytes: &[u8], reason: &str) {
    let mark = server.log.mark();
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    assert_eq!(rest(stream), "", "{bytes:?}");
    let line = server.wait_for_log(mark, "a connection was closed");
    let said = line["reason"].as_str().unwrap();
    assert!(said.contains(reason), "{said}");
    assert!(
        line["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{line}"
    );
}

#[test]
fn a_connection_that_does_not_begin_with_a_header_is_closed_and_told() {
    let server = announced().set("log.level", "debug").start();
    let missing = "does not begin with a PROXY header";
    let v1 = "version 1, is malformed";
    let v2_bad = "version 2, is malformed";
    for (bytes, reason) in [
        (REQUEST.as_bytes().to_vec(), missing),
        (b"\x16\x03\x01\x02\0\x01".to_vec(), missing),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), missing),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\n".to_vec(), v1),
        (b"PROXY TCP4 192.0.2.700 10.0.0.1 4660 443\r\n".to_vec(), v1),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n".to_vec(), v1),
        (b"PROXY TCP9 192.0.2.7 10.0.0.1 4660 443\r\n".to_vec(), v1),
        (
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(),
            "too long",
        ),
        (v2(0x31, 0x11, &IPV4), v2_bad),
        (v2(0x2f, 0x11, &IPV4), v2_bad),
        (v2(0x21, 0x51, &IPV4), v2_bad),
        (v2(0x21, 0x11, &IPV4[..8]), v2_bad),
        (v2(0x21, 0x11, &[0; 5000]), "too long"),
    ] {
        assert_refused(&server, &bytes, reason);
    }
    let mark = server.log.mark();
    let mut cut = server.connect();
    cut.write_all(b"PROXY TC").unwrap();
    cut.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(cut), "");
    let line = server.wait_for_log(mark, "a connection was closed");
    assert_eq!(line["reason"], "it ended before its PROXY header was whole");
    assert_eq!(seen_after(&server, V1)["client"]["address"], "192.0.2.7");
}

#[test]
fn a_header_has_header_timeout_to_arrive() {
    let server = announced().set("http.header_timeout", "300ms").start();
    for begun in [&b""[..], b"PROXY TCP4 192.0.2.7 ", &SIGNATURE[..5]] {
        let mut stream = server.connect();
        stream.write_all(begun).unwrap();
        let (answer, took) = timed(|| rest(stream));
        assert_eq!(answer, "");
        assert!(took >= Duration::from_millis(250), "{took:?}");
    }
    let line = server.wait_for_log(Mark::START, "a connection was closed");
    let reason = "its PROXY header did not arrive within `http.header_timeout`";
    assert_eq!(line["reason"], reason);
}

#[test]
fn a_peer_that_is_not_trusted_is_closed_whatever_it_says() {
    let server = announced()
        .set("server.trusted_proxies", vec!["192.0.2.1"])
        .start();
    let mut stream = server.connect();
    let _closed = stream.write_all(&[V1, REQUEST.as_bytes()].concat());
    assert_eq!(rest(stream), "");
    let line = server.wait_for_log(Mark::START, "a connection was closed");
    assert_eq!(
        line["reason"],
        "it is from no proxy of `server.trusted_proxies`"
    );
}

#[test]
fn a_flood_of_them_is_summed_up() {
    let server = announced().start();
    for _ in 0..40 {
        let mut stream = server.connect();
        let _closed = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(rest(stream), "");
    }
    // Two workers, and ten lines of each.
    let count = server.count_log(Mark::START, "a connection was closed");
    assert!((1..=20).contains(&count), "{count}");
}

#[test]
fn only_the_addresses_that_are_named_speak_it() {
    let mut setup = announced();
    let socket = setup.folder().join("direct.sock");
    let bind = vec![
        "127.0.0.1:0".to_owned(),
        format!("unix:{}", socket.display()),
    ];
    setup.config.set("server.bind", bind);
    let server = setup.start();
    assert_eq!(seen_after(&server, V1)["client"], client("192.0.2.7", 4660));
    let mut direct = UnixStream::connect(&socket).unwrap();
    direct.write_all(REQUEST.as_bytes()).unwrap();
    assert_eq!(seen(&rest(direct))["client"]["address"], Value::Null);
}

#[test]
fn a_unix_socket_can_speak_it() {
    let mut setup = announced().set("server.trusted_proxies", "unix");
    let socket = setup.folder().join("proxy.sock");
    let bind = format!("unix:{}", socket.display());
    setup.config.set("server.bind", bind.as_str());
    let server = setup.set("server.proxy_protocol", bind.as_str()).start();
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(&[V1, REQUEST.as_bytes()].concat())
        .unwrap();
    assert_eq!(seen(&rest(stream))["client"], client("192.0.2.7", 4660));
    drop(server);
}

#[test]
fn tls_begins_after_the_header() {
    let authority = Authority::new();
    let server = crate::tls::setup(&authority)
        .set("server.trusted_proxies", vec!["127.0.0.1"])
        .set("server.proxy_protocol", "127.0.0.1:0")
        .start();
    for header in [V1.to_vec(), v2(0x21, 0x11, &IPV4)] {
        let mut socket = server.connect();
        socket.write_all(&header).unwrap();
        let connection = authority.client().over(socket).unwrap();
        let seen = seen(&connection.get("/headers").unwrap());
        let wanted = json!({ "address": "192.0.2.7", "port": 4660, "is_https": true });
        assert_eq!(seen["client"], wanted);
    }
    assert!(authority.client().connect(server.port()).is_err());
}

#[test]
fn the_limit_of_connections_counts_the_clients_behind_the_proxy() {
    let server = announced()
        .set("workers.count", 1)
        .set("http.max_connections_per_address", 1)
        .start();
    let open = |address: u8| {
        let mut stream = server.connect();
        let header = format!("PROXY TCP4 192.0.2.{address} 10.0.0.1 4660 443\r\n");
        let request = "GET /hello HTTP/1.1\r\nhost: test\r\n\r\n";
        stream.write_all((header + request).as_bytes()).unwrap();
        let mut begin = [0; 12];
        let answered = stream.read_exact(&mut begin).is_ok();
        answered.then_some(stream)
    };
    let first = open(1).unwrap();
    assert!(open(1).is_none());
    let _another = open(2).unwrap();
    drop(first);
    crate::support::eventually("the first is gone", || open(1));
}

/// What a client sends that is behind a proxy which only passes bytes on.
#[test]
fn a_client_behind_a_proxy_that_passes_bytes_on_speaks_for_itself_only() {
    let mut setup = announced();
    setup.config.set_auth(
        "[auth]\nclient_cert_header = \"x-client-cert\"\n[[auth.rule]]\npath = \"/headers\"\naccess = \"public\"\n",
    );
    let server = setup.start();
    for header in [V1, b"PROXY UNKNOWN\r\n"] {
        let mut stream = server.connect();
        let request = REQUEST.replace(
            "host:",
            "x-client-cert: :AQID:\r\nclient-cert: :AQID:\r\nhost:",
        );
        stream
            .write_all(&[header, request.as_bytes()].concat())
            .unwrap();
        let seen = seen(&rest(stream));
        assert_eq!(
            seen["headers"],
            json!({ "host": "test", "connection": "close" })
        );
    }
}

#[test]
fn five_reloads_under_load_lose_nothing_and_an_idle_connection_keeps_its_client() {
    let server = announced()
        .set("http.pass_connections", true)
        .set("http.drain_linger", "2s")
        .start();
    let load = Load::start(&Address::Announced(server.port()), Plan::LIGHT);
    let idle = |header: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(header).unwrap();
        stream
    };
    let ask = |stream: &mut TcpStream| {
        stream
            .write_all(b"GET /headers HTTP/1.1\r\nhost: test\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        let mut bytes = [0; 4096];
        while !text.ends_with("}}") {
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        seen(&text)["client"].clone()
    };
    let nameless = json!({ "address": null, "port": null, "is_https": false });
    let mut kept = [
        (idle(V1), client("192.0.2.7", 4660)),
        (idle(&v2(0x21, 0x31, &[b'/'; 216])), nameless),
    ];
    for (stream, wanted) in &mut kept {
        assert_eq!(ask(stream), *wanted);
    }
    for _ in 0..5 {
        load.wait_for_answers(50);
        server.reload();
    }
    server.until_workers(2);
    for (stream, wanted) in &mut kept {
        assert_eq!(ask(stream), *wanted);
    }
    load.wait_for_answers(50);
    load.finish().assert_nothing_lost();
}

#[test]
fn curl_announces_a_connection() {
    let server = announced().start();
    let address: SocketAddr = server.port();
    let output = std::process::Command::new("curl")
        .args([
            "-s",
            "--haproxy-protocol",
            &format!("http://{address}/headers"),
        ])
        .output()
        .unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["client"]["address"], "127.0.0.1");
}

/// What the application saw of a request with these fields, and the whole answer.
#[track_caller]
fn asked_with(server: &Server, fields: &str) -> (Value, String) {
    let mut stream = server.connect();
    let request = REQUEST.replace("connection:", &format!("{fields}connection:"));
    stream.write_all(request.as_bytes()).unwrap();
    let answer = rest(stream);
    (seen(&answer), answer)
}

const FORGED: &str = "forwarded: for=192.0.2.66\r\nx-forwarded-for: 192.0.2.66\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil.example\r\nx-real-ip: 192.0.2.66\r\nx_forwarded_for: 192.0.2.66\r\nx-request-id: forged\r\n";

#[test]
fn what_a_client_forges_is_neither_believed_nor_passed_on() {
    for mode in ["x-forwarded", "forwarded", "none"] {
        let server = Setup::new()
            .set("server.trusted_proxies", vec!["192.0.2.1"])
            .set("server.forwarded", mode)
            .set("access_log.enabled", true)
            .start();
        let (seen, answer) = asked_with(&server, FORGED);
        assert_eq!(
            seen["headers"],
            json!({ "host": "test", "connection": "close" })
        );
        assert_eq!(seen["client"]["address"], "127.0.0.1");
        assert_eq!(seen["client"]["is_https"], false);
        assert!(!answer.contains("forged"), "{answer}");
        let line = server.wait_for_log(Mark::START, "request");
        assert_eq!(line["client"], "127.0.0.1");
    }
}

#[test]
fn a_trusted_proxy_tells_of_its_client_and_of_the_scheme() {
    let trusted = || {
        Setup::new()
            .set("server.trusted_proxies", vec!["127.0.0.1", "10.0.0.0/8"])
            .set("access_log.enabled", true)
    };
    let server = trusted().start();
    let fields = "x-forwarded-for: 192.0.2.66, 2001:db8::7, 10.0.0.9\r\nx-forwarded-proto: https\r\nforwarded: for=192.0.2.66\r\n";
    let (seen, _) = asked_with(&server, fields);
    let wanted = json!({ "address": "2001:db8::7", "port": null, "is_https": true });
    assert_eq!(seen["client"], wanted);
    assert_eq!(seen["scheme"], "https");
    let headers = json!({
        "host": "test",
        "connection": "close",
        "x-forwarded-for": "2001:db8::7, 10.0.0.9",
        "x-forwarded-proto": "https",
    });
    assert_eq!(seen["headers"], headers);
    let line = server.wait_for_log(Mark::START, "request");
    assert_eq!(line["client"], "2001:db8::7");
    let server = trusted().set("server.forwarded", "forwarded").start();
    let (seen, _) = asked_with(
        &server,
        "forwarded: for=\"[2001:db8::7]:1\";proto=https\r\nx-forwarded-for: 192.0.2.66\r\n",
    );
    assert_eq!(seen["client"]["address"], "2001:db8::7");
    assert_eq!(seen["client"]["is_https"], true);
    assert_eq!(seen["headers"]["x-forwarded-for"], "2001:db8::7");
}

#[test]
fn a_trusted_proxy_names_the_request() {
    let server = Setup::new()
        .set("server.trusted_proxies", vec!["127.0.0.1"])
        .set("access_log.enabled", true)
        .start();
    let (seen, answer) = asked_with(&server, "x-request-id: of-the-proxy_1\r\n");
    assert!(
        answer.contains("x-request-id: of-the-proxy_1\r\n"),
        "{answer}"
    );
    assert_eq!(seen["headers"]["x-request-id"], "of-the-proxy_1");
    let line = server.wait_for_log(Mark::START, "request");
    assert_eq!(line["request_id"], "of-the-proxy_1");
    let (seen, answer) = asked_with(&server, "x-request-id: two words\r\n");
    assert!(!answer.contains("two words"), "{answer}");
    assert_eq!(seen["headers"]["x-request-id"], Value::Null);
}
