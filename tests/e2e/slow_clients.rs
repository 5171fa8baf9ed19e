//! Clients that are slow, many, rude or gone: after each of them the server answers at once, and what they held is free again.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::admin::scrape;
use crate::http2::wire::{END_HEADERS, END_STREAM, HEADERS, SETTINGS, Wire, block, frame};
use crate::support::client::Address;
use crate::support::kit::Kit;
use crate::support::plain::take_slowly;
use crate::support::server::{Server, Setup};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, eventually, os, timed};
use crate::tls::setup_of;
use crate::websocket::wire;

const GET: &[u8] = b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n";

/// The head and the body of one answer to [`GET`].
#[track_caller]
fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"{\"message\":\"hello\"}") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

#[track_caller]
fn assert_answers(server: &Server) {
    let mut stream = server.connect();
    stream.write_all(GET).unwrap();
    let (answer, took) = timed(|| answer(&mut stream));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Everything until the server ends the connection, which it may do rudely.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{bytes:?}");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One worker, what it holds, and what becomes of that.
struct Watched {
    server: Server,
    worker: u32,
    descriptors: usize,
}

impl Watched {
    fn start(setup: Setup) -> Self {
        let server = setup.set("workers.count", 1).start();
        assert_answers(&server);
        let worker = server.pids()[0];
        let none_left = || (server.connections() == 0).then_some(());
        eventually("the connection has ended", none_left);
        let descriptors = os::descriptors(worker);
        Self {
            server,
            worker,
            descriptors,
        }
    }

    /// Nothing is left of those who were here, and it is the same worker.
    #[track_caller]
    fn assert_as_before(&self) {
        assert_answers(&self.server);
        eventually("all descriptors are free again", || {
            (os::descriptors(self.worker) <= self.descriptors).then_some(())
        });
        assert_eq!(self.server.pids(), [self.worker]);
    }
}

/// Ends a connection with RST.
fn reset(stream: TcpStream) {
    os::reset_at_end(&stream);
    drop(stream);
}

#[test]
fn connections_beyond_the_limit_wait_and_none_is_dropped() {
    let server = Setup::new()
        .set("workers.count", 1)
        .set("http.max_connections", 2)
        .set("admin.bind", "127.0.0.1:0")
        .start();
    let mark = server.log.mark();
    let mut first = server.connect();
    let mut second = server.connect();
    for stream in [&mut first, &mut second] {
        stream.write_all(GET).unwrap();
        answer(stream);
    }
    let mut third = server.connect();
    third.write_all(GET).unwrap();
    let told = server.wait_for_log(mark, "new connections wait");
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.contains("`http.max_connections`"), "{reason}");
    assert_eq!(server.connections(), 2);
    let name = "destrier_connections_limited_total{limit=\"http.max_connections\"}";
    assert_eq!(scrape(&server)[name], 1);
    let said = server.cli(["status"]).stdout;
    let note = "worker 1: new connections wait (http.max_connections)\n";
    assert!(said.contains(note), "{said}");
    drop(first);
    assert!(answer(&mut third).starts_with("HTTP/1.1 200 "));
    second.write_all(GET).unwrap();
    answer(&mut second);
    drop(second);
    until_connections_are_taken(&server);
}

fn until_connections_are_taken(server: &Server) {
    server.until("connections are taken", |status| {
        let worker = status.workers.first()?;
        worker.connections_wait.is_none().then_some(())
    });
}

#[test]
fn connections_of_one_address_beyond_the_limit_are_closed_at_once() {
    let server = Setup::new()
        .set("workers.count", 1)
        .set("http.max_connections_per_address", 1)
        .start();
    let mut first = server.connect();
    first.write_all(GET).unwrap();
    answer(&mut first);
    assert_eq!(rest(&mut server.connect()), "");
    drop(first);
    eventually("there is room again", || {
        let mut stream = server.connect();
        let _closed = stream.write_all(GET);
        rest_of_one(&mut stream)
            .starts_with("HTTP/1.1 200 ")
            .then_some(())
    });
}

