//! Signals as data: the master blocks all of them and reads them from a descriptor (signalfd(2)), so no handler runs
//! anywhere, and a child that inherits the blocked mask cannot lose or misdirect one.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Where the signals of this process arrive.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal from here on, but for the one that asks for a core and the one of a pipe that nobody reads, and opens the descriptor they are read from.
    pub fn take_over() -> nix::Result<Self> {
        // A parent that ignores SIGCHLD hands that on through execve(2); the kernel would then bury children unseen.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of this process.
        unsafe { sigaction(Signal::SIGCHLD, &default) }?;
        let mut all = SigSet::all();
        // systemd sends it to a service that gives no sign of life, which would not read it either (WatchdogSignal=).
        all.remove(Signal::SIGABRT);
        // Ignored in every Rust program, but one that is blocked waits all the same: each line that nobody reads would wake the
        // master, which would try again to say how many were lost, and so on for ever.
        all.remove(Signal::SIGPIPE);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
        SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self)
    }

    /// The next signal that has arrived.
    pub fn next(&self) -> Option<Signal> {
        let info = self.0.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo)
            .ok()
            .and_then(|number| Signal::try_from(number).ok())
    }

    /// Readable when a signal has arrived.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What leaves a worker cold: the terminal, the service manager and the operator address the master, which tells its workers
/// what to do. SIGTERM among them: a manager that sends it to every process of the service must not cut requests. They have
/// a handler that does nothing, for what the application starts would inherit an ignored signal, but no handler (execve(2)).
const HANDLED_BY_DOING_NOTHING: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTSTP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// What a worker truly ignores. With a handler for SIGTTOU, a line that it logs to a terminal from the background would be
/// tried again for ever (`stty tostop`, `tty_check_change` in the kernel); SIGPIPE is ignored in every Rust program.
const IGNORED_BY_WORKERS: [Signal; 3] = [Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGPIPE];

/// Gives a forked child its own signal behaviour: every disposition is the default one, but for those that leave a worker
/// cold and for [`PARENT_DIED`], then everything is unblocked.
pub(super) fn reset_in_child() -> nix::Result<()> {
    for signal in Signal::iterator() {
        // The kernel lets nobody change what these two do.
        if [Signal::SIGKILL, Signal::SIGSTOP].contains(&signal) {
            continue;
        }
        let (handler, flags) = if signal == PARENT_DIED {
            (SigHandler::Handler(parent_died), SaFlags::empty())
        } else if HANDLED_BY_DOING_NOTHING.contains(&signal) {
            (SigHandler::Handler(do_nothing), SaFlags::SA_RESTART)
        } else if IGNORED_BY_WORKERS.contains(&signal) {
            (SigHandler::SigIgn, SaFlags::empty())
        } else {
            (SigHandler::SigDfl, SaFlags::empty())
        };
        let action = SigAction::new(handler, flags, SigSet::empty());
        // SAFETY: `parent_died` only calls setitimer, a plain system call that touches no state of this process;
        // `do_nothing` does nothing.
        unsafe { sigaction(signal, &action) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Blocks every signal on this thread, and on those that it starts: for a process that becomes another program, which is not
/// to die of one before it has said what it makes of it.
pub fn block_all() -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
}

/// Blocks no signal on this thread.
pub fn unblock_all() -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// On a thread that has every signal blocked: unblocks those that it can only bring about itself, for a fault that is blocked
/// ends the process without a word.
pub fn unblock_faults() -> nix::Result<()> {
    let faults: SigSet = super::crash::FATAL.into_iter().collect();
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&faults), None)
}

/// Gives the program that a worker has become (execve(2), which forgets handlers) the signal behaviour of a worker, and leaves
/// the other dispositions as that program has set them. Nothing is unblocked.
pub fn handle_as_worker() -> nix::Result<()> {
    for (signals, handler, flags) in [
        (
            HANDLED_BY_DOING_NOTHING.as_slice(),
            SigHandler::Handler(do_nothing),
            SaFlags::SA_RESTART,
        ),
        (
            &[PARENT_DIED],
            SigHandler::Handler(parent_died),
            SaFlags::empty(),
        ),
        (
            IGNORED_BY_WORKERS.as_slice(),
            SigHandler::SigIgn,
            SaFlags::empty(),
        ),
    ] {
        let action = SigAction::new(handler, flags, SigSet::empty());
        for signal in signals {
            // SAFETY: as in `reset_in_child`.
            unsafe { sigaction(*signal, &action) }?;
        }
    }
    Ok(())
}

extern "C" fn do_nothing(_: nix::libc::c_int) {}

/// Sent by the kernel to a worker whose master has died (`PR_SET_PDEATHSIG`).
pub(super) const PARENT_DIED: Signal = Signal::SIGPROF;

/// A worker whose event loop turns notices the end of its control channel and leaves by itself. This is for one whose
/// loop hangs: SIGALRM, whose default action is to end the process, follows in 800 ms.
extern "C" fn parent_died(_: nix::libc::c_int) {
    let timer = nix::libc::itimerval {
        it_interval: nix::libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: nix::libc::timeval {
            tv_sec: 0,
            tv_usec: 800_000,
        },
    };
    // SAFETY: `timer` is a valid itimerval for the time of the call; the old value is not asked for.
    let _result = unsafe {
        nix::libc::setitimer(
            nix::libc::ITIMER_REAL,
            &raw const timer,
            std::ptr::null_mut(),
        )
    };
}
