//! Connected sockets: pairs, peers, what may wait in them, and descriptors that pass through them.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType,
    getsockopt, recv, recvmsg, sendmsg, shutdown, socketpair, sockopt,
};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// Who is at the other end of a Unix socket (`SO_PEERCRED`, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its process; of a listening socket, the process that called listen(2).
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

impl PeerCredentials {
    /// Whether it is root, or this user: who may say what a process of that user does.
    pub fn is_root_or(&self, user: u32) -> bool {
        self.uid == 0 || self.uid == user
    }
}

/// Asks who is at the other end of `socket`.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerCredentials {
        pid: credentials.pid(),
        uid: credentials.uid(),
    })
}

/// A socket that somebody else holds, by its number: good for a question while it is open, and for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketNumber(RawFd);

impl SocketNumber {
    /// The number of `socket`.
    pub fn of(socket: &impl AsFd) -> Self {
        Self(socket.as_fd().as_raw_fd())
    }

    /// Whether the peer of a connected socket has closed its side, or is gone: true although what it sent before is still to be
    /// read (`POLLRDHUP`, poll(2)). Asked of a number that is closed it is false.
    pub fn peer_has_left(self) -> bool {
        let gone = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        // SAFETY: poll(2) takes any number, and the borrow ends with this call.
        let socket = unsafe { BorrowedFd::borrow_raw(self.0) };
        let mut polled = [PollFd::new(socket, gone)];
        let is_ready = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        let [polled] = polled;
        // It was asked for this only, beside which errors and a number that is none are told. nix has no word for `POLLRDHUP`.
        is_ready && polled.revents() != Some(PollFlags::POLLNVAL)
    }

    /// How many bytes were written that the peer's kernel has not acknowledged (`SIOCOUTQ`, tcp(7) and unix(7)); none where that is not known.
    pub fn unacknowledged(self) -> Option<u32> {
        let mut count: nix::libc::c_int = 0;
        // SAFETY: ioctl(2) takes any number, and writes an int at most, where `count` is.
        let asked = unsafe { nix::libc::ioctl(self.0, nix::libc::TIOCOUTQ, &raw mut count) };
        (asked == 0).then(|| u32::try_from(count).ok()).flatten()
    }
}

/// When the last descriptor of `socket` is closed its peer sees a reset, and what it has not got yet is dropped (`SO_LINGER` of no time,
/// socket(7)). A Unix socket just ends.
///
/// # Errors
/// setsockopt(2).
pub fn reset_at_end(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
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

/// Two ends of a Unix socket that keeps packets apart (`SOCK_SEQPACKET`, unix(7)); neither waits, both are closed on exec.
///
/// # Errors
/// socketpair(2): no descriptor is left.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}

/// From now on whoever sends to `socket` fails; what was sent before can still be received.
///
/// # Errors
/// shutdown(2): it is not connected.
pub fn stop_receiving(socket: impl AsFd) -> io::Result<()> {
    Ok(shutdown(socket.as_fd().as_raw_fd(), Shutdown::Read)?)
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

/// What came along with bytes.
#[derive(Debug)]
pub enum Along {
    /// Nothing.
    Nothing,
    /// A descriptor, closed on exec. Where there were more, those are closed: nobody sends them.
    Descriptor(OwnedFd),
    /// A descriptor for which this process has no room (`MSG_CTRUNC` of recvmsg(2)).
    Lost,
}

impl Along {
    /// What is to be kept for the message that it belongs to: nothing, or a descriptor, which may have been lost.
    pub fn received(self) -> Option<Option<OwnedFd>> {
        match self {
            Self::Nothing => None,
            Self::Descriptor(descriptor) => Some(Some(descriptor)),
            Self::Lost => Some(None),
        }
    }
}

/// As many descriptors as can come at once (`SCM_MAX_FD` of unix(7)): with less room, those that are too many would stay open, unknown
/// to anybody.
pub const ALONG_MAX: usize = 253;

/// Reads into `bytes` from a Unix socket without waiting. Returns how many came, and what came along.
///
/// # Errors
/// recvmsg(2); `WouldBlock` when nothing waits.
pub fn receive_with(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Along)> {
    let mut control = cmsg_space!([RawFd; ALONG_MAX]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(bytes)];
    let socket = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut control), flags)?;
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Ok((message.bytes, Along::Lost));
    }
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            // SAFETY: the kernel has just opened these descriptors for us, and nobody else knows them.
            let owned = |number| unsafe { OwnedFd::from_raw_fd(number) };
            descriptors.extend(numbers.into_iter().map(owned));
        }
    }
    let first = descriptors.into_iter().next();
    let along = first.map_or(Along::Nothing, Along::Descriptor);
    Ok((message.bytes, along))
}

/// Sends one packet without waiting, with descriptors along; on a socket that keeps packets apart.
///
/// # Errors
/// sendmsg(2); `WouldBlock` when there is no room, and then nothing was sent.
pub fn send_packet(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let rights = rights.get(..usize::from(!numbers.is_empty()));
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let socket = socket.as_fd().as_raw_fd();
    let parts = [IoSlice::new(bytes)];
    sendmsg::<()>(socket, &parts, rights.unwrap_or_default(), flags, None)?;
    Ok(())
}

