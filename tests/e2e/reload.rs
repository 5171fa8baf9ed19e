//! A reload loses no request; one that fails changes nothing and says why.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use destrier::master::control::{self, Answer, Request};
use nix::sys::signal::Signal;

use crate::support::client::get;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup, accepting};
use crate::support::{os, timed};

#[test]
fn ten_reloads_lose_nothing_blue_green_per_worker() {
    ten_reloads_lose_nothing("blue-green", "per-worker");
}

#[test]
fn ten_reloads_lose_nothing_blue_green_shared() {
    ten_reloads_lose_nothing("blue-green", "shared");
}

#[test]
fn ten_reloads_lose_nothing_rolling_per_worker() {
    ten_reloads_lose_nothing("rolling", "per-worker");
}

#[test]
fn ten_reloads_lose_nothing_rolling_shared() {
    ten_reloads_lose_nothing("rolling", "shared");
}

/// 50 clients for ten seconds and more, a HUP in each of them.
fn ten_reloads_lose_nothing(strategy: &str, balance: &str) {
    let server = Setup::new()
        .set("reload.strategy", strategy)
        .set("server.balance", balance)
        .start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    for reload in 1..=10 {
        server.signal(Signal::SIGHUP);
        server.until("the commit", |status| {
            (status.generation == Some(reload + 1)).then_some(())
        });
        server.until_workers(2);
        load.wait_until_age(Duration::from_secs(reload));
    }
    let report = load.finish();
    report.assert_nothing_lost();
    report.assert_nobody_waited();
    assert_eq!(report.closed_while_idle, 0, "{report:?}");
    assert!(report.by_pid.len() >= 20, "{report:?}");
}

#[test]
fn a_reload_that_meets_a_drain_of_the_one_before_loses_nothing() {
    for balance in ["per-worker", "shared"] {
        let server = Setup::new().set("server.balance", balance).start();
        let load = Load::start(&server.address(), Plan::FIFTY);
        for generation in 2..=8 {
            server.reload();
            assert_eq!(server.status().generation, Some(generation));
        }
        let report = load.finish();
        report.assert_nothing_lost();
        assert_eq!(report.closed_while_idle, 0, "{balance}: {report:?}");
    }
}

/// Whoever deploys and then looks whether the new version answers sees the new version.
#[test]
fn who_comes_after_a_reload_is_served_by_the_new_generation() {
    for balance in ["per-worker", "shared"] {
        let server = Setup::new().set("server.balance", balance).start();
        let (address, control) = (server.address(), server.config.control_socket());
        for generation in 2..=30 {
            let answer = control::ask(&control, &Request::Reload {}).unwrap();
            let comes = |_| get(&address, "/pid").unwrap().pid().unwrap();
            let served_by: Vec<u32> = (0..4).map(comes).collect();
            assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
            let status = server.status();
            assert_eq!(
                (status.generation, &*status.state),
                (Some(generation), "serving")
            );
            let workers = status.workers.iter();
            let new: Vec<u32> = workers
                .filter(|worker| worker.generation == generation)
                .map(|worker| worker.pid)
                .collect();
            assert!(
                served_by.iter().all(|pid| new.contains(pid)),
                "{balance}: {served_by:?} of {new:?}"
            );
        }
    }
}

/// Runs a reload that must fail under load, and holds it against the promise. Returns what the caller was told.
#[track_caller]
fn refused(server: &Server, reason: &str) -> String {
    let (before, generation) = (server.pids(), server.status().generation);
    let load = Load::start(&server.address(), Plan::LIGHT);
    let outcome = server.cli(["reload"]);
    load.wait_for_answers(20);
    load.finish().assert_nothing_lost();
    assert!(matches!(outcome.code, Some(1 | 2)), "{outcome:?}");
    assert!(
        outcome.stderr.contains(reason),
        "no {reason:?} in {}",
        outcome.stderr
    );
    assert_eq!(server.until_workers(before.len()), before);
    let status = server.status();
    assert_eq!(status.generation, generation);
    assert_eq!(status.state, "serving");
    outcome.stderr
}

/// The same by signal: the reason is in the log and in the status.
#[track_caller]
fn refused_by_signal(server: &Server, reason: &str) {
    let before = server.pids();
    let mark = server.log.mark();
    server.signal(Signal::SIGHUP);
    let line = server.wait_for_log(mark, "reload refused, everything stays as it is");
    assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    let reload = server.status().last_reload.unwrap();
    assert!(reload.error.unwrap().contains(reason));
    assert_eq!(server.pids(), before);
}

