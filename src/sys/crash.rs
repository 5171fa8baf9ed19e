//! What a process can still tell of its own death: which of its threads ended it, and what its event loop was executing.
//!
//! A process that is killed, or that calls `_exit(2)`, tells nothing. Nothing changes for the others either: the same signal
//! ends them with the same `siginfo`, so wait status and core are those of a process without handlers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_void, siginfo_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, gettid};

use super::executor;
use super::process::ProcessId;

/// The signals that end a process for something it did itself (signal(7)); each dumps a core.
pub(super) const FATAL: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// Two words that others can read when the process is dead.
#[derive(Debug, Clone, Copy)]
pub struct Note {
    /// What the event loop is executing just now; below 2^32.
    pub executing: &'static AtomicU64,
    /// Where the dying process leaves its [`Testimony`].
    pub testimony: &'static AtomicU64,
}

/// What a process could tell when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Testimony {
    /// The thread of the event loop ended it, or hung so that the parent ended it, while it was executing this.
    EventLoop(u32),
    /// Another one of its threads ended it.
    AnotherThread,
    /// A thread that executes requests ended it, while it was executing this.
    Executor(u32),
    /// The signal came from this process; 0: from one outside of this process's namespace. What it was executing has nothing to
    /// do with it.
    Sent(u32),
}

impl Testimony {
    /// Reads what [`watch`] left; `None` where nothing is proven.
    pub fn read(word: u64) -> Option<Self> {
        let value = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        match word >> 32 {
            1 => Some(Self::EventLoop(value)),
            2 => Some(Self::AnotherThread),
            3 => Some(Self::Sent(value)),
            4 => Some(Self::Executor(value)),
            _ => None,
        }
    }

    /// What [`watch`] leaves for it.
    pub fn word(self) -> u64 {
        match self {
            Self::EventLoop(executing) => 1 << 32 | u64::from(executing),
            Self::AnotherThread => 2 << 32,
            Self::Sent(by) => 3 << 32 | u64::from(by),
            Self::Executor(executing) => 4 << 32 | u64::from(executing),
        }
    }
}

/// Who watches, over whom.
#[derive(Debug)]
struct Watch {
    note: Note,
    process: ProcessId,
    event_loop: Pid,
    parent: ProcessId,
}

/// Set once; to read it from a signal handler is one atomic load.
static WATCH: OnceLock<Watch> = OnceLock::new();

/// Whether exit(3) is how this process means to end. Until then whoever calls it ends the process in the middle of something.
static MEANS_TO_EXIT: AtomicBool = AtomicBool::new(false);

/// What would have been done about each of [`FATAL`] without this: in a Python interpreter, its `faulthandler` may tell where it
/// was.
static BEFORE: [OnceLock<SigAction>; FATAL.len()] = [const { OnceLock::new() }; FATAL.len()];

/// From now on the death of this process by its own doing leaves a testimony in `note`. Called on the thread of the event loop.
/// What the process forks is not watched: it has the handlers, but they see that it is another process.
///
/// # Errors
/// sigaction(2); `EALREADY` when the process is watched already, `ENOMEM` when exit(3) cannot be.
pub fn watch(parent: ProcessId, note: Note) -> nix::Result<()> {
    let watch = Watch {
        note,
        process: ProcessId::own(),
        event_loop: gettid(),
        parent,
    };
    WATCH.set(watch).map_err(|_| Errno::EALREADY)?;
    // On the alternate stack, which std gives every thread of Rust (and the first one keeps it over a fork): the ordinary one
    // may be what has overflowed.
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_signal), flags, SigSet::all());
    for (signal, before) in FATAL.into_iter().zip(&BEFORE) {
        // SAFETY: `on_signal` calls only what is async-signal-safe; see there.
        let was = unsafe { sigaction(signal, &action) }?;
        let _set_once = before.set(was);
    }
    // SAFETY: `on_exit` is a function of this program, which lives as long as the process does.
    match unsafe { libc::atexit(on_exit) } {
        0 => Ok(()),
        _ => Err(Errno::ENOMEM),
    }
}

