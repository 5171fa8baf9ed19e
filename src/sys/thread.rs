//! What a thread is to the scheduler.

use nix::libc;

/// Steps above 0, the usual: such a thread gets about a tenth of a processor that others want, and all of one that nobody wants
/// (`sched(7)`). Not `SCHED_IDLE`, which gets a three hundredth: it would stand still where the machine is busy.
const NICENESS: i32 = 10;

/// The longest slice that Linux takes, in nanoseconds. Since 6.12 a thread that wakes up takes the processor at once from one whose
/// slice is longer than its own; with slices alike it waits until that of the other is used up, which is seen at the next tick.
const SLICE: u64 = 100_000_000;

/// Lets this thread wait for those that answer somebody: it computes, and nothing of it is urgent. It cannot be undone without
/// privileges, so it is for a thread that does nothing else. Where it is not allowed, in a sandbox, the thread stays as it is.
pub fn step_back() {
    // SAFETY: plain numbers; 0 is the calling thread, whose id `getpriority` takes on Linux though it says process.
    let before = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: libc::SCHED_BATCH.unsigned_abs(),
        sched_flags: 0,
        // Less needs privileges.
        sched_nice: NICENESS.max(before),
        sched_priority: 0,
        sched_runtime: SLICE,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: 0 is the calling thread; `attributes` says how long it is, and lives until the call returns.
    let _unchanged = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    // Those that have waited since before go first.
    std::thread::yield_now();
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
