//! The number of workers and the addresses can change without a request being lost.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use destrier::master::Status;
use nix::sys::signal::Signal;

use crate::support::client::{self, Address, Failure};
use crate::support::load::{Load, Plan};
use crate::support::server::Setup;
use crate::support::{PATIENCE, eventually, os, timed};

#[test]
fn scaling_up_and_down_loses_nothing() {
    for balance in ["per-worker", "shared"] {
        let server = Setup::new().set("server.balance", balance).start();
        let load = Load::start(&server.address(), Plan::FIFTY);
        for workers in ["5", "1", "4", "2", "3", "1"] {
            let outcome = server.cli(["scale", workers]);
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            assert_eq!(server.pids().len().to_string(), workers);
            load.wait_for_answers(100);
        }
        server.until_workers(1);
        let report = load.finish();
        report.assert_nothing_lost();
        report.assert_nobody_waited();
        assert_eq!(report.closed_while_idle, 0, "{balance}: {report:?}");
    }
}

#[test]
fn a_slot_that_was_given_up_serves_again_when_it_comes_back() {
    for balance in ["per-worker", "shared"] {
        let server = Setup::new().set("server.balance", balance).start();
        server.cli(["scale", "1"]);
        server.until_workers(1);
        server.cli(["scale", "3"]);
        let pids = server.until_workers(3);
        let load = Load::start(&server.address(), Plan::FIFTY);
        load.wait_for_answers(500);
        let report = load.finish();
        report.assert_nothing_lost();
        assert!(
            report.by_pid.keys().copied().eq(sorted(pids)),
            "{balance}: {report:?}"
        );
    }
}

fn sorted(mut pids: Vec<u32>) -> Vec<u32> {
    pids.sort_unstable();
    pids
}

#[test]
fn a_reload_puts_the_configured_number_back() {
    let server = Setup::new().start();
    server.cli(["scale", "3"]);
    server.until_workers(3);
    assert!(server.status().workers_because.starts_with("scaled to 3"));
    server.reload();
    server.until_workers(2);
}

#[test]
fn addresses_open_and_close_on_reload_and_the_others_lose_nothing() {
    for balance in ["per-worker", "shared"] {
        let mut server = Setup::new().set("server.balance", balance).start();
        let kept = server.address();
        let load = Load::start(&kept, Plan::FIFTY);
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let socket = server.folder().join("second.sock");
        let binds = vec![
            "127.0.0.1:0".to_owned(),
            port.to_string(),
            format!("unix:{}", socket.display()),
        ];
        server.config.set("server.bind", binds).write();
        server.reload();
        let added = [Address::Tcp(port), Address::Unix(socket.clone())];
        for address in &added {
            client::get(address, "/hello").unwrap();
        }
        let loads = added
            .each_ref()
            .map(|address| Load::start(address, Plan::LIGHT));
        server.config.set("server.bind", "127.0.0.1:0").write();
        server.reload();
        eventually("the port is closed", || (!os::is_open(port)).then_some(()));
        eventually("the path is gone", || (!socket.exists()).then_some(()));
        for load in loads {
            let report = load.finish();
            // Whoever comes later is refused; nobody is let in and then dropped.
            let lost = report
                .failed
                .keys()
                .filter(|failure| **failure != Failure::Refused);
            assert_eq!(lost.count(), 0, "{balance}: {report:?}");
        }
        assert_eq!(server.addresses(), [kept]);
        load.wait_for_answers(50);
        load.finish().assert_nothing_lost();
    }
}

#[test]
fn an_address_that_comes_back_while_its_last_workers_drain_serves() {
    for balance in ["per-worker", "shared"] {
        let mut server = Setup::new().set("server.balance", balance).start();
        let port = free_port();
        let socket = format!("unix:{}", server.folder().join("second.sock").display());
        let all = vec!["127.0.0.1:0".to_owned(), port.to_string(), socket];
        server.config.set("server.bind", all.clone()).write();
        server.reload();
        let in_flight: Vec<_> = server.addresses()[1..]
            .iter()
            .map(|address| client::get_meanwhile(address, "/slow?ms=1500"))
            .collect();
        server.until_in_flight(2);
        server.config.set("server.bind", "127.0.0.1:0").write();
        server.reload();
        eventually("the port is closed", || (!os::is_open(port)).then_some(()));
        server.config.set("server.bind", all).write();
        server.reload();
        for address in server.addresses() {
            for _ in 0..10 {
                client::get(&address, "/hello").unwrap();
            }
        }
        for client in in_flight {
            client.join().unwrap().unwrap();
        }
    }
}

