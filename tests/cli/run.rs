//! `destrier run` that cannot start: the reason as the last words, and the exit code that a service manager heeds.

use std::net::TcpListener;

use insta::assert_snapshot;

use crate::place::{Outcome, Place, masked};
use crate::support::server::Setup;

/// Runs with everything public on a port of the kernel's choice, and with `more` in the file.
#[track_caller]
fn run(place: &Place, more: &str) -> Outcome {
    place.write(
        "app.toml",
        format!(
            "server.bind = \"127.0.0.1:0\"\nworkers.count = 1\nprocess.control_socket = \"control.sock\"\n{more}\n[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n"
        ),
    );
    place.run("run -c app.toml")
}

#[test]
fn what_only_another_configuration_helps_exits_with_2() {
    let place = Place::new();
    assert_snapshot!(run(&place, "workers.backoff_max = 0"), @r#"
    exit 2
    --- stderr
    config: app.toml:4:23: `workers.backoff_max` must be a time of 1ms to 1h, such as "10s" or "500ms", found `0`
    "#);
    assert_snapshot!(run(&place, "process.user = \"nobdoy\""), @r#"
    exit 2
    --- stderr
    `process.user`: there is no user `nobdoy`
    "#);
    assert_snapshot!(run(&place, "process.group = \"nogruop\""), @r#"
    exit 2
    --- stderr
    `process.group`: there is no group `nogruop`
    "#);
    assert_snapshot!(run(&place, "process.pid_file = \"run/app.pid\""), @r#"
    exit 2
    --- stderr
    cannot write `process.pid_file` `/srv/run/app.pid`: No such file or directory (os error 2)
    "#);
    assert_snapshot!(run(&place, "log.file = \"log/app.log\""), @r#"
    exit 2
    --- stderr
    cannot open `log.file` `/srv/log/app.log`: No such file or directory (os error 2)
    "#);
    // The locks beside the sockets stay: to remove one would let two servers have it.
    let locks = ["control.admin.sock.lock", "control.sock.lock"];
    assert_eq!(place.names(), [&["app.toml"], &locks[..]].concat());
}

#[test]
fn a_busy_port_is_named() {
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    place.write("app.toml", "process.control_socket = \"control.sock\"\n");
    let outcome = place.run(&format!("run -c app.toml --bind {address}"));
    let _masks = masked(&[(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]")]);
    assert_snapshot!(outcome, @r#"
    exit 1
    --- stderr
    cannot listen on `127.0.0.1:[port]`: Address already in use (os error 98)
    "#);
    assert!(outcome.stderr.contains(&address.to_string()));
}

#[test]
fn a_place_that_cannot_be_listened_on_is_named() {
    let place = Place::new();
    place.write("app.toml", "process.control_socket = \"control.sock\"\n");
    let run = |bind: &str| place.run(&format!("run -c app.toml --bind {bind}"));
    assert_snapshot!(run("192.0.2.1:8000"), @r#"
    exit 1
    --- stderr
    cannot listen on `192.0.2.1:8000`: Cannot assign requested address (os error 99)
    "#);
    assert_snapshot!(run("unix:app.toml"), @r#"
    exit 1
    --- stderr
    cannot listen on `unix:/srv/app.toml`: `/srv/app.toml` exists and is no socket; it is left alone
    "#);
    assert_snapshot!(run("fd:9"), @r#"
    exit 1
    --- stderr
    cannot listen on `fd:9`: no listening socket was passed under it; sockets are passed at the start only
    "#);
    assert_snapshot!(run("systemd:web"), @r#"
    exit 1
    --- stderr
    cannot listen on `systemd:web`: no listening socket was passed under it; sockets are passed at the start only
    "#);
}

#[test]
fn a_second_server_of_the_same_configuration_is_refused_with_the_pid_of_the_first() {
    let server = Setup::new().start();
    let outcome = server.cli(["run"]);
    assert_eq!(outcome.code, Some(1));
    let folder = server.folder().display();
    assert_eq!(
        outcome.stderr,
        format!(
            "control socket: `{folder}/control.sock` belongs to a server that runs: process {}\nhint: a second server beside it needs a control socket of its own: `process.control_socket`, or `--control PATH`\n",
            server.pid
        )
    );
    assert!(server.is_running());
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn privileges_that_an_ordinary_user_does_not_have_are_named() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI this test must run as root"
        );
        eprintln!("SKIPPED: only root can become an ordinary user");
        return;
    }
    let place = Place::new();
    place.write("app.toml", "process.user = \"root\"\n");
    std::os::unix::fs::chown(place.path("."), Some(NOBODY), None).unwrap();
    assert_snapshot!(run_as_nobody(&place, "--bind 127.0.0.1:0"), @r#"
    exit 2
    --- stderr
    `process.user`, `process.group` and `process.groups` need a master that runs as root, this one has user id 65534 and group id 65534
    "#);
    // Containers often let everybody have every port.
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim() != "0" {
        place.write("app.toml", "process.control_socket = \"control.sock\"\n");
        assert_snapshot!(run_as_nobody(&place, "--bind 127.0.0.1:1"), @r#"
        exit 1
        --- stderr
        cannot listen on `127.0.0.1:1`: Permission denied (os error 13)
        hint: ports below 1024 need root, CAP_NET_BIND_SERVICE, or a socket that systemd passes
        "#);
    }
}

const NOBODY: u32 = 65534;

#[track_caller]
fn run_as_nobody(place: &Place, flags: &str) -> Outcome {
    // The checkout may be root's own. Not copied by this process: a test that forks meanwhile would hold the copy open for
    // writing, and then it cannot be executed (execve(2): `ETXTBSY`).
    let program = place.path("destrier");
    let mut copy = crate::support::command::command(std::path::Path::new("cp"));
    copy.arg(crate::support::command::destrier()).arg(&program);
    assert_eq!(place.outcome(copy).code, Some(0));
    let id = NOBODY.to_string();
    let mut nobody = crate::support::command::command(std::path::Path::new("setpriv"));
    nobody
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(program)
        .args(["run", "-c", "app.toml"])
        .args(flags.split_whitespace())
        .current_dir(place.path("."));
    place.outcome(nobody)
}

#[test]
fn what_an_upgrade_says_to_a_program_is_of_no_use_to_anybody_else() {
    let place = Place::new();
    assert_snapshot!(run_with(&place, "--resume 77"), @r#"
    exit 1
    --- stderr
    cannot read the state of the master that runs: descriptor 77 was not left: EBADF: Bad file number
    "#);
    assert_snapshot!(run_with(&place, "--resume 1"), @r#"
    exit 1
    --- stderr
    cannot read the state of the master that runs: descriptor 1 was not left: it is a standard stream
    "#);
    // Standard input is empty here.
    assert_snapshot!(run_with(&place, "--preflight"), @r#"
    exit 1
    --- stderr
    cannot understand the state of the master that runs: EOF while parsing a value at line 1 column 0
    "#);
}

fn run_with(place: &Place, more: &str) -> Outcome {
    place.write("app.toml", "");
    place.run(&format!("run -c app.toml {more}"))
}
