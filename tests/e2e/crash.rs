//! A crash costs what was in the crashed process, and nothing else.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client::{self, Address, Blocking, Failure};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup, accepting};
use crate::support::{PATIENCE, eventually, os, within};

/// Kills the worker of `slot` and waits for its replacement.
#[track_caller]
fn kill_and_wait(server: &Server, slot: usize) -> u32 {
    let before = server.pids();
    os::kill(before[slot]);
    server.until("a replacement", |status| {
        let pids = accepting(status);
        (pids.len() == before.len() && pids[slot] != before[slot]).then_some(())
    });
    before[slot]
}

#[test]
fn a_killed_worker_is_replaced_and_the_other_one_serves_on() {
    let server = Setup::new().start();
    let (killed, other) = (server.pids()[0], server.pids()[1]);
    let load = Load::start(&server.address(), Plan::LIGHT);
    kill_and_wait(&server, 0);
    load.wait_for_answers(50);
    let report = load.finish();
    assert_eq!(server.pids()[1], other);
    assert!(report.by_pid[&other] > 0);
    // One client, one request at a time: each loses one at most.
    assert!(report.failures() <= 8, "{report:?}");
    assert_only_cut(&report.failed.keys().cloned().collect());
    assert!(!os::is_alive(killed));
}

/// Clients in the accept queue of a worker that is about to be killed: each has sent its request.
#[track_caller]
fn clients_of_a_worker_that_hangs(server: &Server, pid: u32) -> Vec<TcpStream> {
    let Address::Tcp(address) = server.address() else {
        panic!("no TCP address")
    };
    assert!(os::send(pid, Signal::SIGSTOP));
    eventually("the stop", || os::is_stopped(pid).then_some(()));
    // The kernel chooses between two slots.
    let clients = (0..40).map(|_| {
        let mut client = TcpStream::connect(address).unwrap();
        let request = b"GET /pid HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        client.write_all(request).unwrap();
        client
    });
    clients.collect()
}

#[track_caller]
fn assert_all_answered(clients: Vec<TcpStream>) {
    for mut client in clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        assert!(
            read.is_ok() && answer.starts_with("HTTP/1.1 200"),
            "{read:?} {answer}"
        );
    }
}

#[test]
fn what_waits_for_a_killed_worker_is_served_by_another_one() {
    type Then = fn(&Server);
    let cases: [Then; 3] = [
        |_| {},
        |server| assert_eq!(server.cli(["scale", "1"]).code, Some(0)),
        |server| server.signal(Signal::SIGTERM),
    ];
    for then in cases {
        let server = Setup::faulty().set("workers.boot_timeout", "1m").start();
        let killed = server.pids()[1];
        let clients = clients_of_a_worker_that_hangs(&server, killed);
        // The replacement boots until the end of the test.
        server.let_boot("wait");
        let mark = server.log.mark();
        os::kill(killed);
        server.wait_for_log(mark, "worker spawned");
        then(&server);
        assert_all_answered(clients);
    }
}

/// It hangs, so it cannot empty the queue that it was told to empty.
#[test]
fn what_waits_for_a_worker_that_dies_after_it_was_told_to_go_is_served_too() {
    type Order = fn(&Server);
    let orders: [Order; 2] = [
        |server| assert_eq!(server.cli(["scale", "1"]).code, Some(0)),
        |server| {
            let mark = server.log.mark();
            server.signal(Signal::SIGTERM);
            server.wait_for_log(mark, "stopping");
        },
    ];
    for order in orders {
        let server = Setup::new().set("http.drain_linger", "10s").start();
        let (stays, killed) = (server.pids()[0], server.pids()[1]);
        // A connection of the other worker, which would else be gone before the death at a stop.
        let _idle = std::iter::repeat_with(|| Blocking::open(&server.address()).unwrap())
            .find_map(|mut open| (open.get("/pid").unwrap().pid() == Some(stays)).then_some(open))
            .unwrap();
        let clients = clients_of_a_worker_that_hangs(&server, killed);
        order(&server);
        os::kill(killed);
        assert_all_answered(clients);
    }
}

#[test]
fn a_slot_that_is_given_up_listens_until_what_waits_there_was_taken_over() {
    let server = Setup::faulty().start();
    let address = server.address();
    let (heir, killed) = (server.pids()[0], server.pids()[1]);
    // The heir takes nothing over before the slot is given up.
    assert!(os::send(heir, Signal::SIGSTOP));
    let clients = clients_of_a_worker_that_hangs(&server, killed);
    server.let_boot("wait");
    let mark = server.log.mark();
    os::kill(killed);
    server.wait_for_log(mark, "worker spawned");
    assert_eq!(server.cli(["scale", "1"]).code, Some(0));
    server.until_workers(1);
    assert!(os::send(heir, Signal::SIGCONT));
    assert_all_answered(clients);
    eventually("the end of the socket", || {
        (os::listening_sockets(&address) == 1).then_some(())
    });
}

