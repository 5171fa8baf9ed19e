//! Clients that break off or speak garbage, over TLS and over HTTP/2: nothing of them is left, neither descriptors nor memory. Those of
//! HTTP/1.1 without TLS are in `slow_clients.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use fastrand::Rng;

use crate::http2::wire::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, block, frame,
};
use crate::support::client::Address;
use crate::support::kit::Kit;
use crate::support::server::Server;
use crate::support::tls::{Authority, Client};
use crate::support::{PATIENCE, eventually, os};
use crate::tls::setup_of;

/// A server with one worker, which speaks TLS on one address and on another one does not.
struct Watched {
    server: Server,
    worker: u32,
    plain: SocketAddr,
    secure: SocketAddr,
    authority: Authority,
    descriptors: usize,
}

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tls,
    Http2,
    Http2OverTls,
}

const WAYS: [Way; 3] = [Way::Tls, Way::Http2, Way::Http2OverTls];

impl Watched {
    fn start(kit: Kit) -> Self {
        let authority = Authority::new();
        let server = setup_of(kit, &authority)
            .set("server.bind", "127.0.0.2:0")
            .set("workers.count", 1)
            .start();
        let addresses = server.addresses();
        let [Address::Tcp(plain), Address::Tcp(secure)] = addresses.as_slice() else {
            panic!("{addresses:?}");
        };
        let (plain, secure, worker) = (*plain, *secure, server.pids()[0]);
        authority.client().get(secure, "/hello").unwrap();
        let none_left = || (server.connections() == 0).then_some(());
        eventually("the connection has ended", none_left);
        Self {
            descriptors: os::descriptors(worker),
            server,
            worker,
            plain,
            secure,
            authority,
        }
    }

    fn client(&self, way: Way) -> Client {
        let name = match way {
            Way::Tls => "http/1.1",
            Way::Http2 | Way::Http2OverTls => "h2",
        };
        self.authority.client().offering(&[name])
    }

    /// Says `bytes`, takes some of what comes back, and breaks off.
    fn break_off(&self, way: Way, client: &Client, bytes: &[u8], taken: usize) {
        let mut answer = vec![0; taken];
        if way == Way::Http2 {
            let mut stream = TcpStream::connect(self.plain).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(bytes).unwrap();
            stream.read_exact(&mut answer).unwrap();
            os::reset_at_end(&stream);
        } else {
            let mut connection = client.connect(self.secure).unwrap();
            connection.0.write_all(bytes).unwrap();
            connection.0.flush().unwrap();
            connection.0.read_exact(&mut answer).unwrap();
            os::reset_at_end(&connection.0.sock);
        }
    }

    /// Nothing is left of those who were here, and it is the same worker.
    #[track_caller]
    fn assert_as_before(&self) {
        let answer = self.authority.client().get(self.secure, "/hello").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        eventually("all descriptors are free again", || {
            (os::descriptors(self.worker) <= self.descriptors).then_some(())
        });
        self.server.until("nothing is under way", |status| {
            let worker = &status.workers[0];
            (worker.in_flight == 0 && worker.connections == 0).then_some(())
        });
        assert_eq!(self.server.pids(), [self.worker]);
    }
}

/// The head of a request, and whether something of a body follows.
fn request(way: Way, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    if way == Way::Tls {
        let length = if body.is_empty() { 0 } else { 1000 };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
        );
        return [head.as_bytes(), body].concat();
    }
    let fields = [
        (":method", method),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
    ];
    let end = if body.is_empty() { END_STREAM } else { 0 };
    let settings = frame(SETTINGS, 0, 0, &[]);
    let head = frame(HEADERS, END_HEADERS | end, 1, &block(&fields));
    let piece = match body {
        [] => Vec::new(),
        body => frame(DATA, 0, 1, body),
    };
    [PREFACE, &settings, &head, &piece].concat()
}