#[test]
fn a_syntax_error_is_refused() {
    let server = Setup::new().start();
    server.config.write_text("server.bind = [\n");
    let told = refused(&server, "destrier.toml:");
    assert!(told.contains("destrier.toml:"), "{told}");
    refused_by_signal(&server, "destrier.toml:");
}

#[test]
fn an_unknown_key_is_refused() {
    let mut server = Setup::new().start();
    server.config.set("workers.cuont", 3).write();
    refused(&server, "workers.cuont");
    refused_by_signal(&server, "workers.cuont");
}

#[test]
fn a_busy_port_is_refused() {
    let mut server = Setup::new().start();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let binds = vec!["127.0.0.1:0".to_owned(), address.clone()];
    server.config.set("server.bind", binds).write();
    refused(&server, &address);
    refused_by_signal(&server, &address);
    drop(busy);
    server.reload();
    assert_eq!(server.addresses().len(), 2);
}

#[test]
fn an_app_that_cannot_boot_is_rolled_back() {
    for (boot, reason) in [("fail", "the database is down"), ("exit", "exit code 7")] {
        let server = Setup::faulty().start();
        server.let_boot(boot);
        refused(&server, reason);
        server.let_boot("ok");
        server.reload();
    }
}

#[test]
fn an_app_that_hangs_at_boot_is_rolled_back_at_the_boot_timeout() {
    for (boot, strategy) in [("hang", "blue-green"), ("stall", "rolling")] {
        let server = Setup::faulty()
            .set("reload.strategy", strategy)
            .set("workers.boot_timeout", "1s")
            .start();
        server.let_boot(boot);
        let (_, took) = timed(|| refused(&server, "boot time-out"));
        assert!(took > Duration::from_secs(1), "{took:?}");
        server.let_boot("ok");
        server.reload();
    }
}

#[test]
fn a_hup_during_a_reload_is_remembered() {
    let mut server = Setup::faulty().set("workers.boot_timeout", "10s").start();
    server.let_boot("hang");
    let mark = server.log.mark();
    server.signal(Signal::SIGHUP);
    server.until("the candidate boots", |status| {
        status
            .workers
            .iter()
            .any(|worker| worker.state == "booting")
            .then_some(())
    });
    server.config.set("workers.count", 3).write();
    server.let_boot("ok");
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGHUP);
    // The hanging candidate dies with its worker; the reload that was asked for meanwhile follows.
    let booting = server
        .status()
        .workers
        .iter()
        .find(|worker| worker.state == "booting")
        .unwrap()
        .pid;
    os::kill(booting);
    server.until_workers(3);
    assert_eq!(server.count_log(mark, "reload begins"), 2);
}

#[test]
fn what_cannot_change_by_a_reload_is_named() {
    let mut server = Setup::new().start();
    server.config.set("server.balance", "shared").write();
    refused(&server, "server.balance");
    server
        .config
        .set("server.balance", "per-worker")
        .set("process.pid_file", "other.pid")
        .set("server.backlog", 77)
        .write();
    let told = refused(&server, "process.pid_file");
    assert!(told.contains("server.backlog"), "{told}");
}

#[test]
fn a_crashed_worker_comes_back_with_the_configuration_that_serves() {
    let server = Setup::faulty().start();
    let before = server.pids();
    // Neither the file nor the application on disk would boot.
    server.config.write_text("nonsense");
    os::kill(before[0]);
    let after = server.until("a replacement", |status| {
        let pids = accepting(status);
        (pids.len() == 2 && pids != before).then_some(pids)
    });
    assert_eq!(after[1], before[1]);
    assert_eq!(server.status().generation, Some(1));
    fs::remove_file(server.config.file()).unwrap();
    os::kill(before[1]);
    server.until("a replacement", |status| {
        let pids = accepting(status);
        (pids.len() == 2 && pids[1] != before[1]).then_some(())
    });
}

