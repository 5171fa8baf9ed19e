//! A program that cannot take over leaves the master as it was, and the caller is told why.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client;
use crate::support::command::{self, copy, script};
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os, timed};

/// An upgrade that must fail under load, by command and by signal. Returns what the caller was told.
#[track_caller]
fn refused(server: &Server, program: Option<&Path>, reason: &str) -> String {
    let (before, executable) = (server.pids(), server.executable());
    let generation = server.status().generation;
    let load = Load::start(&server.address(), Plan::LIGHT);
    let mark = server.log.mark();
    let outcome = match program {
        Some(program) => server.upgrade_to(program),
        None => server.cli(["upgrade"]),
    };
    load.wait_for_answers(20);
    load.finish().assert_nothing_lost();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains(reason),
        "no {reason:?} in {}",
        outcome.stderr
    );
    let line = server.wait_for_log(mark, "upgrade refused, everything stays as it is");
    assert_eq!(line["level"], "ERROR");
    assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    assert_eq!(server.pids(), before);
    assert_eq!(server.executable(), executable);
    let status = server.status();
    assert_eq!(status.generation, generation);
    assert_eq!(status.state, "serving");
    outcome.stderr
}

#[test]
fn what_cannot_be_started_does_not_take_over() {
    let server = Setup::new().start();
    let missing = server.folder().join("missing");
    refused(&server, Some(&missing), "No such file");
    refused(
        &server,
        Some(server.folder()),
        "cannot be started: Permission denied",
    );
    // Not executable.
    refused(&server, Some(&server.config.file()), "Permission denied");
    let text = server.folder().join("text");
    let trace = server.folder().join("trace");
    fs::write(&text, format!("touch {}", trace.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&text, mode).unwrap();
    refused(&server, Some(&text), "Exec format error");
    assert!(!trace.exists(), "what is no program is not run by a shell");
    server.upgrade();
}

#[test]
fn what_is_no_destrier_does_not_take_over() {
    let server = Setup::new().start();
    let script = |text: &str| script(&server.folder().join("script"), text);
    refused(
        &server,
        Some(Path::new("/bin/false")),
        "exit code 1, and it said nothing",
    );
    refused(&server, Some(Path::new("/bin/true")), "it is no destrier");
    refused(&server, Some(&script("kill -SEGV $$")), "killed by SIGSEGV");
    refused(
        &server,
        Some(&script("echo hello; exec yes")),
        "killed by SIGPIPE",
    );
    let told = refused(
        &server,
        Some(&script("echo one >&2; echo two >&2; exit 3")),
        "exit code 3: one",
    );
    assert!(told.contains("one\ntwo"), "{told}");
    server.upgrade();
}

#[test]
fn a_program_for_another_state_does_not_take_over() {
    let server = Setup::new().start();
    let other = script(
        &server.folder().join("other"),
        r#"echo '{"destrier":"9.9.9","state_version":77}'"#,
    );
    refused(&server, Some(&other), "takes over state version 77");
}

#[test]
fn a_program_that_hangs_is_killed_at_the_boot_timeout_with_what_it_started() {
    let server = Setup::new().set("workers.boot_timeout", "1s").start();
    let pid_file = server.folder().join("sleeper");
    let hangs = script(
        &server.folder().join("hangs"),
        &format!("sleep 1000 & echo $! >{}; wait", pid_file.display()),
    );
    let (_, took) = timed(|| refused(&server, Some(&hangs), "within `workers.boot_timeout` (1s)"));
    assert!(took > Duration::from_secs(1), "{took:?}");
    let sleeper = fs::read_to_string(&pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    eventually("the sleeper is gone", || {
        (!os::is_alive(sleeper)).then_some(())
    });
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid)).unwrap();
    assert_eq!(
        children.split_whitespace().count(),
        2,
        "the workers: {children}"
    );
    server.upgrade();
}

#[test]
fn a_broken_configuration_keeps_the_new_program_out() {
    let mut server = Setup::new().start();
    server.config.set("workers.cuont", 3).write();
    refused(&server, None, "unknown key `workers.cuont`");
    fs::remove_file(server.config.file()).unwrap();
    let mark = server.log.mark();
    server.signal(Signal::SIGUSR2);
    let line = server.wait_for_log(mark, "upgrade refused, everything stays as it is");
    assert!(
        line["reason"].as_str().unwrap().contains("no such file"),
        "{line}"
    );
    server.wait_for_notification(
        crate::support::journal::Mark::START,
        "STATUS=The last upgrade failed",
    );
}

#[test]
fn what_the_reload_would_refuse_keeps_the_new_program_out() {
    let mut server = Setup::new().start();
    server.config.set("server.balance", "shared").write();
    refused(&server, None, "`server.balance` cannot change by a reload");
    server.config.set("server.balance", "per-worker");
    server.config.set_auth("[[auth.issuer]]\nsecret_file = \"key\"\n[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n");
    server.config.write();
    refused(&server, None, "key");
    server
        .config
        .set_auth("[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n");
    server.config.set("process.user", "nobody-knows-me").write();
    refused(&server, None, "nobody-knows-me");
}