#[test]
fn clients_that_break_off_over_tls_and_http_2_leave_nothing_behind() {
    Kit::each(&Kit::ALL, |kit| {
        let watched = Watched::start(kit);
        for way in WAYS {
            let client = watched.client(way);
            for _ in 0..30 {
                let upload = request(way, "POST", "/echo", b"abc");
                watched.break_off(way, &client, &upload, 0);
                let large = request(way, "GET", "/big?n=10000000", b"");
                watched.break_off(way, &client, &large, 30_000);
                let events = request(way, "GET", "/events?ms=1", b"");
                watched.break_off(way, &client, &events, 200);
            }
            watched.assert_as_before();
        }
    });
}

#[test]
fn memory_is_free_again_when_clients_have_broken_off() {
    let watched = Watched::start(Kit::Demo);
    let memory = || os::status_size(watched.worker, "RssAnon");
    for way in WAYS {
        let client = watched.client(way);
        let round = || {
            for _ in 0..100 {
                let large = request(way, "GET", "/big?n=10000000", b"");
                watched.break_off(way, &client, &large, 30_000);
                let upload = request(way, "POST", "/echo", b"abc");
                watched.break_off(way, &client, &upload, 0);
            }
            watched.assert_as_before();
        };
        // What the first ones need is kept for the next.
        round();
        let before = memory();
        for _ in 0..3 {
            round();
        }
        let growth = memory().saturating_sub(before);
        assert!(growth < 2 << 20, "{way:?}: {growth}");
    }
}

/// Frames, whole or not, that may be anything.
fn any_frames(random: &mut Rng) -> Vec<u8> {
    let mut bytes = if random.u8(..10) > 0 {
        [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
    } else {
        PREFACE[..random.usize(..PREFACE.len())].to_vec()
    };
    for _ in 0..random.usize(0..10) {
        let payload = match random.u8(..4) {
            0 => block(&[(":method", "GET"), (":scheme", "http"), (":path", "/hello")]),
            1 => block(&[("x", "y")]),
            _ => (0..random.usize(0..40)).map(|_| random.u8(..)).collect(),
        };
        let kind = random.u8(..12);
        let flags = [
            0,
            END_STREAM,
            END_HEADERS,
            END_HEADERS | END_STREAM,
            8,
            0x20,
        ];
        let flags = flags[random.usize(..flags.len())];
        bytes.extend(frame(kind, flags, random.u32(..9), &payload));
    }
    if random.bool() {
        bytes.extend(frame(WINDOW_UPDATE, 0, 0, &[0x7f; 4]));
    }
    let cut = random.usize(0..20).min(bytes.len());
    bytes.truncate(bytes.len() - cut);
    bytes
}

fn any_bytes(random: &mut Rng) -> Vec<u8> {
    // The beginning of a record with a ClientHello, or nothing of that kind.
    let mut bytes = match random.u8(..3) {
        0 => vec![22, 3, 1, 0, random.u8(..), 1, 0, 0],
        1 => vec![random.u8(20..25), 3, random.u8(..5)],
        _ => Vec::new(),
    };
    bytes.extend((0..random.usize(0..300)).map(|_| random.u8(..)));
    bytes
}

#[test]
fn ten_thousand_connections_of_garbage_in_frames_and_before_a_handshake_leave_nothing_behind() {
    let watched = Watched::start(Kit::Demo);
    let mut random = Rng::with_seed(11);
    let mut say = |address: SocketAddr, make: fn(&mut Rng) -> Vec<u8>| {
        let mut stream = TcpStream::connect(address).unwrap();
        let _closed = stream.write_all(&make(&mut random));
        if random.bool() {
            os::reset_at_end(&stream);
        }
    };
    for _ in 0..5_000 {
        say(watched.plain, any_frames);
        say(watched.secure, any_bytes);
    }
    watched.assert_as_before();
}

#[test]
fn garbage_after_a_handshake_leaves_nothing_behind() {
    let watched = Watched::start(Kit::Demo);
    let mut random = Rng::with_seed(12);
    for way in [Way::Tls, Way::Http2OverTls] {
        let client = watched.client(way);
        for _ in 0..500 {
            let bytes = match way {
                Way::Tls => any_bytes(&mut random),
                Way::Http2 | Way::Http2OverTls => any_frames(&mut random),
            };
            watched.break_off(way, &client, &bytes, 0);
        }
        watched.assert_as_before();
    }
}
