//! The first boot: ready means that it serves, and one that fails says why and with which code.

use std::fs;
use std::time::Duration;

use crate::support::client;
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, timed};

/// The application's boot does what `boot` says from the start.
fn launch(boot: &str) -> Server {
    let setup = Setup::faulty().set("workers.boot_timeout", "1s");
    fs::write(setup.folder().join("boot"), boot).unwrap();
    setup.launch()
}

#[test]
fn a_first_boot_that_fails_exits_with_3_and_the_reason_last() {
    for (boot, reason) in [
        ("fail", "the database is down"),
        ("exit", "exit code 7"),
        ("hang", "boot time-out"),
        ("stall", "boot time-out"),
    ] {
        let server = launch(boot);
        let (code, took) = timed(|| server.wait_for_exit(PATIENCE));
        assert_eq!(code, Some(3), "{boot}");
        assert!(took < Duration::from_secs(4), "{boot}: {took:?}");
        let last = server.wait_for_log(Mark::START, "the application failed to boot");
        assert!(
            last["reason"].as_str().unwrap().contains(reason),
            "{boot}: {last}"
        );
        assert_eq!(server.log.since(Mark::START).last(), Some(&last), "{boot}");
        let ready = server.notifications.since(Mark::START);
        assert!(
            !ready.iter().any(|text| text.contains("READY=1")),
            "{ready:?}"
        );
        assert!(!server.config.control_socket().exists());
    }
}

#[test]
fn a_configuration_that_is_wrong_exits_with_2() {
    let server = Setup::new().set("workers.count", 0).launch();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(2));
    server.assert_said("workers.count");
}

#[test]
fn ready_is_said_only_when_the_workers_serve() {
    let setup = Setup::faulty();
    fs::write(setup.folder().join("boot"), "wait").unwrap();
    let server = setup.launch();
    server.until("booting workers", |status| {
        (status.workers.len() == 2 && status.state == "booting").then_some(())
    });
    assert!(server.notifications.since(Mark::START).is_empty());
    server.let_boot("ok");
    server.wait_until_ready();
    assert_eq!(server.pids().len(), 2);
    client::get(&server.address(), "/hello").unwrap();
}

#[test]
fn a_client_that_comes_while_the_app_boots_is_served_when_it_has() {
    for balance in ["per-worker", "shared"] {
        let setup = Setup::faulty().set("server.balance", balance);
        fs::write(setup.folder().join("boot"), "wait").unwrap();
        let server = setup.launch();
        server.until("booting workers", |status| {
            (status.workers.len() == 2).then_some(())
        });
        let client = client::get_meanwhile(&server.address(), "/hello");
        server.let_boot("ok");
        client.join().unwrap().unwrap();
    }
}
