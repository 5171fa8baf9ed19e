//! How much memory processes hold, as the kernel counts it.

use std::fs;
use std::io;

use nix::unistd::{SysconfVar, sysconf};

use super::process::ProcessId;

/// What `process` has in memory, in bytes: its resident set (`/proc/PID/statm`, `proc_pid_statm(5)`). Pages that it shares with
/// others count in full. The kernel keeps the figure, so reading it costs microseconds and takes no lock of the process.
///
/// # Errors
/// There is no such process, or no /proc that shows it.
pub fn resident(process: ProcessId) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok());
    let pages = pages_of(&statm).zip(page);
    let (pages, page) = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages.saturating_mul(page))
}

/// What this process has in memory, in bytes, with pages that it shares divided by the number of those who share them: its
/// proportional set (`/proc/self/smaps_rollup`, `proc_pid_smaps(5)`). The kernel walks all page tables for it, some 35 ms for
/// a gibibyte of small pages, under a lock that the process itself needs to map memory. A process may always read its own.
///
/// # Errors
/// No /proc, or a kernel without that file.
pub fn own_share() -> io::Result<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    share_of(&rollup).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The second field.
fn pages_of(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

fn share_of(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{own_share, pages_of, resident, share_of};
    use crate::sys::process::ProcessId;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(pages_of("4460 1234 980 12 0 340 0\n"), Some(1234));
        assert_eq!(pages_of(""), None);
        let rollup = "5581ea9ff000-7ffe8cd9d000 ---p 00000000 00:00 0   [rollup]\nRss:   1840 kB\n\
            Pss:    388 kB\nPss_Dirty:   108 kB\n";
        assert_eq!(share_of(rollup), Some(388 * 1024));
        assert_eq!(share_of("Rss: 1 kB"), None);
    }

    #[test]
    fn memory_that_is_touched_counts() {
        let (before, share) = (resident(ProcessId::own()), own_share());
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        let grown = |now: u64, before: u64| now.saturating_sub(before) > 50 << 20;
        assert!(grown(resident(ProcessId::own()).unwrap(), before.unwrap()));
        assert!(grown(own_share().unwrap(), share.unwrap()));
        drop(touched);
    }
}
