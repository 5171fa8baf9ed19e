//! What the service manager is told (`sd_notify(3)`).

use std::time::Duration;

use destrier::sys::clock;
use nix::sys::signal::Signal;

use crate::support::journal::Mark;
use crate::support::server::{Setup, accepting};
use crate::support::{PATIENCE, eventually, os};

#[test]
fn a_reload_is_announced_with_its_time_and_followed_by_ready() {
    let server = Setup::new().start();
    let (mark, before) = (server.notifications.mark(), clock::monotonic());
    server.reload();
    let reloading = server.wait_for_notification(mark, "RELOADING=1\n");
    let usec = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let at = Duration::from_micros(usec.unwrap().parse().unwrap());
    assert!((before..clock::monotonic()).contains(&at), "{at:?}");
    let ready = server.wait_for_notification(mark, "READY=1\n");
    assert!(ready.contains("generation 2"), "{ready}");
}

#[test]
fn a_reload_that_fails_ends_in_ready_too_and_says_why() {
    let mut server = Setup::new().start();
    server.config.set("no.such.key", true).write();
    let mark = server.notifications.mark();
    server.signal(Signal::SIGHUP);
    server.wait_for_notification(mark, "RELOADING=1\n");
    let ready = server.wait_for_notification(mark, "READY=1\n");
    assert!(ready.contains("the last reload failed"), "{ready}");
    assert_eq!(ready.lines().count(), 2, "{ready}");
}

#[test]
fn workers_that_recover_during_a_reload_do_not_end_it_for_systemd() {
    let server = Setup::faulty()
        .set("workers.backoff_initial", "1ms")
        .set("workers.backoff_reset", "1s")
        .start();
    for _ in 0..3 {
        let before = server.pids();
        os::kill(before[0]);
        server.until("a replacement", |status| {
            let pids = accepting(status);
            (pids.len() == 2 && pids[0] != before[0]).then_some(())
        });
    }
    assert_eq!(server.status().state, "degraded");
    server.let_boot("wait");
    let (mark, log) = (server.notifications.mark(), server.log.mark());
    server.signal(Signal::SIGHUP);
    server.wait_for_notification(mark, "RELOADING=1\n");
    server.wait_for_log(log, "recovered: workers stopped dying");
    server.let_boot("ok");
    let ready = server.wait_for_notification(mark, "READY=1\n");
    assert!(ready.contains("generation 2"), "{ready}");
}

#[test]
fn a_stop_is_announced() {
    let server = Setup::new()
        .set("workers.drain_delay", "1s")
        .set("workers.graceful_timeout", "7s")
        .start();
    server.signal(Signal::SIGTERM);
    let stopping = server.wait_for_notification(Mark::START, "STOPPING=1");
    // As long as it may take by the configuration, whatever the unit says.
    let usec = stopping
        .lines()
        .find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="));
    let rest = Duration::from_micros(usec.unwrap().parse().unwrap());
    assert!(rest <= Duration::from_secs(9), "{rest:?}");
    assert!(rest > Duration::from_secs(8), "{rest:?}");
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn the_watchdog_hears_from_a_master_that_it_watches() {
    let server = Setup::new().env("WATCHDOG_USEC", "200000").start();
    eventually("signs of life", || {
        let said = server.notifications.since(Mark::START);
        let signs = said.iter().filter(|text| *text == "WATCHDOG=1");
        (signs.count() >= 5).then_some(())
    });
    let other = Setup::new()
        .env("WATCHDOG_USEC", "200000")
        .env("WATCHDOG_PID", "1")
        .start();
    let sign = other
        .notifications
        .wait_for(Mark::START, Duration::from_millis(400), |text| {
            text == "WATCHDOG=1"
        });
    assert!(sign.is_none());
}
