//! TLS: what is spoken and what is not, which certificate is shown, sessions that go on, and connections that end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use destrier::sys::clock;
use nix::sys::signal::Signal;
use x509_ocsp::CertStatus;

use crate::support::client::Address;
use crate::support::kit::Kit;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::tls::{Authority, put};
use crate::support::{PATIENCE, command, eventually, timed};

const CHANGED: &str = "changed, in force without a reload";
const STAYS: &str = "changed, but cannot be put in force: what was before stays";

/// One address, which speaks TLS as `localhost`.
pub(crate) fn setup(authority: &Authority) -> Setup {
    setup_of(Kit::Demo, authority)
}

/// The same of this application.
pub(crate) fn setup_of(kit: Kit, authority: &Authority) -> Setup {
    let mut setup = kit.setup();
    authority.certify(&["localhost"]).write(setup.folder(), "a");
    setup
        .config
        .set("server.bind", toml::Value::Array(Vec::new()))
        .set("tls.bind", "127.0.0.1:0")
        .set("tls.certificate_file", "a.crt")
        .set("tls.key_file", "a.key");
    setup
}

/// Everything until the server closes.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_application_is_served_over_either_version_and_sees_the_scheme() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority).start();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = authority.client().speaking(version);
            let connection = client.connect(server.port()).unwrap();
            let agreed = connection.0.conn.protocol_version().unwrap();
            assert_eq!(agreed, version.version);
            assert_eq!(connection.0.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            let answer = connection.get("/headers").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.contains("\"scheme\":\"https\""), "{answer}");
            let big = client.get(server.port(), "/big?n=3000000").unwrap();
            assert!(big.len() > 3_000_000, "{}", big.len());
        }
    });
}

#[test]
fn plain_addresses_stay_beside_those_that_speak_tls() {
    let authority = Authority::new();
    let server = setup(&authority).set("server.bind", "127.0.0.2:0").start();
    let addresses = server.addresses();
    let [plain, Address::Tcp(secure)] = addresses.as_slice() else {
        panic!("{addresses:?}");
    };
    let answer = crate::support::client::get(plain, "/headers").unwrap();
    assert!(answer.json().get("scheme").is_none());
    let mut encrypted = authority.client().connect(*secure).unwrap();
    let request = "GET https://localhost/hello HTTP/1.1\r\nhost: localhost\r\n\r\n";
    encrypted.send(request).unwrap();
    encrypted.until("{\"message\":\"hello\"}").unwrap();
}

#[test]
fn the_oldest_version_is_what_the_configuration_says() {
    let authority = Authority::new();
    let server = setup(&authority).set("tls.min_version", "1.3").start();
    let old = authority.client().speaking(&rustls::version::TLS12);
    assert!(old.get(server.port(), "/hello").is_err());
    authority.client().get(server.port(), "/hello").unwrap();
}

#[test]
fn a_client_that_offers_other_protocols_only_is_refused_and_one_that_offers_none_is_served() {
    let authority = Authority::new();
    let server = setup(&authority).start();
    let offering = |protocols: &[&str]| {
        let client = authority.client().offering(protocols);
        client.get(server.port(), "/hello")
    };
    let error = offering(&["spdy/1", "foo"]).unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    for good in [&["foo", "http/1.1"][..], &[]] {
        assert!(offering(good).unwrap().starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_client_that_offers_http_2_gets_it_and_one_that_cannot_does_not() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("http.keep_alive", "300ms")
            .start();
        put(&server.folder().join("ca.pem"), authority.pem());
        for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", flag, "--cacert"])
                .arg(server.folder().join("ca.pem"))
                .args(["-w", "%{http_version}"])
                .arg(format!(
                    "https://localhost:{}/headers",
                    server.port().port()
                ));
            let said = command::run(curl).stdout;
            assert!(said.contains("\"scheme\":\"https\""), "{said}");
            assert!(said.ends_with(version), "{said}");
        }
        // Its first frame, and a farewell when it has been idle.
        let client = authority.client().offering(&["h2", "http/1.1"]);
        let mut connection = client.connect(server.port()).unwrap();
        assert_eq!(connection.0.conn.alpn_protocol(), Some(&b"h2"[..]));
        connection
            .send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0")
            .unwrap();
        // When it has been idle: GOAWAY, and a PING that asks whether that has arrived (RFC 9113 sections 6.7 and 6.8).
        let mut kinds = Vec::new();
        while kinds.last() != Some(&6) {
            let mut head = [0; 9];
            connection.0.read_exact(&mut head).unwrap();
            let mut payload = vec![0; usize::from(head[2])];
            connection.0.read_exact(&mut payload).unwrap();
            kinds.push(head[3]);
            if head[3] == 6 {
                head[4] = 1;
                let answer = [&head[..], &payload].concat();
                connection.0.write_all(&answer).unwrap();
                connection.0.flush().unwrap();
            }
        }
        assert_eq!(kinds.first(), Some(&4), "SETTINGS");
        connection.0.read_to_end(&mut Vec::new()).unwrap();
        // Who has not agreed on it is not served it.
        let client = authority.client().offering(&[]);
        let mut connection = client.connect(server.port()).unwrap();
        connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let answer = connection.rest().unwrap();
        assert!(answer.starts_with("HTTP/1."), "{answer:?}");
    });
}