/// Whoever looks at night why clients are cut finds the key, in the log and in the metrics.
#[test]
fn what_limits_do_to_connections_is_told_and_counted() {
    let server = Setup::new()
        .set("workers.count", 1)
        .set("admin.bind", "127.0.0.1:0")
        .set("http.header_timeout", "200ms")
        .set("http.write_timeout", "200ms")
        .set("http.max_connections_per_address", 2)
        .start();
    let mark = server.log.mark();
    let limited = |limit: &str| {
        let name = format!("destrier_connections_limited_total{{limit=\"{limit}\"}}");
        scrape(&server)[&name]
    };
    let told = |reason: &str| {
        let line = server.wait_for_log(mark, "a connection was closed");
        assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
        assert_eq!(line["listener"], "127.0.0.1:0");
        assert!(line["client"].as_str().unwrap().starts_with("127.0.0."));
    };
    let mut late = server.connect();
    late.write_all(b"GET /hello HT").unwrap();
    assert!(rest(&mut late).starts_with("HTTP/1.1 408 "));
    let refused = server.wait_for_log(mark, "refused");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("`http.header_timeout`"), "{reason}");

    drop(late);
    let none_left = || (server.connections() == 0).then_some(());
    eventually("it has gone", none_left);

    let mut kept = [server.connect(), server.connect()];
    for stream in &mut kept {
        stream.write_all(GET).unwrap();
        answer(stream);
    }
    assert_eq!(rest(&mut server.connect()), "");
    told("`http.max_connections_per_address`");
    assert_eq!(limited("http.max_connections_per_address"), 1);
    assert_eq!(limited("http.write_timeout"), 0);
}

/// A server that cuts those who take nothing, and counts them.
fn impatient() -> Setup {
    Setup::new()
        .set("workers.count", 1)
        .set("admin.bind", "127.0.0.1:0")
        .set("http.write_timeout", "200ms")
}

/// How many it has cut.
fn cut(server: &Server) -> u64 {
    scrape(server)["destrier_connections_limited_total{limit=\"http.write_timeout\"}"]
}

#[test]
fn a_client_that_takes_nothing_is_told_of_and_counted() {
    for http2 in [false, true] {
        let server = impatient().start();
        let mark = server.log.mark();
        if http2 {
            let mut wire = Wire::open(&server);
            wire.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
            let head = block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/big?n=1000000"),
                (":authority", "a.example"),
            ]);
            wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head));
            wire.until(|seen| seen.resets.contains_key(&1));
        } else {
            let mut stream = server.connect();
            SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
            stream
                .write_all(b"GET /big?n=30000000 HTTP/1.1\r\nhost: test\r\n\r\n")
                .unwrap();
            // It is there until it is cut.
            server.wait_for_log(mark, "a connection was closed");
        }
        let line = server.wait_for_log(mark, "a connection was closed");
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains("`http.write_timeout`"), "{reason}");
        assert_eq!(cut(&server), 1);
    }
}

#[test]
fn a_websocket_whose_client_takes_nothing_is_counted() {
    let server = impatient().start();
    let mark = server.log.mark();
    let _deaf = wire::Wire::open(&server, "/ws/big?n=60000000");
    server.wait_for_log(mark, "a WebSocket is ended");
    eventually("it is cut", || (server.connections() == 0).then_some(()));
    assert_eq!(cut(&server), 1);
    // One that ends as it should is not.
    let mut polite = wire::Wire::open(&server, "/ws/close?code=4001&reason=enough");
    polite.until_close();
    drop(polite);
    eventually("it is gone", || (server.connections() == 0).then_some(()));
    assert_eq!(cut(&server), 1);
}

fn rest_of_one(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 1024];
    let count = stream.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn proxies_that_are_trusted_may_have_any_number_of_connections() {
    let server = Setup::new()
        .set("http.max_connections_per_address", 1)
        .set("server.trusted_proxies", vec!["127.0.0.1"])
        .start();
    let mut streams: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(GET).unwrap();
        answer(stream);
    }
}

