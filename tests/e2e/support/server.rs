//! A server that was really started: its configuration, its log, its notifications, its processes, and its end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use destrier::master::Status;
use destrier::master::control::{self, Answer, Request};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::client::Address;
use super::command::{self, Outcome};
use super::config::Config;
use super::journal::{Journal, Mark};
use super::{PATIENCE, eventually, os, within};

/// A server that is about to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    program: PathBuf,
    /// Put before the program's own command line.
    launcher: Vec<String>,
    env: Vec<(String, String)>,
    folder: Arc<TempDir>,
}

impl Setup {
    /// The demo application.
    pub(crate) fn new() -> Self {
        Self::of(command::destrier())
    }

    /// The application whose boot the file of [`Server::let_boot`] decides.
    pub(crate) fn faulty() -> Self {
        Self::of(command::faulty())
    }

    fn of(program: PathBuf) -> Self {
        let folder = tempfile::Builder::new().prefix("e2e").tempdir().unwrap();
        Self {
            config: Config::new(folder.path()),
            program,
            launcher: Vec::new(),
            env: Vec::new(),
            folder: Arc::new(folder),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.config.set(key, value);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn launcher<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.launcher = words.map(str::to_owned).to_vec();
        self
    }

    /// Starts it and waits until it says that it serves.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let server = self.launch();
        server.wait_until_ready();
        server
    }

    /// Starts it. The folder may be one in which another server runs already.
    pub(crate) fn launch(self) -> Server {
        self.config.write();
        let notify = self.folder().join(format!("notify{}", fastrand::u64(..)));
        let notifications = listen(&notify);
        let mut command = match self.launcher.split_first() {
            Some((launcher, arguments)) => {
                let mut command = command::command(launcher.as_ref());
                command.args(arguments).arg(&self.program);
                command
            }
            None => command::command(&self.program),
        };
        command
            .args(["run", "-c"])
            .arg(self.config.file())
            .env("NOTIFY_SOCKET", &notify)
            .envs(self.env.iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let (pid, log, ended) = spawn(command);
        Server {
            config: self.config,
            program: self.program,
            folder: self.folder,
            pid,
            log,
            notifications,
            ended,
        }
    }
}

fn listen(path: &Path) -> Arc<Journal<String>> {
    let socket = UnixDatagram::bind(path).unwrap();
    let notifications = Arc::new(Journal::default());
    let filled = Arc::clone(&notifications);
    // Ends with the test process: nothing closes a datagram socket from the other side.
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length) = socket.recv(&mut bytes) {
            filled.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    });
    notifications
}

type Spawned = (u32, Arc<Journal<Value>>, Arc<Journal<ExitStatus>>);

fn spawn(mut command: Command) -> Spawned {
    let mut child = command.spawn().unwrap();
    let (pid, stderr) = (child.id(), child.stderr.take().unwrap());
    let (log, ended) = (Arc::new(Journal::default()), Arc::new(Journal::default()));
    let (lines, end) = (Arc::clone(&log), Arc::clone(&ended));
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        }
    });
    thread::spawn(move || end.push(child.wait().unwrap()));
    (pid, log, ended)
}

/// A server that was started. When it is dropped it is stopped, and no process of it may be left.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    program: PathBuf,
    folder: Arc<TempDir>,
    /// The master.
    pub(crate) pid: u32,
    /// What it wrote to standard error: JSON objects, or text where it was none.
    pub(crate) log: Arc<Journal<Value>>,
    pub(crate) notifications: Arc<Journal<String>>,
    ended: Arc<Journal<ExitStatus>>,
}

impl Server {
    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        within(PATIENCE, "READY=1", || {
            assert!(
                self.is_running(),
                "it ended: {:#?}",
                self.log.since(Mark::START)
            );
            self.notifications
                .wait_for(Mark::START, Duration::from_millis(50), is_ready)
        });
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another server in the same folder, with this one's configuration.
    pub(crate) fn another(&self) -> Setup {
        Setup {
            config: self.config.clone(),
            program: self.program.clone(),
            launcher: Vec::new(),
            env: Vec::new(),
            folder: Arc::clone(&self.folder),
        }
    }

    /// What the faulty application does when it boots from now on: `ok`, `fail`, `hang` or `exit`.
    pub(crate) fn let_boot(&self, what: &str) {
        fs::write(self.folder().join("boot"), what).unwrap();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.ended.since(Mark::START).is_empty()
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        assert!(
            self.is_running() && os::send(self.pid, signal),
            "it has ended"
        );
    }

    /// Waits for its end and says what it exited with.
    #[track_caller]
    pub(crate) fn wait_for_exit(&self, patience: Duration) -> Option<i32> {
        let ended = self.ended.wait_for(Mark::START, patience, |_| true);
        let status = ended.unwrap_or_else(|| panic!("it still runs after {patience:?}"));
        status
            .code()
            .or_else(|| status.signal().map(|signal| -signal))
    }