#[test]
fn where_http_2_is_off_nobody_is_offered_it() {
    let authority = Authority::new();
    let server = setup(&authority).set("http.http2", false).start();
    let client = authority.client().offering(&["h2"]);
    assert!(client.connect(server.port()).is_err());
    let client = authority.client().offering(&["h2", "http/1.1"]);
    client.get(server.port(), "/hello").unwrap();
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let authority = Authority::new();
    let setup = setup(&authority);
    let folder = setup.folder().to_owned();
    let others = [
        ("b", &["b.example", "*.c.example"][..]),
        ("c", &["x.c.example"]),
    ];
    let mut tables = Vec::new();
    for (file, names) in others {
        authority.certify(names).write(&folder, file);
        let mut table = toml::Table::new();
        table.insert("certificate_file".to_owned(), format!("{file}.crt").into());
        table.insert("key_file".to_owned(), format!("{file}.key").into());
        tables.push(toml::Value::Table(table));
    }
    let server = setup.set("tls.certificate", tables).start();
    for (name, file) in [
        ("localhost", "a"),
        ("b.example", "b"),
        ("B.Example", "b"),
        ("y.c.example", "b"),
        // An exact name counts more than a wildcard.
        ("x.c.example", "c"),
    ] {
        let client = authority.client().named(name);
        let shown = client.connect(server.port()).unwrap().certificate();
        assert_eq!(shown.as_ref(), der(&folder, file), "{name}");
    }
    for stranger in ["d.example", "x.y.c.example", "c.example", "127.0.0.1"] {
        let client = authority.client().named(stranger);
        let error = client.connect(server.port()).err().unwrap().to_string();
        assert!(error.contains("not valid for name"), "{stranger}: {error}");
    }
}

fn der(folder: &Path, file: &str) -> Vec<u8> {
    let text = std::fs::read(folder.join(format!("{file}.crt"))).unwrap();
    pem::parse(text).unwrap().into_contents()
}

#[test]
fn a_session_goes_on_with_another_worker() {
    let authority = Authority::new();
    let server = setup(&authority).start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = authority.client().speaking(version);
        // Tickets come with the first answer.
        client.get(server.port(), "/hello").unwrap();
        let mut workers = std::collections::BTreeSet::new();
        eventually("both workers have resumed it", || {
            let connection = client.connect(server.port()).unwrap();
            assert!(connection.was_resumed(), "{version:?}");
            let answer = connection.get("/pid").unwrap();
            workers.insert(answer.split("\r\n\r\n").nth(1).unwrap().to_owned());
            (workers.len() == 2).then_some(())
        });
    }
    // Another generation has another secret.
    let client = authority.client();
    client.get(server.port(), "/hello").unwrap();
    server.reload();
    // One that drains may still take what comes before it has heard of it.
    eventually("a handshake with the other generation", || {
        let connection = client.connect(server.port()).ok()?;
        (!connection.was_resumed()).then_some(())
    });
}

