//! Idle connections are passed on to the worker that takes the place of theirs: a reload closes none.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;

use crate::support::client::{Address, Blocking};
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os};

const REQUEST: &[u8] = b"GET /pid HTTP/1.1\r\nhost: test\r\n\r\n";

fn setup() -> Setup {
    // Were a connection not passed on, the test would not outlive it.
    Setup::new()
        .set("http.pass_connections", true)
        .set("http.drain_linger", "0s")
}

fn open(address: &Address) -> TcpStream {
    let Address::Tcp(address) = address else {
        panic!("a port was asked for");
    };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Who answers on it. The answer must not end the connection.
#[track_caller]
fn ask(mut stream: impl Read + Write) -> u32 {
    stream.write_all(REQUEST).unwrap();
    let (pid, closes) = answer(stream);
    assert!(!closes);
    pid
}

/// Who answers, and whether the answer ends the connection.
#[track_caller]
fn answer(mut stream: impl Read) -> (u32, bool) {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.ends_with('}') {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let pid = body["pid"].as_u64().unwrap().try_into().unwrap();
    (pid, text.contains("connection: close"))
}

/// Waits until only `workers` workers run, all of which are new.
#[track_caller]
fn replaced(server: &Server, workers: usize, before: &[u32]) -> Vec<u32> {
    server.until("other workers", |status| {
        let pids: Vec<u32> = status.workers.iter().map(|worker| worker.pid).collect();
        let are_new = pids.iter().all(|pid| !before.contains(pid));
        (pids.len() == workers && are_new).then_some(pids)
    })
}

fn idle_connections_outlive_reloads(balance: &str, count: usize) {
    let server = setup().set("server.balance", balance).start();
    let address = server.address();
    let mut clients: Vec<TcpStream> = (0..count).map(|_| open(&address)).collect();
    let mut pids = server.pids();
    let mut answering: BTreeSet<u32> = clients.iter().map(ask).collect();
    // On a busy machine one worker may have taken them all.
    eventually("all workers have connections", || {
        if answering.len() < pids.len() {
            let client = open(&address);
            answering.insert(ask(&client));
            clients.push(client);
        }
        (answering.len() == pids.len()).then_some(())
    });
    let count = clients.len();
    let of_master = os::descriptors(server.pid);
    let of_workers = || -> usize { server.pids().into_iter().map(os::descriptors).sum() };
    let held = of_workers();
    for _ in 0..5 {
        server.reload();
        pids = replaced(&server, 2, &pids);
        let connections: u64 = server.until("the connections", |status| {
            let connections = status.workers.iter().map(|worker| worker.connections).sum();
            (connections == count as u64).then_some(connections)
        });
        assert_eq!(connections, count as u64);
        for client in &clients {
            let pid = ask(client);
            assert!(pids.contains(&pid), "{pid} is none of {pids:?}");
        }
    }
    assert_eq!(of_workers(), held);
    // One more is the connection of the status that was just asked for.
    assert!(os::descriptors(server.pid) <= of_master + 1);
    assert_eq!(server.status().totals.connections, count as u64);
}

#[test]
fn idle_connections_outlive_reloads_per_worker() {
    idle_connections_outlive_reloads("per-worker", 200);
}

#[test]
fn a_request_that_arrives_together_with_the_order_to_drain_does_not_end_its_connection() {
    let server = setup().set("workers.count", 1).start();
    let mut client = open(&server.address());
    let old = ask(&client);
    assert!(os::send(old, Signal::SIGSTOP));
    eventually("the stop", || os::is_stopped(old).then_some(()));
    server.reload();
    client.write_all(REQUEST).unwrap();
    assert!(os::send(old, Signal::SIGCONT));
    assert_eq!(answer(&client), (old, false));
    // It is passed on as soon as the old worker has heard the order.
    eventually("another worker answers", || {
        (ask(&client) != old).then_some(())
    });
}

#[test]
fn idle_connections_outlive_reloads_shared() {
    idle_connections_outlive_reloads("shared", 200);
}

/// More than the socket between two workers holds.
#[test]
fn a_thousand_idle_connections_outlive_reloads() {
    idle_connections_outlive_reloads("per-worker", 1000);
}

#[test]
fn idle_connections_outlive_rolling_reloads_and_upgrades_and_replacements() {
    let server = setup()
        .set("reload.strategy", "rolling")
        .set("workers.max_requests", 30)
        .start();
    let client = open(&server.address());
    let fresh = open(&server.address());
    let first = ask(&client);
    let before = server.pids();
    server.reload();
    let before = replaced(&server, 2, &before);
    assert!(before.contains(&ask(&client)));
    server.upgrade();
    let before = replaced(&server, 2, &before);
    let pid = ask(&client);
    assert!(before.contains(&pid) && pid != first);
    assert!(before.contains(&ask(&fresh)), "nothing had been said on it");
    // Its worker serves out with requests on connections of their own, so it is idle when it goes.
    eventually("a replacement", || {
        let mut other = Blocking::open(&server.address()).unwrap();
        other.get("/hello").unwrap();
        (!server.pids().contains(&pid)).then_some(())
    });
    assert_ne!(ask(&client), pid);
}

/// With a request on its way at every moment of it.
#[test]
fn no_request_is_lost_while_connections_are_passed_on() {
    let server = setup().set("http.drain_linger", "1s").start();
    let address = server.address();
    let mut clients: Vec<TcpStream> = (0..50).map(|_| open(&address)).collect();
    let mut pids = server.pids();
    for client in &clients {
        ask(client);
    }
    for _ in 0..10 {
        std::thread::scope(|scope| {
            let reload = scope.spawn(|| server.reload());
            let mut random = fastrand::Rng::new();
            while !reload.is_finished() {
                let client = &mut clients[random.usize(..50)];
                client.write_all(&REQUEST[..10]).unwrap();
                client.write_all(&REQUEST[10..]).unwrap();
                // One whose answer was under way when its worker heard of the drain may be ended by it.
                if answer(&mut *client).1 {
                    *client = open(&address);
                }
            }
            reload.join().unwrap();
        });
        pids = replaced(&server, 2, &pids);
        assert!(pids.contains(&ask(open(&address))));
    }
}

/// Orders in an order that nobody thought of; a failure names its seed.
#[test]
fn no_order_of_orders_loses_anything_while_connections_are_passed_on() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    for (balance, strategy) in [("per-worker", "rolling"), ("shared", "blue-green")] {
        let mut random = fastrand::Rng::with_seed(seed);
        let server = Setup::new()
            .set("http.pass_connections", true)
            .set("workers.max_requests", 200)
            .set("server.balance", balance)
            .set("reload.strategy", strategy)
            .start();
        let load = Load::start(&server.address(), Plan::FIFTY);
        for _ in 0..25 {
            match random.u8(0..7) {
                0 => server.signal(Signal::SIGTTIN),
                1 => server.signal(Signal::SIGTTOU),
                2 => drop(server.cli(["scale", "4"])),
                3 => drop(server.cli(["upgrade"])),
                4 => drop(server.cli(["reload"])),
                _ => server.signal(Signal::SIGHUP),
            }
            load.wait_for_answers(random.u64(1..60));
        }
        let report = load.finish();
        let case = format!("SEED={seed} {balance} {strategy}: {report:?}");
        assert_eq!(
            (report.failures(), report.closed_while_idle),
            (0, 0),
            "{case}"
        );
    }
}

#[test]
fn connections_of_a_unix_socket_are_passed_on_too() {
    let setup = setup();
    let path = setup.folder().join("app.sock");
    let server = setup
        .set("server.bind", format!("unix:{}", path.display()))
        .start();
    let client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&client);
    let before = server.pids();
    server.reload();
    let after = replaced(&server, 2, &before);
    assert!(after.contains(&ask(&client)));
}

