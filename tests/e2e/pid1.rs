//! A server that is the first process of a container: it adopts whatever is orphaned there, and stops when it is told.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use destrier::master::Status;
use destrier::master::control::{self, Answer, Request};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::client::{self, Address};
use crate::support::config::Config;
use crate::support::load::{Load, Plan};
use crate::support::server::accepting;
use crate::support::{PATIENCE, command, eventually, os, within};

/// A server as process 1 of a PID namespace. Its status and its log count processes as the namespace does, the test as
/// the machine does.
struct Container {
    unshare: Child,
    /// Process 1, as the machine counts.
    init: u32,
    config: Config,
    _folder: TempDir,
}

#[test]
fn an_orphan_is_adopted_and_reaped() {
    let Some(container) = Container::start() else {
        return;
    };
    container.run("sleep 1000 &");
    let orphan = eventually("an orphan", || container.child_named("sleep"));
    os::kill(orphan);
    eventually("the orphan is reaped", || {
        (!Path::new(&format!("/proc/{orphan}")).exists()).then_some(())
    });
    assert_eq!(container.children().len(), 2, "the workers, and no zombie");
    client::get(&container.address(), "/hello").unwrap();
}

#[test]
fn a_worker_of_process_1_is_replaced() {
    let Some(container) = Container::start() else {
        return;
    };
    let killed = container.children()[0];
    os::kill(killed);
    eventually("a replacement", || {
        let workers = container.children();
        let status = container.status()?;
        (workers.len() == 2 && !workers.contains(&killed) && accepting(&status).len() == 2)
            .then_some(())
    });
    client::get(&container.address(), "/hello").unwrap();
}

#[test]
fn process_1_is_upgraded_and_goes_on_as_process_1() {
    let Some(mut container) = Container::start() else {
        return;
    };
    container.run("sleep 1000 &");
    let orphan = eventually("an orphan", || container.child_named("sleep"));
    let before = container.children();
    let load = Load::start(&container.address(), Plan::LIGHT);
    for (order, generation) in [("destrier", 2), ("kill -USR2 1", 3)] {
        if order == "destrier" {
            let request = Request::Upgrade { program: None };
            match control::ask(&container.config.control_socket(), &request) {
                Ok(Answer::Done(done)) => assert!(done.contains("generation 2"), "{done}"),
                other => panic!("{other:?}: {}", container.log()),
            }
        } else {
            container.run(order);
        }
        eventually("the new generation", || {
            let status = container.status()?;
            let is_complete = accepting(&status).len() == 2 && status.workers.len() == 2;
            (status.generation == Some(generation) && is_complete).then_some(())
        });
        load.wait_for_answers(20);
    }
    let report = load.finish();
    report.assert_nothing_lost();
    assert_eq!(report.closed_while_idle, 0, "{report:?}");
    assert_eq!(container.status().unwrap().pid, 1);
    // It still reaps what it has adopted.
    os::kill(orphan);
    eventually("the orphan is reaped", || {
        (!Path::new(&format!("/proc/{orphan}")).exists()).then_some(())
    });
    let after = container.children();
    assert!(after.len() == 2 && after.iter().all(|pid| !before.contains(pid)));
    container.run("kill -TERM 1");
    assert_eq!(container.wait().code(), Some(0));
}

#[test]
fn process_1_stops_gracefully() {
    for from_within in [false, true] {
        let Some(mut container) = Container::start() else {
            return;
        };
        let client = client::get_meanwhile(&container.address(), "/slow?ms=300");
        eventually("a request in flight", || {
            let status = container.status()?;
            status
                .workers
                .iter()
                .any(|worker| worker.in_flight > 0)
                .then_some(())
        });
        if from_within {
            container.run("kill -TERM 1");
        } else {
            os::send(container.init, Signal::SIGTERM);
        }
        client.join().unwrap().unwrap();
        assert_eq!(container.wait().code(), Some(0));
    }
}

impl Container {
    /// `None`, said aloud, where tests do not run as root.
    #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
    fn start() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "in CI this test must run as root"
            );
            eprintln!("SKIPPED: only root can make a PID namespace");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("e2e").tempdir().unwrap();
        let config = Config::new(folder.path());
        config.write();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut unshare = command::command(Path::new("unshare"));
        unshare
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(command::destrier())
            .args(["run", "-c"])
            .arg(config.file())
            .stdout(Stdio::null())
            .stderr(log);
        let mut container = Self {
            unshare: unshare.spawn().unwrap(),
            init: 0,
            config,
            _folder: folder,
        };
        within(PATIENCE, "a server as process 1", || {
            let ended = container.unshare.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", container.log());
            let status = container.status()?;
            (status.pid == 1 && status.state == "serving").then_some(())
        });
        container.init = children_of(container.unshare.id())[0];
        Some(container)
    }

    fn log(&self) -> String {
        let path = self.config.file().with_file_name("log");
        fs::read_to_string(path).unwrap_or_default()
    }

    fn status(&self) -> Option<Status> {
        match control::ask(&self.config.control_socket(), &Request::Status {}) {
            Ok(Answer::Status(status)) => Some(*status),
            Ok(Answer::Done(_) | Answer::Failed(_) | Answer::Plan(_) | Answer::Stacks(_))
            | Err(_) => None,
        }
    }

    fn address(&self) -> Address {
        let status = self.status().unwrap();
        Address::Tcp(status.listeners[0].address.parse().unwrap())
    }

    fn children(&self) -> Vec<u32> {
        children_of(self.init)
    }

    fn child_named(&self, name: &str) -> Option<u32> {
        let is_called = |pid: &u32| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        };
        self.children().into_iter().find(is_called)
    }

    /// Runs a script in the container; whatever it leaves behind is orphaned.
    fn run(&self, script: &str) {
        let status = Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--pid", "--mount"])
            .args(["sh", "-c", script])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{script}");
    }

    fn wait(&mut self) -> ExitStatus {
        within(PATIENCE, "the end of process 1", || {
            self.unshare.try_wait().unwrap()
        })
    }
}

impl Drop for Container {
    /// What runs in the namespace ends with its process 1, and that one with `unshare`.
    fn drop(&mut self) {
        drop(self.unshare.kill());
        drop(self.unshare.wait());
    }
}

/// `/proc/PID/task/TID/children`, which lists zombies too (proc(5)).
fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}
