//! HTTP/2: what clients may not do, floods, time-outs and drains, as clients see them.

mod conformance;
mod interim;
pub(crate) mod wire;

use std::error::Error as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use wire::{
    END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, Seen, WINDOW_UPDATE,
    Wire, block, field, frame,
};

use crate::admin::scrape;
use crate::support::kit::Kit;
use crate::support::server::{Server, Setup};
use crate::support::timed;

/// A request for `path` on a stream.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a.example"),
    ];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
}

/// What `curl` prints, asked with prior knowledge.
#[track_caller]
fn curl(server: &Server, path: &str, options: &[&str]) -> String {
    let address = server.port();
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--http2-prior-knowledge",
            "--max-time",
            "20",
        ])
        .args(options)
        .arg(format!("http://{address}{path}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_speaks_http_2_and_http_1_to_the_same_listener() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().start();
        let version = [
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version} %{http_code}",
        ];
        assert_eq!(curl(&server, "/hello", &version), "2 200");
        assert_eq!(
            curl(&server, "/hello", &[&["--http1.1"], &version[..]].concat()),
            "1.1 200"
        );
        assert_eq!(
            curl(&server, "/hello", &[&["--http2"], &version[..]].concat()),
            "1.1 200"
        );
        assert_eq!(
            curl(&server, "/echo", &["--data", "something"]),
            "something"
        );
        assert_eq!(
            curl(
                &server,
                "/hello",
                &["--head", "--write-out", "%{size_download}"]
            )
            .lines()
            .last(),
            Some("0")
        );
        assert_eq!(
            curl(
                &server,
                "/big?n=3000000",
                &["--output", "/dev/null", "--write-out", "%{size_download}"]
            ),
            "3000000"
        );
    });
}

#[test]
fn the_application_sees_the_host_and_the_cookies_in_one_field_each() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().start();
        let cookies = [
            "--header",
            "cookie: a=1",
            "--header",
            "cookie: b=2",
            "--header",
            "x-auth-subject: me",
        ];
        let seen: serde_json::Value =
            serde_json::from_str(&curl(&server, "/headers", &cookies)).unwrap();
        let text = seen.to_string();
        assert!(text.contains("a=1; b=2"), "{text}");
        assert!(text.contains("\"host\""), "{text}");
        assert!(!text.contains("x-auth-subject"), "{text}");
    });
}

#[test]
fn rules_judge_the_authority_as_the_host() {
    let mut setup = Setup::new();
    setup.config.set_auth(
        "[[auth.rule]]\npath = \"/hello\"\nhosts = [\"a.example\"]\naccess = \"public\"\n",
    );
    let server = setup.start();
    let code = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let host = |host| [&["--header", host], &code[..]].concat();
    assert_eq!(curl(&server, "/hello", &host("host: a.example")), "200");
    assert_eq!(curl(&server, "/hello", &host("host: b.example")), "403");
}

/// As RFC 9113 section 6.5.2 counts it; it is refused as one of HTTP/1.1 is, so the log says why.
#[test]
fn a_head_that_is_too_large_is_refused_logged_and_counted() {
    const MAX: u32 = 8192;
    let server = Setup::new()
        .set("workers.count", 1)
        .set("admin.bind", "127.0.0.1:0")
        .set("http.max_head", MAX)
        .start();
    let with = |stream, value: &str| {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/hello"),
            (":authority", "a.example"),
            ("x", value),
        ];
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
    };
    // The rest of it: the authority counts as the Host field that it is for the application.
    let others = ":methodGET:schemehttp:path/hellohosta.examplex".len() + 5 * 32;
    let mark = server.log.mark();
    let mut wire = Wire::open(&server);
    let room = usize::try_from(MAX).unwrap() - others;
    wire.send(&with(1, &"y".repeat(room)));
    wire.send(&with(3, &"y".repeat(room + 1)));
    let seen = wire.until(|seen| seen.answers.len() == 2);
    assert!(seen.says(1, &field(b":status", b"200")) || seen.says(1, &[0x88]));
    let refused = server.wait_for_log(mark, "refused");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("`http.max_head`"), "{refused}");
    assert_eq!(server.count_log(mark, "refused"), 1);
    let name = "destrier_requests_refused_total{reason=\"request\"}";
    let figures = scrape(&server);
    assert_eq!(figures.get(name), Some(&1), "{figures:?}");
    wire.mark();
    assert!(wire.until(Seen::is_alive).is_alive(), "the others go on");
}