#[test]
fn a_connection_is_closed_when_it_has_carried_so_many_requests() {
    let server = Setup::new().set("http.keep_alive_requests", 3).start();
    let mut stream = server.connect();
    for closes in [false, false, true] {
        stream.write_all(GET).unwrap();
        assert_eq!(answer(&mut stream).contains("connection: close"), closes);
    }
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn without_descriptors_connections_wait_and_nothing_spins() {
    let server = Setup::new()
        .set("workers.count", 1)
        .under(&["prlimit", "--nofile=60"])
        .start();
    let worker = server.pids()[0];
    let mark = server.log.mark();
    let mut streams: Vec<_> = (0..80).map(|_| server.connect()).collect();
    server.wait_for_log(mark, "new connections wait");
    let before = os::processor_time(worker);
    // As long as it waits it says nothing more; a second is what is measured.
    let mut last = streams.pop().unwrap();
    last.write_all(GET).unwrap();
    last.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(last.read(&mut [0]).is_err());
    assert_eq!(
        server.status().workers[0].connections_wait.as_deref(),
        Some("descriptors")
    );
    let used = os::processor_time(worker).saturating_sub(before);
    assert!(used < Duration::from_millis(300), "{used:?}");
    drop(streams);
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(answer(&mut last).starts_with("HTTP/1.1 200 "));
    server.wait_for_log(mark, "new connections are taken again");
    assert_eq!(server.count_log(mark, "new connections wait"), 1);
    until_connections_are_taken(&server);
    assert_answers(&server);
}

/// Somebody else has taken the last one: the kernel says so.
#[test]
fn where_not_one_descriptor_is_left_connections_wait_until_there_is_one() {
    let server = Setup::new().set("workers.count", 1).start();
    let worker = server.pids()[0];
    let mark = server.log.mark();
    os::limit_descriptors(worker, 3);
    let mut waiting = server.connect();
    waiting.write_all(GET).unwrap();
    let line = server.wait_for_log(mark, "new connections wait");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("Too many open files"), "{line}");
    os::limit_descriptors(worker, 1024);
    assert!(answer(&mut waiting).starts_with("HTTP/1.1 200 "));
    server.wait_for_log(mark, "new connections are taken again");
}

#[test]
fn without_descriptors_who_is_there_is_served_and_tls_waits_too() {
    let authority = Authority::new();
    let server = setup_of(Kit::Demo, &authority)
        .set("server.bind", "127.0.0.2:0")
        .set("workers.count", 1)
        .under(&["prlimit", "--nofile=60"])
        .start();
    let addresses = server.addresses();
    let [Address::Tcp(plain), Address::Tcp(secure)] = addresses.as_slice() else {
        panic!("{addresses:?}");
    };
    let mark = server.log.mark();
    let connect = |address| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let mut kept = connect(plain);
    kept.write_all(GET).unwrap();
    answer(&mut kept);
    let mut encrypted = authority.client().connect(*secure).unwrap();
    let ask = "GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n";
    encrypted.send(ask).unwrap();
    encrypted.until("{\"message\":\"hello\"}").unwrap();
    let waiting: Vec<_> = (0..80).map(|_| connect(secure)).collect();
    let line = server.wait_for_log(mark, "new connections wait");
    assert_eq!(line["listener"], "127.0.0.1:0", "{line}");
    kept.write_all(GET).unwrap();
    answer(&mut kept);
    encrypted.send(ask).unwrap();
    encrypted.until("{\"message\":\"hello\"}").unwrap();
    drop(waiting);
    server.wait_for_log(mark, "new connections are taken again");
    authority.client().get(*secure, "/hello").unwrap();
    kept.write_all(GET).unwrap();
    answer(&mut kept);
}

#[test]
fn heads_that_do_not_end_disturb_nobody_and_are_cut() {
    let watched = Watched::start(Setup::new().set("http.header_timeout", "2s"));
    // Each speaks at once: one that had said nothing in time would get no answer.
    let begin = |_| {
        let mut stream = watched.server.connect();
        let head = b"GET /hello HTTP/1.1\r\nhost: test\r\nx:";
        stream.write_all(head).unwrap();
        stream
    };
    let mut streams: Vec<_> = (0..400).map(begin).collect();
    assert_answers(&watched.server);
    for stream in &mut streams {
        let rest = rest(stream);
        assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
    }
    drop(streams);
    watched.assert_as_before();
}

