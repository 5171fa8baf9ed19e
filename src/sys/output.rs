//! Writing to an inherited descriptor without ever blocking on it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use nix::sys::socket::{MsgFlags, send};

/// A place for bytes that takes what it can at once.
#[derive(Debug)]
pub enum Output {
    /// A pipe, terminal or file, on a file description of its own so that `O_NONBLOCK` concerns nobody else.
    Stream(File),
    /// A socket, as systemd connects standard error to the journal.
    Socket(OwnedFd),
}

impl Output {
    /// Standard error.
    pub fn standard_error() -> io::Result<Self> {
        let own = io::stderr().as_fd().try_clone_to_owned()?;
        if File::from(own.try_clone()?)
            .metadata()?
            .file_type()
            .is_socket()
        {
            return Ok(Self::Socket(own));
        }
        // Opening it anew makes the description of our own; where that is not allowed, the shared one has to do.
        let path = format!("/proc/self/fd/{}", own.as_raw_fd());
        let mut options = OpenOptions::new();
        options
            .write(true)
            .append(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        Ok(Self::Stream(
            options.open(path).unwrap_or_else(|_| File::from(own)),
        ))
    }

    /// The file at `path`, appended to, made when missing with mode 0640.
    pub fn file(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options
            .create(true)
            .append(true)
            .mode(0o640)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options.open(path).map(Self::Stream)
    }

    /// Writes a part of `bytes` at least, or fails with `WouldBlock`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(file) => file.write(bytes),
            Self::Socket(socket) => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                send(socket.as_raw_fd(), bytes, flags).map_err(io::Error::from)
            }
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stream(file) => file.as_fd(),
            Self::Socket(socket) => socket.as_fd(),
        }
    }
}
