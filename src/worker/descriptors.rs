//! Descriptors that connections leave to the application: what it opens for a request is not to fail because idle clients hold them all.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd as _, RawFd};

use crate::sys::process;

/// So many, or an eighth where there are few.
const RESERVE: RawFd = 64;

/// The kernel gives the lowest number that is free (open(2)), so a high one says that nearly all are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptors {
    /// How many this process may have open.
    limit: RawFd,
}

impl Descriptors {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        // A process can always ask (getrlimit(2)).
        let limit = process::descriptor_limit().unwrap_or(u64::MAX);
        Self {
            limit: RawFd::try_from(limit).unwrap_or(RawFd::MAX),
        }
    }

    /// Whether `newest`, which was just opened, leaves enough of them.
    pub(super) fn suffice_after(self, newest: impl AsFd) -> bool {
        newest.as_fd().as_raw_fd() < self.first_reserved()
    }

    /// Whether enough of them are free by now; `any` is any that is open.
    pub(super) fn suffice(self, any: impl AsFd) -> bool {
        let next = any.as_fd().try_clone_to_owned();
        next.is_ok_and(|next| self.suffice_after(next))
    }

    fn first_reserved(self) -> RawFd {
        self.limit - self.reserve()
    }

    fn reserve(self) -> RawFd {
        RESERVE.min(self.limit / 8)
    }
}

impl fmt::Display for Descriptors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, reserve) = (self.limit, self.reserve());
        write!(
            formatter,
            "all but {reserve} of {limit} descriptors are open, and these are the application's; RLIMIT_NOFILE, systemd's `LimitNOFILE=`, bounds them"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn some_are_reserved_of_many_and_of_few() {
        let first = |limit| Descriptors { limit }.first_reserved();
        assert_eq!(first(1 << 20), (1 << 20) - 64);
        assert_eq!(first(1024), 960);
        assert_eq!(first(60), 53);
    }

    #[test]
    fn the_next_one_says_how_many_there_are() {
        let (any, _other) = UnixStream::pair().unwrap();
        let suffice = |limit| Descriptors { limit }.suffice(&any);
        assert!(suffice(RawFd::MAX));
        assert!(!suffice(1));
        assert!(Descriptors::of_this_process().suffice(&any));
    }
}
