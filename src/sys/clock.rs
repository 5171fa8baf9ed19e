//! The clocks. Pure modules take what these return as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Time since the machine booted, the same in every process of this machine (`CLOCK_MONOTONIC`).
#[expect(clippy::expect_used, reason = "the clock exists on every Linux")]
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("CLOCK_MONOTONIC is always readable")
        .into()
}

/// The longest time between two ticks (`CONFIG_HZ` is 100 at least).
pub const TICK_MAX: Duration = Duration::from_millis(10);

/// The same clock as of its last tick, at most [`TICK_MAX`] ago. Costs no system call even where [`monotonic`] does.
#[expect(clippy::expect_used, reason = "the clock exists on every Linux")]
pub fn monotonic_coarse() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .expect("CLOCK_MONOTONIC_COARSE is always readable")
        .into()
}

/// Seconds since 1970, UTC, as certificates count them.
pub fn unix_seconds() -> i64 {
    i64::try_from(unix().as_secs()).unwrap_or(i64::MAX)
}

/// Time since 1970, UTC.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn unix() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
