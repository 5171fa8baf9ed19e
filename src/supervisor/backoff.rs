//! How long to wait before a worker that keeps dying is replaced once more.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Now, Policy};

/// Failures in a row, and when the next attempt may be made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Failures since the last proof of health.
    pub failures: u32,
    /// No attempt before this.
    pub not_before: Now,
}

impl Backoff {
    /// A worker that had been ready died: the first one is replaced at once. So it is with the agent.
    pub fn crashed(&mut self, now: Now, policy: &Policy, seed: u64) {
        self.failures = self.failures.saturating_add(1);
        let wait = match self.failures {
            1 => Duration::ZERO,
            failures => delay(failures - 2, policy, seed ^ u64::from(failures)),
        };
        self.not_before = now + wait;
    }

    /// A worker could not boot. Each failure counts, also of several workers at once, so the attempts in the first
    /// minute are at most ten (0.1 s doubled each time), or one for each worker where there are more.
    pub(super) fn boot_failed(&mut self, now: Now, policy: &Policy, seed: u64) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + delay(self.failures - 1, policy, seed ^ u64::from(self.failures));
    }
}

/// `backoff_initial` x 2^`exponent`, at most `backoff_max`, and up to a quarter more so that servers which failed
/// together do not come back together. Never less: the bound on attempts a minute rests on it.
fn delay(exponent: u32, policy: &Policy, seed: u64) -> Duration {
    let factor = 1_u32.checked_shl(exponent).unwrap_or(u32::MAX);
    let plain = policy
        .backoff_initial
        .saturating_mul(factor)
        .min(policy.backoff_max);
    plain + spread(plain / 4, seed)
}

/// A part of `most`, in sixteenths, that `seed` chooses.
pub(super) fn spread(most: Duration, seed: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    most / 16 * u32::try_from(hasher.finish() % 17).unwrap_or(0)
}
