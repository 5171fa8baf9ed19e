//! An upgrade goes on as another program with the same process id, and nobody who is served notices.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use destrier::master::Status;
use nix::sys::signal::Signal;

use crate::support::client::{self, Address, Blocking};
use crate::support::command::{self, copy, script};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup, accepting};
use crate::support::{PATIENCE, eventually, os, plain};

fn served_by(server: &Server, generation: u64) -> Vec<u32> {
    server.until("the generation", |status| {
        (status.generation == Some(generation)).then_some(())
    });
    server.until_workers(2)
}

#[test]
fn upgrades_lose_nothing_per_worker() {
    upgrades_lose_nothing("per-worker", "blue-green");
}

#[test]
fn upgrades_lose_nothing_shared() {
    upgrades_lose_nothing("shared", "blue-green");
}

#[test]
fn upgrades_lose_nothing_rolling() {
    upgrades_lose_nothing("per-worker", "rolling");
}

/// 50 clients, five upgrades by command and by signal.
fn upgrades_lose_nothing(balance: &str, strategy: &str) {
    let server = Setup::new()
        .set("server.balance", balance)
        .set("reload.strategy", strategy)
        .start();
    let mut seen = server.pids();
    let load = Load::start(&server.address(), Plan::FIFTY);
    for generation in 2..=6 {
        if generation % 2 == 0 {
            let outcome = server.cli(["upgrade"]);
            let version = env!("CARGO_PKG_VERSION");
            assert_eq!(
                outcome.stdout,
                format!("upgraded to destrier {version}; generation {generation} serves\n"),
                "{outcome:?}"
            );
        } else {
            server.signal(Signal::SIGUSR2);
        }
        for pid in served_by(&server, generation) {
            assert!(!seen.contains(&pid), "worker {pid} is not new");
            seen.push(pid);
        }
        load.wait_until_age(Duration::from_secs(generation - 1));
    }
    let report = load.finish();
    report.assert_nothing_lost();
    report.assert_nobody_waited();
    assert_eq!(report.closed_while_idle, 0, "{report:?}");
    assert!(report.by_pid.len() >= 10, "{report:?}");
    assert_eq!(server.status().pid, server.pid);
    assert_eq!(server.count_log(Mark::START, "pre-flight passed"), 5);
}

#[test]
fn another_program_takes_over_and_is_the_one_that_is_upgraded_next() {
    let server = Setup::new().set("workers.count", 1).start();
    assert_eq!(server.executable(), command::destrier());
    let new = copy(&command::destrier(), &server.folder().join("new"));
    let outcome = server.upgrade_to(&new);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(server.executable(), new);
    // The next version lies at the same place.
    fs::rename(&new, server.folder().join("old")).unwrap();
    copy(&command::destrier(), &new);
    server.upgrade();
    assert_eq!(server.executable(), new);
    let called = fs::read(format!("/proc/{}/cmdline", server.pid)).unwrap();
    let called = String::from_utf8(called).unwrap();
    assert_eq!(called.matches("--resume").count(), 1, "{called:?}");
    assert!(called.starts_with(new.to_str().unwrap()), "{called:?}");
}

#[test]
fn a_link_that_was_pointed_elsewhere_is_followed_anew() {
    let setup = Setup::new();
    let place = |name: &str| setup.folder().join(name);
    let (one, two) = (place("one"), place("two"));
    let (current, next) = (place("current"), place("next"));
    copy(&command::destrier(), &one);
    copy(&command::destrier(), &two);
    symlink(&one, &current).unwrap();
    symlink(&two, &next).unwrap();
    let server = setup.program(current.clone()).start();
    assert_eq!(server.executable(), one);
    fs::rename(&next, &current).unwrap();
    server.upgrade();
    assert_eq!(server.executable(), two);
}

#[test]
fn a_program_that_was_found_by_its_name_is_found_again() {
    let setup = Setup::new();
    let program = copy(&command::destrier(), &setup.folder().join("destrier"));
    let path = format!("/nowhere:{}", setup.folder().display());
    let server = setup
        .program(PathBuf::from("destrier"))
        .under(&["env"])
        .env("PATH", &format!("{path}:/usr/bin:/bin"))
        .start();
    assert_eq!(server.executable(), program);
    let outcome = run_upgrade(&server);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(server.executable(), program);
}

/// Where the program of the server has no path.
fn run_upgrade(server: &Server) -> command::Outcome {
    let mut command = command::command(&command::destrier());
    command.args(["upgrade", "-c"]).arg(server.config.file());
    command::run(command)
}

