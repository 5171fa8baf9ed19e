//! Waiting for file descriptors (ppoll(2)): the one place where the master sleeps.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
}

/// Waits until one of `entries` is ready or `timeout` has passed (`None`: for ever). Returns which are ready, in order;
/// an interruption by a signal or a time-out is an empty list.
pub fn wait(
    entries: &[(BorrowedFd<'_>, Interest)],
    timeout: Option<Duration>,
) -> nix::Result<Vec<usize>> {
    let mut polled: Vec<PollFd<'_>> = entries
        .iter()
        .map(|(fd, interest)| {
            let flags = match interest {
                Interest::Read => PollFlags::POLLIN,
                Interest::Write => PollFlags::POLLOUT,
                Interest::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
            };
            PollFd::new(*fd, flags)
        })
        .collect();
    match ppoll(&mut polled, timeout.map(TimeSpec::from_duration), None) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let ready = polled
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.any().unwrap_or(true));
    Ok(ready.map(|(index, _)| index).collect())
}