#[test]
fn a_certificate_is_swapped_under_load_and_a_pair_that_does_not_fit_changes_nothing() {
    let authority = Authority::new();
    let server = setup(&authority).start();
    let client = authority.client().forgetful();
    let load = Load::start(&Address::Tls(server.port(), client.clone()), Plan::LIGHT);
    let first = client.connect(server.port()).unwrap().certificate();
    let mut old = client.connect(server.port()).unwrap();

    let next = authority.certify(&["localhost"]);
    let mark = server.log.mark();
    // The certificate first, and its key only when that was told.
    put(&server.folder().join("a.crt"), next.certificate_pem());
    let line = server.wait_for_log(mark, STAYS);
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.contains("a.crt") && reason.contains("the key is not the one"),
        "{reason}"
    );
    assert_eq!(client.connect(server.port()).unwrap().certificate(), first);
    put(&server.folder().join("a.key"), next.key_pem());
    server.wait_for_log(mark, CHANGED);
    for _ in 0..3 {
        eventually("the new certificate is shown", || {
            let shown = |_| client.connect(server.port()).unwrap().certificate();
            (0..8)
                .all(|round| shown(round) == next.certificate)
                .then_some(())
        });
    }
    load.wait_for_answers(50);
    load.finish().assert_nothing_lost();
    assert_eq!(server.count_log(mark, STAYS), 1);
    assert_eq!(server.count_log(mark, CHANGED), 1);
    // A connection that was there goes on.
    old.send("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    assert!(old.rest().unwrap().starts_with("HTTP/1.1 200 "));
    // A worker that is born now has it too.
    let killed = server.pids()[0];
    crate::support::os::kill(killed);
    server.until("another one has taken its place", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 2 && !pids.contains(&killed)).then_some(())
    });
    for _ in 0..8 {
        assert_eq!(
            client.connect(server.port()).unwrap().certificate(),
            next.certificate
        );
    }
}

#[test]
fn nothing_is_lost_by_reloads_and_upgrades_over_tls() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("http.pass_connections", true)
            .start();
        let client = authority.client();
        let load = Load::start(&Address::Tls(server.port(), client), Plan::LIGHT);
        server.reload();
        load.wait_for_answers(30);
        server.upgrade();
        load.wait_for_answers(30);
        server.reload();
        load.wait_for_answers(30);
        load.finish().assert_nothing_lost();
    });
}

#[test]
fn an_address_speaks_tls_from_a_reload_on() {
    let authority = Authority::new();
    let mut config = setup(&authority);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let secure = config.config.clone();
    let mut plain = secure.clone();
    for key in ["tls.bind", "tls.certificate_file", "tls.key_file"] {
        plain.unset(key);
    }
    plain.set("server.bind", address.to_string());
    config.config = plain;
    let server = config.start();
    crate::support::client::get(&Address::Tcp(address), "/hello").unwrap();
    let mut secure = secure;
    secure.set("tls.bind", address.to_string());
    secure.write();
    server.reload();
    // A worker of before may still take one.
    eventually("an answer over TLS", || {
        authority.client().get(address, "/hello").ok()
    });
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_others_go_on() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("tls.handshake_timeout", "300ms")
            .set("workers.count", 1)
            .start();
        for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
            let (left, took) = timed(|| {
                let mut slow = server.connect();
                slow.write_all(begun).unwrap();
                authority.client().get(server.port(), "/hello").unwrap();
                rest(slow)
            });
            assert_eq!(left, b"");
            assert!(
                (Duration::from_millis(200)..PATIENCE).contains(&took),
                "{took:?}"
            );
        }
    });
}

#[test]
fn http_without_tls_is_told_so_and_garbage_gets_an_alert() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority).start();
        let mut stream = server.connect();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let answer = String::from_utf8(rest(stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("\"code\":\"tls_required\""), "{answer}");
        // SSL 2, a record of another kind, one that is too long, and a hello that is none.
        for garbage in [
            &b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02"[..],
            b"\x17\x03\x03\x00\x05hello",
            b"\x16\x03\x01\xff\xff\x01\x00\x00\x00",
            b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00",
            b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ] {
            let mut stream = server.connect();
            stream.write_all(garbage).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let answer = rest(stream);
            // An alert (RFC 8446 section 6): a record of type 21 with two bytes, the first of them 2, fatal.
            let is_alert = matches!(answer.as_slice(), [21, 3, _, 0, 2, 2, _]);
            assert!(is_alert || answer.is_empty(), "{garbage:?}: {answer:?}");
        }
        authority.client().get(server.port(), "/hello").unwrap();
    });
}

