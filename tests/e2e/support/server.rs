//! A server that was really started: its configuration, its log, its notifications, its processes, and its end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use destrier::master::Status;
use destrier::master::control::{self, Answer, Request};
use destrier::sys::clock;
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
    /// What becomes the program: `taskset` and its like.
    launcher: Vec<&'static str>,
    env: Vec<(String, String)>,
    /// Listening sockets that it inherits as descriptors 3 and 4, with their names.
    passed: Option<[(OwnedFd, &'static str); 2]>,
    reads_log: bool,
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
            passed: None,
            reads_log: true,
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

    /// Starts this file instead, which is or becomes the same program.
    pub(crate) fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// Starts it through a program that becomes it.
    pub(crate) fn under(mut self, launcher: &[&'static str]) -> Self {
        self.launcher = launcher.to_vec();
        self
    }

    /// Passes sockets as systemd does (`sd_listen_fds(3)`).
    pub(crate) fn pass(mut self, sockets: [(OwnedFd, &'static str); 2]) -> Self {
        self.passed = Some(sockets);
        self
    }

    /// Leaves its standard error unread.
    pub(crate) fn leave_log_unread(mut self) -> Self {
        self.reads_log = false;
        self
    }

    /// Starts it and waits until it says that it serves.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let server = self.launch();
        server.wait_until_ready();
        server
    }

    /// As [`Server::let_boot`], before the start.
    pub(crate) fn let_boot(self, what: &str) -> Self {
        fs::write(self.folder().join("boot"), what).unwrap();
        self
    }

    /// Starts it. The folder may be one in which another server runs already.
    pub(crate) fn launch(self) -> Server {
        self.config.write();
        let notify = self.folder().join(format!("notify{}", fastrand::u64(..)));
        let notifications = listen(&notify);
        let mut command = match (self.passed, self.launcher.as_slice()) {
            (Some(sockets), _) => passing(sockets, &self.program),
            (None, [launcher, options @ ..]) => {
                let mut command = command::command(Path::new(launcher));
                command.args(options).arg(&self.program);
                command.stdout(Stdio::null());
                command
            }
            (None, []) => {
                let mut command = command::command(&self.program);
                command.stdout(Stdio::null());
                command
            }
        };
        command
            .args(["run", "-c"])
            .arg(self.config.file())
            .env("NOTIFY_SOCKET", &notify)
            .envs(self.env)
            .stderr(Stdio::piped())
            .process_group(0);
        let spawned = spawn(command, self.reads_log);
        Server {
            config: self.config,
            program: self.program,
            folder: self.folder,
            pid: spawned.pid,
            log: spawned.log,
            notifications,
            ended: spawned.ended,
            unread: spawned.unread,
        }
    }
}

/// A launcher that puts `sockets` where the program expects them, and says so in the process that becomes it.
fn passing(sockets: [(OwnedFd, &str); 2], program: &Path) -> Command {
    const SCRIPT: &str =
        "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$@\"";
    let [(first, first_name), (second, second_name)] = sockets;
    let mut command = command::command(Path::new("sh"));
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(program)
        .env("LISTEN_FDNAMES", format!("{first_name}:{second_name}"))
        .stdin(first)
        .stdout(second);
    command
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

struct Spawned {
    pid: u32,
    log: Arc<Journal<Value>>,
    ended: Arc<Journal<ExitStatus>>,
    unread: Option<ChildStderr>,
}

fn spawn(mut command: Command, reads_log: bool) -> Spawned {
    let mut child = command.spawn().unwrap();
    let (pid, stderr) = (child.id(), child.stderr.take().unwrap());
    let (log, ended) = (Arc::new(Journal::default()), Arc::new(Journal::default()));
    let (lines, end) = (Arc::clone(&log), Arc::clone(&ended));
    let unread = if reads_log {
        read(stderr, lines);
        None
    } else {
        Some(stderr)
    };
    thread::spawn(move || end.push(child.wait().unwrap()));
    Spawned {
        pid,
        log,
        ended,
        unread,
    }
}

fn read(stderr: ChildStderr, lines: Arc<Journal<Value>>) {
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        }
    });
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
    unread: Option<ChildStderr>,
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
                .wait_for(Mark::START, Duration::from_millis(50), |text| {
                    text.starts_with("READY=1")
                })
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
            passed: None,
            reads_log: true,
            folder: Arc::clone(&self.folder),
        }
    }

    /// What the faulty application does when it boots from now on: `ok`, `wait` (for another word), `once` (then `fail`), `one` (then
    /// `wait`), `fail`, `exit`, `hang`, `stall`, which hangs so that no order is heard, or boots and does what it should not: `block` has a thread that
    /// never ends, `spin` an event loop that never waits, `deaf` blocks SIGABRT.
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

    /// `destrier upgrade`, which must succeed.
    #[track_caller]
    pub(crate) fn upgrade(&self) {
        let outcome = self.cli(["upgrade"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }

    /// `destrier upgrade --binary PROGRAM`.
    #[track_caller]
    pub(crate) fn upgrade_to(&self, program: &Path) -> Outcome {
        self.cli(["upgrade", "--binary", program.to_str().unwrap()])
    }

    /// What the master runs, as the kernel knows it.
    pub(crate) fn executable(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap()
    }

    /// What runs now, asked without starting a process for it.
    pub(crate) fn try_status(&self) -> Option<Status> {
        match control::ask(&self.config.control_socket(), &Request::Status {}) {
            Ok(Answer::Status(status)) => Some(*status),
            Ok(Answer::Done(_) | Answer::Failed(_) | Answer::Plan(_) | Answer::Stacks(_))
            | Err(_) => None,
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

    /// The port that it listens on.
    #[track_caller]
    pub(crate) fn port(&self) -> SocketAddr {
        let Address::Tcp(address) = self.address() else {
            panic!("a port was asked for");
        };
        address
    }

    /// A connection to it, on which nobody is waited for for ever.
    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.port()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// How many connections its workers have open.
    #[track_caller]
    pub(crate) fn connections(&self) -> u64 {
        let workers = self.status().workers;
        workers.iter().map(|worker| worker.connections).sum()
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

    /// Begins to read the log that was left unread until now.
    pub(crate) fn read_log(&mut self) {
        read(self.unread.take().unwrap(), Arc::clone(&self.log));
    }

    /// Nobody will ever read the log that was left unread until now.
    pub(crate) fn abandon_log(&mut self) {
        self.unread = None;
    }

    /// The first log line with this message since `mark`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, mark: Mark, message: &str) -> Value {
        self.log
            .wait_for(mark, PATIENCE, |line| line["message"] == message)
            .unwrap_or_else(|| panic!("no log line {message:?}"))
    }

    /// Waits until it has said something with these words in it.
    #[track_caller]
    pub(crate) fn assert_said(&self, words: &str) {
        let said = |line: &Value| line.to_string().contains(words);
        let line = self.log.wait_for(Mark::START, PATIENCE, said);
        assert!(line.is_some(), "nothing was said of {words:?}");
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

    /// Every worker and every template it ever had, as far as its log tells.
    fn known_workers(&self) -> Vec<u32> {
        let spawned = |line: &Value| {
            let is_one = ["worker spawned", "template started"].map(|it| line["message"] == it);
            (is_one.contains(&true)).then(|| u32::try_from(line["pid"].as_u64()?).ok())
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
        let give_up = clock::monotonic() + Duration::from_secs(2);
        loop {
            let mut left = self.known_workers();
            left.retain(|pid| os::is_alive(*pid));
            if left.is_empty() || clock::monotonic() > give_up {
                return left;
            }
            thread::yield_now();
        }
    }
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
        for pid in &left {
            os::kill(*pid);
        }
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
