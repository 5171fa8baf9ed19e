//! Requests and the threads of a Python application: who waits, for how long, who is turned away, and what is shown of it all.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread::JoinHandle;

use crate::support::client::{self, Address, Answer, Failure};
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, python};

/// One worker with one thread.
fn setup() -> Setup {
    let setup = python::setup()
        .set("app.threads", 1)
        .set("workers.count", 1)
        .set("admin.bind", "127.0.0.1:0");
    fs::write(setup.folder().join("release"), "").unwrap();
    setup
}

type Client = JoinHandle<Result<Answer, Failure>>;

/// How many threads are, in all workers.
fn busy(server: &Server) -> u64 {
    let workers = server.status().workers.into_iter();
    workers
        .filter_map(|worker| Some(worker.threads?.busy))
        .sum()
}

/// A request that keeps a thread until it is released; returns when it does.
fn hold(server: &Server) -> Client {
    let _released_before = fs::remove_file(server.folder().join("release"));
    let before = busy(server);
    let client = client::get_meanwhile(&server.address(), "/hold");
    eventually("a busy thread", || (busy(server) > before).then_some(()));
    client
}

fn release(server: &Server) {
    fs::write(server.folder().join("release"), "").unwrap();
}

/// A metric without labels, as monitoring gets it.
fn metric(server: &Server, name: &str) -> String {
    let admin = server.status().admin[0].address.parse().unwrap();
    let page = client::get(&Address::Tcp(admin), "/metrics").unwrap();
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let mut values = page.lines().filter_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == name).then(|| value.to_owned())
    });
    values.next().unwrap_or_else(|| panic!("no {name}: {page}"))
}

#[test]
fn who_waits_too_long_for_a_thread_gets_503() {
    let server = setup().set("http.max_queue_wait", "200ms").start();
    let held = hold(&server);
    let mut connection = client::Blocking::open(&server.address()).unwrap();
    let request = hyper::Request::get("/pid").header("host", "a");
    let answer = connection.send(request.body(http_body_util::Empty::new()).unwrap());
    let answer = answer.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "1");
    let line = server.wait_for_log(Mark::START, "overloaded");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("`http.max_queue_wait`"), "{line}");
    let status = server.status();
    assert_eq!((status.totals.overloaded, status.workers[0].queued), (1, 0));
    release(&server);
    assert_eq!(held.join().unwrap().unwrap().status, 200);
    // Its connection goes on, and so does the thread.
    assert_eq!(connection.get("/pid").unwrap().status, 200);
}

#[test]
fn no_more_wait_for_a_thread_than_the_queue_has_room_for() {
    let setup = setup()
        .set("http.queue", 1)
        .set("http.max_queue_wait", "1h")
        .set("http.request_timeout", "0s");
    let server = setup.start();
    assert_eq!(metric(&server, "destrier_python_threads"), "1");
    let held = hold(&server);
    let waits = client::get_meanwhile(&server.address(), "/pid");
    let worker = server.until("one that waits", |status| {
        let worker = status.workers[0].clone();
        (worker.queued == 1 && worker.queued_for > Some(0.01)).then_some(worker)
    });
    let threads = worker.threads.unwrap();
    assert_eq!((threads.busy, threads.all), (1, 1));
    assert_eq!(metric(&server, "destrier_python_threads_busy"), "1");
    assert_eq!(metric(&server, "destrier_requests_queued"), "1");
    assert!(
        metric(&server, "destrier_queue_oldest_wait_seconds")
            .parse::<f64>()
            .unwrap()
            > 0.01
    );
    let shown = server.cli(["status"]).stdout;
    assert!(shown.contains("1/1") && shown.contains("1 ("), "{shown}");
    let refused = client::get(&server.address(), "/pid").unwrap_err();
    assert_eq!(refused, Failure::NotSuccess(503));
    release(&server);
    for client in [held, waits] {
        assert_eq!(client.join().unwrap().unwrap().status, 200);
    }
    assert_eq!(metric(&server, "destrier_queue_waits_total"), "1");
    assert!(
        metric(&server, "destrier_queue_wait_seconds_total")
            .parse::<f64>()
            .unwrap()
            > 0.01
    );
    server.until("a thread that is free again", |status| {
        let worker = &status.workers[0];
        (worker.threads?.busy == 0 && worker.queued_for.is_none()).then_some(())
    });
}

/// Who only closes its side looks like one that is gone, and sees that nobody worked for it.
#[test]
fn a_request_whose_client_has_left_while_it_waited_for_a_thread_is_not_begun() {
    let setup = setup().set("http.max_queue_wait", "1h");
    let server = setup.set("http.request_timeout", "0s").start();
    let held = hold(&server);
    let mut half = server.connect();
    half.write_all(b"GET /pid HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    server.until("one that waits", |status| {
        (status.workers[0].queued == 1).then_some(())
    });
    release(&server);
    assert_eq!(held.join().unwrap().unwrap().status, 200);
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(server.status().totals.overloaded, 0);
    assert_eq!(server.count_log(Mark::START, "overloaded"), 0);
    assert!(client::get(&server.address(), "/pid").is_ok());
}

#[test]
fn a_worker_whose_threads_are_all_busy_leaves_connections_to_the_others() {
    const ASKED: usize = 300;
    let setup = setup()
        .set("workers.count", 2)
        .set("http.request_timeout", "0s");
    let server = setup.set("http.max_queue_wait", "100ms").start();
    let held = hold(&server);
    let answered = (0..ASKED)
        .filter(|_| client::get(&server.address(), "/pid").is_ok())
        .count();
    // Without it about half of them are.
    assert_eq!(answered, ASKED);
    release(&server);
    // Its client may have had enough: on a busy machine the others take longer than it waits.
    drop(held.join());
}

#[test]
fn where_nobody_has_a_thread_to_spare_connections_are_taken_all_the_same() {
    let setup = setup().set("workers.count", 2);
    let server = setup.set("http.max_queue_wait", "1h").start();
    let held = hold(&server);
    let other = client::get_meanwhile(&server.address(), "/hold");
    eventually("two busy threads", || (busy(&server) == 2).then_some(()));
    let waits = client::get_meanwhile(&server.address(), "/pid");
    server.until("one that waits", |status| {
        let mut workers = status.workers.iter();
        workers.any(|worker| worker.queued == 1).then_some(())
    });
    release(&server);
    for client in [held, other, waits] {
        assert_eq!(client.join().unwrap().unwrap().status, 200);
    }
}