/// The codec has words for this, one line for each frame.
#[test]
fn what_a_client_says_out_of_turn_does_not_fill_the_log() {
    let server = Setup::new().start();
    let mark = server.log.mark();
    let mut wire = Wire::open(&server);
    wire.send(&frame(PING, wire::ACK, 0, &[1; 8]).repeat(500));
    wire.mark();
    assert!(wire.until(Seen::is_alive).is_alive());
    drop(wire);
    let of_codec = |line: &serde_json::Value| {
        let target = line["target"].as_str().unwrap_or_default();
        target.starts_with("h2::")
    };
    let lines = server.log.since(mark);
    assert_eq!(lines.iter().filter(|line| of_codec(line)).count(), 0);
}

#[test]
fn where_it_is_off_the_preface_is_no_request() {
    let server = Setup::new().set("http.http2", false).start();
    let mut wire = Wire::open(&server);
    let seen = wire.until(|_| false);
    assert!(!seen.is_silent && seen.settings_acks == 0, "{seen:?}");
    assert_eq!(
        curl(&server, "/hello", &["--http1.1"]),
        "{\"message\":\"hello\"}"
    );
}

#[test]
fn a_client_may_begin_slowly_but_not_for_ever() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("http.header_timeout", "300ms").start();
        let begun = [
            PREFACE[..20].to_vec(),
            PREFACE.to_vec(),
            [PREFACE, &frame(SETTINGS, 0, 0, &[])[..5]].concat(),
            [
                PREFACE,
                &frame(SETTINGS, 0, 0, &[]),
                &get(1, "/hello")[..12],
            ]
            .concat(),
            [
                PREFACE,
                &frame(SETTINGS, 0, 0, &[]),
                &frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")])),
            ]
            .concat(),
        ];
        for bytes in begun {
            let mut wire = Wire::connect(&server);
            wire.send(&bytes);
            let (seen, took) = timed(|| wire.until(|_| false));
            assert!(!seen.is_silent, "{seen:?}");
            assert!(took >= Duration::from_millis(250), "{took:?}");
        }
    });
}

#[test]
fn a_connection_without_requests_is_closed_after_keep_alive_whatever_it_says() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("http.keep_alive", "300ms").start();
        let mut wire = Wire::open(&server);
        wire.send(&get(1, "/slow?ms=600"));
        let seen = wire.until(|seen| seen.goaway.is_some());
        assert!(
            seen.complete.contains(&1),
            "a request is no idle time: {seen:?}"
        );
        let seen = wire.until(|_| false);
        assert!(!seen.is_silent && seen.goaway == Some(0), "{seen:?}");
        let mut wire = Wire::open(&server);
        let mut answered = 0;
        // Each PING is answered, and none is a reason to stay.
        while !wire.seen.ended {
            wire.send(&frame(PING, 0, 0, &[0; 8]));
            answered += 1;
            wire.until(|seen| seen.pongs.len() >= answered);
        }
        assert!(!wire.seen.is_silent);
    });
}

#[test]
fn a_stream_whose_client_takes_nothing_is_reset_and_the_others_go_on() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("http.write_timeout", "300ms").start();
        let mut wire = Wire::open(&server);
        // No window: nothing of any body may be sent.
        let no_window = [0, 4, 0, 0, 0, 0];
        wire.send(&frame(SETTINGS, 0, 0, &no_window));
        wire.send(&get(1, "/big?n=1000000"));
        wire.send(&get(3, "/slow?ms=1000"));
        let seen = wire.until(|seen| seen.resets.contains_key(&1));
        assert!(!seen.ended, "{seen:?}");
        wire.send(&frame(WINDOW_UPDATE, 0, 3, &[0, 0, 16, 0]));
        let seen = wire.until(|seen| seen.complete.contains(&3));
        assert!(
            !seen.ended,
            "an application that takes long is no client that does: {seen:?}"
        );
    });
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_an_answer() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("http.write_timeout", "400ms").start();
        let mut wire = Wire::open(&server);
        wire.send(&get(1, "/big?n=300000"));
        wire.until(|seen| seen.data > 0);
        while !wire.seen.complete.contains(&1) {
            let before = wire.seen.data;
            wire.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 64, 0]));
            wire.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 64, 0]));
            wire.until(|seen| seen.data > before || seen.complete.contains(&1));
            assert!(!wire.seen.ended, "{:?}", wire.seen);
        }
        assert_eq!(wire.seen.data, 300_000);
    });
}

#[test]
fn a_connection_that_has_carried_enough_is_told_so_before_its_last_answer() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("http.keep_alive_requests", 2).start();
        let mut wire = Wire::open(&server);
        wire.send(&get(1, "/hello"));
        let seen = wire.until(|seen| seen.complete.contains(&1));
        assert_eq!(seen.goaways, 0, "{seen:?}");
        wire.send(&get(3, "/slow?ms=60000"));
        let seen = wire.until(|seen| seen.goaways > 0);
        assert!(!seen.ended && seen.goaway == Some(0), "{seen:?}");
    });
}

