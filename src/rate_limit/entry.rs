//! One word of the table: whose it is, and until when what it has used is not given back.

use std::time::Duration;

/// Bits of the time, above those of the tag: microseconds since the table was made, enough for two years.
const TIME_BITS: u32 = 46;

/// Bits of the tag. Of 30,000 clients that find a full bucket one shares its limit with another one.
const TAG_BITS: u32 = u64::BITS - TIME_BITS;

/// A word; 0: it was never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    /// Whose everything is given back at `time`, rounded up, so that nobody gets more than it may.
    pub(super) fn new(tag: u64, time: Duration) -> Self {
        let microseconds = time.as_nanos().div_ceil(1_000);
        let most = (1 << TIME_BITS) - 1;
        let microseconds = u64::try_from(microseconds).unwrap_or(most).min(most);
        Self(microseconds << TAG_BITS | mask(tag))
    }

    pub(super) fn is_of(self, tag: u64) -> bool {
        self.0 != 0 && mask(self.0) == mask(tag)
    }

    pub(super) fn time(self) -> Duration {
        Duration::from_micros(self.0 >> TAG_BITS)
    }
}

fn mask(tag: u64) -> u64 {
    tag & ((1 << TAG_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_word_that_was_never_used_is_nobodys() {
        assert!(!Entry(0).is_of(0));
        assert!(Entry::new(0, Duration::from_nanos(1)).is_of(0));
    }

    proptest! {
        #[test]
        fn a_time_comes_back_at_most_a_microsecond_later(tag: u64, nanoseconds in 0..1_u64 << 55) {
            let time = Duration::from_nanos(nanoseconds);
            let entry = Entry::new(tag, time);
            prop_assert!(entry.is_of(tag) || entry.0 == 0);
            let later = entry.time().checked_sub(time);
            prop_assert!(later.is_some_and(|later| later < Duration::from_micros(1)));
        }
    }
}