#[test]
fn connections_and_requests_in_flight_outlive_an_upgrade() {
    let server = Setup::new().set("http.drain_linger", "10s").start();
    let mut idle = Blocking::open(&server.address()).unwrap();
    let before = idle.get("/pid").unwrap();
    let slow = client::get_meanwhile(&server.address(), "/slow?ms=3000");
    server.until_in_flight(1);
    server.upgrade();
    let last = idle.get("/pid").unwrap();
    assert_eq!(last.pid(), before.pid());
    slow.join().unwrap().unwrap();
    let after = client::get(&server.address(), "/pid").unwrap();
    assert_ne!(after.pid(), before.pid());
    server.until_workers(2);
}

#[test]
fn totals_and_uptime_go_on_over_an_upgrade() {
    let server = Setup::new().start();
    for _ in 0..20 {
        client::get(&server.address(), "/hello").unwrap();
    }
    let before = server.status();
    assert_eq!(before.totals.requests, 20);
    server.upgrade();
    let after = server.status();
    assert_eq!(after.totals.requests, 20);
    assert_eq!(after.totals.connections, before.totals.connections);
    assert!(after.uptime > before.uptime);
    client::get(&server.address(), "/hello").unwrap();
    server.until("one more", |status| {
        (status.totals.requests == 21).then_some(())
    });
}

#[test]
fn unix_sockets_stay_ours_over_an_upgrade_and_go_with_the_server() {
    let setup = Setup::new();
    let socket = setup.folder().join("app.sock");
    let server = setup
        .set("server.bind", format!("unix:{}", socket.display()))
        .set("process.pid_file", "pid")
        .start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    server.upgrade();
    server.upgrade();
    load.wait_for_answers(200);
    let report = load.finish();
    report.assert_nothing_lost();
    assert_eq!(report.closed_while_idle, 0, "{report:?}");
    // The locks are held on.
    let mut other = Setup::new();
    let bind = format!("unix:{}", socket.display());
    other.config.set("server.bind", bind);
    let other = other.launch();
    assert_eq!(other.wait_for_exit(PATIENCE), Some(1));
    other.assert_said(&format!(
        "belongs to a server that runs: process {}",
        server.pid
    ));
    let second = server.another().launch();
    assert_eq!(second.wait_for_exit(PATIENCE), Some(1));
    let pid_file = server.folder().join("pid");
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert_eq!(pid.trim(), server.pid.to_string());
    assert_eq!(server.cli(["stop"]).code, Some(0));
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    for gone in [&socket, &pid_file, &server.config.control_socket()] {
        assert!(!gone.exists(), "{} is left", gone.display());
    }
}

#[test]
fn sockets_of_systemd_are_known_after_an_upgrade() {
    let [web, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let handed = |listener: &TcpListener| OwnedFd::from(listener.try_clone().unwrap());
    let mut server = Setup::new()
        .set("server.bind", "systemd:web")
        .pass([(handed(&web), "web"), (handed(&admin), "admin")])
        .start();
    let mark = server.notifications.mark();
    server.upgrade();
    server.wait_for_notification(mark, "RELOADING=1\nMONOTONIC_USEC=");
    let ready = server.wait_for_notification(mark, "READY=1\n");
    assert!(ready.contains("generation 2"), "{ready}");
    client::get(&server.address(), "/hello").unwrap();
    // By name and by number, as they were passed at the start.
    let all = vec!["systemd:web".to_owned(), "fd:4".to_owned()];
    server.config.set("server.bind", all).write();
    server.reload();
    let address = Address::Tcp(admin.local_addr().unwrap());
    client::get(&address, "/hello").unwrap();
}

#[test]
fn the_watchdog_hears_from_the_new_program() {
    let server = Setup::new().env("WATCHDOG_USEC", "200000").start();
    server.upgrade();
    let mark = server.notifications.mark();
    eventually("signs of life", || {
        let said = server.notifications.since(mark);
        let signs = said.iter().filter(|text| *text == "WATCHDOG=1");
        (signs.count() >= 3).then_some(())
    });
}

#[test]
fn what_was_possible_before_an_upgrade_is_possible_after_it() {
    let mut server = Setup::new().start();
    server.upgrade();
    server.config.set("workers.count", 3).write();
    server.reload();
    assert_eq!(server.status().generation, Some(3));
    server.until_workers(3);
    assert_eq!(server.cli(["scale", "1"]).code, Some(0));
    server.until_workers(1);
    server.upgrade();
    // As after any reload.
    let pids = server.until_workers(3);
    os::kill(pids[0]);
    server.until("a replacement", |status| {
        let after = accepting(status);
        (after.len() == 3 && !after.contains(&pids[0])).then_some(())
    });
    client::get(&server.address(), "/hello").unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}

/// A program that does `meanwhile` in the place of the master, before it goes on as destrier: by builtins of the shell
/// only, for it would reap the workers together with a child of its own.
fn slow_to_become(server: &Server, program: &Path, meanwhile: &str) -> PathBuf {
    let program = program.display();
    script(
        &server.folder().join("slow"),
        &format!("case \"$*\" in *--resume*) {meanwhile};; esac\nexec {program} \"$@\""),
    )
}

#[test]
fn a_worker_that_dies_while_the_master_becomes_another_program_is_reaped_and_replaced() {
    let server = Setup::faulty().start();
    let before = server.pids();
    let killed = before[0];
    let until_dead = format!(
        "kill -9 {killed}; until while read -r line; do case $line in State:*Z*) break;; esac; done </proc/{killed}/status && case $line in State:*Z*) true;; *) false;; esac; do :; done"
    );
    let program = slow_to_become(&server, &command::faulty(), &until_dead);
    // The workers of the new program wait, so that the old generation must stand in.
    server.let_boot("wait");
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(&program));
        server.wait_for_log(Mark::START, "worker died");
        server.let_boot("ok");
        let outcome = upgrade.join().unwrap();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    });
    assert!(!Path::new(&format!("/proc/{killed}")).exists());
    assert!(!served_by(&server, 2).contains(&before[1]));
}

