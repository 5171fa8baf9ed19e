//! The clock of the table.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::Clock;

use crate::sys::clock;

/// `CLOCK_MONOTONIC`, which all processes share. A limiter counts from the time that its clock had when it was made, and all must
/// count from the same: so until it is told to run, this one stands at the origin of the table.
#[derive(Debug)]
pub(super) struct TableClock {
    origin: Duration,
    runs: AtomicBool,
}

impl TableClock {
    pub(super) fn at(origin: Duration) -> Self {
        Self {
            origin,
            runs: AtomicBool::new(false),
        }
    }

    pub(super) fn run(&self) {
        self.runs.store(true, Relaxed);
    }
}

impl Clock for TableClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        if self.runs.load(Relaxed) {
            clock::monotonic()
        } else {
            self.origin
        }
    }
}
