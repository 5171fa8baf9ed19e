//! Bounds how many lines a log gets of what anybody can make happen: the first are written, the rest is counted, and the count is
//! written. Nothing is held back where the log has debug lines.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Lines for the same reason: so many at once, and as many in a minute.
const OF_A_REASON: Quota = Quota::per_minute(NonZeroU32::new(10).unwrap());
/// Lines of one kind, whatever the reasons are, for who floods can make them up: so many at once, and as many in a minute.
const OF_A_KIND: Quota = Quota::per_minute(NonZeroU32::new(200).unwrap());
/// How soon those are told that were not written.
const SUM_UP_AFTER: Duration = Duration::from_secs(10);
/// A reason is counted as a number of this many bits, made with a key that nobody knows, so that what is held is bounded, to a few
/// MiB.
const REASON_BITS: u32 = 17;
/// Reasons that could start anew are forgotten after so many lines at least.
const SWEEP_AFTER: usize = 1024;

type Limiter<K, C> = RateLimiter<K, HashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// What lines are about: the message of each, and what they have in common beside it.
pub(crate) type Kind = (&'static str, &'static str);

/// The lines of one process.
#[derive(Debug)]
pub(crate) struct LogQuota<C: Clock = DefaultClock> {
    reasons: Limiter<u32, C>,
    kinds: Limiter<Kind, C>,
    hasher: RandomState,
    /// Lines since the last sweep.
    asked: AtomicUsize,
    unwritten: Mutex<BTreeMap<Kind, u64>>,
}

/// What a line is bounded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    Reason,
    ReasonAndKind,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Written,
    Counted {
        /// None was since the last summary.
        is_first: bool,
    },
}

impl LogQuota {
    /// Of which nothing is used yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::with_clock(DefaultClock::default()))
    }

    /// Whether this line is written; else it is counted, and summed up in a while. `kind` is one of a few, `reason` anything.
    /// For lines of the level info; called within a runtime.
    pub(crate) fn admits(self: &Arc<Self>, kind: Kind, reason: impl Hash) -> bool {
        self.admits_as(Bounds::ReasonAndKind, kind, reason)
    }

    /// As [`Self::admits`], where only what is told twice is too much: `reason` is nothing that anybody can make up.
    pub(crate) fn admits_each(self: &Arc<Self>, kind: Kind, reason: impl Hash) -> bool {
        self.admits_as(Bounds::Reason, kind, reason)
    }

    fn admits_as(self: &Arc<Self>, bounds: Bounds, kind: Kind, reason: impl Hash) -> bool {
        if tracing::enabled!(tracing::Level::DEBUG) {
            return true;
        }
        match self.count(bounds, kind, reason) {
            Line::Written => true,
            Line::Counted { is_first } => {
                if is_first {
                    tokio::spawn(sum_up_later(Arc::downgrade(self)));
                }
                false
            }
        }
    }
}

impl<C: Clock + Clone> LogQuota<C> {
    fn with_clock(clock: C) -> Self {
        Self {
            reasons: RateLimiter::hashmap_with_clock(OF_A_REASON, clock.clone()),
            kinds: RateLimiter::hashmap_with_clock(OF_A_KIND, clock),
            hasher: RandomState::new(),
            asked: AtomicUsize::new(0),
            unwritten: Mutex::default(),
        }
    }

    fn count(&self, bounds: Bounds, kind: Kind, reason: impl Hash) -> Line {
        self.sweep();
        let reason = self.hasher.hash_one((kind, reason)) >> (u64::BITS - REASON_BITS);
        let reason = u32::try_from(reason).unwrap_or_default();
        // What is over the first bound shall not use up the second one.
        let is_within = self.reasons.check_key(&reason).is_ok()
            && (bounds == Bounds::Reason || self.kinds.check_key(&kind).is_ok());
        if is_within {
            return Line::Written;
        }
        let mut unwritten = self
            .unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_first = unwritten.is_empty();
        let count = unwritten.entry(kind).or_default();
        *count = count.saturating_add(1);
        Line::Counted { is_first }
    }

    /// Costs a look at all reasons, so it is done when as many lines have come.
    fn sweep(&self) {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if asked >= SWEEP_AFTER.max(self.reasons.len()) {
            self.asked.store(0, Ordering::Relaxed);
            self.reasons.retain_recent();
            self.reasons.shrink_to_fit();
        }
    }
}

impl<C: Clock> LogQuota<C> {
    fn take_unwritten(&self) -> BTreeMap<Kind, u64> {
        let mut unwritten = self
            .unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut unwritten)
    }

    fn sum_up(&self) {
        for ((message, code), more) in self.take_unwritten() {
            let code = Some(code).filter(|code| !code.is_empty());
            tracing::info!(code, more, "{message} {more} more like this");
        }
    }
}