#[test]
fn a_stop_that_is_heard_of_before_a_death_serves_what_waits_for_the_dead_too() {
    let server = Setup::new().start();
    let killed = server.pids()[1];
    let clients = clients_of_a_worker_that_hangs(&server, killed);
    // The kernel tells the signals in the order of their numbers: TERM before CHLD.
    server.signal(Signal::SIGSTOP);
    eventually("the stop", || os::is_stopped(server.pid).then_some(()));
    os::kill(killed);
    eventually("the death", || (!os::is_alive(killed)).then_some(()));
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    assert_all_answered(clients);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}

/// Nobody was turned away, nobody waited in vain.
#[track_caller]
fn assert_only_cut(failures: &BTreeSet<Failure>) {
    let cut = BTreeSet::from([Failure::CutOff, Failure::Reset]);
    assert!(failures.is_subset(&cut), "{failures:?}");
}

#[test]
fn a_hundred_kills_lose_only_what_was_in_the_killed_workers() {
    for balance in ["per-worker", "shared"] {
        let server = Setup::new()
            .set("server.balance", balance)
            .set("workers.backoff_initial", "1ms")
            .set("workers.backoff_max", "1ms")
            // More than one death in a minute is told one by one only as long as nothing is degraded.
            .set("log.level", "debug")
            .start();
        let load = Load::start(&server.address(), Plan::LIGHT);
        for kill in 0..50 {
            kill_and_wait(&server, kill % 2);
            load.wait_for_answers(10);
        }
        let report = load.finish();
        assert_only_cut(&report.failed.keys().cloned().collect());
        let deaths = deaths(&server);
        assert_eq!(deaths.len(), 50, "{balance}");
        let open: u64 = deaths
            .iter()
            .map(|death| death["connections"].as_u64().unwrap())
            .sum();
        assert!(
            report.failures() <= open,
            "{balance}: {open} connections were open, {report:?}"
        );
    }
}

fn deaths(server: &Server) -> Vec<serde_json::Value> {
    let mut lines = server.log.since(Mark::START);
    lines.retain(|line| line["message"] == "worker died");
    lines
}

#[test]
fn a_death_report_names_the_signal_and_the_requests_in_flight() {
    let server = Setup::new().start();
    let client = client::get_meanwhile(&server.address(), "/slow?ms=600000");
    server.until_in_flight(1);
    let status = server.status();
    let worker = status
        .workers
        .iter()
        .find(|worker| worker.in_flight == 1)
        .unwrap();
    let request = &worker.requests_in_flight[0];
    os::kill(worker.pid);
    assert!(client.join().unwrap().is_err());
    let line = server.wait_for_log(Mark::START, "worker died");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["pid"], worker.pid);
    assert_eq!(line["worker"], worker.worker);
    assert_eq!(line["ending"], "killed by SIGKILL");
    assert_eq!(line["in_flight"], 1);
    assert!(
        ["no", "unknown"].contains(&line["out_of_memory"].as_str().unwrap()),
        "{line}"
    );
    assert!(
        humantime::parse_duration(line["uptime"].as_str().unwrap()).is_ok(),
        "{line}"
    );
    let words: Vec<&str> = line["requests"].as_str().unwrap().split(' ').collect();
    assert_eq!(words[..2], ["GET", "/slow"]);
    assert!(words[2].ends_with("ms"), "{line}");
    assert_eq!(words[3..], [request.id.as_str()]);
}

#[test]
fn a_death_report_names_the_exit_code_or_the_signal_of_the_application() {
    for (path, ending) in [
        ("/fault/exit?code=9", "exit code 9"),
        ("/fault/crash", "killed by SIGABRT"),
    ] {
        let server = Setup::new().set("app.faults", true).start();
        assert!(client::get(&server.address(), path).is_err());
        let line = server.wait_for_log(Mark::START, "worker died");
        let said = line["ending"].as_str().unwrap();
        assert!(said.starts_with(ending), "{line}");
        let path = path.split('?').next().unwrap();
        assert!(line["executing"].as_str().unwrap().contains(path), "{line}");
        server.until_workers(2);
    }
}

#[test]
fn a_worker_that_a_real_time_signal_ends_is_replaced() {
    let server = Setup::new().start();
    let killed = server.pids()[0];
    os::kill_by_number(killed, 36);
    let line = server.wait_for_log(Mark::START, "worker died");
    assert_eq!(line["ending"], "killed by signal 36");
    assert!(!server.until_workers(2).contains(&killed));
}

