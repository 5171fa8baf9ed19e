//! How slowly the body of a request may come: decides how long whoever reads it waits. Reads no clock.

use std::num::NonZeroU64;
use std::time::Duration;

use super::request_body::Fault;

/// A rate is judged over the time-out, or over so long where there is none.
const WINDOW: Duration = Duration::from_secs(20);

/// How slowly a body may come while somebody waits for it; time in which nobody does counts for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// So long no byte may come.
    pub timeout: Option<Duration>,
    /// So many bytes must come in a second.
    pub min_rate: Option<NonZeroU64>,
}

/// What one client has left of what it may keep others waiting: a wait uses it up, and bytes fill it again, but to no more than
/// the window, so that nobody can save up for a long trickle.
#[derive(Debug)]
pub(super) struct Patience {
    pace: Pace,
    left: Duration,
}

impl Patience {
    /// Nobody has waited yet.
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            left: pace.window(),
        }
    }

    /// How long a wait that begins now may be, and what is wrong when it is longer; `None`: for ever. A wait that begins later, after
    /// one that this has allowed, ends later.
    pub(super) fn bound(&self) -> Option<(Duration, Fault)> {
        let silence = self.pace.timeout.map(|timeout| (timeout, Fault::TimedOut));
        let rate = self.pace.min_rate.map(|_| (self.left, Fault::TooSlow));
        match (silence, rate) {
            (Some(silence), Some(rate)) if rate.0 < silence.0 => Some(rate),
            (Some(silence), _) => Some(silence),
            (None, rate) => rate,
        }
    }

    /// A wait has ended: it took so long until so many bytes came.
    pub(super) fn waited(&mut self, wait: Duration, bytes: u64) {
        let Some(rate) = self.pace.min_rate else {
            return;
        };
        let nanoseconds = u128::from(bytes) * Duration::from_secs(1).as_nanos();
        let worth = u64::try_from(nanoseconds / u128::from(rate.get())).unwrap_or(u64::MAX);
        let left = self.left.saturating_sub(wait);
        let left = left.saturating_add(Duration::from_nanos(worth));
        self.left = left.min(self.pace.window());
    }
}

impl Pace {
    fn window(self) -> Duration {
        self.timeout.unwrap_or(WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(timeout: u64, min_rate: u64) -> Pace {
        Pace {
            timeout: Some(Duration::from_secs(timeout)).filter(|timeout| !timeout.is_zero()),
            min_rate: NonZeroU64::new(min_rate),
        }
    }

    /// The wait in which a client is given up that sends `bytes` every `every`, of a hundred.
    fn gives_up(pace: Pace, every: Duration, bytes: u64) -> Option<(usize, Fault)> {
        let mut patience = Patience::new(pace);
        (0..100).find_map(|number| {
            let exceeded = patience.bound().filter(|(bound, _)| *bound < every);
            patience.waited(every, bytes);
            exceeded.map(|(_, fault)| (number, fault))
        })
    }

    #[test]
    fn silence_is_a_time_out_and_a_trickle_is_too_slow() {
        assert_eq!(
            Patience::new(pace(30, 500)).bound(),
            Some((30 * SECOND, Fault::TimedOut))
        );
        let trickle = gives_up(pace(30, 500), 10 * SECOND, 1);
        assert_eq!(trickle, Some((3, Fault::TooSlow)));
        assert_eq!(gives_up(pace(30, 500), SECOND, 499), None);
        assert_eq!(gives_up(pace(30, 0), 29 * SECOND, 1), None);
        assert_eq!(
            gives_up(pace(0, 500), 21 * SECOND, 1),
            Some((0, Fault::TooSlow))
        );
        assert_eq!(gives_up(pace(0, 0), 10_000 * SECOND, 1), None);
    }

    #[test]
    fn bytes_that_came_fast_are_no_credit_for_a_trickle() {
        let mut patience = Patience::new(pace(20, 500));
        patience.waited(Duration::ZERO, 1 << 40);
        patience.waited(19 * SECOND, 1);
        let (left, fault) = patience.bound().unwrap();
        assert!(left < SECOND + SECOND / 100 && fault == Fault::TooSlow);
    }

    proptest! {
        #[test]
        fn whoever_keeps_the_rate_is_never_too_slow(
            rate in 1_u64..1_000_000, waits in prop::collection::vec(1_u64..20_000, 0..200)
        ) {
            let mut patience = Patience::new(pace(0, rate));
            for milliseconds in waits {
                let wait = Duration::from_millis(milliseconds);
                prop_assert!(patience.bound().is_none_or(|(bound, _)| bound >= wait));
                patience.waited(wait, (rate * milliseconds).div_ceil(1000));
            }
        }

        #[test]
        fn a_later_wait_ends_later(
            waits in prop::collection::vec((0_u64..30_000, 0_u64..5_000, 0_u64..30_000), 1..100)
        ) {
            let mut patience = Patience::new(pace(30, 500));
            let (mut now, mut end) = (Duration::ZERO, Duration::ZERO);
            for (waited, bytes, pause) in waits {
                let (bound, _) = patience.bound().unwrap();
                prop_assert!(now + bound >= end);
                end = now + bound;
                let waited = Duration::from_millis(waited).min(bound);
                patience.waited(waited, bytes);
                now += waited + Duration::from_millis(pause);
            }
        }
    }
}