/// Receives one packet without waiting, into `bytes`. Returns how many there are, and what came along, closed on exec. None: there
/// will be no more.
///
/// # Errors
/// recvmsg(2); `WouldBlock` when nothing waits; `InvalidData` of a packet that is longer, or whose descriptors this process has no
/// room for.
pub fn receive_packet(
    socket: impl AsFd,
    bytes: &mut [u8],
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut control = cmsg_space!([RawFd; ALONG_MAX]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(bytes)];
    let socket = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut control), flags)?;
    let cut = MsgFlags::MSG_CTRUNC | MsgFlags::MSG_TRUNC;
    if message.flags.intersects(cut) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            // SAFETY: the kernel has just opened these descriptors for us, and nobody else knows them.
            let owned = |number| unsafe { OwnedFd::from_raw_fd(number) };
            descriptors.extend(numbers.into_iter().map(owned));
        }
    }
    // Nobody sends a packet without content.
    Ok((message.bytes > 0).then_some((message.bytes, descriptors)))
}

/// Fills `bytes` with what waits in `socket`, and leaves it there. Returns how many there are; of a stream that has ended there are
/// none.
///
/// # Errors
/// recv(2); `WouldBlock` when nothing waits.
pub fn peek(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    Ok(recv(socket.as_fd().as_raw_fd(), bytes, flags)?)
}

/// Whether bytes wait in `socket` that nobody has read yet. The end of the stream is no byte.
pub fn has_unread_bytes(socket: impl AsFd) -> bool {
    peek(socket, &mut [0]).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read, Write};
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::{
        Along, SocketNumber, packet_pair, receive_packet, receive_with, send_packet, send_with,
        stop_receiving,
    };

    #[test]
    fn a_peer_that_left_is_seen_before_what_it_sent_is_read() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let number = SocketNumber::of(&ours);
        theirs.write_all(b"unread").expect("sent");
        assert!(!number.peer_has_left());
        theirs.shutdown(std::net::Shutdown::Write).expect("open");
        assert!(number.peer_has_left());
        drop(theirs);
        assert!(number.peer_has_left());
        assert!(!SocketNumber(i32::MAX).peer_has_left(), "it is no socket");
    }

    #[test]
    fn what_was_sent_before_the_receiver_stopped_is_received_and_nothing_else_is_sent() {
        let (ours, theirs) = packet_pair().expect("a pair");
        let (passed, _other_end) = UnixStream::pair().expect("a pair");
        for packet in [b"one", b"two"] {
            send_with(&ours, packet, &passed).expect("sent");
        }
        stop_receiving(&theirs).expect("stopped");
        send_with(&ours, b"three", &passed).expect_err("nobody receives it");
        let mut bytes = [0; 16];
        for packet in [b"one", b"two"] {
            let (count, along) = receive_with(&theirs, &mut bytes).expect("received");
            assert_eq!(&bytes[..count], packet);
            assert!(matches!(along, Along::Descriptor(_)));
        }
        assert_eq!(receive_with(&theirs, &mut bytes).expect("the end").0, 0);
    }

    #[test]
    fn of_several_descriptors_at_once_one_is_kept_and_the_others_are_closed() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (passed, mut other_end) = UnixStream::pair().expect("a pair");
        let many = [passed.as_raw_fd(); 100];
        let rights = [ControlMessage::ScmRights(&many)];
        let (socket, bytes) = (ours.as_raw_fd(), [IoSlice::new(b"x")]);
        sendmsg::<()>(socket, &bytes, &rights, MsgFlags::empty(), None).expect("sent");
        drop(passed);
        let (count, along) = receive_with(&theirs, &mut [0; 16]).expect("received");
        assert_eq!(count, 1);
        assert!(matches!(along, Along::Descriptor(_)));
        drop(along);
        let mut text = String::new();
        other_end.read_to_string(&mut text).expect("nobody has it");
    }

    #[test]
    fn a_packet_keeps_its_descriptors_together() {
        let (ours, theirs) = packet_pair().expect("a pair");
        let (one, mut its_end) = UnixStream::pair().expect("a pair");
        let (two, _other_end) = UnixStream::pair().expect("a pair");
        send_packet(&ours, b"first", &[one.as_fd(), two.as_fd()]).expect("sent");
        send_packet(&ours, b"second", &[]).expect("sent");
        drop(one);
        let mut bytes = [0; 8];
        let (count, along) = receive_packet(&theirs, &mut bytes)
            .expect("received")
            .expect("a packet");
        assert_eq!((&bytes[..count], along.len()), (&b"first"[..], 2));
        let mut passed = along.into_iter().map(UnixStream::from);
        let mut passed = passed.next().expect("the first");
        passed.write_all(b"x").expect("written");
        drop(passed);
        let mut text = String::new();
        its_end.read_to_string(&mut text).expect("read");
        assert_eq!(text, "x");
        let second = receive_packet(&theirs, &mut bytes).expect("received");
        assert!(second.is_some_and(|(count, along)| count == 6 && along.is_empty()));
        send_packet(&ours, b"much too long", &[]).expect("sent");
        let error = receive_packet(&theirs, &mut bytes).expect_err("there is no room for it");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        drop(ours);
        assert!(
            receive_packet(&theirs, &mut bytes)
                .expect("the end")
                .is_none()
        );
    }

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
            let (count, along) = receive_with(&theirs, &mut bytes).expect("received");
            received.extend_from_slice(&bytes[..count]);
            descriptors.extend(along.received().flatten());
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
