//! What has changed between looks at the counters: requests a second, how many of them failed, percentiles of their durations. A function of
//! the looks: it reads no clock and no scoreboard.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// So far back go what is told of the last while: enough requests for a percentile, and soon over.
const WINDOW: Duration = Duration::from_secs(10);

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Monotonic.
    pub at: Duration,
    /// Requests answered since the start, 1xx to 5xx.
    pub by_status_class: [u64; 5],
    /// Requests since the start by their duration, one number for each bucket.
    pub durations: Vec<u64>,
}

/// The looks of the last while.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Oldest first.
    looks: VecDeque<Look>,
}

/// What came of them. Nothing is told that cannot be known yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Requests answered a second, between the last two looks.
    pub requests_per_second: Option<f64>,
    /// The share of those of the window that were answered with 5xx, 0 to 1.
    pub error_ratio: Option<f64>,
    /// How long half of the requests of the window took at most, in seconds.
    pub p50: Option<f64>,
    /// How long 99 of 100 took at most, in seconds.
    pub p99: Option<f64>,
}

impl Window {
    /// Takes in what stands on the counters now. `bounds` are the upper bounds of the buckets, in seconds; the last bucket has none.
    pub fn take_in(&mut self, look: Look, bounds: &[f64]) -> Figures {
        // Counters that have begun anew, or buckets of another program.
        let is_of_these = self.looks.back().is_none_or(|last| {
            let classes = last.by_status_class.iter().zip(&look.by_status_class);
            last.at <= look.at
                && last.durations.len() == look.durations.len()
                && classes.into_iter().all(|(before, now)| before <= now)
        });
        if !is_of_these {
            self.looks.clear();
        }
        self.looks.push_back(look);
        while self.is_longer_than_needed() {
            self.looks.pop_front();
        }
        self.figures(bounds)
    }

    /// The look before the window begins is what the first one in it is compared with.
    fn is_longer_than_needed(&self) -> bool {
        let (Some(second), Some(last)) = (self.looks.get(1), self.looks.back()) else {
            return false;
        };
        last.at.saturating_sub(second.at) >= WINDOW
    }

    fn figures(&self, bounds: &[f64]) -> Figures {
        let Some((last, before)) = self.looks.back().zip(self.looks.iter().rev().nth(1)) else {
            return Figures::default();
        };
        let elapsed = last.at.saturating_sub(before.at).as_secs_f64();
        let answered = total(&last.by_status_class) - total(&before.by_status_class);
        let first = self.looks.front().unwrap_or(before);
        let in_window = total(&last.by_status_class) - total(&first.by_status_class);
        let failures = last.by_status_class[4] - first.by_status_class[4];
        let durations = last.durations.iter().zip(&first.durations);
        // A worker that is buried between two reads may be missing for a moment.
        let durations: Vec<u64> = durations
            .map(|(now, before)| now.saturating_sub(*before))
            .collect();
        Figures {
            requests_per_second: (elapsed > 0.0).then(|| count(answered) / elapsed),
            error_ratio: (in_window > 0).then(|| count(failures) / count(in_window)),
            p50: percentile(&durations, bounds, 0.5),
            p99: percentile(&durations, bounds, 0.99),
        }
    }
}

fn total(by_status_class: &[u64; 5]) -> u64 {
    by_status_class.iter().sum()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact below 2^53, and a figure for people"
)]
fn count(count: u64) -> f64 {
    count as f64
}

/// What this share of the requests took at most, in seconds: evenly spread within a bucket, as `histogram_quantile` of Prometheus has it.
/// Of the last bucket, which has no bound, what it begins with.
fn percentile(durations: &[u64], bounds: &[f64], share: f64) -> Option<f64> {
    let all: u64 = durations.iter().sum();
    let wanted = count(all) * share;
    let (mut below, mut from) = (0.0, 0.0);
    for (bucket, number) in durations.iter().enumerate().filter(|_| all > 0) {
        let number = count(*number);
        let to = bounds.get(bucket).copied();
        if number > 0.0 && below + number >= wanted {
            return Some(to.map_or(from, |to| from + (to - from) * (wanted - below) / number));
        }
        below += number;
        from = to.unwrap_or(from);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 3] = [0.001, 0.01, 0.1];

    fn look(seconds: u64, by_status_class: [u64; 5], durations: [u64; 4]) -> Look {
        Look {
            at: Duration::from_secs(seconds),
            by_status_class,
            durations: durations.to_vec(),
        }
    }

    #[test]
    fn figures_are_of_what_came_between_looks() {
        let mut window = Window::default();
        let first = window.take_in(look(1, [0, 100, 0, 0, 0], [100, 0, 0, 0]), &BOUNDS);
        assert_eq!(first, Figures::default(), "nothing to compare with");
        let next = window.take_in(look(3, [0, 150, 0, 0, 50], [190, 10, 0, 0]), &BOUNDS);
        assert_eq!(next.requests_per_second, Some(50.0));
        assert_eq!(next.error_ratio, Some(0.5));
        // The 50th of 90 within the first millisecond.
        assert!((next.p50.unwrap() - 0.001 * 50.0 / 90.0).abs() < 1e-9);
        assert!((next.p99.unwrap() - (0.001 + 0.009 * 0.9)).abs() < 1e-9);
        let idle = window.take_in(look(4, [0, 150, 0, 0, 50], [190, 10, 0, 0]), &BOUNDS);
        assert_eq!(idle.requests_per_second, Some(0.0));
        assert_eq!(idle.error_ratio, Some(0.5), "the window is longer");
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let mut window = Window::default();
        let _first = window.take_in(look(0, [0; 5], [0; 4]), &BOUNDS);
        let _failures = window.take_in(look(1, [0, 0, 0, 0, 9], [9, 0, 0, 0]), &BOUNDS);
        let mut last = Figures::default();
        for second in 2..30 {
            let now = look(second, [0, 0, 0, 0, 9], [9, 0, 0, 0]);
            last = window.take_in(now, &BOUNDS);
        }
        assert_eq!((last.error_ratio, last.p50), (None, None));
        assert!(window.looks.len() <= 12);
    }

    #[test]
    fn counters_that_begin_anew_are_compared_with_nothing() {
        let mut window = Window::default();
        let _first = window.take_in(look(1, [0, 100, 0, 0, 0], [100, 0, 0, 0]), &BOUNDS);
        let anew = window.take_in(look(2, [0, 5, 0, 0, 0], [5, 0, 0, 0]), &BOUNDS);
        assert_eq!(anew, Figures::default());
        let next = window.take_in(look(3, [0, 6, 0, 0, 0], [5, 0, 0, 1]), &BOUNDS);
        assert_eq!(next.requests_per_second, Some(1.0));
        assert_eq!(next.p99, Some(0.1), "the last bucket has no bound");
    }

    proptest! {
        #[test]
        fn a_percentile_lies_within_the_bounds_and_grows_with_the_share(
            durations in prop::collection::vec(0_u64..1000, 4), one in 0.0..=1.0_f64, other in 0.0..=1.0_f64,
        ) {
            let (less, more) = if one <= other { (one, other) } else { (other, one) };
            let found = percentile(&durations, &BOUNDS, less).zip(percentile(&durations, &BOUNDS, more));
            prop_assert_eq!(found.is_some(), durations.iter().sum::<u64>() > 0);
            if let Some((less, more)) = found {
                prop_assert!(0.0 <= less && less <= more && more <= 0.1, "{} {}", less, more);
            }
        }
    }
}
