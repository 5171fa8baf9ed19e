//! Answers that last: slow readers, clients that leave, what goes out when.

use std::io::Read as _;

use super::shapes;
use crate::support::eventually;
use crate::support::shapes::{
    a_slow_download_needs_little_memory, ask, content, events, get, the_first_piece_does_not_wait,
};

#[test]
fn a_download_to_a_slow_reader_needs_little_memory() {
    // Two threads: one for the download, one to ask meanwhile.
    a_slow_download_needs_little_memory(&shapes().set("app.threads", 2).start());
}

#[test]
fn a_generator_is_closed_soon_after_its_client_has_left() {
    let server = shapes().start();
    for name in ["endless", "ticks"] {
        get(&server, "/forget");
        let mut client = ask(&server, &format!("/{name}"));
        client.read_exact(&mut [0; 200]).unwrap();
        drop(client);
        // The one thread is free again, and the generator was closed.
        eventually("the generator is closed", || {
            (events(&server) == name).then_some(())
        });
    }
}

#[test]
fn a_piece_goes_out_before_the_next_one_is_made() {
    the_first_piece_does_not_wait(&shapes().set("app.threads", 2).start());
}

#[test]
fn a_call_that_waits_holds_up_no_other() {
    let server = shapes().set("app.threads", 2).start();
    let mut waiting = ask(&server, "/waits");
    server.until_in_flight(1);
    for _ in 0..20 {
        assert_eq!(content(&get(&server, "/one")), "hello");
    }
    get(&server, "/opens");
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert_eq!(content(&answer), "waited");
}

#[test]
fn a_request_whose_client_has_left_is_not_begun() {
    let server = shapes().set("app.threads", 1).start();
    let mut waiting = ask(&server, "/ticks");
    waiting.read_exact(&mut [0; 200]).unwrap();
    // It waits behind the other one, for there is one thread.
    let left = ask(&server, "/closing");
    server.until_in_flight(2);
    drop(left);
    server.until_in_flight(1);
    drop(waiting);
    eventually("the thread is free", || {
        (events(&server) == "ticks").then_some(())
    });
}

#[test]
fn an_answer_without_content_does_not_wait_for_close() {
    let server = shapes().set("app.threads", 2).start();
    let mut answer = String::new();
    let mut asked = ask(&server, "/closes_late");
    asked.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert_eq!(events(&server), "");
    get(&server, "/opens");
    eventually("it is closed", || {
        (events(&server) == "closes_late").then_some(())
    });
}
