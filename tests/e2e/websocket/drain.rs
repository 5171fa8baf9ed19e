//! How WebSockets end when their worker goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::wire::{CLOSE, Frame, TEXT, Wire, close, frame};
use crate::support::server::{Server, Setup};
use crate::support::timed;

fn server() -> Server {
    Setup::new()
        .set("workers.count", 1)
        .set("http.stream_grace", "500ms")
        .set("workers.graceful_timeout", "20s")
        .start()
}

#[test]
fn a_drain_tells_every_websocket_that_its_worker_goes() {
    for drain in [Signal::SIGHUP, Signal::SIGTERM] {
        let server = server();
        let mark = server.log.mark();
        let mut listening = Wire::open(&server, "/ws/events?ms=10");
        let mut deaf = Wire::open(&server, "/ws/events?ms=10&deaf=1");
        let mut idle = Wire::open(&server, "/ws/echo");
        let mut busy = Wire::open(&server, "/ws/echo");
        server.signal(drain);
        // Until then it goes on.
        busy.send(&frame(TEXT, b"a"));
        assert_eq!(busy.next().unwrap(), Some(Frame::new(TEXT, b"a")));
        let last = loop {
            let frame = listening.next().unwrap().unwrap();
            if frame.first == CLOSE {
                break frame;
            }
        };
        let told = [
            &1001_u16.to_be_bytes()[..],
            b"this worker goes, connect again",
        ]
        .concat();
        assert_eq!(last, Frame::new(CLOSE, &told));
        for wire in [&mut deaf, &mut idle, &mut busy] {
            assert_eq!(wire.until_close(), 1001);
        }
        for wire in [&mut listening, &mut deaf, &mut idle, &mut busy] {
            wire.send(&close(1001));
            wire.assert_ends();
        }
        server.wait_for_log(mark, "worker finished");
    }
}

#[test]
fn a_client_that_does_not_answer_is_waited_for_a_second() {
    let server = server();
    let mark = server.log.mark();
    let mut wire = Wire::open(&server, "/ws/echo");
    server.reload();
    assert_eq!(wire.until_close(), 1001);
    let ((), took) = timed(|| drop(wire.rest()));
    assert!(took < Duration::from_secs(5), "{took:?}");
    server.wait_for_log(mark, "worker finished");
}

#[test]
fn a_close_frame_is_put_between_two_frames_of_the_application() {
    let server = server();
    let mut wire = Wire::open(&server, "/ws/big?n=30000000");
    server.reload();
    // It is read so late that the grace passes in the middle of the frame.
    let message = wire.next().unwrap().unwrap();
    assert_eq!(message.payload.len(), 30_000_000);
    assert!([1000, 1001, 1005].contains(&wire.until_close()));
    wire.send(&close(1001));
    wire.assert_ends();
}

#[test]
fn a_fast_stop_does_not_wait_for_websockets() {
    let server = Setup::new().set("http.stream_grace", "20s").start();
    let mut wire = Wire::open(&server, "/ws/echo");
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_for_exit(Duration::from_secs(5)), Some(0));
    let _cut = wire.rest();
}

#[test]
fn ten_reloads_under_fifty_websockets_lose_no_message_and_cut_nobody() {
    let server = Arc::new(Setup::new().set("http.stream_grace", "0s").start());
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..50)
        .map(|client| {
            let (server, is_over) = (Arc::clone(&server), Arc::clone(&is_over));
            thread::spawn(move || talk(client, &server, &is_over))
        })
        .collect();
    for _ in 0..10 {
        server.reload();
    }
    is_over.store(true, Relaxed);
    let echoed: Vec<_> = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    assert!(echoed.iter().all(|count| *count > 0), "{echoed:?}");
}

/// Sends messages until it is over, and connects again when it is told to. What is not echoed is said again: a client that is told
/// that the server goes knows what it did not answer.
fn talk(client: usize, server: &Server, is_over: &AtomicBool) -> usize {
    let mut echoed = 0;
    while !is_over.load(Relaxed) {
        let mut wire = Wire::open(server, "/ws/echo");
        loop {
            let message = format!("{client} {echoed}");
            wire.send(&frame(TEXT, message.as_bytes()));
            let frame = wire.next().unwrap().unwrap();
            if frame.first == CLOSE {
                assert_eq!(frame.code(), Some(1001));
                wire.send(&close(1001));
                wire.assert_ends();
                break;
            }
            assert_eq!(frame, Frame::new(TEXT, message.as_bytes()));
            echoed += 1;
            if is_over.load(Relaxed) {
                wire.send(&close(1000));
                assert!([1000, 1001].contains(&wire.until_close()));
                wire.assert_ends();
                break;
            }
        }
    }
    echoed
}
