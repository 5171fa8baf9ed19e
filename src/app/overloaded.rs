//! An application that has no room for a request says so.

use std::fmt;

/// An error of an application that was not called, for it has no thread to spare: the client gets 503 with `Retry-After`, and may
/// come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overloaded {
    /// As many wait as may.
    QueueFull,
    /// It waited as long as it may.
    WaitedTooLong,
    /// Its client left while it waited; nobody sees the answer.
    ClientHasLeft,
}

impl Overloaded {
    /// Why, for the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "the queue is full: `http.queue`, `app.threads`",
            Self::WaitedTooLong => {
                "no thread was free in time: `http.max_queue_wait`, `app.threads`"
            }
            Self::ClientHasLeft => "its client left while it waited",
        }
    }
}

impl fmt::Display for Overloaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.reason())
    }
}

impl std::error::Error for Overloaded {}