#[test]
fn a_signal_that_arrives_while_the_master_becomes_another_program_is_obeyed() {
    let server = Setup::new().start();
    let program = slow_to_become(&server, &command::destrier(), "kill -TERM $$");
    let outcome = server.upgrade_to(&program);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("stopping"), "{outcome:?}");
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn workers_that_drain_are_waited_for_by_the_new_program() {
    let server = Setup::new().start();
    let mut upload = server.connect();
    upload
        .write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n")
        .unwrap();
    server.until_in_flight(1);
    server.reload();
    let draining = |status: &Status| {
        let mut there = status.workers.iter();
        there.any(|worker| worker.generation == 1).then_some(())
    };
    server.until("a worker that drains", draining);
    server.upgrade();
    server.upgrade();
    assert!(draining(&server.status()).is_some());
    upload.write_all(b"x").unwrap();
    let head = plain::head(&mut upload);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let before = server.log.mark();
    served_by(&server, 4);
    assert_eq!(server.count_log(before, "worker died"), 0);
}

#[test]
fn a_worker_that_does_not_drain_is_killed_by_the_new_program() {
    let server = Setup::new()
        .set("workers.graceful_timeout", "2s")
        .set("workers.count", 1)
        .start();
    let stuck = client::get_meanwhile(&server.address(), "/slow?ms=60000");
    server.until_in_flight(1);
    server.upgrade();
    server.wait_for_log(Mark::START, "killed: its time to drain is over");
    assert!(stuck.join().unwrap().is_err());
    server.until_workers(1);
}

#[test]
fn a_worker_that_boots_is_adopted_and_serves_when_it_is_ready() {
    let server = Setup::faulty().start();
    let victim = server.pids()[0];
    server.let_boot("wait");
    os::kill(victim);
    let booting = |status: &Status| {
        let mut there = status.workers.iter();
        there.find_map(|worker| (worker.state == "booting").then_some(worker.pid))
    };
    let booting = server.until("a replacement that boots", booting);
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.cli(["upgrade"]));
        server.until("workers of the new program", |status| {
            let new = status
                .workers
                .iter()
                .filter(|worker| worker.generation == 2);
            (new.count() == 2).then_some(())
        });
        // The candidates give up, the one that was adopted may stay.
        for worker in server.status().workers {
            if worker.generation == 2 {
                os::kill(worker.pid);
            }
        }
        assert_eq!(upgrade.join().unwrap().code, Some(1));
    });
    server.let_boot("ok");
    let serves = server.until_workers(2);
    assert!(serves.contains(&booting), "{booting} not among {serves:?}");
}

#[test]
fn an_upgrade_mends_a_server_whose_workers_keep_dying() {
    let server = Setup::faulty()
        .set("workers.backoff_initial", "1h")
        .set("workers.backoff_max", "1h")
        .start();
    for _ in 0..2 {
        let victim = server.pids()[0];
        os::kill(victim);
        server.until("its end", |status| {
            (!accepting(status).contains(&victim)).then_some(())
        });
        eventually("one that stands in, or nobody", || {
            let status = server.status();
            (accepting(&status).len() == 2 || status.state == "degraded").then_some(())
        });
    }
    assert_eq!(server.status().state, "degraded");
    server.upgrade();
    served_by(&server, 2);
    assert_eq!(server.status().state, "serving");
}

#[test]
fn a_paused_server_keeps_its_clients_over_an_upgrade_and_serves_after_it() {
    let server = Setup::new().start();
    let address = server.address();
    server.signal(Signal::SIGWINCH);
    server.until("nobody", |status| status.workers.is_empty().then_some(()));
    let waiting = client::get_meanwhile(&address, "/hello");
    server.upgrade();
    waiting.join().unwrap().unwrap();
    server.until_workers(2);
}

