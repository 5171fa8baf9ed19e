//! Children that another process forks for this one: a process between the two ends at once, and the kernel gives its child to the
//! nearest ancestor that takes orphans (`PR_SET_CHILD_SUBREAPER`, prctl(2)).

use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::process::{self, ProcessId};

/// From now on the orphans among the descendants of this process become its children. A program that it becomes goes on with that,
/// its own children do not.
///
/// # Errors
/// prctl(2).
pub fn adopt_orphans() -> nix::Result<()> {
    prctl::set_child_subreaper(true)
}

/// Whether `process` is a child of this one that was not reaped yet: until it is, nobody else can have its number.
pub fn is_child(process: ProcessId) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(Pid::from(process)), flags).is_ok()
}

/// In which process a fork has returned.
#[derive(Debug)]
pub enum Side {
    /// In the one that called it.
    Caller(Orphan),
    /// In the new one, which was adopted already.
    Orphan,
}

/// A process that was forked for an ancestor, and waits until it is let go.
#[derive(Debug)]
pub struct Orphan {
    pid: ProcessId,
    go: PipeWriter,
}

impl Orphan {
    /// Its process.
    pub fn pid(&self) -> ProcessId {
        self.pid
    }

    /// It goes on now. One that is dropped instead ends.
    pub fn let_go(mut self) {
        // One that was ended meanwhile needs nothing.
        let _ended = self.go.write_all(&[1]);
    }
}

/// Forks a process for the ancestor that takes orphans, by `fork`, which is called in a process between the two and returns as fork(2)
/// does. The new process gets no further than here before [`Orphan::let_go`].
///
/// # Errors
/// fork(2) of either; `EBUSY` when this process has a second thread, whose locks a child could never unlock. Nothing was forked.
pub fn fork_for_adopter(fork: impl FnOnce() -> io::Result<i32>) -> io::Result<Side> {
    if process::thread_count() != 1 {
        return Err(Errno::EBUSY.into());
    }
    let (mut said, say) = pipe()?;
    let (wait, go) = pipe()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends at once, and its child becomes another one's"
    )]
    // SAFETY: this process has one thread (checked above), so no lock is held by a thread the child does not have.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            drop((say, wait));
            wait_for_end(child);
            let mut pid = [0; 4];
            // Nothing is said where there is no new process; one of which nothing was said ends by itself.
            said.read_exact(&mut pid)
                .map_err(|_| io::Error::other("it could not be forked"))?;
            match i32::from_ne_bytes(pid) {
                pid if pid > 0 => Ok(Side::Caller(Orphan {
                    pid: ProcessId::from_number(pid),
                    go,
                })),
                errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
            }
        }
        ForkResult::Child => {
            drop((said, go));
            between(fork, say, wait)
        }
    }
}

/// In the process between: returns in its child only.
fn between(
    fork: impl FnOnce() -> io::Result<i32>,
    mut say: PipeWriter,
    mut wait: PipeReader,
) -> io::Result<Side> {
    match catch_unwind(AssertUnwindSafe(fork)) {
        Ok(Ok(0)) => {
            drop(say);
            let mut word = [0];
            match wait.read_exact(&mut word) {
                Ok(()) => Ok(Side::Orphan),
                Err(_) => process::exit_at_once(0),
            }
        }
        Ok(Ok(pid)) => {
            let _gone = say.write_all(&pid.to_ne_bytes());
            process::exit_at_once(0)
        }
        Ok(Err(error)) => {
            let errno = error.raw_os_error().unwrap_or(nix::libc::EAGAIN);
            let _gone = say.write_all(&errno.saturating_neg().to_ne_bytes());
            process::exit_at_once(1)
        }
        Err(_) => process::exit_at_once(process::EXIT_PANICKED),
    }
}

/// An application may have it that its children are not waited for (`SIG_IGN` for SIGCHLD): then this fails when the child has ended.
fn wait_for_end(child: Pid) {
    while waitpid(child, None) == Err(Errno::EINTR) {}
}
