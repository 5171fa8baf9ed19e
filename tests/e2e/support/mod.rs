//! What the promises are tested with: a server that was really started, clients that count every failure, and waiting.

pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod journal;
pub(crate) mod kit;
pub(crate) mod load;
pub(crate) mod os;
pub(crate) mod plain;
pub(crate) mod postgres;
pub(crate) mod python;
pub(crate) mod server;
pub(crate) mod shapes;
pub(crate) mod tls;

use std::time::Duration;

use destrier::sys::clock;

/// How long anything may take that is expected to happen at once. Long, for a busy machine builds while it tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What `attempt` finds, tried until it finds something. For what has no event to wait for: /proc, a port, a status.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, attempt)
}

/// As [`eventually`], with a time of its own.
#[track_caller]
pub(crate) fn within<T>(
    patience: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Option<T>,
) -> T {
    let give_up = clock::monotonic() + patience;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(
            clock::monotonic() < give_up,
            "not within {patience:?}: {what}"
        );
        pause(Duration::from_millis(5));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the step of a loop that looks again"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Runs `action` and says how long it took.
pub(crate) fn timed<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let started = clock::monotonic();
    let result = action();
    (result, clock::monotonic().saturating_sub(started))
}
