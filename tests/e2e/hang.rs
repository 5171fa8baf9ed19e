//! A worker whose event loop hangs is aborted and replaced; one that is merely busy, or waits, is left alone.

use std::time::Duration;

use destrier::sys::clock;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::client::{self, Failure};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::Setup;
use crate::support::{PATIENCE, os, timed, within};

const TIMEOUT: Duration = Duration::from_secs(1);

/// So coarse are the stamps of a worker.
const TICK: Duration = Duration::from_millis(10);

/// Machines that test are slow.
const SLACK: Duration = Duration::from_millis(700);

fn one_worker(setup: Setup) -> Setup {
    setup
        .set("workers.count", 1)
        .set("workers.hang_timeout", "1s")
        .set("app.faults", true)
}

#[track_caller]
fn span(line: &Value, field: &str) -> Duration {
    humantime::parse_duration(line[field].as_str().unwrap()).unwrap()
}

#[test]
fn a_worker_that_somebody_has_stopped_is_aborted_and_replaced() {
    let server = one_worker(Setup::new()).start();
    let pid = server.pids()[0];
    let mark = server.log.mark();
    assert!(os::send(pid, Signal::SIGSTOP));
    let aborted = server.wait_for_log(mark, "it is stopped, as by SIGSTOP or a debugger, aborted");
    assert_eq!(aborted["pid"], pid);
    assert!(span(&aborted, "hung_for") >= TIMEOUT, "{aborted}");
    assert_ne!(server.until_workers(1)[0], pid);
    assert!(client::get(&server.address(), "/hello").is_ok());
}

#[test]
fn a_worker_that_hangs_is_aborted_and_replaced_and_its_death_says_so() {
    let server = one_worker(Setup::new()).start();
    let pid = server.pids()[0];
    let mark = server.log.mark();
    let (answer, took) = timed(|| client::get(&server.address(), "/fault/hang"));
    assert!(
        matches!(answer, Err(Failure::CutOff | Failure::Reset)),
        "{answer:?}"
    );
    // A quarter of the time-out is the pace at which the master looks.
    assert!(
        took + TICK >= TIMEOUT && took < TIMEOUT * 5 / 4 + SLACK,
        "{took:?}"
    );
    let aborted = server.wait_for_log(mark, "its event loop hangs, aborted");
    assert_eq!(
        (&aborted["level"], &aborted["pid"]),
        (&"ERROR".into(), &pid.into())
    );
    let died = server.wait_for_log(mark, "worker died");
    assert_eq!(
        (&died["level"], &died["pid"]),
        (&"ERROR".into(), &pid.into())
    );
    let ending = died["ending"].as_str().unwrap();
    assert!(ending.starts_with("killed by SIGABRT"), "{died}");
    assert!(span(&died, "hung_for") >= TIMEOUT, "{died}");
    let executing = died["executing"].as_str().unwrap();
    assert!(executing.starts_with("GET /fault/hang "), "{died}");
    assert_eq!(died["killed_for"], "hang");
    assert_ne!(server.until_workers(1)[0], pid);
    assert!(client::get(&server.address(), "/hello").is_ok());
}

/// Connections that wait in the accept queue of the worker that hangs are served by the next one.
#[test]
fn who_waits_behind_a_worker_that_hangs_is_served() {
    for balance in ["per-worker", "shared"] {
        let server = one_worker(Setup::new())
            .set("server.balance", balance)
            .start();
        let pid = server.pids()[0];
        let hanging = client::get_meanwhile(&server.address(), "/fault/hang");
        server.until_in_flight(1);
        let waiting: Vec<_> = (0..20)
            .map(|_| client::get_meanwhile(&server.address(), "/pid"))
            .collect();
        for client in waiting {
            let answer = client.join().unwrap();
            assert_ne!(answer.unwrap().pid(), Some(pid), "{balance}");
        }
        assert!(hanging.join().unwrap().is_err());
    }
}

#[test]
fn a_worker_that_hangs_costs_the_others_nothing() {
    let server = one_worker(Setup::new()).set("workers.count", 2).start();
    let hanging = client::get_meanwhile(&server.address(), "/fault/hang");
    server.until_in_flight(1);
    let status = server.status();
    let is_idle = |worker: &&destrier::master::WorkerStatus| worker.in_flight == 0;
    let other = status.workers.iter().find(is_idle).unwrap().pid;
    server.wait_for_log(Mark::START, "its event loop hangs, aborted");
    assert!(hanging.join().unwrap().is_err());
    let load = Load::start(&server.address(), Plan::LIGHT);
    load.wait_for_answers(100);
    load.finish().assert_nothing_lost();
    assert!(server.until_workers(2).contains(&other));
}

#[test]
fn a_worker_that_blocks_sigabrt_is_killed_a_second_later() {
    let server = one_worker(Setup::faulty()).let_boot("deaf").start();
    let mark = server.log.mark();
    let (answer, took) = timed(|| client::get(&server.address(), "/fault/hang"));
    assert!(answer.is_err());
    let second = Duration::from_secs(1);
    let wanted = TIMEOUT + second..TIMEOUT * 5 / 4 + second + SLACK;
    assert!(wanted.contains(&(took + TICK)), "{took:?}");
    server.wait_for_log(
        mark,
        "killed: its event loop hangs, and SIGABRT did not end it",
    );
    let died = server.wait_for_log(mark, "worker died");
    assert_eq!(died["ending"], "killed by SIGKILL");
    assert!(span(&died, "hung_for") >= TIMEOUT, "{died}");
    // The next one was there before this one had gone.
    let spawned = server.wait_for_log(mark, "worker spawned");
    let position = |wanted: &Value| {
        let lines = server.log.since(mark);
        lines.iter().position(|line| line == wanted).unwrap()
    };
    assert!(position(&spawned) < position(&died));
    assert!(client::get(&server.address(), "/hello").is_ok());
}

