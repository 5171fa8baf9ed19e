//! Which workers hold too much memory: decided from what is measured.
//!
//! What a worker has in memory, its RSS, is read for nothing, but counts pages that forked workers share once for each of
//! them. So a worker whose RSS is above the limit is asked for its PSS, its fair share, which it alone may always read and
//! whose reading holds up nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hangs::next_multiple;
use crate::supervisor::{Now, WorkerId};

/// From when on a worker holds too much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    /// So many measurements in a row must be above it.
    pub(super) samples: u32,
}

/// What a worker held when it was looked at last.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    /// In bytes; `None` where /proc does not show the worker.
    pub(super) rss: Option<u64>,
    /// In bytes; `None` where it was not asked for, or the worker cannot tell.
    pub(super) pss: Option<u64>,
    /// Measurements in a row that were above the limit.
    pub(super) above: u32,
    /// Some measurement was below it.
    pub(super) was_below: bool,
    /// Its answer has not come yet.
    is_asked: bool,
    is_reported: bool,
}

/// What a measurement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing is to be done: it is below the limit, or was asked or reported before.
    Enough,
    /// The RSS is above the limit: the worker's own word decides.
    Ask,
    /// Above the limit, for so many measurements in a row.
    Above(u32),
    /// Above it for too long: the worker shall be replaced.
    TooMuch,
}

/// What was measured before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemoryWatch {
    /// When workers were looked at last.
    looked: Now,
    held: BTreeMap<WorkerId, Held>,
    /// A worker could not tell its PSS, and that was said.
    is_blindness_told: bool,
}

impl MemoryWatch {
    /// When to look again, where workers are measured at these intervals.
    pub(super) fn next_look(&self, intervals: impl Iterator<Item = Duration>) -> Option<Now> {
        intervals
            .map(|interval| next_multiple(self.looked, interval))
            .min()
    }

    /// Whether workers with this interval are due.
    pub(super) fn is_due(&self, now: Now, interval: Duration) -> bool {
        next_multiple(self.looked, interval) <= now
    }

    /// Whoever was due has been looked at.
    pub(super) fn has_looked(&mut self, now: Now) {
        self.looked = now;
    }

    /// The RSS was read, or could not be.
    pub(super) fn take_rss(&mut self, id: WorkerId, rss: Option<u64>, limit: Limit) -> Judgement {
        let held = self.held_by(id);
        held.rss = rss;
        if held.is_reported || held.is_asked {
            Judgement::Enough
        } else if rss.is_some_and(|rss| rss <= limit.bytes) {
            // The PSS is never more than the RSS.
            held.pss = None;
            held.take_sample(false, limit)
        } else {
            held.is_asked = true;
            Judgement::Ask
        }
    }

    /// The worker told its PSS, or that it cannot.
    pub(super) fn take_pss(&mut self, id: WorkerId, pss: Option<u64>, limit: Limit) -> Judgement {
        let held = self.held_by(id);
        held.pss = pss;
        held.is_asked = false;
        match pss.or(held.rss) {
            _ if held.is_reported => Judgement::Enough,
            // Nobody knows.
            None => Judgement::Enough,
            Some(bytes) => held.take_sample(bytes > limit.bytes, limit),
        }
    }

    /// What the worker held when it was looked at last.
    pub(super) fn held(&self, id: WorkerId) -> Option<&Held> {
        self.held.get(&id)
    }

    /// Whether it must be said now, once, that PSS cannot be read here.
    pub(super) fn must_tell_blindness(&mut self) -> bool {
        !std::mem::replace(&mut self.is_blindness_told, true)
    }

    /// The worker has gone.
    pub(super) fn forget(&mut self, id: WorkerId) {
        self.held.remove(&id);
    }

    fn held_by(&mut self, id: WorkerId) -> &mut Held {
        self.held.entry(id).or_default()
    }
}

impl Held {
    fn take_sample(&mut self, is_above: bool, limit: Limit) -> Judgement {
        if !is_above {
            self.above = 0;
            self.was_below = true;
            return Judgement::Enough;
        }
        self.above += 1;
        if self.above < limit.samples {
            return Judgement::Above(self.above);
        }
        self.is_reported = true;
        Judgement::TooMuch
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Judgement, Limit, MemoryWatch};
    use crate::supervisor::WorkerId;