fn free_port() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn a_rolling_reload_that_drops_an_address_and_fails_keeps_it() {
    for balance in ["per-worker", "shared"] {
        let mut server = Setup::faulty()
            .set("server.balance", balance)
            .set("reload.strategy", "rolling")
            .start();
        let port = free_port();
        let socket = format!("unix:{}", server.folder().join("second.sock").display());
        let all = vec!["127.0.0.1:0".to_owned(), port.to_string(), socket];
        server.config.set("server.bind", all).write();
        server.reload();
        let addresses = server.addresses();
        server.config.set("server.bind", "127.0.0.1:0").write();
        // The canary boots, the one after it does not.
        server.let_boot("once");
        let outcome = server.cli(["reload"]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        server.let_boot("ok");
        server.until_workers(2);
        for address in &addresses {
            for _ in 0..10 {
                client::get(address, "/hello").unwrap();
            }
        }
    }
}

/// The kernel numbers the sockets of an address, and a socket that stops listening hands its number to the last one.
#[test]
fn connections_find_the_workers_that_serve_after_slots_were_given_up_and_taken_again() {
    let server = Setup::new()
        .set("workers.count", 4)
        .set("workers.backoff_initial", "10s")
        .start();
    for _ in 0..3 {
        server.cli(["scale", "2"]);
        server.cli(["scale", "4"]);
    }
    let victim = |status: &Status| {
        let mut there = status
            .workers
            .iter()
            .filter(|worker| worker.slot == 2 && worker.state == "accepting");
        there.next().map(|worker| worker.pid)
    };
    // The first death is replaced at once, the second after ten seconds: until then the slot has nobody.
    for _ in 0..2 {
        let pid = server.until("a worker in slot 2", victim);
        os::kill(pid);
        server.until("its end", |status| {
            (victim(status) != Some(pid)).then_some(())
        });
    }
    for _ in 0..60 {
        let (answer, took) = timed(|| client::get(&server.address(), "/hello"));
        assert!(
            answer.is_ok() && took < Duration::from_secs(1),
            "{answer:?} {took:?}"
        );
    }
}

#[test]
fn clients_of_a_slot_that_nobody_will_fill_are_not_left_waiting() {
    let server = Setup::new()
        .set("workers.backoff_initial", "1h")
        .set("workers.backoff_max", "1h")
        .start();
    let address = server.port();
    let in_slot = |status: &Status| {
        let mut there = status
            .workers
            .iter()
            .filter(|worker| worker.slot == 1 && worker.state == "accepting");
        there.next().map(|worker| worker.pid)
    };
    // Stopped, the worker takes nothing: what is for its slot waits in its queue when it is killed.
    let first = server.until("a worker in slot 1", in_slot);
    os::kill(first);
    let second = server.until("its replacement", |status| {
        in_slot(status).filter(|pid| *pid != first)
    });
    os::send(second, Signal::SIGSTOP);
    let waiting: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    os::kill(second);
    server.until("nobody in slot 1", |status| {
        in_slot(status).is_none().then_some(())
    });
    assert_eq!(server.cli(["scale", "1"]).code, Some(0));
    for mut stream in waiting {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Answered, or reset at once; never left alone.
        let asked = stream.write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n");
        let heard = asked.and_then(|()| stream.read(&mut [0; 64]));
        let left_alone = heard
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!left_alone, "{heard:?}");
    }
}

#[test]
fn auto_follows_the_affinity_and_says_so() {
    let setup = Setup::new().set("workers.count", "auto");
    let server = setup.under(&["taskset", "--cpu-list", "0"]).start();
    let status = server.status();
    assert_eq!(status.workers_wanted, 1);
    assert!(
        status
            .workers_because
            .starts_with("auto = 1: processors by affinity 1, by cgroup quota "),
        "{}",
        status.workers_because
    );
}
