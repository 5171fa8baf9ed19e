//! Commands reach the master, are answered when the thing has happened, and cannot disturb it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::client;
use crate::support::journal::Mark;
use crate::support::os;
use crate::support::server::Setup;

#[test]
fn status_tells_what_runs() {
    let server = Setup::new().start();
    client::get(&server.address(), "/hello").unwrap();
    assert!(client::get(&server.address(), "/nothing").is_err());
    let outcome = server.cli(["status", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let status: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(status["pid"], server.pid);
    assert_eq!(status["state"], "serving");
    assert_eq!(status["generation"], 1);
    assert_eq!(status["totals"]["requests"], 2);
    assert_eq!(
        status["totals"]["by_status_class"],
        serde_json::json!([0, 1, 0, 1, 0])
    );
    assert_eq!(status["workers"].as_array().unwrap().len(), 2);
    let shown = server.cli(["status"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for pid in server.pids() {
        assert!(shown.stdout.contains(&pid.to_string()), "{}", shown.stdout);
    }
    assert!(!shown.stdout.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn totals_outlive_the_workers_that_counted_them() {
    let server = Setup::new().start();
    for _ in 0..5 {
        client::get(&server.address(), "/hello").unwrap();
    }
    server.reload();
    server.until_workers(2);
    os::kill(server.pids()[0]);
    server.until("a replacement", |status| {
        status
            .workers
            .iter()
            .any(|worker| worker.worker == 5)
            .then_some(())
    });
    assert_eq!(server.status().totals.requests, 5);
}

#[test]
fn several_callers_of_one_reload_learn_its_outcome() {
    let server = Setup::faulty().start();
    server.let_boot("wait");
    std::thread::scope(|scope| {
        let callers = [(); 3].map(|()| scope.spawn(|| server.cli(["reload"])));
        server.until("a reload", |status| {
            (status.state == "reloading").then_some(())
        });
        server.let_boot("ok");
        for caller in callers {
            let outcome = caller.join().unwrap();
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
        }
    });
    assert!(server.status().generation >= Some(2));
}

#[test]
fn what_is_no_request_is_answered_and_disturbs_nobody() {
    let server = Setup::new().start();
    let socket = server.config.control_socket();
    for text in [
        "dance\n",
        "{\"command\":\"dance\"}\n",
        "{\"command\":\"reload\",\"now\":1}\n",
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("{\"failed\":"), "{answer}");
    }
    // Neither somebody who says nothing, nor somebody who leaves in the middle of a word.
    let silent = UnixStream::connect(&socket).unwrap();
    UnixStream::connect(&socket)
        .unwrap()
        .write_all(b"{\"comm")
        .unwrap();
    server.reload();
    drop(silent);
    assert_eq!(server.status().generation, Some(2));
}

#[test]
fn a_client_that_has_said_everything_still_gets_its_answer() {
    let server = Setup::faulty().start();
    server.let_boot("wait");
    let mut stream = UnixStream::connect(server.config.control_socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"{\"command\":\"reload\"}\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    server.until("a reload", |status| {
        (status.state == "reloading").then_some(())
    });
    server.let_boot("ok");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "{\"done\":\"generation 2 serves\"}\n");
}

#[test]
fn clients_beyond_the_limit_on_descriptors_wait_and_cost_nothing() {
    let server = Setup::new().under(&["prlimit", "--nofile=40"]).start();
    let clients: Vec<_> = (0..50)
        .map(|_| UnixStream::connect(server.config.control_socket()).unwrap())
        .collect();
    server.wait_for_log(
        Mark::START,
        "cannot take in a client of the control socket, tried again in a moment",
    );
    let (before, mark) = (os::processor_time(server.pid), server.log.mark());
    let nothing = |_: &Value| false;
    server
        .log
        .wait_for(mark, Duration::from_millis(500), nothing);
    let spent = os::processor_time(server.pid).saturating_sub(before);
    assert!(spent < Duration::from_millis(100), "{spent:?}");
    drop(clients);
    server.until_workers(2);
}

#[test]
fn a_broken_file_keeps_nobody_from_stopping_the_server() {
    let server = Setup::new().start();
    server.config.write_text(
        "process.control_socket = \"control.sock\"\nworkers.count = 0\nnonsense.key = 1\n",
    );
    let outcome = server.cli(["status"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let outcome = server.cli(["stop"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}
