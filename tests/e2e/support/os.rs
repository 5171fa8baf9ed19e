//! What the kernel says about processes and ports, and the signals they are sent.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use socket2::SockRef;

use super::client::Address;
use super::pause;

/// Sends `signal`; whether there was a process to take it.
pub(crate) fn send(pid: u32, signal: Signal) -> bool {
    signal::kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).is_ok()
}

/// Sends `signal` to the process group that `pid` leads, as a terminal does.
pub(crate) fn send_to_group(pid: u32, signal: Signal) {
    signal::killpg(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// SIGKILL.
pub(crate) fn kill(pid: u32) {
    send(pid, Signal::SIGKILL);
}

/// Sends the signal of this number, which may be a real-time one.
pub(crate) fn kill_by_number(pid: u32, signal: i32) {
    let words = ["-c".to_owned(), format!("kill -{signal} {pid}")];
    assert!(Command::new("sh").args(words).status().unwrap().success());
}

/// Whether the process runs; one that only waits to be reaped does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// Whether a signal has stopped the process.
pub(crate) fn is_stopped(pid: u32) -> bool {
    state(pid) == Some('T')
}

/// The letter of `proc_pid_stat(5)`.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// What the process has used of a processor, in steps of 10 ms.
#[track_caller]
pub(crate) fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    // utime and stime (proc_pid_stat(5)), in ticks of 1/100 s on every Linux that matters.
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// A line of `/proc/PID/status` without its name.
#[track_caller]
pub(crate) fn status_line(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let prefix = format!("{name}:");
    let line = status.lines().find_map(|line| line.strip_prefix(&prefix));
    let words = line.unwrap().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

/// A size in such a line, in bytes.
#[track_caller]
pub(crate) fn status_size(pid: u32, name: &str) -> u64 {
    let line = status_line(pid, name);
    let kibibytes = line.strip_suffix(" kB").unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}

/// Whether somebody listens there.
pub(crate) fn is_open(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// How many sockets listen there (`proc_net_tcp(5)`).
#[track_caller]
pub(crate) fn listening_sockets(address: &Address) -> usize {
    const LISTEN: &str = "0A";
    let Address::Tcp(address) = address else {
        panic!("no TCP address")
    };
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let listens = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&port) && fields[3] == LISTEN
    };
    table.lines().skip(1).filter(listens).count()
}

/// How many descriptors a process has.
#[track_caller]
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// From now on a process may open no descriptor whose number is not below `first` (prlimit(1)); those that are open stay.
#[track_caller]
pub(crate) fn limit_descriptors(pid: u32, first: u32) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), &format!("--nofile={first}:")]);
    assert!(command.status().unwrap().success());
}

/// What ends a connection from now on is RST (`SO_LINGER`, socket(7)).
#[track_caller]
pub(crate) fn reset_at_end(stream: &TcpStream) {
    let stream = SockRef::from(stream);
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

/// The sockets and files in memory of the process that a program which it becomes or starts would have.
#[track_caller]
pub(crate) fn sockets_open_on_exec(pid: u32) -> Vec<String> {
    const CLOSED_ON_EXEC: u32 = 0o2_000_000;
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let numbers = fds.map(|fd| fd.unwrap().file_name().into_string().unwrap());
    let open = numbers.filter_map(|number| {
        let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?;
        let target = target.to_str()?.to_owned();
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        let is_one = target.starts_with("socket:") || target.starts_with("/memfd:");
        (is_one && flags & CLOSED_ON_EXEC == 0).then(|| format!("{number}: {target}"))
    });
    open.collect()
}

/// A group of processes of its own (cgroup v1 or v2) whose memory can be bounded, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    folder: PathBuf,
    used: &'static str,
    limit: &'static str,
}

impl MemoryGroup {
    /// None where this user, or this machine, has no such groups.
    pub(crate) fn new() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path_after = |start: &str| {
            let mut lines = own.lines().filter_map(|line| line.split_once(start));
            lines.next().map(|(_, path)| path.to_owned())
        };
        let kinds = [
            (
                "/sys/fs/cgroup/memory",
                path_after(":memory:"),
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
            ),
            (
                "/sys/fs/cgroup",
                path_after("0::"),
                "memory.current",
                "memory.max",
            ),
        ];
        kinds.into_iter().find_map(|(root, path, used, limit)| {
            let name = format!("destrier-{}", fastrand::u64(..));
            let folder = Path::new(root).join(path?.trim_start_matches('/'));
            let folder = folder.join(name);
            fs::create_dir(&folder).ok()?;
            let group = Self {
                folder,
                used,
                limit,
            };
            let works = group.folder.join(limit).exists();
            works.then_some(group)
        })
    }

    /// Where a process that is to be in it writes its number.
    pub(crate) fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// So many bytes more than it has now are too many. Not everywhere is there swap that could be forbidden.
    pub(crate) fn leave(&self, bytes: u64) {
        let used = fs::read_to_string(self.folder.join(self.used)).unwrap();
        let limit = used.trim().parse::<u64>().unwrap() + bytes;
        fs::write(self.folder.join(self.limit), limit.to_string()).unwrap();
        let _no_swap = fs::write(self.folder.join("memory.swap.max"), "0");
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Processes that have just ended are in it for a moment yet.
        for _ in 0..500 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            pause(Duration::from_millis(10));
        }
    }
}
