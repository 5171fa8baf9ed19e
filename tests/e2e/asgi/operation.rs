//! ASGI applications are operated as any other: named on the command line, reloaded, killed, replaced.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{content, get, serving, shapes};
use crate::support::client::{self, Address};
use crate::support::command;
use crate::support::load::{Load, Plan};
use crate::support::{os, python};

#[test]
fn an_asgi_application_that_is_named_needs_no_file() {
    let setup = shapes();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asgi");
    let mut command = command::command(&command::destrier());
    command
        .args(["run", "asgi:shapes:app", "--bind", "127.0.0.1:0"])
        .args(["--workers", "1", "--log-level", "info"])
        .current_dir(setup.folder())
        .env("DESTRIER_APP__PYTHON", python::interpreter())
        .env("DESTRIER_APP__CHDIR", folder)
        .env(
            "DESTRIER_PROCESS__CONTROL_SOCKET",
            setup.folder().join("other.sock"),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut master = command.spawn().unwrap();
    let mut lines = BufReader::new(master.stderr.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let address = line["address"].as_str()?;
        (line["message"] == "listening").then(|| Address::Tcp(address.parse().unwrap()))
    });
    assert!(
        client::get(&address.unwrap(), "/pid")
            .unwrap()
            .pid()
            .is_some()
    );
    assert!(os::send(master.id(), Signal::SIGTERM));
    assert_eq!(master.wait().unwrap().code(), Some(0));
}

#[test]
fn reloads_upgrades_and_kills_of_asgi_workers_lose_nothing() {
    let server = shapes().set("workers.count", 2).start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    for reload in 1..=4 {
        server.signal(Signal::SIGHUP);
        server.until("the commit", |status| {
            (status.generation == Some(reload + 1)).then_some(())
        });
        server.until_workers(2);
        load.wait_for_answers(50);
    }
    server.upgrade();
    server.until_workers(2);
    load.wait_for_answers(20);
    let report = load.finish();
    report.assert_nothing_lost();
    let before = server.pids();
    os::kill(before[0]);
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 2 && !pids.contains(&before[0])).then_some(())
    });
    assert_eq!(content(&get(&server, "/one")), "hello");
}

#[test]
fn an_asgi_worker_that_has_served_enough_is_replaced() {
    let server = shapes()
        .set("workers.max_requests", 20)
        .set("workers.max_requests_jitter", 0)
        .start();
    let before = server.pids();
    let load = Load::start(&server.address(), Plan::LIGHT);
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 1 && pids != before).then_some(())
    });
    load.finish().assert_nothing_lost();
}

#[test]
fn signals_that_are_meant_for_the_master_leave_asgi_workers_cold() {
    let server = shapes().start();
    let pid = server.pids()[0];
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        assert!(os::send(pid, signal));
        let answer = client::get(&server.address(), "/pid").unwrap();
        assert_eq!(answer.pid(), Some(pid), "{signal}");
    }
}

#[test]
fn what_is_no_asgi_application_is_told_by_the_name_of_its_key() {
    let server = serving("shapes:nothing_like_it").launch();
    assert_eq!(server.wait_for_exit(crate::support::PATIENCE), Some(3));
    server.assert_said("`app.asgi`: `shapes` has no `nothing_like_it`");
}
