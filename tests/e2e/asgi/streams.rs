//! Answers that last: slow readers, clients that leave, loops that stand still.

use std::fs;
use std::io::Read as _;

use super::shapes;
use crate::support::eventually;
use crate::support::journal::Mark;
use crate::support::shapes::{
    a_slow_download_needs_little_memory, ask, content, events, get, the_first_piece_does_not_wait,
};

const STANDS_STILL: &str = "the event loop of the application stands still: a call that blocks holds up everything else of this worker";

#[test]
fn a_download_of_asgi_to_a_slow_reader_needs_little_memory() {
    a_slow_download_needs_little_memory(&shapes().start());
}

#[test]
fn who_sends_to_a_client_that_has_left_gets_an_os_error() {
    let server = shapes().start();
    let mut client = ask(&server, "/endless");
    client.read_exact(&mut [0; 200]).unwrap();
    drop(client);
    eventually("the error", || {
        (events(&server) == "endless the client is gone").then_some(())
    });
    server.until_in_flight(0);
    // That is no failure of the application.
    assert_eq!(
        server.count_log(
            Mark::START,
            "the application failed in the middle of its answer"
        ),
        0
    );
}

#[test]
fn who_waits_for_a_client_that_leaves_is_told() {
    let server = shapes().start();
    let mut client = ask(&server, "/ticks");
    client.read_exact(&mut [0; 200]).unwrap();
    drop(client);
    eventually("the message", || {
        (events(&server) == "ticks http.disconnect").then_some(())
    });
    get(&server, "/forget");
    let client = ask(&server, "/waits_for_disconnect");
    // Whoever leaves before its turn is not begun.
    eventually("the begin", || (events(&server) == "begun").then_some(()));
    drop(client);
    eventually("the message", || {
        (events(&server) == "begun,http.disconnect,sent").then_some(())
    });
    server.until_in_flight(0);
    assert_eq!(
        server.count_log(Mark::START, "the application failed after its answer"),
        0
    );
}

#[test]
fn a_piece_of_asgi_goes_out_before_the_next_one_is_made() {
    the_first_piece_does_not_wait(&shapes().start());
}

#[test]
fn a_request_whose_time_is_over_is_cancelled() {
    let server = shapes().set("http.request_timeout", "300ms").start();
    let answer = get(&server, "/slow");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    eventually("the cancellation", || {
        (events(&server) == "cancelled").then_some(())
    });
    server.until_in_flight(0);
    assert_eq!(server.count_log(Mark::START, "the application failed"), 0);
}

#[test]
fn a_request_that_does_not_heed_its_cancellation_is_stuck() {
    let server = shapes().set("http.request_timeout", "300ms").start();
    let before = server.pids();
    let answer = get(&server, "/stubborn");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    server.wait_for_log(Mark::START, "a request is stuck: its client has long been answered, and the application still works on it");
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 1 && pids != before).then_some(())
    });
}

#[test]
fn while_the_event_loop_stands_still_its_requests_get_504_all_the_same() {
    let server = shapes()
        .set("http.request_timeout", "1s")
        .set("workers.graceful_timeout", "5s")
        .start();
    let before = server.pids();
    let release = server.folder().join("release");
    let blocking = ask(&server, &format!("/blocks?{}", release.display()));
    server.until_in_flight(1);
    // They are never begun.
    let answers: Vec<_> = (0..3).map(|_| ask(&server, "/one")).collect();
    for mut waiting in answers {
        let mut answer = String::new();
        waiting.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    }
    server.wait_for_log(Mark::START, STANDS_STILL);
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 1 && pids != before).then_some(())
    });
    assert_eq!(content(&get(&server, "/one")), "hello");
    fs::write(release, "").unwrap();
    drop(blocking);
}

#[test]
fn an_event_loop_that_goes_on_answers_those_who_have_waited() {
    let server = shapes().start();
    let release = server.folder().join("release");
    let blocking = ask(&server, &format!("/blocks?{}", release.display()));
    server.until_in_flight(1);
    let waiting = ask(&server, "/one");
    let line = server.wait_for_log(Mark::START, STANDS_STILL);
    let stack = line["stack"].as_str().unwrap();
    assert!(
        stack.contains("in blocks\n    time.sleep(0.005)"),
        "{stack}"
    );
    fs::write(release, "").unwrap();
    for (mut asked, wanted) in [(blocking, "unblocked"), (waiting, "hello")] {
        let mut answer = String::new();
        asked.read_to_string(&mut answer).unwrap();
        assert_eq!(content(&answer), wanted);
    }
    let line = server.wait_for_log(Mark::START, "the event loop of the application goes on");
    assert!(line["milliseconds"].as_u64().unwrap() >= 1000, "{line}");
}