/// The process is about to end by itself: its exit leaves no testimony any more, a fault on the way still does.
pub fn means_to_exit() {
    MEANS_TO_EXIT.store(true, Relaxed);
}

/// Async-signal-safe (signal-safety(7)): loads and stores of atomics, getpid, gettid, sigaction and a plain system call.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    if let Some(watch) = WATCH.get().filter(|watch| watch.is_about_this_process()) {
        // SAFETY: the kernel gives a handler with SA_SIGINFO a valid siginfo, which nobody else writes to.
        let info = unsafe { &*info };
        // SAFETY: which fields a siginfo has depends on its code, but all of them are words of the same union, which the kernel
        // has filled: the sender is only used where the code says that there is one.
        let sender = unsafe { info.si_pid() };
        watch.testify(watch.judge(signal, info.si_code, sender.unsigned_abs()));
    }
    die_of(signal, info);
}

extern "C" fn on_exit() {
    if MEANS_TO_EXIT.load(Relaxed) {
        return;
    }
    if let Some(watch) = WATCH.get().filter(|watch| watch.is_about_this_process()) {
        watch.testify(Some(watch.about_this_thread()));
    }
}

/// Ends the process by `signal`, as it would have ended without a handler of ours. The signal is blocked while its handler runs:
/// it arrives when that returns, before anything else of the thread runs, and with all that it said at first, so that a core
/// shows the fault where it was.
fn die_of(signal: c_int, info: *const siginfo_t) {
    if let Ok(signal) = Signal::try_from(signal) {
        // SAFETY: either the default action, which runs no code of this process, or what was in force before this watch began.
        let _result = unsafe { sigaction(signal, &action_before(signal)) };
    }
    let (process, thread) = (ProcessId::own().number(), gettid().as_raw());
    // SAFETY: `info` is valid for the time of the call; a process may send itself whatever siginfo it likes
    // (rt_sigqueueinfo(2)).
    let sent = unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, info) };
    if sent != 0 {
        // SAFETY: raise(3) is async-signal-safe.
        let _result = unsafe { libc::raise(signal) };
    }
}

/// Async-signal-safe: loads only.
fn action_before(signal: Signal) -> SigAction {
    let place = FATAL.iter().position(|fatal| *fatal == signal);
    let before = place.and_then(|place| BEFORE.get(place)?.get().copied());
    let handled = before.filter(|before| {
        let handler = before.handler();
        matches!(handler, SigHandler::Handler(_) | SigHandler::SigAction(_))
    });
    handled.unwrap_or_else(|| SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty()))
}

impl Watch {
    /// A child of this process has its memory, maybe the very same (vfork(2)); its death is another one.
    fn is_about_this_process(&self) -> bool {
        ProcessId::own() == self.process
    }

    /// The first one counts: what a process does after that is only how it dies.
    fn testify(&self, testimony: Option<Testimony>) {
        if let Some(testimony) = testimony {
            let word = testimony.word();
            let _was_there = self
                .note
                .testimony
                .compare_exchange(0, word, Relaxed, Relaxed);
        }
    }

    /// Whose doing `signal` is: sigaction(2) says what the code of a siginfo means.
    fn judge(&self, signal: c_int, code: c_int, sender: u32) -> Option<Testimony> {
        let is_of_this_process = sender == self.process.number();
        match code {
            // Bad memory that nobody has touched yet; whichever thread is told.
            libc::BUS_MCEERR_AO if signal == libc::SIGBUS => None,
            // By the kernel, for an instruction of this thread.
            1.. => Some(self.about_this_thread()),
            // raise(3) and abort(3): a thread that signals itself.
            libc::SI_TKILL if is_of_this_process => Some(self.about_this_thread()),
            // The parent does so when the event loop hangs, whatever thread the kernel chose to tell.
            libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL if sender == self.parent.number() => {
                Some(self.about_the_event_loop())
            }
            // kill(2) on the own process, which does not say which thread called it, and every other process.
            libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL => Some(Testimony::Sent(sender)),
            _ => None,
        }
    }

