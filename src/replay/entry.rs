//! One word of the table: by what a proof is known, and until when.

/// Bits of the time, above those of the tag.
const END_BITS: u32 = 28;

/// Bits of the tag. Of 10^9 proofs that find a full bucket some 0.2 are taken for another one, and refused.
const TAG_BITS: u32 = u64::BITS - END_BITS;

/// Seconds in a unit of time: 28 bits of them last until 2106.
const UNIT: u64 = 16;

/// A word; 0: it was never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    /// Of a proof that is remembered until the end of the second `until`, and at most a unit longer.
    pub(super) fn new(tag: u64, until: u64) -> Self {
        let end = (until / UNIT + 1).min((1 << END_BITS) - 1);
        Self(end << TAG_BITS | mask(tag))
    }

    /// Whether it is of this proof. One whose time is over counts too while its word lasts.
    pub(super) fn is_of(self, tag: u64) -> bool {
        self.0 != 0 && mask(self.0) == mask(tag)
    }

    /// The first unit of time in which it need not be remembered any more. What takes its place ends later: see
    /// [`Self::is_over`].
    pub(super) fn end(self) -> u64 {
        self.0 >> TAG_BITS
    }

    /// Whether it may be forgotten at the second `now`.
    pub(super) fn is_over(self, now: u64) -> bool {
        self.end() <= now / UNIT
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
    fn a_word_that_was_never_used_is_of_no_proof_and_over() {
        assert!(!Entry(0).is_of(0) && Entry(0).is_over(0));
    }

    #[test]
    fn the_last_second_of_a_proof_counts() {
        for until in [0, 15, 16, 17, 1_800_000_000] {
            let entry = Entry::new(7, until);
            assert!(entry.is_of(7) && !entry.is_of(8));
            assert!(!entry.is_over(until));
            assert!(entry.is_over(until + UNIT));
        }
    }

    proptest! {
        #[test]
        fn what_takes_the_place_of_another_one_ends_later(
            until in 0..4_000_000_000_u64, now in 0..4_000_000_000_u64, later in 0..1000_u64
        ) {
            let (old, new) = (Entry::new(1, until), Entry::new(2, now + later));
            prop_assume!(old.is_over(now));
            prop_assert!(new.end() > old.end());
        }
    }
}