#[test]
fn a_client_that_was_made_to_fall_back_is_told_so() {
    let authority = Authority::new();
    let server = setup(&authority).start();
    let Some(output) = openssl(&server, &["-tls1_2", "-fallback_scsv"]) else {
        return;
    };
    // By the server, that is: OpenSSL finds out by itself, later.
    assert!(output.contains("alert number 86"), "{output}");
    let fine = openssl(&server, &["-fallback_scsv"]).unwrap();
    assert!(fine.contains("Cipher is TLS_"), "{fine}");
}

#[test]
fn openssl_finds_no_old_version_no_old_cipher_no_renegotiation_and_no_compression() {
    let authority = Authority::new();
    let server = setup(&authority).start();
    let Some(old) = openssl(&server, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]) else {
        return;
    };
    assert!(old.contains("Cipher is (NONE)"), "{old}");
    for cipher in [
        "AES128-SHA",
        "ECDHE-ECDSA-AES128-SHA",
        "AES128-GCM-SHA256",
        "DHE-RSA-AES128-GCM-SHA256",
    ] {
        let output = openssl(&server, &["-tls1_2", "-cipher", cipher]).unwrap();
        assert!(output.contains("Cipher is (NONE)"), "{cipher}: {output}");
    }
    let output = openssl(&server, &["-tls1_2", "-comp"]).unwrap();
    assert!(output.contains("Compression: NONE"), "{output}");
    assert!(
        output.contains("Secure Renegotiation IS supported"),
        "{output}"
    );
    assert!(output.contains("Extended master secret: yes"), "{output}");
    let again = openssl_says(&server, &["-tls1_2"], "R\n").unwrap();
    assert!(again.contains("no renegotiation"), "{again}");
}

/// What `openssl s_client` says of the server; none where there is no such program.
fn openssl(server: &Server, words: &[&str]) -> Option<String> {
    openssl_says(server, words, "Q\n")
}

fn openssl_says(server: &Server, words: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new("openssl");
    let folder = server.folder().join("openssl.in");
    std::fs::write(&folder, input).unwrap();
    command
        .args(["s_client", "-connect", &server.port().to_string()])
        .args(words)
        .stdin(std::fs::File::open(folder).unwrap());
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI there must be `openssl`"
        );
        return None;
    }
    let outcome = command::run(command);
    Some(outcome.stdout + &outcome.stderr)
}

#[test]
fn curl_gets_an_answer() {
    let authority = Authority::new();
    let server = setup(&authority).start();
    put(&server.folder().join("ca.pem"), authority.pem());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--cacert"])
        .arg(server.folder().join("ca.pem"))
        .arg(format!("https://localhost:{}/hello", server.port().port()));
    let outcome = command::run(curl);
    assert_eq!(outcome.stdout, "{\"message\":\"hello\"}", "{outcome:?}");
}

#[test]
fn a_certificate_comes_with_the_ocsp_response_of_its_file_and_a_new_one_is_in_force_without_a_reload()
 {
    let authority = Authority::new();
    let setup = setup(&authority).set("tls.ocsp_file", "a.ocsp");
    let pair = authority.certify(&["localhost"]);
    pair.write(setup.folder(), "a");
    let responses = [1, 2].map(|days| pair.ocsp(CertStatus::good(), days));
    put(&setup.folder().join("a.ocsp"), &responses[0]);
    let server = setup.start();
    let client = authority.client().forgetful();
    client.get(server.port(), "/hello").unwrap();
    assert_eq!(client.ocsp(), responses[0]);
    let mark = server.log.mark();
    put(&server.folder().join("a.ocsp"), b"\x30\x03\x0a\x01\x06");
    server.wait_for_log(mark, STAYS);
    put(&server.folder().join("a.ocsp"), &responses[1]);
    server.wait_for_log(mark, CHANGED);
    eventually("the new response is shown", || {
        client.get(server.port(), "/hello").unwrap();
        (client.ocsp() == responses[1]).then_some(())
    });
}