#[test]
fn five_thousand_idle_connections_are_no_burden() {
    // Longer than it takes to open them.
    let watched = Watched::start(Setup::new().set("http.header_timeout", "1m"));
    let streams: Vec<_> = (0..5_000).map(|_| watched.server.connect()).collect();
    eventually("all are taken", || {
        (watched.server.connections() >= 5_000).then_some(())
    });
    assert_answers(&watched.server);
    drop(streams);
    watched.assert_as_before();
}

#[test]
fn connections_that_are_idle_leave_their_buffers_to_others() {
    const BATCH: u64 = 500;
    let server = Setup::new().set("workers.count", 1).start();
    let worker = server.pids()[0];
    let mut streams = Vec::new();
    // Of what it has for itself.
    let memory = || os::status_size(worker, "RssAnon");
    let growth = |streams: &mut Vec<TcpStream>| {
        let before = memory();
        for _ in 0..BATCH {
            let mut stream = server.connect();
            stream.write_all(GET).unwrap();
            answer(&mut stream);
            streams.push(stream);
        }
        memory().saturating_sub(before) / BATCH
    };
    // Those that came before are parked sooner or later, and then there is memory for those who come: with hyper they would take 17 KiB each.
    let is_small = (0..30).any(|_| growth(&mut streams) < 3072);
    assert!(is_small, "{} connections", streams.len());
    for stream in &mut streams {
        stream.write_all(GET).unwrap();
        assert!(answer(stream).starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_client_that_reads_nothing_is_cut_and_its_memory_is_free_again() {
    Kit::each(&Kit::ALL, |kit| {
        let watched = Watched::start(kit.setup().set("http.write_timeout", "500ms"));
        let mut streams: Vec<_> = (0..20).map(|_| watched.server.connect()).collect();
        for stream in &mut streams {
            SockRef::from(&*stream).set_recv_buffer_size(4096).unwrap();
            stream
                .write_all(b"GET /big?n=8000000 HTTP/1.1\r\nhost: test\r\n\r\n")
                .unwrap();
        }
        assert_answers(&watched.server);
        watched.assert_as_before();
    });
}

#[test]
fn a_client_that_reads_slowly_is_served_to_the_end() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("http.write_timeout", "1s").start();
        let mut stream = server.connect();
        stream
            .write_all(b"GET /big?n=20000000 HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut buffer = vec![0; 200_000];
        let mut got = 0;
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => got += count,
            }
        }
        assert!(got > 20_000_000, "{got}");
    });
}

/// A third of a send buffer of megabytes must be free before more can be written: that takes it longer than the time-out.
#[test]
fn a_client_that_takes_a_little_all_the_time_is_not_cut_off() {
    Kit::each(&Kit::ALL, |kit| {
        let request = b"GET /big?n=20000000 HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        let (taken, mut stream, _server) = take_slowly(kit, request);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let got = taken + rest.len();
        assert!(got > 20_000_000, "{got}");
    });
}