#[test]
fn a_drain_says_goaway_twice_and_answers_what_was_asked() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("workers.count", 1).start();
        let mut wire = Wire::open(&server);
        wire.send(&get(1, "/slow?ms=1500"));
        wire.mark();
        wire.until(Seen::is_alive);
        let mut rude = Wire::open(&server);
        rude.answers_pings = false;
        rude.send(&get(1, "/hello"));
        rude.until(|seen| seen.complete.contains(&1));
        server.reload();
        let seen = wire.until(|_| false);
        assert!(!seen.is_silent && seen.complete.contains(&1), "{seen:?}");
        assert_eq!((seen.goaway, seen.goaways), (Some(0), 2), "{seen:?}");
        let seen = rude.until(|_| false);
        assert!(!seen.is_silent && seen.goaway == Some(0), "{seen:?}");
    });
}

#[test]
fn streams_that_are_reset_while_they_are_answered_leave_nothing_behind() {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().set("workers.count", 1).start();
        let worker = server.pids()[0];
        for path in [
            "/events?ms=1",
            "/stream?n=1000000&size=10000",
            "/stream?n=1000000&ms=1",
            "/big?n=60000000",
        ] {
            let mut wire = Wire::open(&server);
            let mut stream = 1;
            for is_late in [false, true].repeat(15) {
                let before = wire.seen.data;
                wire.send(&get(stream, path));
                if is_late {
                    wire.until(|seen| seen.data > before);
                }
                wire.send(&frame(RST_STREAM, 0, stream, &CANCEL));
                // Of all streams together.
                let taken = u32::try_from(wire.seen.data - before).unwrap();
                if taken > 0 {
                    wire.send(&frame(WINDOW_UPDATE, 0, 0, &taken.to_be_bytes()));
                }
                assert!(!wire.seen.ended, "{kit:?} {path}: {:?}", wire.seen);
                stream += 2;
            }
            // What came after a reset counts, too.
            wire.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0]));
            wire.send(&get(stream, "/hello"));
            wire.until(|seen| seen.complete.contains(&stream));
            assert!(wire.seen.goaway.is_none(), "{kit:?} {path}");
        }
        server.until("nothing is left of them", |status| {
            let worker = &status.workers[0];
            let threads = worker.threads.as_ref().map_or(0, |threads| threads.busy);
            (worker.in_flight == 0 && threads == 0 && worker.connections == 0).then_some(())
        });
        assert_eq!(server.pids(), [worker]);
    });
}

/// Asks again and again on one connection at a time; a connection that was told to go is followed by another one.
async fn ask_until(address: SocketAddr, is_over: Arc<AtomicBool>) -> Result<u64, String> {
    let mut answered = 0;
    while !is_over.load(Relaxed) {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| error.to_string())?;
        let connecting = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = connecting.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        while !is_over.load(Relaxed) && sender.ready().await.is_ok() {
            let request =
                Request::get(format!("http://{address}/hello")).body(Empty::<Bytes>::new());
            match sender.send_request(request.unwrap()).await {
                Ok(answer) if answer.status() == 200 => {
                    answer
                        .into_body()
                        .collect()
                        .await
                        .map_err(|error| error.to_string())?;
                    answered += 1;
                }
                Ok(answer) => return Err(answer.status().to_string()),
                Err(error) if was_not_taken(&error) => break,
                Err(error) => return Err(format!("{error:?}")),
            }
        }
    }
    Ok(answered)
}

/// The server said GOAWAY, and that it has not begun with this one (RFC 9113 section 6.8): it may be asked again.
fn was_not_taken(error: &hyper::Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<h2::Error>());
    error.is_canceled() || cause.is_some_and(|cause| cause.is_go_away() && cause.is_remote())
}

#[test]
fn ten_reloads_lose_no_request_of_clients_that_heed_goaway() {
    Kit::each(&Kit::ALL, |kit| {
        let server = kit.setup().start();
        let address = server.port();
        let is_over = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let asking: Vec<_> = (0..10)
            .map(|_| runtime.spawn(ask_until(address, Arc::clone(&is_over))))
            .collect();
        for _ in 0..10 {
            server.reload();
        }
        is_over.store(true, Relaxed);
        for client in asking {
            let answered = runtime.block_on(client).unwrap();
            assert!(
                answered.as_ref().is_ok_and(|count| *count > 10),
                "{answered:?}"
            );
        }
    });
}