/// Without one a client could not tell an end from a cut (RFC 8446 section 6.1).
#[test]
fn a_connection_of_http_2_ends_with_a_farewell_however_badly_it_went() {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("http.header_timeout", "300ms")
            .set("http.keep_alive", "300ms")
            .start();
        let client = authority.client().offering(&["h2"]);
        let settings = format!("{PREFACE}\0\0\0\u{4}\0\0\0\0\0");
        for said in ["", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", PREFACE, &settings] {
            let mut connection = client.connect(server.port()).unwrap();
            connection.send(said).unwrap();
            let mut rest = Vec::new();
            let ended = connection.0.read_to_end(&mut rest);
            assert!(ended.is_ok(), "{kit:?} {said:?}: {ended:?}");
        }
    });
}

#[test]
fn an_idle_connection_is_closed_with_a_farewell() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("http.keep_alive", "300ms")
            .start();
        let mut connection = authority.client().connect(server.port()).unwrap();
        connection
            .send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        // Without a `close_notify` this is an error.
        let (answer, took) = timed(|| connection.rest().unwrap());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(took >= Duration::from_millis(250), "{took:?}");
    });
}

#[test]
fn a_head_that_does_not_end_gets_408_over_tls_too() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("http.header_timeout", "300ms")
            .start();
        let mut connection = authority.client().connect(server.port()).unwrap();
        connection.send("GET /hello HTTP/1.1\r\nhost:").unwrap();
        let answer = connection.rest().unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    });
}

#[test]
fn a_client_that_goes_without_a_farewell_costs_no_line_in_the_log() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority).set("workers.count", 1).start();
        for _ in 0..3 {
            let mut connection = authority.client().connect(server.port()).unwrap();
            connection
                .send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n")
                .unwrap();
            connection.until("\"hello\"}").unwrap();
            connection
                .0
                .sock
                .shutdown(std::net::Shutdown::Both)
                .unwrap();
        }
        server.until("no connection is left", |status| {
            (status.workers[0].connections == 0).then_some(())
        });
        let lines = server.log.since(crate::support::journal::Mark::START);
        let bad = |line: &&serde_json::Value| {
            ["WARN", "ERROR"].contains(&line["level"].as_str().unwrap_or(""))
        };
        assert_eq!(lines.iter().filter(bad).count(), 0, "{lines:?}");
    });
}

#[test]
fn a_request_in_many_small_records_is_one_and_what_is_left_when_it_drains_is_answered() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("workers.count", 1)
            .set("http.drain_linger", "10s")
            .start();
        let mut connection = authority.client().connect(server.port()).unwrap();
        for byte in "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n".chars() {
            connection.send(&byte.to_string()).unwrap();
        }
        let answer = connection.until("\"hello\"}").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // One that shakes hands only now, and one that is idle.
        let late = server.connect();
        server.until("both are open", |status| {
            (status.workers[0].connections == 2).then_some(())
        });
        server.signal(Signal::SIGTERM);
        server.wait_for_log(crate::support::journal::Mark::START, "stopping");
        let client = authority.client();
        let answer = client.over(late).unwrap().get("/hello").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        connection
            .send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        let answer = connection.rest().unwrap();
        assert!(answer.contains("connection: close"), "{answer}");
        assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    });
}

#[test]
fn a_client_that_has_not_begun_does_not_hold_up_a_drain() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("tls.handshake_timeout", "1h")
            .set("http.drain_linger", "200ms")
            .start();
        let silent = server.connect();
        server.until("it is open", |status| {
            let open = status
                .workers
                .iter()
                .map(|worker| worker.connections)
                .sum::<u64>();
            (open == 1).then_some(())
        });
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_for_exit(Duration::from_secs(10)), Some(0));
        assert_eq!(rest(silent), b"");
    });
}

#[test]
fn an_idle_connection_ends_with_a_farewell_when_its_worker_goes() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("http.pass_connections", true)
            .set("http.drain_linger", "200ms")
            .start();
        let mut connection = authority.client().connect(server.port()).unwrap();
        connection
            .send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        connection.until("\"hello\"}").unwrap();
        server.reload();
        // It cannot be passed on.
        assert_eq!(connection.rest().unwrap(), "");
    });
}

