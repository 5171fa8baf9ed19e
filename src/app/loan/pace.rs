//! How long calls of an application last: where they are short, whoever calls it does better to turn the event loop too.

use std::time::Duration;

/// Calls that are shorter on average are.
const SHORT: Duration = Duration::from_micros(500);

/// While they are taken for short they may be so long.
const NOT_LONG: Duration = Duration::from_millis(1);

/// For so long counts one that has kept the event loop from turning, or would have.
const HINDRANCE: Duration = Duration::from_millis(100);

/// Of so many calls the average is made, about.
const CALLS: u32 = 64;

/// Their average, and what follows from it.
#[derive(Debug)]
pub struct CallPace {
    average: Duration,
    is_short: bool,
}

impl Default for CallPace {
    /// Of an application that was not called yet: until it has been some times it counts as slow.
    fn default() -> Self {
        Self {
            average: NOT_LONG,
            is_short: false,
        }
    }
}

impl CallPace {
    /// A call has lasted for so long.
    pub fn note(&mut self, call: Duration) {
        self.average = self.average * (CALLS - 1) / CALLS + call / CALLS;
        let limit = if self.is_short { NOT_LONG } else { SHORT };
        self.is_short = self.average < limit;
    }

    /// The last one was in the way of the event loop: it is not worth to try again soon.
    pub fn note_hindrance(&mut self) {
        self.note(HINDRANCE);
    }

    /// Whether they are short.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.is_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(calls: impl IntoIterator<Item = u64>) -> CallPace {
        let mut pace = CallPace::default();
        for call in calls {
            pace.note(Duration::from_micros(call));
        }
        pace
    }

    #[test]
    fn an_application_is_slow_until_it_has_shown_otherwise() {
        assert!(!after([100]).is_short());
        assert!(after([100; 100]).is_short());
        assert!(!after([700; 1000]).is_short());
    }

    #[test]
    fn a_little_more_makes_it_not_slow_at_once() {
        let calls = [400; 500].into_iter().chain([900; 500]);
        assert!(after(calls).is_short());
        let calls = [400; 500].into_iter().chain([1100; 500]);
        assert!(!after(calls).is_short());
    }

    #[test]
    fn one_that_is_in_the_way_counts_for_many() {
        let mut pace = after([100; 500]);
        pace.note_hindrance();
        assert!(!pace.is_short());
        for _ in 0..50 {
            pace.note(Duration::from_micros(100));
        }
        assert!(!pace.is_short());
        for _ in 0..100 {
            pace.note(Duration::from_micros(100));
        }
        assert!(pace.is_short());
    }
}
