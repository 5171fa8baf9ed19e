//! Workers give up root's privileges for good.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;

use crate::support::client;
use crate::support::server::{Setup, accepting};
use crate::support::{PATIENCE, eventually, os, within};

/// The user that workers become; `None`, said aloud, where tests do not run as root.
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
pub(crate) fn unprivileged() -> Option<User> {
    if nix::unistd::geteuid().is_root() {
        return User::from_name("nobody").unwrap();
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI this test must run as root"
    );
    eprintln!("SKIPPED: only root can give up privileges");
    None
}

/// `nobody` must get to the files of the test.
fn open_folder(setup: &Setup) {
    fs::set_permissions(setup.folder(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_worker_is_what_the_configuration_says_and_stays_it() {
    let Some(user) = unprivileged() else { return };
    let setup = Setup::new()
        .set("process.user", "nobody")
        .set("process.umask", "0027");
    open_folder(&setup);
    let server = setup.start();
    for pid in server.pids() {
        let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
        assert_eq!(os::status_line(pid, "Uid"), four(user.uid.as_raw()));
        assert_eq!(os::status_line(pid, "Gid"), four(user.gid.as_raw()));
        assert_eq!(os::status_line(pid, "Groups"), user.gid.to_string());
        assert_eq!(os::status_line(pid, "NoNewPrivs"), "1");
        assert_eq!(os::status_line(pid, "Umask"), "0027");
        assert_eq!(os::status_line(pid, "CapEff"), "0000000000000000");
    }
    assert_eq!(os::status_line(server.pid, "Uid"), "0 0 0 0");
    client::get(&server.address(), "/hello").unwrap();
    server.reload();
    client::get(&server.address(), "/hello").unwrap();
}

#[test]
fn groups_can_be_chosen() {
    if unprivileged().is_none() {
        return;
    }
    let server = Setup::new()
        .set("process.user", "nobody")
        .set("process.group", "daemon")
        .set("process.groups", vec!["sys", "adm"])
        .start();
    let id = |name| {
        nix::unistd::Group::from_name(name)
            .unwrap()
            .unwrap()
            .gid
            .as_raw()
    };
    let pid = server.pids()[0];
    let mut groups = [id("sys"), id("adm")];
    groups.sort_unstable();
    assert_eq!(
        os::status_line(pid, "Groups"),
        groups.map(|gid| gid.to_string()).join(" ")
    );
    assert!(os::status_line(pid, "Gid").starts_with(&id("daemon").to_string()));
}

#[test]
fn a_number_without_an_account_does_not_leave_a_worker_in_roots_group() {
    if unprivileged().is_none() {
        return;
    }
    let setup = Setup::new().set("process.user", "54321");
    let refused = setup.launch();
    assert_eq!(refused.wait_for_exit(PATIENCE), Some(2));
    refused.assert_said("`process.group` must be set");
    let checked = refused.cli(["check"]);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(
        checked.stderr.contains("`process.group` must be set"),
        "{checked:?}"
    );
    let server = refused.another().set("process.group", "54322").start();
    for pid in server.pids() {
        assert_eq!(os::status_line(pid, "Gid"), "54322 54322 54322 54322");
        assert_eq!(os::status_line(pid, "Groups"), "54322");
    }
}

#[test]
fn a_group_alone_leaves_no_other_group_and_is_warned_of() {
    if unprivileged().is_none() {
        return;
    }
    let server = Setup::new()
        .under(&["setpriv", "--groups", "4,5"])
        .set("process.group", "54322")
        .start();
    server.assert_said("workers stay root");
    assert_eq!(os::status_line(server.pids()[0], "Groups"), "54322");
}

#[test]
fn a_master_without_privileges_may_name_the_user_it_runs_as() {
    let Some(user) = unprivileged() else { return };
    let setup = Setup::new().set("process.user", "nobody").under(&[
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ]);
    chown(setup.folder(), Some(user.uid.as_raw()), None).unwrap();
    let server = setup.launch();
    server.until_workers(2);
    let other = Setup::new().set("process.user", "daemon").under(&[
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ]);
    chown(other.folder(), Some(user.uid.as_raw()), None).unwrap();
    let refused = other.launch();
    assert_eq!(refused.wait_for_exit(PATIENCE), Some(2));
    refused.assert_said("need a master that runs as root");
}

#[test]
fn a_unix_socket_belongs_to_whom_the_configuration_says() {
    let Some(user) = unprivileged() else { return };
    let setup = Setup::new()
        .set("server.unix_owner", "nobody")
        .set("server.unix_group", "daemon")
        .set("server.unix_mode", "0620");
    let path = setup.folder().join("app.sock");
    let bind = format!("unix:{}", path.display());
    let _server = setup.set("server.bind", bind).start();
    let socket = fs::metadata(&path).unwrap();
    assert_eq!(socket.uid(), user.uid.as_raw());
    assert_ne!(socket.gid(), 0);
    assert_eq!(socket.mode() & 0o7777, 0o620);
}

#[test]
fn a_log_pipe_of_another_user_that_nobody_reads_holds_up_nothing() {
    let Some(user) = unprivileged() else { return };
    let setup = Setup::new()
        .set("workers.count", 1)
        .leave_log_unread()
        .under(&[
            "setpriv",
            "--reuid=nobody",
            "--regid=nogroup",
            "--clear-groups",
        ]);
    chown(setup.folder(), Some(user.uid.as_raw()), None).unwrap();
    let server = setup.launch();
    server.until_workers(1);
    let mut stream = UnixStream::connect(server.config.control_socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    // Each is a line of the log, and together they are far more than a pipe holds.
    for _ in 0..1000 {
        stream
            .write_all(b"{\"command\":\"scale\",\"workers\":1}\n")
            .unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.contains("done"), "{answer}");
    }
}

#[test]
fn a_user_that_does_not_exist_is_refused_by_name() {
    let server = Setup::new().set("process.user", "nobdoy").launch();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(2));
    server.assert_said("nobdoy");
}

#[test]
fn a_hanging_worker_without_privileges_dies_with_its_master() {
    if unprivileged().is_none() {
        return;
    }
    let server = Setup::new()
        .set("process.user", "nobody")
        .set("app.faults", true)
        .start();
    let pids = server.pids();
    let clients: Vec<_> = (0..8)
        .map(|_| client::get_meanwhile(&server.address(), "/fault/hang"))
        .collect();
    server.until("a worker hangs", |status| {
        status
            .workers
            .iter()
            .any(|worker| worker.in_flight > 0)
            .then_some(())
    });
    os::kill(server.pid);
    within(Duration::from_secs(1), "the workers are gone", || {
        (!pids.iter().any(|pid| os::is_alive(*pid))).then_some(())
    });
    for client in clients {
        assert!(client.join().unwrap().is_err());
    }
}

#[test]
fn workers_without_privileges_follow_a_rotation_of_the_log() {
    let Some(user) = unprivileged() else { return };
    let setup = Setup::new()
        .set("process.user", "nobody")
        .set("log.file", "app.log")
        .set("access_log.enabled", true);
    open_folder(&setup);
    let server = setup.start();
    let (current, old) = (
        server.folder().join("app.log"),
        server.folder().join("app.log.1"),
    );
    fs::rename(&current, old).unwrap();
    server.signal(Signal::SIGUSR1);
    eventually("access lines in the new file", || {
        client::get(&server.address(), "/hello").unwrap();
        let text = fs::read_to_string(&current).unwrap_or_default();
        text.contains("\"access\"").then_some(())
    });
    assert_eq!(fs::metadata(&current).unwrap().uid(), user.uid.as_raw());
    assert_eq!(accepting(&server.status()).len(), 2);
}

#[test]
fn whoever_owns_the_folder_of_the_log_cannot_have_other_files_given_away() {
    let Some(user) = unprivileged() else { return };
    let mut setup = Setup::new()
        .set("process.user", "nobody")
        .set("log.file", "logs/app.log");
    open_folder(&setup);
    let [logs, victim, never] = ["logs", "victim", "never"].map(|name| setup.folder().join(name));
    fs::create_dir(&logs).unwrap();
    chown(&logs, Some(user.uid.as_raw()), None).unwrap();
    fs::write(&victim, "root's own").unwrap();
    let log = logs.join("app.log");
    let misdirect = |to: &Path| {
        let _there_is_none = fs::remove_file(&log);
        symlink(to, &log).unwrap();
    };
    misdirect(&never);
    let refused = setup.launch();
    assert_eq!(refused.wait_for_exit(PATIENCE), Some(2));
    refused.assert_said("it is a link");
    fs::remove_file(&log).unwrap();
    setup = refused.another();
    let server = setup.start();
    misdirect(&victim);
    let outcome = server.cli(["reopen"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("it is a link"), "{outcome:?}");
    fs::remove_file(&log).unwrap();
    // Two names of one file: a folder on the same file system is all it takes.
    fs::hard_link(&victim, &log).unwrap();
    server.cli(["reopen"]);
    server.reload();
    server.until_workers(2);
    assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "root's own");
    assert!(!never.exists());
}
