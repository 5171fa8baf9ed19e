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
    /// Blocks every signal from here on, but for the one that asks for a core, and opens the descriptor they are read from.
    pub fn take_over() -> nix::Result<Self> {
        // A parent that ignores SIGCHLD hands that on through execve(2); the kernel would then bury children unseen.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of this process.
        unsafe { sigaction(Signal::SIGCHLD, &default) }?;
        let mut all = SigSet::all();
        // systemd sends it to a service that gives no sign of life, which would not read it either (WatchdogSignal=).
        all.remove(Signal::SIGABRT);
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

/// What a worker ignores: the terminal, the service manager and the operator address the master, which tells its workers
/// what to do. SIGTERM among them: a manager that sends it to every process of the service must not cut requests.
const IGNORED_BY_WORKERS: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
    Signal::SIGPIPE,
];

/// Gives a forked child its own signal behaviour: every disposition is the default one, but for those that a worker
/// ignores and for [`PARENT_DIED`], then everything is unblocked.
pub(super) fn reset_in_child() -> nix::Result<()> {
    let action = |handler| SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        // The kernel lets nobody change what these two do.
        if [Signal::SIGKILL, Signal::SIGSTOP].contains(&signal) {
            continue;
        }
        let handler = if signal == PARENT_DIED {
            SigHandler::Handler(parent_died)
        } else if IGNORED_BY_WORKERS.contains(&signal) {
            SigHandler::SigIgn
        } else {
            SigHandler::SigDfl
        };
        // SAFETY: `parent_died` only calls setitimer, a plain system call that touches no state of this process.
        unsafe { sigaction(signal, &action(handler)) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

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
