//! A descriptor of our own in a worker's event loop.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for `descriptor` to be readable in the tokio runtime of the calling task.
///
/// # Errors
/// `epoll_ctl(2)`: a descriptor that cannot be waited for, or no memory.
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    wait_for(descriptor, Interest::READABLE)
}

/// The same, to be writable.
///
/// # Errors
/// As [`readable`].
pub fn writable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    wait_for(descriptor, Interest::WRITABLE)
}

fn wait_for(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and always names the same file description until it is dropped, and `AsyncFd` owns it.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(registered?)
}
