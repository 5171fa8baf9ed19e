//! A stop loses no request, and is bounded in every state.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client::{self};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::Setup;
use crate::support::{eventually, os, timed};

/// Beyond `workers.graceful_timeout`: what the promise allows.
const MARGIN: Duration = Duration::from_secs(1);

#[test]
fn a_thread_of_the_application_that_never_ends_holds_up_no_stop() {
    let setup = Setup::faulty();
    std::fs::write(setup.folder().join("boot"), "block").unwrap();
    let server = setup.start();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(Duration::from_secs(5)), Some(0));
    assert_eq!(
        server.count_log(Mark::START, "killed: its time to drain is over"),
        0
    );
}

#[test]
fn term_finishes_the_requests_in_flight() {
    let server = Setup::new().set("workers.count", 1).start();
    let clients: Vec<_> = (0..6)
        .map(|_| client::get_meanwhile(&server.address(), "/slow?ms=1000"))
        .collect();
    server.until_in_flight(6);
    server.signal(Signal::SIGTERM);
    for client in clients {
        assert_eq!(client.join().unwrap().unwrap().status, 200);
    }
    assert_eq!(server.wait_for_exit(MARGIN), Some(0));
}

#[test]
fn the_stop_command_returns_when_the_server_has_ended() {
    let server = Setup::new().start();
    let client = client::get_meanwhile(&server.address(), "/slow?ms=300");
    server.until_in_flight(1);
    let outcome = server.cli(["stop"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (Some(0), "stopped\n")
    );
    assert!(client.is_finished() || client.join().unwrap().is_ok());
    assert_eq!(server.wait_for_exit(MARGIN), Some(0));
    let outcome = server.cli(["stop"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("no master runs"), "{outcome:?}");
}

#[test]
fn a_request_that_never_ends_is_cut_at_the_graceful_timeout() {
    let server = Setup::new().set("workers.graceful_timeout", "1s").start();
    let client = client::get_meanwhile(&server.address(), "/slow?ms=600000");
    server.until_in_flight(1);
    server.signal(Signal::SIGTERM);
    let (code, took) = timed(|| server.wait_for_exit(Duration::from_secs(1) + MARGIN));
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(client.join().unwrap().is_err());
}

#[test]
fn a_stop_during_the_first_boot_is_bounded() {
    for boot in ["hang", "stall"] {
        let setup = Setup::faulty().set("workers.graceful_timeout", "1s");
        std::fs::write(setup.folder().join("boot"), boot).unwrap();
        let server = setup.launch();
        server.wait_for_log(Mark::START, "worker spawned");
        server.signal(Signal::SIGTERM);
        let code = server.wait_for_exit(Duration::from_secs(1) + MARGIN);
        assert_eq!(code, Some(0), "{boot}");
    }
}

#[test]
fn a_stop_during_a_reload_is_bounded_and_answers_the_caller() {
    let server = Setup::faulty()
        .set("workers.graceful_timeout", "1s")
        .start();
    server.let_boot("stall");
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| server.cli(["reload"]));
        server.until("a reload under way", |status| {
            (status.state == "reloading").then_some(())
        });
        let client = client::get_meanwhile(&server.address(), "/slow?ms=300");
        server.until_in_flight(1);
        server.signal(Signal::SIGTERM);
        let code = server.wait_for_exit(Duration::from_secs(1) + MARGIN);
        assert_eq!(code, Some(0));
        assert_eq!(client.join().unwrap().unwrap().status, 200);
        let outcome = reload.join().unwrap();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("is stopping"), "{outcome:?}");
    });
}

#[test]
fn int_and_quit_stop_within_a_second_and_the_second_one_at_once() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let server = Setup::new().start();
        let client = client::get_meanwhile(&server.address(), "/slow?ms=600000");
        server.until_in_flight(1);
        server.signal(signal);
        assert_eq!(server.wait_for_exit(Duration::from_millis(1500)), Some(0));
        assert!(client.join().unwrap().is_err());
    }
    let setup = Setup::faulty();
    std::fs::write(setup.folder().join("boot"), "stall").unwrap();
    let server = setup.launch();
    server.wait_for_log(Mark::START, "worker spawned");
    server.signal(Signal::SIGINT);
    server.wait_for_log(Mark::START, "received");
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_for_exit(Duration::from_millis(700)), Some(0));
}

#[test]
fn an_int_hurries_a_graceful_stop() {
    let server = Setup::new().start();
    let client = client::get_meanwhile(&server.address(), "/slow?ms=600000");
    server.until_in_flight(1);
    server.signal(Signal::SIGTERM);
    server.until("stopping", |status| {
        (status.state == "stopping").then_some(())
    });
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_for_exit(Duration::from_millis(1500)), Some(0));
    assert!(client.join().unwrap().is_err());
}

#[test]
fn a_stop_under_load_resets_and_cuts_nobody() {
    for balance in ["per-worker", "shared"] {
        let server = Setup::new().set("server.balance", balance).start();
        let load = Load::start(&server.address(), Plan::FIFTY);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_for_exit(Duration::from_secs(5)), Some(0));
        let report = load.finish();
        // Whoever comes later is refused, which is an answer; nobody is let in and then dropped.
        let lost = report
            .failed
            .keys()
            .filter(|failure| **failure != client::Failure::Refused);
        assert_eq!(lost.count(), 0, "{balance}: {report:?}");
    }
}

#[test]
fn after_a_stop_the_port_is_free_and_the_files_are_gone() {
    let setup = Setup::new().set("process.pid_file", "master.pid");
    let socket = setup.folder().join("app.sock");
    let bind = vec![
        "127.0.0.1:0".to_owned(),
        format!("unix:{}", socket.display()),
    ];
    let server = setup.set("server.bind", bind).start();
    let pid_file = server.folder().join("master.pid");
    let written = std::fs::read_to_string(&pid_file).unwrap();
    assert_eq!(written.trim(), server.pid.to_string());
    let address = server.port();
    let pids = server.pids();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(Duration::from_secs(5)), Some(0));
    assert!(!os::is_open(address));
    for file in [pid_file, socket, server.config.control_socket()] {
        assert!(!file.exists(), "{}", file.display());
    }
    eventually("no worker is left", || {
        (!pids.iter().any(|pid| os::is_alive(*pid))).then_some(())
    });
}

#[test]
fn a_worker_whose_event_loop_hangs_is_killed_at_the_graceful_timeout() {
    let server = Setup::new()
        .set("workers.graceful_timeout", "1s")
        .set("app.faults", true)
        .start();
    let client = client::get_meanwhile(&server.address(), "/fault/hang");
    server.until_in_flight(1);
    server.signal(Signal::SIGTERM);
    let code = server.wait_for_exit(Duration::from_secs(1) + MARGIN);
    assert_eq!(code, Some(0));
    assert!(client.join().unwrap().is_err());
}