    /// `destrier COMMAND -c FILE ARGUMENTS`.
    #[track_caller]
    pub(crate) fn cli<const N: usize>(&self, words: [&str; N]) -> Outcome {
        let mut command = command::command(&self.program);
        command.args(words).arg("-c").arg(self.config.file());
        command::run(command)
    }

    /// `destrier reload`, which must succeed.
    #[track_caller]
    pub(crate) fn reload(&self) {
        let outcome = self.cli(["reload"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }

    /// What runs now, asked without starting a process for it.
    pub(crate) fn try_status(&self) -> Option<Status> {
        match control::ask(&self.config.control_socket(), &Request::Status) {
            Ok(Answer::Status(status)) => Some(*status),
            Ok(Answer::Done(_) | Answer::Failed(_)) | Err(_) => None,
        }
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        self.try_status().unwrap()
    }

    /// Waits for a status from which `wanted` finds something.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, wanted: impl Fn(&Status) -> Option<T>) -> T {
        eventually(what, || self.try_status().as_ref().and_then(&wanted))
    }

    /// The workers that take connections, by slot.
    #[track_caller]
    pub(crate) fn pids(&self) -> Vec<u32> {
        accepting(&self.status())
    }

    /// Waits until exactly so many workers run, all of which take connections.
    #[track_caller]
    pub(crate) fn until_workers(&self, count: usize) -> Vec<u32> {
        self.until(&format!("{count} workers"), |status| {
            let pids = accepting(status);
            (pids.len() == count && status.workers.len() == count).then_some(pids)
        })
    }

    /// Waits until so many requests are in flight.
    #[track_caller]
    pub(crate) fn until_in_flight(&self, count: u64) {
        self.until(&format!("{count} requests in flight"), |status| {
            let in_flight: u64 = status.workers.iter().map(|worker| worker.in_flight).sum();
            (in_flight == count).then_some(())
        });
    }

    /// Where it listens first.
    #[track_caller]
    pub(crate) fn address(&self) -> Address {
        self.addresses().remove(0)
    }

    #[track_caller]
    pub(crate) fn addresses(&self) -> Vec<Address> {
        let listeners = self.status().listeners.into_iter();
        listeners
            .map(|listener| match listener.address.strip_prefix("unix:") {
                Some(path) => Address::Unix(path.into()),
                None => Address::Tcp(listener.address.parse().unwrap()),
            })
            .collect()
    }

    /// The first log line with this message since `mark`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, mark: Mark, message: &str) -> Value {
        self.log
            .wait_for(mark, PATIENCE, |line| line["message"] == message)
            .unwrap_or_else(|| panic!("no log line {message:?}"))
    }

    /// How many log lines since `mark` have this message.
    pub(crate) fn count_log(&self, mark: Mark, message: &str) -> usize {
        let lines = self.log.since(mark);
        lines
            .iter()
            .filter(|line| line["message"] == message)
            .count()
    }

    #[track_caller]
    pub(crate) fn wait_for_notification(&self, mark: Mark, start: &str) -> String {
        self.notifications
            .wait_for(mark, PATIENCE, |text| text.starts_with(start))
            .unwrap_or_else(|| panic!("no notification {start:?}"))
    }

    /// Every worker it ever had, as far as its log tells.
    fn known_workers(&self) -> Vec<u32> {
        let spawned = |line: &Value| {
            (line["message"] == "worker spawned").then(|| u32::try_from(line["pid"].as_u64()?).ok())
        };
        let lines = self.log.since(Mark::START);
        lines.iter().filter_map(spawned).flatten().collect()
    }

    /// Ends it, quickly; what is left of it after that.
    fn end(&self) -> Vec<u32> {
        if self.is_running() {
            os::send(self.pid, Signal::SIGQUIT);
            let fast = Duration::from_secs(5);
            if self.ended.wait_for(Mark::START, fast, |_| true).is_none() {
                os::kill(self.pid);
            }
        }
        let deadline = Duration::from_secs(2);
        let started = destrier::sys::clock::monotonic();
        loop {
            let mut left = self.known_workers();
            left.retain(|pid| os::is_alive(*pid));
            if left.is_empty() || destrier::sys::clock::monotonic() - started > deadline {
                return left;
            }
            thread::yield_now();
        }
    }
}

fn is_ready(notification: &String) -> bool {
    notification.starts_with("READY=1")
}

pub(crate) fn accepting(status: &Status) -> Vec<u32> {
    let mut workers: Vec<_> = status
        .workers
        .iter()
        .filter(|worker| worker.state == "accepting")
        .map(|worker| (worker.slot, worker.pid))
        .collect();
    workers.sort_unstable();
    workers.into_iter().map(|(_, pid)| pid).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        let left = self.end();
        left.iter().for_each(|pid| os::kill(*pid));
        if thread::panicking() {
            self.tell();
        } else {
            assert!(
                left.is_empty(),
                "processes that outlive their master: {left:?}"
            );
        }
    }
}

impl Server {
    /// For whoever looks into a failure.
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it when the test fails"
    )]
    fn tell(&self) {
        eprintln!("--- the log of process {} ---", self.pid);
        for line in self.log.since(Mark::START) {
            eprintln!("{line}");
        }
    }
}