/// What follows would be taken for a request of its own.
#[test]
fn a_connection_whose_request_is_not_read_to_its_end_is_not_passed_on() {
    let server = setup().start();
    let mut client = open(&server.address());
    client
        .write_all(b"POST /pid HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n")
        .unwrap();
    server.until("an answer", |status| {
        (status.totals.requests == 1).then_some(())
    });
    let before = server.pids();
    server.reload();
    replaced(&server, 2, &before);
    // The end is an error where the server has not read everything.
    let _ends = client.write_all(REQUEST);
    let mut text = Vec::new();
    let _ends = client.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(text.matches("HTTP/1.1").count() <= 1, "{text}");
}

#[test]
fn idle_connections_are_let_go_where_nobody_takes_the_place() {
    let server = setup().start();
    let client = open(&server.address());
    ask(&client);
    server.cli(["stop"]);
    assert_eq!((&client).read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_listener_that_is_not_served_any_more_has_its_idle_connections_closed() {
    let mut server = setup()
        .set("server.bind", vec!["127.0.0.1:0", "[::1]:0"])
        .start();
    let addresses = server.addresses();
    let (kept, gone) = (open(&addresses[0]), open(&addresses[1]));
    ask(&kept);
    ask(&gone);
    let before = server.pids();
    server.config.set("server.bind", "127.0.0.1:0").write();
    server.reload();
    let after = replaced(&server, 2, &before);
    assert!(after.contains(&ask(&kept)));
    assert_eq!((&gone).read(&mut [0; 1]).unwrap(), 0);
}