#[test]
fn a_key_of_root_is_read_before_workers_give_up_its_privileges() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let authority = Authority::new();
    let setup = setup(&authority).set("process.user", "nobody");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(setup.folder(), open).unwrap();
    let server = setup.start();
    authority.client().get(server.port(), "/hello").unwrap();
    let next = authority.certify(&["localhost"]);
    let mark = server.log.mark();
    next.write(server.folder(), "a");
    server.wait_for_log(mark, CHANGED);
    let client = authority.client().forgetful();
    eventually("the new certificate is shown", || {
        let shown = client.connect(server.port()).unwrap().certificate();
        (shown == next.certificate).then_some(())
    });
}

/// What is encrypted may wait in the library when the socket takes no more: some answer is of the length that does.
#[test]
fn answers_that_are_read_slowly_arrive_whole_though_the_worker_goes() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("workers.count", 1)
            .set("http.drain_linger", "0s")
            .set("http.keep_alive", "200ms")
            .start();
        let client = authority.client();
        let ask = |size: usize| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&server.port().into()).unwrap();
            let mut connection = client.over(socket.into()).unwrap();
            connection
                .send(&format!("GET /big?n={size} HTTP/1.1\r\nhost: a\r\n\r\n"))
                .unwrap();
            connection.until("\r\n\r\n").unwrap();
            connection
        };
        let sizes = (1..80).map(|step| step * 40_000);
        let asked: Vec<_> = sizes.map(|size| (size, ask(size))).collect();
        // Longer than a connection has for its last words.
        let enough = clock::monotonic() + Duration::from_millis(1500);
        while clock::monotonic() < enough {
            server.reload();
        }
        for (size, mut connection) in asked {
            let mut body = vec![0; size];
            connection
                .0
                .read_exact(&mut body)
                .unwrap_or_else(|error| panic!("{size}: {error}"));
        }
    });
}

/// That whoever listens on the wire in the middle cannot end an answer.
#[test]
fn a_connection_that_is_cut_is_not_taken_for_one_that_ended() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority).set("workers.count", 1).start();
        let mut connection = authority.client().connect(server.port()).unwrap();
        connection
            .send("GET /stream?ms=50 HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        connection.until("\r\n\r\n").unwrap();
        crate::support::os::kill(server.pids()[0]);
        let error = connection.rest().unwrap_err();
        let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
    });
}

#[test]
fn a_client_that_says_farewell_in_the_middle_of_a_request_gets_one_too() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority).start();
        let mut connection = authority.client().connect(server.port()).unwrap();
        connection
            .send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nx")
            .unwrap();
        connection.0.conn.send_close_notify();
        connection.0.flush().unwrap();
        // Whether there is an answer is not the point: without a `close_notify` this is an error.
        connection.rest().unwrap();
    });
}

#[test]
fn a_websocket_whose_client_takes_nothing_is_cut_off_over_tls_too() {
    Kit::each(&Kit::WITH_WEBSOCKET, |kit| {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("http.write_timeout", "500ms")
            .start();
        let mut deaf = authority.client().connect(server.port()).unwrap();
        let handshake = "GET /ws/echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        deaf.send(handshake).unwrap();
        deaf.until("\r\n\r\n").unwrap();
        // Each is answered, and each answer is flushed, until nothing more has room; then the server takes nothing either.
        let message = [&[0x82, 0xfe, 0x40, 0, 0, 0, 0, 0][..], &[b'a'; 0x4000]].concat();
        let moment = Some(Duration::from_millis(200));
        deaf.0.sock.set_write_timeout(moment).unwrap();
        while deaf.0.write_all(&message).is_ok() {}
        eventually("it is cut off", || {
            (server.connections() == 0).then_some(())
        });
        let told =
            server.wait_for_log(crate::support::journal::Mark::START, "a WebSocket is ended");
        let reason = told["reason"].as_str().unwrap();
        assert!(reason.contains("`http.write_timeout`"), "{reason}");
    });
}
