//! How much of the processors' time processes have had, as the kernel counts it.

use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::process::ProcessId;

/// The time that processors have spent on `process`, in its own code and in the kernel (`/proc/PID/stat`, `proc_pid_stat(5)`).
///
/// # Errors
/// There is no such process, or no /proc that shows it.
pub fn processor_time(process: ProcessId) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u32::try_from(ticks).ok());
    let ticks = ticks_of(&stat).zip(second.filter(|ticks| *ticks > 0));
    let (ticks, second) = ticks.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Duration::from_secs(ticks) / second)
}

/// The fields `utime` and `stime`, the 14th and the 15th. The second one is a name in parentheses that may hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

#[cfg(test)]
mod tests {
    use super::{processor_time, ticks_of};
    use crate::sys::process::ProcessId;

    #[test]
    fn the_kernels_words_are_understood_whatever_the_process_calls_itself() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 120 0 0 0 12 30 0 0 20 0 1 0 55 1 1\n";
        assert_eq!(ticks_of(stat), Some(42));
        assert_eq!(ticks_of("7 (a"), None);
        assert!(processor_time(ProcessId::own()).is_ok());
    }
}
