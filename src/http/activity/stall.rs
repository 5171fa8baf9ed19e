//! Whether a client takes anything of an answer that waits for it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::nanoseconds;
use crate::sys::socket::SocketNumber;

/// So often within `http.write_timeout` it is looked.
const LOOKS: u32 = 4;

/// An answer waits, or none does. Times are monotonic, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// Since when nothing of it was taken; 0: none waits.
    since: AtomicU64,
    /// How many bytes the client's kernel had not acknowledged when it was last looked, and when that was.
    unacknowledged: AtomicU32,
    looked: AtomicU64,
}

impl Stall {
    /// More can be written, or not, to the client at the other end of `socket`.
    pub(super) fn set(&self, is_blocked: bool, socket: Option<SocketNumber>) {
        let was_blocked = self.since.load(Relaxed) > 0;
        if is_blocked == was_blocked {
            return;
        }
        let since = if is_blocked { nanoseconds() } else { 0 };
        self.since.store(since, Relaxed);
        if is_blocked {
            self.look(since, socket);
        }
    }

    /// Since when an answer waits of which nothing was taken.
    pub(super) fn since(&self) -> Option<Duration> {
        let since = self.since.load(Relaxed);
        (since > 0).then(|| Duration::from_nanos(since))
    }

    /// Looks at `now`, where it is time for that, whether the client has taken something since it was last looked, though not so much that
    /// more can be written: for that much of a buffer of megabytes must be free.
    pub(super) fn look_when_due(
        &self,
        now: Duration,
        write_timeout: Duration,
        socket: Option<SocketNumber>,
    ) {
        if self.look_at(write_timeout).is_some_and(|at| at <= now) {
            self.look(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), socket);
        }
    }

    /// When it is to be looked next, where an answer waits.
    pub(super) fn look_at(&self, write_timeout: Duration) -> Option<Duration> {
        self.since()?;
        Some(Duration::from_nanos(self.looked.load(Relaxed)) + write_timeout / LOOKS)
    }

    fn look(&self, now: u64, socket: Option<SocketNumber>) {
        self.looked.store(now, Relaxed);
        // Where nothing is known of it nothing was taken.
        let left = socket.and_then(SocketNumber::unacknowledged);
        let left = left.unwrap_or(u32::MAX);
        if left < self.unacknowledged.swap(left, Relaxed) {
            self.since.store(now, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(40);

    #[test]
    fn what_the_client_takes_counts_before_more_can_be_written() {
        // Unlike TCP it acknowledges what is read, and at once.
        let (mut server, mut client) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = server.write(&[0; 4096]) {
            written += count;
        }
        let socket = Some(SocketNumber::of(&server));
        let stall = Stall::default();
        stall.set(true, socket);
        let begun = stall.since().unwrap();
        let look_after = |seconds| {
            stall.look_when_due(begun + Duration::from_secs(seconds), TIMEOUT, socket);
            stall.since().unwrap().saturating_sub(begun)
        };
        assert_eq!(look_after(10), Duration::ZERO);
        client.read_exact(&mut vec![0; written / 2]).unwrap();
        // Before it is time nobody looks.
        assert_eq!(look_after(19), Duration::ZERO);
        assert_eq!(look_after(20), Duration::from_secs(20));
        assert_eq!(look_after(30), Duration::from_secs(20));
        stall.set(false, socket);
        assert_eq!((stall.since(), stall.look_at(TIMEOUT)), (None, None));
    }
}