    fn about_this_thread(&self) -> Testimony {
        let thread = gettid();
        if thread == self.event_loop {
            return self.about_the_event_loop();
        }
        executor::executed_by(thread).map_or(Testimony::AnotherThread, |executing| {
            Testimony::Executor(u32::try_from(executing).unwrap_or(u32::MAX))
        })
    }

    fn about_the_event_loop(&self) -> Testimony {
        let executing = self.note.executing.load(Relaxed);
        Testimony::EventLoop(u32::try_from(executing).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    static EXECUTING: AtomicU64 = AtomicU64::new(7);
    static TESTIMONY: AtomicU64 = AtomicU64::new(0);

    /// Of this process, whose parent is a process that does not exist.
    fn watch_of(event_loop: Pid) -> Watch {
        Watch {
            note: Note {
                executing: &EXECUTING,
                testimony: &TESTIMONY,
            },
            process: ProcessId::own(),
            event_loop,
            parent: ProcessId::none(),
        }
    }

    #[test]
    fn a_fault_is_that_of_the_thread_that_the_kernel_tells() {
        let here = watch_of(gettid());
        let elsewhere = watch_of(Pid::from_raw(1));
        // SEGV_MAPERR, and SI_KERNEL of an address that no process can have.
        for code in [1, 128] {
            let judged = |watch: &Watch| watch.judge(libc::SIGSEGV, code, 0);
            assert_eq!(judged(&here), Some(Testimony::EventLoop(7)));
            assert_eq!(judged(&elsewhere), Some(Testimony::AnotherThread));
        }
        let of_the_machine = here.judge(libc::SIGBUS, libc::BUS_MCEERR_AO, 0);
        assert_eq!(of_the_machine, None);
    }

    #[test]
    fn a_fault_of_a_thread_that_executes_requests_is_that_of_its_request() {
        let there = std::thread::spawn(|| {
            let elsewhere = watch_of(Pid::from_raw(1));
            let judged = || elsewhere.judge(libc::SIGSEGV, 1, 0);
            assert_eq!(judged(), Some(Testimony::AnotherThread));
            let executor = executor::Executor::this_thread();
            executor.executing().store(5, Relaxed);
            assert_eq!(judged(), Some(Testimony::Executor(5)));
        });
        there.join().unwrap();
    }

    #[test]
    fn only_what_a_thread_raises_for_itself_is_its_own_doing() {
        let own = ProcessId::own().number();
        let (here, elsewhere) = (watch_of(gettid()), watch_of(Pid::from_raw(1)));
        let abort = |watch: &Watch| watch.judge(libc::SIGABRT, libc::SI_TKILL, own);
        assert_eq!(abort(&here), Some(Testimony::EventLoop(7)));
        assert_eq!(abort(&elsewhere), Some(Testimony::AnotherThread));
        let kill = |sender| here.judge(libc::SIGSEGV, libc::SI_USER, sender);
        assert_eq!(kill(own), Some(Testimony::Sent(own)));
        assert_eq!(kill(1), Some(Testimony::Sent(1)));
    }

    #[test]
    fn the_parent_tells_the_event_loop_whatever_thread_hears_it() {
        let elsewhere = watch_of(Pid::from_raw(1));
        let judged = elsewhere.judge(libc::SIGABRT, libc::SI_USER, ProcessId::none().number());
        assert_eq!(judged, Some(Testimony::EventLoop(7)));
    }

    #[test]
    fn the_first_testimony_stands_and_is_read_as_it_was_written() {
        let watch = watch_of(gettid());
        watch.testify(None);
        assert_eq!(Testimony::read(TESTIMONY.load(Relaxed)), None);
        for testimony in [
            Testimony::EventLoop(0),
            Testimony::EventLoop(33),
            Testimony::AnotherThread,
            Testimony::Executor(33),
            Testimony::Sent(u32::MAX),
        ] {
            TESTIMONY.store(0, Relaxed);
            watch.testify(Some(testimony));
            watch.testify(Some(Testimony::AnotherThread));
            assert_eq!(Testimony::read(TESTIMONY.load(Relaxed)), Some(testimony));
        }
    }
}
