//! A worker that holds too much memory is replaced, and nobody notices; one that does not is left alone.

use std::io::{Read, Write};
use std::net::TcpStream;

use destrier::master::MemoryStatus;
use serde_json::Value;

use crate::support::client::{self, Address, Blocking};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os};

const MIB: u64 = 1 << 20;

fn limited(setup: Setup, max_memory: &str) -> Setup {
    setup
        .set("workers.max_memory", max_memory)
        .set("workers.memory_interval", "100ms")
        .set("app.faults", true)
        .set("log.level", "debug")
}

#[track_caller]
fn held(server: &Server, pid: u32) -> MemoryStatus {
    let status = server.status();
    let worker = status.workers.into_iter().find(|worker| worker.pid == pid);
    worker.unwrap().memory.unwrap()
}

/// Has the worker `pid` leak.
#[track_caller]
fn leak(server: &Server, pid: u32, mebibytes: u64) {
    let mut connection = eventually("a connection to it", || {
        let mut connection = Blocking::open(&server.address()).unwrap();
        let answers = connection.get("/pid").unwrap().pid();
        (answers == Some(pid)).then_some(connection)
    });
    let path = format!("/fault/leak?mb={mebibytes}");
    connection.get(&path).unwrap();
}

#[track_caller]
fn wait_for_replacement(server: &Server, pid: u32) -> Value {
    let replaced =
        |line: &Value| line["message"] == "worker shall be replaced" && line["pid"] == pid;
    let line = server.log.wait_for(Mark::START, PATIENCE, replaced);
    line.unwrap_or_else(|| panic!("worker {pid} is not replaced"))
}

#[test]
fn a_worker_that_leaks_is_replaced_and_nothing_is_lost() {
    let server = limited(Setup::new(), "64MiB").start();
    let load = Load::start(&server.address(), Plan::LIGHT);
    let (small, leaking) = (server.pids()[0], server.pids()[1]);
    // What is below the limit stays; that the other one is replaced shows that there were measurements.
    leak(&server, small, 20);
    leak(&server, leaking, 80);
    let line = wait_for_replacement(&server, leaking);
    assert_eq!(
        (&line["level"], &line["reason"]),
        (&"INFO".into(), &"max_memory".into())
    );
    assert_eq!(line["max_memory"], "64.0 MiB");
    assert_eq!(line["samples"], 3);
    for figure in ["rss", "pss"] {
        let size: bytesize::ByteSize = line[figure].as_str().unwrap().parse().unwrap();
        assert!(
            size.as_u64() > 80 * MIB && size.as_u64() < 130 * MIB,
            "{line}"
        );
    }
    server.until("it has gone, and two serve", |status| {
        let gone = status.workers.iter().all(|worker| worker.pid != leaking);
        (gone && status.workers.len() == 2).then_some(())
    });
    load.wait_for_answers(50);
    load.finish().assert_nothing_lost();
    let events = server.status().events;
    let told: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "worker_replaced")
        .map(|event| (event.reason.as_deref(), event.message.as_str()))
        .collect();
    assert_eq!(told, [(Some("memory"), "max_memory")]);
    assert!(server.pids().contains(&small));
    assert!(held(&server, small).rss > 20 * MIB);
}

/// 60 MiB wait for a client that does not read; when it has gone, so have they.
#[test]
fn a_moment_of_too_much_memory_is_no_leak() {
    let server = limited(Setup::new(), "40MiB")
        .set("workers.count", 1)
        .set("workers.memory_interval", "400ms")
        .start();
    let pid = server.pids()[0];
    let Address::Tcp(address) = server.address() else {
        panic!("not TCP")
    };
    for _ in 0..2 {
        let mark = server.log.mark();
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET /big?n=60000000 HTTP/1.1\r\nhost: test\r\n\r\n")
            .unwrap();
        client.read_exact(&mut [0; 12]).unwrap();
        let line = server.wait_for_log(mark, "above `workers.max_memory`");
        // The count began anew.
        assert_eq!(line["samples"], 1);
        drop(client);
        eventually("it is small again", || {
            (held(&server, pid).rss < 40 * MIB).then_some(())
        });
        eventually("and has been measured", || {
            held(&server, pid).pss.is_none().then_some(())
        });
    }
    assert_eq!(server.pids(), [pid]);
    assert_eq!(server.count_log(Mark::START, "worker shall be replaced"), 0);
}

#[test]
fn memory_that_workers_share_counts_by_its_share() {
    let server = limited(Setup::faulty(), "64MiB")
        .env("PRELOAD_MIB", "90")
        .start();
    let pids = server.pids();
    for pid in &pids {
        let memory = server.until("a measurement", |status| {
            let worker = status.workers.iter().find(|worker| worker.pid == *pid)?;
            worker.memory.clone().filter(|memory| memory.pss.is_some())
        });
        // A third of it each: the master has it too.
        assert!(memory.rss > 90 * MIB, "{memory:?}");
        assert!(memory.pss.unwrap() < 50 * MIB, "{memory:?}");
    }
    leak(&server, pids[0], 50);
    wait_for_replacement(&server, pids[0]);
    assert_eq!(server.count_log(Mark::START, "worker shall be replaced"), 1);
}

#[test]
fn a_limit_that_no_worker_keeps_is_told() {
    let server = limited(Setup::new(), "1MiB")
        .set("workers.count", 1)
        .set("workers.max_memory_samples", 1)
        .start();
    let pid = server.pids()[0];
    let message = "it held more than `workers.max_memory` whenever it was looked at: its successors may do so too";
    let line = server.wait_for_log(Mark::START, message);
    assert_eq!(
        (&line["level"], &line["pid"]),
        (&"WARN".into(), &pid.into())
    );
}

#[test]
fn a_worker_below_the_limit_is_not_woken() {
    let server = limited(Setup::new(), "64MiB")
        .set("workers.count", 1)
        .set("workers.memory_interval", "100ms")
        .start();
    let pid = server.pids()[0];
    // It has settled when it has answered once.
    client::get(&server.address(), "/hello").unwrap();
    let wake_ups = |pid| -> u64 {
        os::status_line(pid, "voluntary_ctxt_switches")
            .parse()
            .unwrap()
    };
    let (before, of_master) = (wake_ups(pid), wake_ups(server.pid));
    eventually("ten measurements", || {
        (wake_ups(server.pid) >= of_master + 10).then_some(())
    });
    assert!(wake_ups(pid) - before <= 2);
}
