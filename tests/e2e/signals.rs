//! What each signal does that is neither a reload nor a stop.

use nix::sys::signal::Signal;

use crate::support::client;
use crate::support::os;
use crate::support::server::Setup;

#[test]
fn ttin_and_ttou_change_the_number_of_workers_by_one() {
    let server = Setup::new().start();
    let before = server.pids();
    server.signal(Signal::SIGTTIN);
    assert_eq!(server.until_workers(3)[..2], before);
    server.signal(Signal::SIGTTOU);
    assert_eq!(server.until_workers(2), before);
    server.signal(Signal::SIGTTOU);
    server.until_workers(1);
    // The last one stays.
    let mark = server.log.mark();
    server.signal(Signal::SIGTTOU);
    server.wait_for_log(mark, "received");
    server.until_workers(1);
}

#[test]
fn winch_drains_the_workers_and_keeps_the_clients_until_some_come_back() {
    for (balance, signal, count) in [
        ("per-worker", Signal::SIGHUP, 2),
        ("shared", Signal::SIGHUP, 2),
        ("per-worker", Signal::SIGTTIN, 1),
        ("shared", Signal::SIGTTIN, 1),
    ] {
        let server = Setup::new().set("server.balance", balance).start();
        let address = server.address();
        let in_flight = client::get_meanwhile(&address, "/slow?ms=300");
        server.until_in_flight(1);
        server.signal(Signal::SIGWINCH);
        server.until_workers(0);
        in_flight.join().unwrap().unwrap();
        assert_eq!(server.status().state, "paused");
        let waiting: Vec<_> = (0..8)
            .map(|_| client::get_meanwhile(&address, "/hello"))
            .collect();
        server.signal(signal);
        server.until_workers(count);
        for client in waiting {
            client.join().unwrap().unwrap();
        }
    }
}

#[test]
fn a_server_is_not_suspended_by_ctrl_z() {
    let server = Setup::new().start();
    let mark = server.log.mark();
    os::send_to_group(server.pid, Signal::SIGTSTP);
    server.wait_for_log(mark, "no meaning here, ignored");
    for pid in server.pids() {
        assert!(!os::is_stopped(pid));
    }
    client::get(&server.address(), "/hello").unwrap();
}

#[test]
fn what_the_application_starts_inherits_no_ignored_signal_of_ours() {
    let server = Setup::new().start();
    let bit = |signal: Signal| 1_u64 << (signal as i32 - 1);
    let ignored = [Signal::SIGPIPE, Signal::SIGTTIN, Signal::SIGTTOU].map(bit);
    for pid in server.pids() {
        let mask = u64::from_str_radix(&os::status_line(pid, "SigIgn"), 16).unwrap();
        // Real-time signals are as the parent of the master left them.
        assert_eq!(mask & 0x7fff_ffff, ignored.iter().sum::<u64>());
        assert_eq!(os::status_line(pid, "SigBlk"), "0".repeat(16));
    }
}

#[test]
fn a_signal_without_a_meaning_changes_nothing() {
    let server = Setup::new().start();
    let before = server.pids();
    let mark = server.log.mark();
    server.signal(Signal::SIGALRM);
    server.signal(Signal::SIGPIPE);
    server.wait_for_log(mark, "no meaning here, ignored");
    assert_eq!(server.pids(), before);
}