#[test]
fn the_new_configuration_is_in_force_after_a_reload() {
    let mut server = Setup::new().start();
    let address = server.address();
    server.config.set("workers.count", 3).write();
    let outcome = server.cli(["reload"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.stdout, "generation 2 serves\n");
    assert_eq!(server.until_workers(3).len(), 3);
    // The port that the kernel chose stays.
    assert_eq!(server.address(), address);
    server.config.set("workers.count", 1).write();
    server.reload();
    server.until_workers(1);
}

#[test]
fn a_key_file_that_cannot_be_used_is_refused() {
    let mut server = Setup::new().start();
    let key = server.folder().join("key");
    let auth = "[[auth.issuer]]\nsecret_file = \"key\"\n[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n";
    server.config.set_auth(auth);
    server.config.write();
    // Missing, not a file, too short, for everybody to read.
    refused(&server, "key");
    fs::create_dir(&key).unwrap();
    refused(&server, "key");
    fs::remove_dir(&key).unwrap();
    write_key(&key, "short", 0o600);
    refused(&server, "key");
    write_key(&key, "a secret of thirty-two octets!!!", 0o644);
    refused(&server, "key");
    refused_by_signal(&server, "key");
    write_key(&key, "a secret of thirty-two octets!!!", 0o600);
    server.reload();
}

fn write_key(key: &Path, text: &str, mode: u32) {
    fs::write(key, text).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn reloads_lose_nothing_on_a_unix_socket() {
    let setup = Setup::new();
    let bind = format!("unix:{}", setup.folder().join("app.sock").display());
    let server = setup.set("server.bind", bind).start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    for _ in 0..5 {
        server.reload();
        load.wait_for_answers(100);
    }
    let report = load.finish();
    report.assert_nothing_lost();
    assert_eq!(report.closed_while_idle, 0, "{report:?}");
}

#[test]
fn a_candidate_that_is_killed_is_rolled_back() {
    for strategy in ["blue-green", "rolling"] {
        let server = Setup::faulty().set("reload.strategy", strategy).start();
        let before = server.pids();
        server.let_boot("wait");
        let load = Load::start(&server.address(), Plan::LIGHT);
        std::thread::scope(|scope| {
            let reload = scope.spawn(|| server.cli(["reload"]));
            let booting = server.until("a candidate", |status| {
                let booting = status
                    .workers
                    .iter()
                    .find(|worker| worker.state == "booting");
                booting.map(|worker| worker.pid)
            });
            os::kill(booting);
            let outcome = reload.join().unwrap();
            assert_eq!(outcome.code, Some(1), "{outcome:?}");
            assert!(outcome.stderr.contains("SIGKILL"), "{outcome:?}");
        });
        load.finish().assert_nothing_lost();
        assert_eq!(server.until_workers(2), before);
    }
}

#[test]
fn a_worker_that_crashes_during_a_reload_is_replaced_by_its_own_generation() {
    let server = Setup::faulty().set("workers.boot_timeout", "20s").start();
    let before = server.pids();
    server.let_boot("wait");
    server.signal(Signal::SIGHUP);
    server.until("two candidates", |status| {
        let booting = status
            .workers
            .iter()
            .filter(|worker| worker.generation == 2);
        (booting.count() == 2).then_some(())
    });
    os::kill(before[0]);
    server.until("a replacement", |status| {
        let old = status
            .workers
            .iter()
            .filter(|worker| worker.generation == 1);
        (old.count() == 2).then_some(())
    });
    server.let_boot("ok");
    server.until("the commit", |status| {
        (status.generation == Some(2)).then_some(())
    });
    server.until_workers(2);
}

/// Orders in an order that nobody thought of; a failure names its seed.
#[test]
fn no_order_of_reloads_and_scalings_loses_anything() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    for (balance, strategy) in [
        ("per-worker", "blue-green"),
        ("per-worker", "rolling"),
        ("shared", "rolling"),
    ] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut server = Setup::new()
            .set("server.balance", balance)
            .set("reload.strategy", strategy)
            .start();
        let load = Load::start(&server.address(), Plan::FIFTY);
        for _ in 0..30 {
            match random.u8(0..8) {
                0 => server.signal(Signal::SIGTTIN),
                1 => server.signal(Signal::SIGTTOU),
                2 => drop(server.cli(["scale", "4"])),
                3 => drop(server.cli(["reload"])),
                4 => server.config.write_text("nonsense"),
                5 => server
                    .config
                    .set("workers.count", i64::from(random.u8(1..5)))
                    .write(),
                _ => server.signal(Signal::SIGHUP),
            }
            load.wait_for_answers(random.u64(1..60));
        }
        let report = load.finish();
        assert_eq!(
            report.failures(),
            0,
            "SEED={seed} {balance} {strategy}: {report:?}"
        );
        assert_eq!(
            report.closed_while_idle, 0,
            "SEED={seed} {balance} {strategy}: {report:?}"
        );
    }
}