#[test]
fn a_program_that_changes_while_it_is_asked_does_not_take_over() {
    let server = Setup::new().start();
    let program = server.folder().join("program");
    let destrier = command::destrier();
    let text = format!(
        "echo '# changed' >>{}; exec {} \"$@\"",
        program.display(),
        destrier.display()
    );
    script(&program, &text);
    refused(&server, Some(&program), "was changed while it was asked");
}

#[test]
fn a_master_that_cannot_become_the_program_after_all_is_as_before() {
    let server = Setup::new().start();
    let program = server.folder().join("program");
    let destrier = command::destrier();
    // Says that it can, and is then no longer executable.
    let text = format!(
        "chmod 644 {}; exec {} \"$@\"",
        program.display(),
        destrier.display()
    );
    let mark = server.notifications.mark();
    refused(
        &server,
        Some(&script(&program, &text)),
        "execve: Permission denied",
    );
    server.wait_for_notification(mark, "RELOADING=1\n");
    server.wait_for_notification(mark, "READY=1\n");
    // What was about to be handed over is closed on exec again.
    assert_eq!(os::sockets_open_on_exec(server.pid), [""; 0]);
    server.upgrade();
}

#[test]
fn workers_that_cannot_boot_leave_the_old_ones_under_the_new_program() {
    for (boot, reason) in [("fail", "the database is down"), ("exit", "exit code 7")] {
        let server = Setup::faulty().start();
        let before = server.pids();
        let new = copy(&command::faulty(), &server.folder().join("new"));
        server.let_boot(boot);
        let load = Load::start(&server.address(), Plan::LIGHT);
        let outcome = server.upgrade_to(&new);
        load.wait_for_answers(20);
        load.finish().assert_nothing_lost();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
        let is_master = format!(
            "the master is destrier {} (`{}`) now",
            env!("CARGO_PKG_VERSION"),
            new.display()
        );
        assert!(outcome.stderr.contains(&is_master), "{outcome:?}");
        assert_eq!(server.executable(), new);
        assert_eq!(server.until_workers(2), before);
        assert_eq!(server.status().generation, Some(1));
        // The old generation is known: a worker that dies is replaced by its like.
        server.let_boot("ok");
        os::kill(before[0]);
        server.until("a replacement", |status| {
            let workers = status
                .workers
                .iter()
                .filter(|worker| worker.state == "accepting");
            let generations: Vec<u64> = workers.map(|worker| worker.generation).collect();
            (generations == [1, 1] && server.pids()[0] != before[0]).then_some(())
        });
        server.reload();
        server.until_workers(2);
    }
}

#[test]
fn the_generation_that_serves_is_known_to_the_new_program_whatever_is_on_disk() {
    let mut server = Setup::faulty().start();
    let before = server.pids();
    server.let_boot("fail");
    server
        .config
        .set("workers.count", 4)
        .set("access_log.enabled", true)
        .write();
    let outcome = server.cli(["upgrade"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    server.let_boot("ok");
    os::kill(before[0]);
    let after = server.until("a replacement", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 2 && pids[0] != before[0]).then_some(pids)
    });
    assert_eq!(server.until_workers(2), after);
    // An access line would be the configuration on disk.
    let mark = server.log.mark();
    (0..8).for_each(|_| drop(client::get(&server.address(), "/hello").unwrap()));
    server.reload();
    assert_eq!(server.count_log(mark, "request"), 0);
    server.until_workers(4);
}

#[test]
fn a_stop_ends_the_program_that_is_asked() {
    let server = Setup::new().start();
    let pid_file = server.folder().join("asked");
    let hangs = script(
        &server.folder().join("hangs"),
        &format!("echo $$ >{}; exec sleep 1000", pid_file.display()),
    );
    // The master is still there when the program is not.
    let slow = client::get_meanwhile(&server.address(), "/slow?ms=3000");
    server.until_in_flight(1);
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(&hangs));
        let asked: u32 = eventually("the question", || {
            fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
        });
        server.signal(Signal::SIGTERM);
        let outcome = upgrade.join().unwrap();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains("the master is stopping"),
            "{outcome:?}"
        );
        eventually("its end", || (!os::is_alive(asked)).then_some(()));
        assert!(server.is_running());
    });
    slow.join().unwrap().unwrap();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn an_upgrade_is_asked_for_with_a_path_from_anywhere() {
    let server = Setup::new().start();
    copy(&command::destrier(), &server.folder().join("new"));
    let mut command = command::command(&command::destrier());
    command
        .args(["upgrade", "--binary", "./new", "-c"])
        .arg(server.config.file())
        .current_dir(server.folder());
    let outcome = command::run(command);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let new: PathBuf = fs::canonicalize(server.folder()).unwrap().join("new");
    assert_eq!(server.executable(), new);
}