#[test]
fn who_waits_for_the_master_gets_an_answer_from_the_new_program() {
    let server = Setup::faulty().start();
    let connect = || UnixStream::connect(server.config.control_socket()).unwrap();
    let mut half = connect();
    half.write_all(b"{\"command\":\"sta").unwrap();
    server.let_boot("wait");
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.cli(["upgrade"]));
        server.wait_for_log(
            Mark::START,
            "upgrade: this process goes on as another program",
        );
        let reload = scope.spawn(|| server.cli(["reload"]));
        server.wait_for_log(Mark::START, "reload asked for by command");
        half.write_all(b"tus\"}\n").unwrap();
        let mut line = String::new();
        BufReader::new(&half).read_line(&mut line).unwrap();
        assert!(line.contains("\"reloading\""), "{line}");
        server.let_boot("ok");
        for (asked, told) in [(upgrade, "generation 2"), (reload, "generation 3")] {
            let outcome = asked.join().unwrap();
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            assert!(outcome.stdout.contains(told), "{outcome:?}");
        }
    });
}

#[test]
fn what_the_operator_asks_for_during_an_upgrade_is_done_after_it() {
    let server = Setup::new().start();
    let asked = |program: &str| {
        let answer = server.folder().join("answer");
        let wait = format!("until [ -e {} ]; do sleep 0.01; done", answer.display());
        let text = format!("case \"$*\" in *--preflight*) {wait};; esac\nexec {program} \"$@\"");
        (script(&server.folder().join("thinks"), &text), answer)
    };
    let (program, answer) = asked(command::destrier().to_str().unwrap());
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(&program));
        server.until("the question", |status| {
            (status.state == "upgrading").then_some(())
        });
        assert_eq!(server.cli(["scale", "3"]).code, Some(0));
        let second = server.cli(["upgrade"]);
        assert_eq!(second.code, Some(1), "{second:?}");
        assert!(second.stderr.contains("under way already"), "{second:?}");
        let reload = scope.spawn(|| server.cli(["reload"]));
        server.wait_for_log(Mark::START, "reload asked for by command");
        fs::write(&answer, "").unwrap();
        for asked in [upgrade, reload] {
            let outcome = asked.join().unwrap();
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            assert!(outcome.stdout.contains("generation 2"), "{outcome:?}");
        }
    });
    served_by(&server, 2);
}

#[test]
fn lines_that_nobody_has_read_are_written_by_the_new_program() {
    let mut server = Setup::new()
        .set("log.level", "debug")
        .leave_log_unread()
        .start();
    // Far more than a pipe holds, so that lines wait in the master.
    for _ in 0..400 {
        server.signal(Signal::SIGALRM);
        server.status();
    }
    server.upgrade();
    server.read_log();
    server.wait_for_log(
        Mark::START,
        "upgrade: this process goes on as another program",
    );
    assert_eq!(
        server.count_log(Mark::START, "no meaning here, ignored"),
        400
    );
    let lines = server.log.since(Mark::START);
    let torn = lines.iter().find(|line| line["timestamp"].is_null());
    assert_eq!(torn, None);
}

#[test]
fn descriptors_do_not_pile_up_over_upgrades() {
    let server = Setup::new().start();
    let of_worker = server.pids().into_iter().map(os::descriptors).max();
    let of_master = os::descriptors(server.pid);
    for _ in 0..3 {
        server.upgrade();
        server.until_workers(2);
    }
    assert_eq!(
        server.pids().into_iter().map(os::descriptors).max(),
        of_worker
    );
    assert!(os::descriptors(server.pid) <= of_master + 1);
    assert_eq!(os::sockets_open_on_exec(server.pid), [""; 0]);
}

/// Orders in an order that nobody thought of; a failure names its seed.
#[test]
fn no_order_of_upgrades_and_other_orders_loses_anything() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    for (balance, strategy) in [("per-worker", "rolling"), ("shared", "blue-green")] {
        let mut random = fastrand::Rng::with_seed(seed);
        let server = Setup::new()
            .set("server.balance", balance)
            .set("reload.strategy", strategy)
            .start();
        let load = Load::start(&server.address(), Plan::FIFTY);
        for _ in 0..25 {
            match random.u8(0..7) {
                0 => server.signal(Signal::SIGTTIN),
                1 => server.signal(Signal::SIGTTOU),
                2 => server.signal(Signal::SIGHUP),
                3 => drop(server.cli(["upgrade"])),
                4 => drop(server.upgrade_to(Path::new("/bin/false"))),
                _ => server.signal(Signal::SIGUSR2),
            }
            load.wait_for_answers(random.u64(1..60));
        }
        let report = load.finish();
        let told = format!("SEED={seed} {balance} {strategy}: {report:?}");
        assert_eq!(report.failures(), 0, "{told}");
        assert_eq!(report.closed_while_idle, 0, "{told}");
    }
}
