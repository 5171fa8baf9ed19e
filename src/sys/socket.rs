//! Connected sockets: pairs, peers, and what may wait in them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, recv, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

/// Who is at the other end of a Unix socket (`SO_PEERCRED`, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its process; of a listening socket, the process that called listen(2).
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// Asks who is at the other end of `socket`.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerCredentials {
        pid: credentials.pid(),
        uid: credentials.uid(),
    })
}

/// Connects to the Unix socket at `path` without waiting, also not for a place in its accept queue.
///
/// # Errors
/// connect(2); `WouldBlock` when somebody listens whose queue is full.
pub fn connect_at_once(path: &Path) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// Whether bytes wait in `socket` that nobody has read yet. The end of the stream is no byte.
pub fn has_unread_bytes(socket: impl AsFd) -> bool {
    let mut byte = [0];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    match recv(socket.as_fd().as_raw_fd(), &mut byte, flags) {
        Ok(count) => count > 0,
        Err(Errno::EAGAIN) => false,
        Err(_) => false,
    }
}