    const ONE: WorkerId = WorkerId(1);
    const LIMIT: Limit = Limit {
        bytes: 100,
        samples: 3,
    };

    /// One measurement: the worker is asked where that is needed.
    fn measure(watch: &mut MemoryWatch, rss: Option<u64>, pss: Option<u64>) -> Judgement {
        match watch.take_rss(ONE, rss, LIMIT) {
            Judgement::Ask => watch.take_pss(ONE, pss, LIMIT),
            judgement @ (Judgement::Enough | Judgement::Above(_) | Judgement::TooMuch) => judgement,
        }
    }

    #[test]
    fn only_samples_in_a_row_count() {
        let mut watch = MemoryWatch::default();
        let mut above = || measure(&mut watch, Some(150), Some(101));
        assert_eq!(
            [above(), above()],
            [Judgement::Above(1), Judgement::Above(2)]
        );
        assert_eq!(measure(&mut watch, Some(100), None), Judgement::Enough);
        let mut above = || measure(&mut watch, Some(150), Some(101));
        assert_eq!(
            [above(), above(), above()],
            [Judgement::Above(1), Judgement::Above(2), Judgement::TooMuch]
        );
        assert!(watch.held(ONE).unwrap().was_below);
    }

    #[test]
    fn it_is_said_once() {
        let mut watch = MemoryWatch::default();
        for _ in 0..2 {
            let _judgement = measure(&mut watch, Some(150), Some(150));
        }
        assert_eq!(
            measure(&mut watch, Some(150), Some(150)),
            Judgement::TooMuch
        );
        assert!(!watch.held(ONE).unwrap().was_below);
        for _ in 0..5 {
            assert_eq!(measure(&mut watch, Some(150), Some(150)), Judgement::Enough);
        }
    }

    #[test]
    fn what_is_shared_does_not_count_in_full() {
        let mut watch = MemoryWatch::default();
        for _ in 0..5 {
            assert_eq!(measure(&mut watch, Some(500), Some(100)), Judgement::Enough);
        }
        let held = watch.held(ONE).unwrap();
        assert_eq!((held.rss, held.pss), (Some(500), Some(100)));
    }

    #[test]
    fn without_a_pss_the_rss_decides_and_without_both_nothing_does() {
        let mut watch = MemoryWatch::default();
        assert_eq!(measure(&mut watch, Some(101), None), Judgement::Above(1));
        assert_eq!(measure(&mut watch, None, Some(101)), Judgement::Above(2));
        assert_eq!(measure(&mut watch, None, None), Judgement::Enough);
        assert_eq!(measure(&mut watch, None, Some(101)), Judgement::TooMuch);
        assert_eq!(
            [watch.must_tell_blindness(), watch.must_tell_blindness()],
            [true, false]
        );
    }

    #[test]
    fn a_worker_that_gives_no_answer_is_neither_judged_nor_asked_again() {
        let mut watch = MemoryWatch::default();
        assert_eq!(watch.take_rss(ONE, Some(500), LIMIT), Judgement::Ask);
        for _ in 0..5 {
            assert_eq!(watch.take_rss(ONE, Some(500), LIMIT), Judgement::Enough);
        }
        assert_eq!(watch.take_pss(ONE, Some(500), LIMIT), Judgement::Above(1));
    }

    #[test]
    fn looks_come_at_the_interval_of_each() {
        let seconds = Duration::from_secs;
        let mut watch = MemoryWatch::default();
        assert_eq!(watch.next_look(std::iter::empty()), None);
        watch.has_looked(seconds(12));
        let next = |watch: &MemoryWatch| watch.next_look([seconds(5), seconds(8)].into_iter());
        assert_eq!(next(&watch), Some(seconds(15)));
        let due = |interval| watch.is_due(seconds(15), seconds(interval));
        assert!(due(5) && !due(8));
        watch.has_looked(seconds(15));
        assert_eq!(next(&watch), Some(seconds(16)));
    }
}
