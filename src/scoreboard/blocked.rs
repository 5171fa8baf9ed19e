//! The requests that no worker shall serve for a while. The master writes the list, every worker looks at it.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use super::Scoreboard;
use super::layout::{self, BLOCKED_COUNT, BLOCKED_MAX};

/// A request that is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// By what it is known.
    pub fingerprint: u64,
    /// Monotonic.
    pub until: Duration,
}

impl Scoreboard {
    /// Makes these the blocked requests, the first [`BLOCKED_MAX`] of them.
    pub fn set_blocked(&self, blocked: &[Blocked]) {
        for (index, blocked) in blocked.iter().take(BLOCKED_MAX).enumerate() {
            let (fingerprint, until) = self.entry(index);
            let nanoseconds = u64::try_from(blocked.until.as_nanos()).unwrap_or(u64::MAX);
            // A reader that sees the new time shall not take it for that of the fingerprint before.
            if fingerprint.load(Relaxed) != blocked.fingerprint {
                until.store(0, Release);
                fingerprint.store(blocked.fingerprint, Release);
            }
            until.store(nanoseconds, Release);
        }
        let count = blocked.len().min(BLOCKED_MAX);
        self.word(BLOCKED_COUNT).store(count as u64, Release);
    }

    pub(super) fn blocked_until(&self, fingerprint: u64) -> Option<Duration> {
        let count = usize::try_from(self.word(BLOCKED_COUNT).load(Acquire)).unwrap_or(0);
        (0..count.min(BLOCKED_MAX)).find_map(|index| {
            let (blocked, until) = self.entry(index);
            if blocked.load(Acquire) != fingerprint {
                return None;
            }
            let until = until.load(Acquire);
            let is_its_time = blocked.load(Acquire) == fingerprint && until > 0;
            is_its_time.then(|| Duration::from_nanos(until))
        })
    }

    fn entry(&self, index: usize) -> (&AtomicU64, &AtomicU64) {
        let start = layout::blocked(index);
        (self.word(start), self.word(start + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(fingerprint: u64, seconds: u64) -> Blocked {
        Blocked {
            fingerprint,
            until: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn what_is_blocked_is_what_the_master_last_said() {
        let scoreboard = Scoreboard::new().expect("memory");
        let until = |fingerprint| scoreboard.blocked_until(fingerprint);
        assert_eq!(until(0), None, "nothing is blocked");
        scoreboard.set_blocked(&[blocked(7, 1), blocked(8, 2)]);
        assert_eq!(until(7), Some(Duration::from_secs(1)));
        assert_eq!(until(8), Some(Duration::from_secs(2)));
        assert_eq!(until(9), None);
        scoreboard.set_blocked(&[blocked(8, 3)]);
        assert_eq!(until(8), Some(Duration::from_secs(3)));
        assert_eq!(until(7), None);
        scoreboard.set_blocked(&[]);
        assert_eq!(until(8), None);
    }

    #[test]
    fn more_than_there_is_room_for_are_cut_and_hurt_no_seat() {
        let scoreboard = Scoreboard::new().expect("memory");
        scoreboard.open_seat(0, 42, 0, 1);
        let many: Vec<_> = (1..=100).map(|number| blocked(number, number)).collect();
        scoreboard.set_blocked(&many);
        let last = BLOCKED_MAX as u64;
        assert!(scoreboard.blocked_until(last).is_some());
        assert_eq!(scoreboard.blocked_until(last + 1), None);
        assert_eq!(scoreboard.view(0).pid, 42);
    }
}