/// Its event loop never waits for anything to do, so it never says so: it is asked, and shows that it turns.
#[test]
fn a_worker_that_always_has_something_to_do_is_left_alone() {
    let server = one_worker(Setup::faulty())
        .set("workers.hang_timeout", "400ms")
        .set("log.level", "debug")
        .let_boot("spin")
        .start();
    let pid = server.pids()[0];
    let started = clock::monotonic();
    within(PATIENCE, "ten questions", || {
        let asked = server.count_log(Mark::START, "asked for a sign of life");
        (asked >= 10).then_some(())
    });
    // It is asked once in half a time-out at most.
    let took = clock::monotonic().saturating_sub(started);
    assert!(took >= Duration::from_millis(200) * 9, "{took:?}");
    assert_eq!(
        client::get(&server.address(), "/pid").unwrap().pid(),
        Some(pid)
    );
    assert_eq!(server.pids(), [pid]);
}

#[test]
fn a_worker_that_waits_is_neither_woken_nor_asked() {
    let server = one_worker(Setup::new())
        .set("workers.hang_timeout", "100ms")
        .set("log.level", "debug")
        .start();
    let pid = server.pids()[0];
    let waiting = client::get_meanwhile(&server.address(), "/slow?ms=1500");
    server.until_in_flight(1);
    let wake_ups = || -> u64 {
        os::status_line(pid, "voluntary_ctxt_switches")
            .parse()
            .unwrap()
    };
    let before = wake_ups();
    assert!(waiting.join().unwrap().is_ok());
    // Its timer, and the answer: fifteen time-outs have gone by.
    let woken = wake_ups() - before;
    assert!(woken <= 6, "{woken}");
    assert_eq!(server.pids(), [pid]);
    assert_eq!(server.count_log(Mark::START, "asked for a sign of life"), 0);
}

/// A worker that drains has nobody to replace it, and is aborted all the same.
#[test]
fn a_worker_that_hangs_while_it_drains_is_aborted() {
    let server = one_worker(Setup::new()).start();
    let pid = server.pids()[0];
    let mark = server.log.mark();
    let hanging = client::get_meanwhile(&server.address(), "/fault/hang");
    server.until_in_flight(1);
    server.reload();
    let died = server.wait_for_log(mark, "worker died");
    assert_eq!(died["pid"], pid);
    assert!(
        died["ending"]
            .as_str()
            .unwrap()
            .starts_with("killed by SIGABRT")
    );
    assert!(hanging.join().unwrap().is_err());
    assert_eq!(server.until_workers(1).len(), 1);
    // That of the reload is the only one.
    assert_eq!(server.count_log(mark, "worker spawned"), 1);
}

#[test]
fn a_stop_does_not_wait_for_a_worker_that_hangs() {
    for (grace, bound) in [("500ms", 500), ("30s", 2_250)] {
        let server = one_worker(Setup::faulty())
            .set("workers.graceful_timeout", grace)
            .let_boot("deaf")
            .start();
        let hanging = client::get_meanwhile(&server.address(), "/fault/hang");
        server.until_in_flight(1);
        server.signal(Signal::SIGTERM);
        let (code, took) = timed(|| server.wait_for_exit(PATIENCE));
        assert_eq!(code, Some(0));
        assert!(
            took < Duration::from_millis(bound) + SLACK,
            "{grace}: {took:?}"
        );
        assert!(hanging.join().unwrap().is_err());
    }
}

/// It counts as a crash, so one that hangs again and again is replaced ever more slowly.
#[test]
fn workers_that_keep_hanging_are_degraded() {
    let server = one_worker(Setup::new())
        .set("workers.hang_timeout", "200ms")
        .start();
    for _ in 0..2 {
        assert!(client::get(&server.address(), "/fault/hang").is_err());
    }
    let message = "degraded: workers keep dying, they are replaced ever more slowly";
    let degraded = server.wait_for_log(Mark::START, message);
    assert_eq!(degraded["reason"], "its event loop hung");
    server.until_workers(1);
}

#[test]
fn without_a_time_out_a_worker_may_hang_for_ever() {
    let server = one_worker(Setup::new())
        .set("workers.hang_timeout", "0s")
        .start();
    let pid = server.pids()[0];
    let hanging = client::get_meanwhile(&server.address(), "/fault/hang");
    server.until_in_flight(1);
    // A reload that asks for it concerns the workers that come then.
    let mut server = server;
    server.config.set("workers.hang_timeout", "200ms").write();
    server.reload();
    assert!(client::get(&server.address(), "/fault/hang").is_err());
    let died = server.wait_for_log(Mark::START, "worker died");
    assert_ne!(died["pid"], pid);
    assert!(os::is_alive(pid));
    drop(server);
    assert!(hanging.join().unwrap().is_err());
}
