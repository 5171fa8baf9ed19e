//! A descriptor that becomes readable when another thread says so (eventfd(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Wakes whoever waits for a descriptor among others, as an event loop of another library does.
#[derive(Debug)]
pub struct Wakeup(EventFd);

impl Wakeup {
    /// One that nobody has woken.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_value_and_flags(0, flags)?))
    }

    /// Makes it readable. How often, before it is cleared, makes no difference.
    pub fn wake(&self) {
        // It can only fail where it is readable anyway: its counter is full.
        let _full: Result<usize, Errno> = self.0.write(1);
    }

    /// From now on it is readable only when it is woken again.
    pub fn clear(&self) {
        let _not_woken: Result<u64, Errno> = self.0.read();
    }

    /// For a library of another language, which must not close it, nor use it when this is gone.
    pub fn number(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn it_is_readable_from_a_wake_to_the_next_clear() {
        let wakeup = Wakeup::new().unwrap();
        let is_readable = || {
            let mut fds = [PollFd::new(wakeup.0.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
        };
        assert!(!is_readable());
        wakeup.wake();
        wakeup.wake();
        assert!(is_readable());
        wakeup.clear();
        assert!(!is_readable());
        wakeup.clear();
    }
}
