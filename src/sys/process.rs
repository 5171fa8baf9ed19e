//! Processes: fork with the discipline that forking needs, reaping, killing, and dying with the parent.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, ForkResult, Pid, access, dup2_stdin, getpid, getppid};

use super::signals;

/// A process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(Pid);

impl ProcessId {
    /// This process.
    pub fn own() -> Self {
        Self(getpid())
    }

    /// The process of this number.
    pub fn from_number(number: i32) -> Self {
        Self(Pid::from_raw(number))
    }

    /// A process that does not exist.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(Pid::from_raw(i32::MAX))
    }

    /// As a number, for logs and the scoreboard.
    pub fn number(self) -> u32 {
        self.0.as_raw().unsigned_abs()
    }
}

impl From<ProcessId> for Pid {
    fn from(process: ProcessId) -> Self {
        process.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A child that leads a group of its own, with what it has started (`setpgid(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessGroup(Pid);

impl ProcessGroup {
    /// The group of this process, which was not waited for yet; none where that can be no group.
    pub fn led_by(process: u32) -> Option<Self> {
        let process = i32::try_from(process).ok().filter(|process| *process > 1);
        process.map(|process| Self(Pid::from_raw(process)))
    }

    /// Ends all of it (SIGKILL).
    pub fn kill(self) {
        let _gone_already = killpg(self.0, Signal::SIGKILL);
    }
}

/// How a process ended (wait(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Killed {
        /// Its number: a real-time signal has no name.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
}

impl Ending {
    /// Whether `signal` ended it.
    pub fn is_by(self, signal: Signal) -> bool {
        match self {
            Self::Exited(_) => false,
            Self::Killed { signal: by, .. } => by == signal as i32,
        }
    }

    /// From a status of `waitpid(2)`; `None` for a stop or a continuation, which is no end.
    fn from_status(status: i32) -> Option<Self> {
        if libc::WIFEXITED(status) {
            Some(Self::Exited(libc::WEXITSTATUS(status)))
        } else if libc::WIFSIGNALED(status) {
            Some(Self::Killed {
                signal: libc::WTERMSIG(status),
                core: libc::WCOREDUMP(status),
            })
        } else {
            None
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(formatter, "exit code {code}"),
            Self::Killed { signal, core } => {
                match Signal::try_from(signal) {
                    Ok(signal) => write!(formatter, "killed by {signal}"),
                    Err(_) => write!(formatter, "killed by signal {signal}"),
                }?;
                formatter.write_str(if core { ", core dumped" } else { "" })
            }
        }
    }
}

/// A descriptor that a child shall not lose.
#[derive(Debug, Clone, Copy)]
pub struct Keep(RawFd);

impl Keep {
    /// This one.
    pub fn new(descriptor: impl AsFd) -> Self {
        Self(descriptor.as_fd().as_raw_fd())
    }
}

/// Forks a child that runs `child` and exits with what it returns. The child keeps standard output, standard error and
/// the descriptors in `keep`; everything else that was open is closed, standard input is /dev/null, signals are as
/// `signals::reset_in_child` says, and the caller's stack is never unwound in it.
///
/// # Errors
/// fork(2)'s own, or `EBUSY` when this process has a second thread, whose locks a child could never unlock.
pub fn fork_worker(keep: &[Keep], child: impl FnOnce() -> u8) -> nix::Result<ProcessId> {
    if thread_count() != 1 {
        return Err(Errno::EBUSY);
    }
    let keep: Vec<RawFd> = keep.iter().map(|kept| kept.0).collect();
    let parent = getpid();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that forks"
    )]
    // SAFETY: this process has one thread (checked above), so no lock is held by a thread the child does not have.
    let forked = unsafe { nix::unistd::fork() }?;
    match forked {
        ForkResult::Parent { child } => Ok(ProcessId(child)),
        ForkResult::Child => {
            let result = catch_unwind(AssertUnwindSafe(|| {
                prepare_child(&keep)?;
                // The parent may have died before anybody could tell this process.
                if getppid() == parent {
                    Ok(child())
                } else {
                    Ok(0)
                }
            }));
            exit_at_once(match result {
                Ok(Ok(code)) => code,
                Ok(Err::<u8, Errno>(_)) => EXIT_NOT_PREPARED,
                Err(_) => EXIT_PANICKED,
            })
        }
    }
}

/// The child could not be given its descriptors and signals.
pub const EXIT_NOT_PREPARED: u8 = 70;

/// The child's code panicked; the panic is in the log.
pub const EXIT_PANICKED: u8 = 101;

fn prepare_child(keep: &[RawFd]) -> nix::Result<()> {
    close_all_but(keep)?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    signals::reset_in_child()
}

/// Closes every descriptor above standard error that is not in `keep`.
fn close_all_but(keep: &[RawFd]) -> nix::Result<()> {
    let mut kept: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .filter(|fd| *fd > 2)
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().chain([u32::MAX]) {
        if first < fd {
            // SAFETY: the child owns all its descriptors; whoever holds one of these in memory never runs again in it.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
            Errno::result(result)?;
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// Ends this process at once: no destructor and no exit handler, neither its own nor of the process that it was forked from.
pub fn exit_at_once(code: u8) -> ! {
    // SAFETY: _exit(2) is always allowed.
    unsafe { libc::_exit(code.into()) }
}

/// How many threads this process has; 1 when /proc cannot be read.
pub(super) fn thread_count() -> usize {
    // Without /proc (a bare chroot) the master is still single-threaded by construction.
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// Has the kernel tell this worker when its master dies. After a change of user, which clears it.
///
/// # Errors
/// prctl(2)'s own, or `ESRCH` when `master` has died already, of which the kernel would tell nobody.
pub fn die_with(master: ProcessId) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(signals::PARENT_DIED)?;
    if getppid() == master.0 {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

/// Whether this process may execute the file at `path`.
pub fn is_executable(path: &Path) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}

/// Sends SIGKILL. A process that has ended already is no error.
pub fn kill_now(process: ProcessId) -> nix::Result<()> {
    send(process, Signal::SIGKILL)
}

/// Sends SIGABRT, of which a process dies with a core where cores are kept (core(5)), unless it handles or blocks it. One
/// that has ended already is no error.
pub fn abort(process: ProcessId) -> nix::Result<()> {
    send(process, Signal::SIGABRT)
}

fn send(process: ProcessId, signal: Signal) -> nix::Result<()> {
    match kill(process.0, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A child that has ended, if there is one: also a process that this one adopted as PID 1.
pub fn reap() -> Option<(ProcessId, Ending)> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes an int into `status`, which lives as long as the call. (nix's own waitpid knows no
        // real-time signals: it would reap the child and then not say which.)
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match Errno::result(pid) {
            Ok(0) => return None,
            Ok(pid) => {
                if let Some(ending) = Ending::from_status(status) {
                    return Some((ProcessId(Pid::from_raw(pid)), ending));
                }
            }
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Raises the soft limit on open descriptors to the hard one: a server wants all it may have (setrlimit(2)).
pub fn raise_descriptor_limit() -> nix::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    } else {
        Ok(())
    }
}

/// How many descriptors this process may have open (getrlimit(2)).
pub fn descriptor_limit() -> nix::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(soft)
}

#[cfg(test)]
mod tests {
    use super::Ending;

    #[test]
    fn an_ending_names_the_signal_or_its_number() {
        let words = |status| Ending::from_status(status).map(|ending| ending.to_string());
        assert_eq!(words(7 << 8).as_deref(), Some("exit code 7"));
        assert_eq!(words(9).as_deref(), Some("killed by SIGKILL"));
        assert_eq!(
            words(0x8b).as_deref(),
            Some("killed by SIGSEGV, core dumped")
        );
        assert_eq!(words(36).as_deref(), Some("killed by signal 36"));
        // Stopped by SIGSTOP; continued.
        assert_eq!(words(0x137f), None);
        assert_eq!(words(0xffff), None);
    }
}
