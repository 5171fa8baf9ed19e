//! What systemd and a service say to each other: `sd_notify(3)`, `sd_listen_fds(3)`, `sd_watchdog_enabled(3)`.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{clock, descriptors, listener};

/// The first descriptor that is passed (`sd_listen_fds(3)`).
const FIRST: RawFd = 3;

/// The variables in which a service manager tells a process what is meant for that process alone.
pub const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// The notification socket, if systemd gave one.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// From the value of `NOTIFY_SOCKET`: a path, or an abstract name after `@`.
    pub fn new(socket: Option<&OsStr>) -> Self {
        Self(socket.and_then(|socket| {
            let address = match socket.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(socket),
            };
            let sender = UnixDatagram::unbound().ok()?;
            sender.set_nonblocking(true).ok()?;
            Some((sender, address.ok()?))
        }))
    }

    /// Sends `state`, lines of `NAME=VALUE`. Never blocks: a notification that nobody takes is lost.
    pub fn send(&self, state: &str) {
        if let Some((sender, address)) = &self.0 {
            let _lost = sender.send_to_addr(state.as_bytes(), address);
        }
    }

    /// `RELOADING=1` with the time that systemd wants beside it (`Type=notify-reload`).
    pub fn send_reloading(&self) {
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            clock::monotonic().as_micros()
        ));
    }

    /// `STOPPING=1`, and that it may take `rest`, whatever `TimeoutStopSec=` says.
    pub fn send_stopping(&self, rest: Duration) {
        self.send(&format!(
            "STOPPING=1\nSTATUS=Stopping\nEXTEND_TIMEOUT_USEC={}",
            rest.as_micros()
        ));
    }
}

/// How often systemd wants a sign of life: half of what `WATCHDOG_USEC` says, if it is meant for this process.
pub fn watchdog_interval(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let meant_for_us = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let usec: u64 = usec?.parse().ok()?;
    (meant_for_us && usec > 0).then(|| Duration::from_micros(usec / 2))
}

/// A socket that this process inherited, with the name it was given.
#[derive(Debug)]
pub struct InheritedSocket {
    /// `FileDescriptorName=`; `unknown` when there is none, empty when it was not systemd that passed the socket.
    pub name: String,
    /// Its number when it was passed.
    pub number: u32,
    /// The socket; closed on exec from now on.
    pub socket: OwnedFd,
}

/// Takes the sockets that were passed with `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`. Once in a process's life.
pub fn take_inherited_sockets(
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
) -> Vec<InheritedSocket> {
    if pid.and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Vec::new();
    }
    let count: RawFd = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    let names: Vec<&str> = names
        .map(|names| names.split(':').collect())
        .unwrap_or_default();
    (0..count.clamp(0, 4096))
        .filter_map(|index| {
            let name = usize::try_from(index)
                .ok()
                .and_then(|index| names.get(index))
                .unwrap_or(&"unknown");
            take_descriptor(FIRST + index).map(|socket| InheritedSocket {
                name: (*name).to_owned(),
                number: (FIRST + index).unsigned_abs(),
                socket,
            })
        })
        .collect()
}

/// Takes the other listening sockets that this process was started with, nameless, for whoever knows their numbers. Before
/// it opens anything itself: its own descriptors would be taken for passed ones.
pub fn take_other_sockets(taken: &[InheritedSocket]) -> Vec<InheritedSocket> {
    // Without /proc (a bare chroot) only what systemd announces can be known.
    let numbers = descriptors::open_numbers().unwrap_or_default();
    numbers
        .into_iter()
        .filter(|number| *number >= FIRST)
        .filter(|number| {
            !taken
                .iter()
                .any(|socket| socket.number == number.unsigned_abs())
        })
        // SAFETY: a number that is not open any more, as that of the folder just read, only makes the question fail.
        .filter(|number| listener::is_listening(unsafe { BorrowedFd::borrow_raw(*number) }))
        .filter_map(|number| {
            take_descriptor(number).map(|socket| InheritedSocket {
                name: String::new(),
                number: number.unsigned_abs(),
                socket,
            })
        })
        .collect()
}

/// Takes the descriptor `number`, if it is open, and has it closed on exec.
fn take_descriptor(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl fails on a number that is not open, and then the borrow is not used further.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: it is open (just seen) and the caller takes each number once; nobody else in this process knows it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
