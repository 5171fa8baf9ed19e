//! What a thread is to the scheduler.

use nix::libc;

/// Steps above 0, the usual: such a thread gets about a tenth of a processor that others want, and all of one that nobody wants
/// (`sched(7)`). Not `SCHED_IDLE`, which gets a three hundredth: it would stand still where the machine is busy.
const NICENESS: libc::c_int = 10;

/// Lets this thread wait for those that answer somebody: it computes, and nothing of it is urgent. It cannot be undone without
/// privileges, so it is for a thread that does nothing else. Where it is not allowed, in a sandbox, the thread stays as it is.
pub fn step_back() {
    // SAFETY: plain numbers; 0 is the calling thread, whose id `setpriority` takes on Linux though it says process.
    let _unchanged = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    let batch = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread; `batch` lives until it returns.
    let _unchanged = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const batch) };
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn only_this_thread_steps_back() {
        // SAFETY: as above.
        let niceness = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        // SAFETY: as above.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = (niceness(), policy());
        let there = thread::spawn(move || {
            step_back();
            (niceness(), policy())
        });
        let expected = (NICENESS.max(before.0), libc::SCHED_BATCH);
        assert_eq!(there.join().unwrap(), expected);
        assert_eq!((niceness(), policy()), before);
    }
}