#[test]
fn a_death_is_noticed_though_the_parent_of_the_master_ignores_sigchld() {
    let server = Setup::new().under(&["env", "--ignore-signal=CHLD"]).start();
    kill_and_wait(&server, 0);
}

#[test]
fn the_server_goes_with_its_master_and_a_new_one_starts_at_once() {
    for balance in ["per-worker", "shared"] {
        let mut setup = Setup::new()
            .set("server.balance", balance)
            .set("app.faults", true);
        let socket = setup.folder().join("app.sock");
        let binds = |tcp: &str| vec![tcp.to_owned(), format!("unix:{}", socket.display())];
        setup = setup.set("server.bind", binds("127.0.0.1:0"));
        let server = setup.start();
        let address = address_of(&server);
        let workers = server.pids();
        let in_flight = client::get_meanwhile(&server.address(), "/slow?ms=600000");
        server.until_in_flight(1);
        // A worker whose event loop hangs hears nobody.
        let hanging = client::get_meanwhile(&Address::Unix(socket.clone()), "/fault/hang");
        server.until_in_flight(2);
        os::kill(server.pid);
        let next = server
            .another()
            .set("server.bind", binds(&address.to_string()))
            .launch();
        within(Duration::from_secs(1), "the workers are gone", || {
            (!workers.iter().any(|pid| os::is_alive(*pid))).then_some(())
        });
        next.wait_until_ready();
        assert_eq!(server.wait_for_exit(Duration::ZERO), Some(-9));
        for address in next.addresses() {
            client::get(&address, "/hello").unwrap();
        }
        assert!(in_flight.join().unwrap().is_err());
        assert!(hanging.join().unwrap().is_err());
    }
}

fn address_of(server: &Server) -> SocketAddr {
    match server.address() {
        Address::Tcp(address) => address,
        other @ (Address::Unix(_) | Address::Tls(..) | Address::Announced(_)) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn ports_are_free_within_a_second_of_the_masters_death() {
    let server = Setup::new().start();
    let address = address_of(&server);
    let client = client::get_meanwhile(&server.address(), "/slow?ms=600000");
    server.until_in_flight(1);
    os::kill(server.pid);
    within(Duration::from_secs(1), "the port is free", || {
        std::net::TcpListener::bind(address).ok()
    });
    assert!(client.join().unwrap().is_err());
}

#[test]
fn an_app_that_stopped_booting_is_tried_ever_more_slowly() {
    let server = Setup::faulty().start();
    server.let_boot("exit");
    let mark = server.log.mark();
    server.pids().into_iter().for_each(os::kill);
    // Both slots at once, then after 0.2, 0.6, 1.4, 3.0 and 6.2 s: that makes ten in the first minute.
    let boots = || server.count_log(mark, "worker spawned");
    eventually("six attempts", || (boots() == 6).then_some(()));
    assert_eq!(server.status().state, "degraded");
    let degraded = server.wait_for_log(
        mark,
        "degraded: workers keep dying, they are replaced ever more slowly",
    );
    assert_eq!(degraded["level"], "WARN");
    let sixth = server.log.mark();
    let next = server.log.wait_for(sixth, Duration::from_secs(3), |line| {
        line["message"] == "worker spawned"
    });
    assert!(next.is_none(), "the back-off was to be 3.2 s and more");
    // One line, not a flood.
    assert!(deaths(&server).len() <= 4, "{:?}", deaths(&server));
    server.let_boot("ok");
    server.until_workers(2);
    client::get(&server.address(), "/hello").unwrap();
}

#[test]
fn workers_that_stay_alive_are_healthy_again() {
    let server = Setup::new()
        .set("workers.backoff_initial", "1ms")
        .set("workers.backoff_reset", "500ms")
        .start();
    let mark = server.log.mark();
    for _ in 0..3 {
        kill_and_wait(&server, 0);
    }
    assert_eq!(server.status().state, "degraded");
    server.wait_for_log(mark, "recovered: workers stopped dying");
    assert_eq!(server.status().state, "serving");
}

#[test]
fn a_worker_that_is_stopped_by_a_signal_is_nothing_to_report() {
    let server = Setup::new().start();
    let pid = server.pids()[0];
    // A worker leaves operators' signals to its master.
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTERM,
        Signal::SIGTSTP,
        Signal::SIGTTOU,
    ] {
        assert!(os::send(pid, signal));
    }
    client::get(&server.address(), "/hello").unwrap();
    assert_eq!(server.pids()[0], pid);
    assert!(deaths(&server).is_empty());
}
