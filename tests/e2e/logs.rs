//! Logs reach whoever reads them, and nobody who does not read them holds anything up.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::client::{self};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os};

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Rotates the log as logrotate does, has it opened anew by `reopen`, and waits until master and workers write there.
fn rotate(server: &Server, reopen: impl Fn(&Server)) {
    let (current, old) = (
        server.folder().join("app.log"),
        server.folder().join("app.log.1"),
    );
    fs::rename(&current, &old).unwrap();
    reopen(server);
    eventually("the master writes to the new file", || {
        lines(&current)
            .iter()
            .any(|line| line["message"] == "log files opened anew")
            .then_some(())
    });
    let workers = server.pids().len();
    eventually("the workers write to the new file", || {
        (0..workers).for_each(|_| drop(client::get(&server.address(), "/hello").unwrap()));
        let before = lines(&old).len();
        (0..4 * workers).for_each(|_| drop(client::get(&server.address(), "/hello").unwrap()));
        (lines(&old).len() == before).then_some(())
    });
    assert!(
        lines(&current)
            .iter()
            .any(|line| line["target"] == "access")
    );
}

#[test]
fn usr1_and_reopen_open_the_log_file_anew_after_a_rotation() {
    let server = Setup::new()
        .set("log.file", "app.log")
        .set("access_log.enabled", true)
        .start();
    rotate(&server, |server| server.signal(Signal::SIGUSR1));
    rotate(&server, |server| {
        let outcome = server.cli(["reopen"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    });
    assert!(
        server.log.since(Mark::START).is_empty(),
        "nothing goes to standard error"
    );
}

#[test]
fn an_access_line_tells_what_was_asked_and_answered() {
    let server = Setup::new().set("access_log.enabled", true).start();
    let answer = client::get(&server.address(), "/hello?secret=1").unwrap();
    let line = server
        .log
        .wait_for(Mark::START, PATIENCE, |line| line["target"] == "access")
        .unwrap();
    assert_eq!(line["method"], "GET", "{line}");
    assert_eq!(line["path"], "/hello", "{line}");
    assert_eq!(line["status"], 200, "{line}");
    assert_eq!(
        line["request_id"],
        answer.headers["x-request-id"].to_str().unwrap(),
        "{line}"
    );
}

#[test]
fn level_and_format_change_by_a_reload() {
    let mut server = Setup::new().set("log.level", "debug").start();
    server
        .config
        .set("log.level", "warn")
        .set("log.format", "human")
        .write();
    server.reload();
    server.until_workers(2);
    let mark = server.log.mark();
    server.signal(Signal::SIGALRM);
    let line = server.log.wait_for(mark, PATIENCE, |line| {
        line.as_str()
            .is_some_and(|line| line.contains("no meaning here"))
    });
    assert!(line.is_some());
    assert!(!line.unwrap().as_str().unwrap().contains('\u{1b}'));
    assert_eq!(server.log.since(mark).len(), 1);
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let server = Setup::new()
        .set("access_log.enabled", true)
        .leave_log_unread()
        .start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    // Far more lines than a pipe holds.
    load.wait_for_answers(1500);
    server.reload();
    server.until_workers(2);
    load.wait_for_answers(200);
    load.finish().assert_nothing_lost();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "what it does in a while in which nothing happens is what is asked"
)]
fn a_log_whose_reader_has_gone_leaves_the_master_asleep() {
    let mut server = Setup::new().leave_log_unread().start();
    server.abandon_log();
    // It has a line for that.
    server.signal(Signal::SIGALRM);
    eventually("a moment in which it does nothing", || {
        let before = os::processor_time(server.pid);
        thread::sleep(Duration::from_millis(300));
        (os::processor_time(server.pid) == before).then_some(())
    });
    assert_eq!(
        client::get(&server.address(), "/hello").unwrap().status,
        200
    );
}

#[test]
fn a_log_is_whole_again_when_it_is_read_on() {
    let mut server = Setup::new()
        .set("access_log.enabled", true)
        .set("workers.count", 1)
        .leave_log_unread()
        .start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    // More than fit into the pipe and into the memory of the worker.
    load.wait_for_answers(3000);
    let asked = load.finish().answered;
    server.read_log();
    eventually("each request is told or counted as lost", || {
        let lines = server.log.since(Mark::START);
        let told = lines.iter().filter(|line| line["message"] == "request");
        let lost: u64 = lines.iter().filter_map(|line| line["lines"].as_u64()).sum();
        (lost > 0 && told.count() as u64 + lost == asked).then_some(())
    });
    let mark = server.log.mark();
    client::get(&server.address(), "/hello").unwrap();
    server.wait_for_log(mark, "request");
}

#[test]
fn a_hostile_path_neither_tears_lines_nor_makes_one_of_its_own() {
    let server = Setup::new()
        .set("access_log.enabled", true)
        .set("workers.count", 3)
        .start();
    let path = format!("/{}", "%22%0A%7Blevel".repeat(900));
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let (address, path) = (server.address(), path.clone());
            thread::spawn(move || {
                for _ in 0..40 {
                    let _refused = client::get(&address, &path);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let lines = eventually("a line for each request", || {
        let lines = server.log.since(Mark::START);
        let requests = lines.iter().filter(|line| line["message"] == "request");
        (requests.count() == 480).then_some(lines)
    });
    let torn = lines.iter().find(|line| line["timestamp"].is_null());
    assert_eq!(torn, None);
}

/// The lines of requests that were refused, and how many others were counted.
fn refusals(server: &Server) -> (usize, u64) {
    let lines = server.log.since(Mark::START);
    let written = lines.iter().filter(|line| line["message"] == "refused");
    let counted = lines.iter().filter_map(|line| {
        let message = line["message"].as_str()?;
        let more = line["more"].as_u64()?;
        assert_eq!(message, format!("refused {more} more like this"));
        let code = line["code"].as_str();
        assert!(
            matches!(code, Some("permission_denied" | "invalid_request")),
            "{line}"
        );
        Some(more)
    });
    (written.count(), counted.sum())
}

/// Waits until so many were told or counted; how many were told.
fn wait_for_refusals(server: &Server, all: u64) -> usize {
    eventually("each is told or counted", || {
        let (written, counted) = refusals(server);
        (u64::try_from(written).unwrap() + counted == all).then_some(written)
    })
}

fn flood(server: &Server, requests: usize, path: impl Fn(usize) -> String) {
    let mut connection = client::Blocking::open(&server.address()).unwrap();
    for number in 0..requests {
        let request = http::Request::get(path(number)).header("host", "test");
        let request = request.body(http_body_util::Empty::new()).unwrap();
        assert_eq!(connection.send(request).unwrap().status, 403);
    }
}

fn with_one_rule(level: &str) -> Setup {
    let mut setup = Setup::new().set("log.level", level).set("workers.count", 1);
    setup
        .config
        .set_auth("[[auth.rule]]\npath = \"/hello\"\naccess = \"public\"\n");
    setup
}

#[test]
fn a_flood_of_refusals_is_summed_up_and_each_is_told_or_counted() {
    let server = with_one_rule("info").start();
    flood(&server, 5, |number| format!("/{number}"));
    eventually("each of a few is told", || {
        (refusals(&server) == (5, 0)).then_some(())
    });
    flood(&server, 495, |number| format!("/{number}"));
    eventually("the first are told", || {
        (refusals(&server).0 == 10).then_some(())
    });
    // The count comes by itself, and what is not told yet when the worker ends.
    eventually("a summary", || (refusals(&server).1 == 490).then_some(()));
    flood(&server, 100, |_| "/".to_owned());
    let outcome = server.cli(["stop"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let written = wait_for_refusals(&server, 600);
    assert!(written <= 15, "{written}");
}

#[test]
fn a_flood_of_requests_that_are_none_is_summed_up_too() {
    let server = Setup::new().set("workers.count", 1).start();
    let address = server.port();
    for number in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /{number} HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let outcome = server.cli(["stop"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let written = wait_for_refusals(&server, 100);
    // A slow machine has time for a few more.
    assert!((10..=20).contains(&written), "{written}");
}

#[test]
fn at_the_level_debug_no_refusal_is_only_counted() {
    let server = with_one_rule("debug").start();
    flood(&server, 300, |_| "/".to_owned());
    let outcome = server.cli(["stop"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(wait_for_refusals(&server, 300), 300);
}
