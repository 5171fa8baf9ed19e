//! Writes the log lines of a worker or the agent that wait for a reader, as soon as it reads on.

use tokio::sync::Notify;

use crate::logging;

/// Lines have begun to wait.
static SOME_WAIT: Notify = Notify::const_new();

/// From now on lines that wait are written when there is room. Nothing wakes the process while none do. Within a
/// runtime of tokio.
pub(crate) fn start() {
    logging::when_lines_wait(|| SOME_WAIT.notify_one());
    tokio::spawn(write_what_waits());
}

async fn write_what_waits() {
    loop {
        while logging::flush() {
            tokio::time::sleep(logging::RETRY).await;
        }
        SOME_WAIT.notified().await;
    }
}