#[test]
fn clients_that_go_in_mid_request_or_mid_answer_leave_nothing_behind() {
    Kit::each(&Kit::ALL, |kit| {
        // A thread that sleeps does not notice that its client has gone.
        let slow = if kit == Kit::Wsgi {
            "/events?ms=1"
        } else {
            "/slow?ms=60000"
        };
        let slow = format!("GET {slow} HTTP/1.1\r\nhost: test\r\n\r\n");
        let watched = Watched::start(kit.setup());
        for _ in 0..100 {
            let mut stream = watched.server.connect();
            stream
                .write_all(b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\nabc")
                .unwrap();
            reset(stream);
            let mut stream = watched.server.connect();
            stream
                .write_all(b"GET /big?n=10000000 HTTP/1.1\r\nhost: test\r\n\r\n")
                .unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
            reset(stream);
            let mut stream = watched.server.connect();
            stream.write_all(slow.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            reset(stream);
        }
        watched.assert_as_before();
    });
}

#[test]
fn ten_thousand_connections_of_garbage_leave_nothing_behind() {
    Kit::each(&Kit::ALL, |kit| {
        let watched = Watched::start(kit.setup());
        let mut random = fastrand::Rng::with_seed(7);
        let words: [&[u8]; 12] = [
            b"GET ",
            b"/hello",
            b" HTTP/1.1",
            b"\r\n",
            b"\n",
            b"host: a",
            b"content-length: ",
            b"18446744073709551616",
            b"transfer-encoding: chunked",
            b"\0",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\xff\xfe",
        ];
        for _ in 0..10_000 {
            let mut bytes = Vec::new();
            for _ in 0..random.usize(0..12) {
                if random.bool() {
                    bytes.extend(words[random.usize(..words.len())]);
                } else {
                    let count = random.usize(0..20);
                    bytes.extend((0..count).map(|_| random.u8(..)));
                }
            }
            let mut stream = watched.server.connect();
            let _closed = stream.write_all(&bytes);
            if random.bool() {
                reset(stream);
            }
        }
        watched.assert_as_before();
    });
}

#[test]
fn a_peer_that_vanished_is_looked_for_by_the_kernel() {
    let server = Setup::new().set("http.dead_peer_timeout", "30s").start();
    let mut stream = server.connect();
    stream.write_all(GET).unwrap();
    answer(&mut stream);
    let client = format!(":{:04X}", stream.local_addr().unwrap().port());
    // The socket at the server's side, its timer and when that fires (proc_net_tcp(5)).
    let ticks = eventually("it is probed when it is idle", || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_it = fields[2].ends_with(&client) && fields[3] == "01";
            let (kind, ticks) = fields[5].split_once(':')?;
            (is_it && kind == "02").then(|| ticks.to_owned())
        })
    });
    assert!(u64::from_str_radix(&ticks, 16).unwrap() <= 1_500, "{ticks}");
}

/// Sends a hundred MB though nobody wants them, with a length or in chunks, and says what came back.
fn answer_to_a_hundred_megabytes(mut stream: impl Read + Write, is_chunked: bool) -> String {
    const SIZE: usize = 100 << 20;
    let piece = vec![b'x'; 1 << 16];
    let (field, piece) = if is_chunked {
        let chunk = [b"10000\r\n", piece.as_slice(), b"\r\n"].concat();
        ("transfer-encoding: chunked".to_owned(), chunk)
    } else {
        (format!("content-length: {SIZE}"), piece)
    };
    let head = format!("POST /hello HTTP/1.1\r\nhost: test\r\n{field}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // The server may stop taking them when it has answered.
    let _closed = (0..SIZE >> 16).try_for_each(|_| stream.write_all(&piece));
    let mut answer = vec![0; b"HTTP/1.1 200 ".len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn who_sends_a_hundred_megabytes_that_the_application_ignores_gets_its_answer() {
    Kit::each(&Kit::ALL, |kit| {
        let authority = Authority::new();
        let setup = setup_of(kit, &authority)
            .set("http.max_body", "200MiB")
            .set("server.bind", "127.0.0.2:0")
            .set("workers.count", 1);
        let server = setup.start();
        let addresses = server.addresses();
        let [Address::Tcp(plain), Address::Tcp(secure)] = addresses.as_slice() else {
            panic!("{addresses:?}");
        };
        let worker = server.pids()[0];
        for is_chunked in [false, true] {
            let stream = TcpStream::connect(plain).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let answer = answer_to_a_hundred_megabytes(stream, is_chunked);
            assert_eq!(answer, "HTTP/1.1 200 ", "{kit:?}");
            let connection = authority.client().connect(*secure).unwrap();
            let answer = answer_to_a_hundred_megabytes(connection.0, is_chunked);
            assert_eq!(answer, "HTTP/1.1 200 ", "{kit:?} over TLS");
        }
        let none_left = || (server.connections() == 0).then_some(());
        eventually("all connections have ended", none_left);
        authority.client().get(*secure, "/hello").unwrap();
        assert_eq!(server.pids(), [worker]);
        // None of it was kept.
        let memory = server.status().workers[0].memory.clone().unwrap().rss;
        assert!(memory < 200 << 20, "{kit:?}: {memory}");
    });
}
