//! Connected sockets: pairs, peers, what may wait in them, and descriptors that pass through them.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recv, recvmsg, sendmsg, sockopt,
};
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

/// Writes `bytes` to a Unix socket without waiting, and passes `descriptor` along with the first of them (`SCM_RIGHTS`,
/// unix(7)). Returns how many were written.
///
/// # Errors
/// sendmsg(2); `WouldBlock` when there is no room, and then nothing was passed.
pub fn send_with(socket: impl AsFd, bytes: &[u8], descriptor: impl AsFd) -> io::Result<usize> {
    let descriptors = [descriptor.as_fd().as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let socket = socket.as_fd().as_raw_fd();
    Ok(sendmsg::<()>(
        socket,
        &[IoSlice::new(bytes)],
        &rights,
        flags,
        None,
    )?)
}

/// Reads into `bytes` from a Unix socket without waiting. Returns how many came, and the descriptors that came along,
/// closed on exec.
///
/// # Errors
/// recvmsg(2); `WouldBlock` when nothing waits.
pub fn receive_with(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = cmsg_space!([RawFd; 8]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(bytes)];
    let socket = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut control), flags)?;
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            // SAFETY: the kernel has just opened these descriptors for us, and nobody else knows them.
            let owned = |number| unsafe { OwnedFd::from_raw_fd(number) };
            descriptors.extend(numbers.into_iter().map(owned));
        }
    }
    Ok((message.bytes, descriptors))
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::{receive_with, send_with};

    #[test]
    fn a_descriptor_passes_with_the_bytes_that_it_was_sent_with() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (mut passed, mut other_end) = UnixStream::pair().expect("a pair");
        let mut bytes = [0; 16];
        let nothing = receive_with(&theirs, &mut bytes).expect_err("nothing was sent");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        (&ours).write_all(b"before").expect("written");
        assert_eq!(send_with(&ours, b"with", &passed).expect("sent"), 4);
        drop(passed);
        let mut received = Vec::new();
        let mut descriptors = Vec::new();
        while received.len() < 10 {
            let (count, more) = receive_with(&theirs, &mut bytes).expect("received");
            received.extend_from_slice(&bytes[..count]);
            descriptors.extend(more);
        }
        assert_eq!(received, b"beforewith");
        passed = UnixStream::from(descriptors.pop().expect("a descriptor"));
        assert!(descriptors.is_empty());
        passed.write_all(b"x").expect("written");
        drop(passed);
        let mut text = String::new();
        other_end.read_to_string(&mut text).expect("read");
        assert_eq!(text, "x");
        drop(ours);
        assert_eq!(receive_with(&theirs, &mut bytes).expect("the end").0, 0);
    }
}