/// A process that ends owes nothing.
impl<C: Clock> Drop for LogQuota<C> {
    fn drop(&mut self) {
        self.sum_up();
    }
}

async fn sum_up_later(quota: Weak<LogQuota>) {
    tokio::time::sleep(SUM_UP_AFTER).await;
    if let Some(quota) = quota.upgrade() {
        quota.sum_up();
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    const REFUSED: Kind = ("refused", "token_not_valid");
    const OTHER: Kind = ("refused", "permission_denied");

    fn count(quota: &LogQuota<FakeRelativeClock>, kind: Kind, reason: impl Hash) -> Line {
        quota.count(Bounds::ReasonAndKind, kind, reason)
    }

    fn written(
        quota: &LogQuota<FakeRelativeClock>,
        kind: Kind,
        reasons: std::ops::Range<u32>,
    ) -> usize {
        let lines = reasons.filter(|reason| count(quota, kind, reason) == Line::Written);
        lines.count()
    }

    fn of_one(quota: &LogQuota<FakeRelativeClock>, lines: usize) -> usize {
        let lines = (0..lines).filter(|_| count(quota, REFUSED, "expired") == Line::Written);
        lines.count()
    }

    #[test]
    fn the_first_lines_of_a_reason_are_written_and_the_rest_is_counted() {
        let clock = FakeRelativeClock::default();
        let quota = LogQuota::with_clock(clock.clone());
        assert_eq!(of_one(&quota, 1234 + 10), 10);
        assert_eq!(quota.take_unwritten(), BTreeMap::from([(REFUSED, 1234)]));
        // Another one is not held back for it.
        assert_eq!(count(&quota, REFUSED, "another"), Line::Written);
        assert_eq!(count(&quota, OTHER, "expired"), Line::Written);
        clock.advance(Duration::from_mins(1));
        assert_eq!(of_one(&quota, 20), 10);
        assert_eq!(quota.take_unwritten(), BTreeMap::from([(REFUSED, 10)]));
    }

    #[test]
    fn reasons_that_are_made_up_do_not_get_more_lines_than_a_kind_has() {
        let quota = LogQuota::with_clock(FakeRelativeClock::default());
        assert_eq!(written(&quota, REFUSED, 0..100_000), 200);
        assert!(quota.reasons.len() <= 1 << REASON_BITS);
        assert_eq!(quota.take_unwritten(), BTreeMap::from([(REFUSED, 99_800)]));
        // Nor do they hold back other kinds.
        assert!(written(&quota, OTHER, 0..100) > 90);
    }

    #[test]
    fn where_nobody_can_make_them_up_each_reason_has_its_first_lines() {
        let quota = LogQuota::with_clock(FakeRelativeClock::default());
        let each = |reason: u32| quota.count(Bounds::Reason, REFUSED, reason) == Line::Written;
        let lines = (0..1000)
            .flat_map(|reason| [reason; 3])
            .filter(|reason| each(*reason));
        // Two may share a number now and then.
        assert!(lines.count() > 2990);
        assert!((0..20).filter(|_| each(1)).count() < 10);
    }

    #[test]
    fn only_the_first_one_that_is_counted_asks_for_a_summary() {
        let quota = LogQuota::with_clock(FakeRelativeClock::default());
        of_one(&quota, 10);
        let counted = |is_first| Line::Counted { is_first };
        assert_eq!(count(&quota, REFUSED, "expired"), counted(true));
        assert_eq!(count(&quota, REFUSED, "expired"), counted(false));
        quota.sum_up();
        assert_eq!(count(&quota, REFUSED, "expired"), counted(true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_summary_comes_by_itself() {
        let quota = LogQuota::new();
        while quota.admits(REFUSED, "expired") {}
        assert!(!quota.unwritten.lock().unwrap().is_empty());
        tokio::time::sleep(SUM_UP_AFTER + Duration::from_millis(1)).await;
        assert!(quota.unwritten.lock().unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn every_line_is_written_or_counted(lines in prop::collection::vec((0..3_u8, 0..30_u64), 0..400)) {
            let clock = FakeRelativeClock::default();
            let quota = LogQuota::with_clock(clock.clone());
            let mut written = 0;
            for (reason, seconds) in &lines {
                written += u64::from(count(&quota, REFUSED, reason) == Line::Written);
                clock.advance(Duration::from_secs(*seconds));
            }
            let counted: u64 = quota.take_unwritten().values().sum();
            prop_assert_eq!(written + counted, lines.len() as u64);
        }
    }
}
