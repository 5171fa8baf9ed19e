//! What the kernel tells of a process in `/proc/PID/stat` (`proc_pid_stat(5)`): whether it runs, and for how long it has.

use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::process::ProcessId;

/// Whether somebody has stopped `process`, with SIGSTOP or as a debugger does, so that it does nothing until it is let go on.
///
/// # Errors
/// There is no such process, or no /proc that shows it.
pub fn is_stopped(process: ProcessId) -> io::Result<bool> {
    let state = state_of(&read(process)?).ok_or(io::ErrorKind::InvalidData)?;
    Ok(matches!(state, 'T' | 't'))
}

/// The time that processors have spent on `process`, in its own code and in the kernel.
///
/// # Errors
/// There is no such process, or no /proc that shows it.
pub fn processor_time(process: ProcessId) -> io::Result<Duration> {
    let stat = read(process)?;
    let second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u32::try_from(ticks).ok());
    let ticks = ticks_of(&stat).zip(second.filter(|ticks| *ticks > 0));
    let (ticks, second) = ticks.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Duration::from_secs(ticks) / second)
}

fn read(process: ProcessId) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{process}/stat"))
}

/// The fields from the third one on. The second one is a name in parentheses that may hold anything.
fn fields_of(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace())
}

/// The field `state`, the third.
fn state_of(stat: &str) -> Option<char> {
    fields_of(stat)?.next()?.chars().next()
}

/// The fields `utime` and `stime`, the 14th and the 15th.
fn ticks_of(stat: &str) -> Option<u64> {
    let mut fields = fields_of(stat)?.skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

#[cfg(test)]
mod tests {
    use super::{is_stopped, processor_time, state_of, ticks_of};
    use crate::sys::process::ProcessId;

    #[test]
    fn the_kernels_words_are_understood_whatever_the_process_calls_itself() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 120 0 0 0 12 30 0 0 20 0 1 0 55 1 1\n";
        assert_eq!(ticks_of(stat), Some(42));
        assert_eq!(state_of(stat), Some('S'));
        assert_eq!((ticks_of("7 (a"), state_of("7 (a)")), (None, None));
        assert!(processor_time(ProcessId::own()).is_ok());
        assert!(!is_stopped(ProcessId::own()).unwrap());
    }
}
