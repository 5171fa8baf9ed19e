//! The descriptor that an event loop waits with (epoll(7)), which becomes readable itself when there is something to do for it.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use super::descriptors;

/// What `make` makes, and a descriptor of its own for what that will wait with; none where it cannot be told, as while another thread
/// makes one too.
pub fn made_by<T>(make: impl FnOnce() -> T) -> (T, Option<OwnedFd>) {
    let before = all();
    let made = make();
    let descriptor = before.zip(all()).and_then(|(before, after)| {
        let mut new = after.into_iter().filter(|number| !before.contains(number));
        let first = new.next()?;
        // It may have a second number for the same.
        if new.count() > 1 {
            return None;
        }
        // SAFETY: what `make` has made is open, and it is not dropped before this is over.
        let descriptor = unsafe { BorrowedFd::borrow_raw(first) };
        descriptor.try_clone_to_owned().ok()
    });
    (made, descriptor)
}

/// All of this process, in order; none without `/proc`.
fn all() -> Option<Vec<RawFd>> {
    let mut numbers = descriptors::open_numbers().ok()?;
    numbers.retain(|number| {
        let what = std::fs::read_link(format!("/proc/self/fd/{number}"));
        what.is_ok_and(|what| what.as_os_str() == "anon_inode:[eventpoll]")
    });
    numbers.sort_unstable();
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

    use crate::sys::wakeup::Wakeup;

    use super::*;

    fn epoll() -> Epoll {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap()
    }

    // In one test: others of this process would make some meanwhile.
    #[test]
    fn it_is_readable_when_what_was_made_has_something_to_do() {
        let (made, descriptor) = made_by(epoll);
        let descriptor = descriptor.unwrap();
        let is_readable = || {
            let mut fds = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
        };
        let wakeup = Wakeup::new().unwrap();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, 0);
        made.add(&wakeup, event).unwrap();
        assert!(!is_readable());
        wakeup.wake();
        assert!(is_readable());
        assert!(made_by(|| ()).1.is_none());
        assert!(made_by(|| [epoll(), epoll(), epoll()]).1.is_none());
    }
}
