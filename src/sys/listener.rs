//! Listening sockets: opening them, sharing out what arrives, and closing them without losing what waits.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::libc;
use nix::sys::stat::{Mode, fstat, umask};
use nix::unistd::{Gid, Uid, fchownat};
use socket2::{Domain, SockFilter, SockRef, Socket, TcpKeepalive, Type};

/// Opens a TCP socket that listens on `address`. With `one_of_several`, more of them may listen on it and the kernel
/// shares the connections out (`SO_REUSEPORT`, socket(7)). With `v6_only`, `[::]` leaves IPv4 alone.
pub fn listen_tcp(
    address: SocketAddr,
    backlog: u32,
    one_of_several: bool,
    v6_only: bool,
) -> io::Result<OwnedFd> {
    let socket = tcp_socket(address, v6_only)?;
    socket.set_reuse_port(one_of_several)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Fails with `EADDRINUSE` when any process, this one too, listens on `address`: with `SO_REUSEPORT` alone a second
/// server of the same user would silently take half of the connections.
pub fn assert_unused(address: SocketAddr, v6_only: bool) -> io::Result<()> {
    tcp_socket(address, v6_only)?.bind(&address.into())
}

fn tcp_socket(address: SocketAddr, v6_only: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        None,
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only)?;
    }
    // Accepted sockets inherit it, which saves a system call for each connection (tcp(7)).
    socket.set_tcp_nodelay(true)?;
    // Connections may come before a worker has said what is configured.
    set_dead_peer_timeout(&socket, Some(Duration::from_secs(30)))?;
    Ok(socket)
}

/// The address that `socket` listens on, if it is a TCP one: with port 0 the kernel chose.
pub fn local_address(socket: impl AsFd) -> io::Result<Option<SocketAddr>> {
    Ok(SockRef::from(&socket.as_fd()).local_addr()?.as_socket())
}

/// Whether `socket` is a stream socket that listens; what an operator passes may be anything.
pub fn is_listening(socket: impl AsFd) -> bool {
    let fd = socket.as_fd();
    let socket = SockRef::from(&fd);
    socket.is_listener().unwrap_or(false) && socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
}

/// Has connections accepted from `socket`, a TCP one, send small answers at once (`TCP_NODELAY`, tcp(7)).
pub fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket.as_fd()).set_tcp_nodelay(true)
}

/// Has connections accepted from `socket`, a TCP one, end when their peer has vanished for `timeout`: one that is idle is probed
/// from half of that time on, one with bytes on their way waits for their acknowledgement no longer (`SO_KEEPALIVE`,
/// `TCP_USER_TIMEOUT`, tcp(7)). Without a `timeout` they never do.
pub fn set_dead_peer_timeout(socket: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    const PROBES: u32 = 3;
    let fd = socket.as_fd();
    let socket = SockRef::from(&fd);
    if let Some(timeout) = timeout {
        // In whole seconds, at least one each.
        let second = Duration::from_secs(1);
        let probes = TcpKeepalive::new()
            .with_time((timeout / 2).max(second))
            .with_interval((timeout / (2 * PROBES)).max(second))
            .with_retries(PROBES);
        socket.set_tcp_keepalive(&probes)?;
    } else {
        socket.set_keepalive(false)?;
    }
    socket.set_tcp_user_timeout(timeout)
}

/// Whether nothing is left of the descriptors or the memory that another connection takes (accept(2)).
pub fn is_exhausted(error: &io::Error) -> bool {
    const EXHAUSTED: [Errno; 4] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    let number = error.raw_os_error().map(Errno::from_raw);
    number.is_some_and(|number| EXHAUSTED.contains(&number))
}

/// Makes `socket` return at once when nothing waits.
pub fn set_nonblocking(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket.as_fd()).set_nonblocking(true)
}

/// Opens a Unix socket that listens on `path`, which must not exist. Owner and mode are in place before anybody can
/// connect, for a connection needs a socket that listens. This process has one thread, for the mode is set by its umask(2):
/// a chmod(2) of the path could meet something that somebody else has put there.
pub fn listen_unix(
    path: &Path,
    backlog: u32,
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let address = socket2::SockAddr::unix(path)?;
    let before = umask(Mode::from_bits_truncate(!mode & 0o777));
    let bound = socket.bind(&address);
    umask(before);
    bound?;
    if owner.is_some() || group.is_some() {
        give_socket(path, owner.map(Uid::from_raw), group.map(Gid::from_raw))?;
    }
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Changes who owns the socket at `path`: what is there is looked at once, and only if it is a socket given away.
fn give_socket(path: &Path, owner: Option<Uid>, group: Option<Gid>) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let there = open(path, flags, Mode::empty())?;
    if fstat(&there)?.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(io::Error::other("something else has taken its place"));
    }
    Ok(fchownat(&there, "", owner, group, AtFlags::AT_EMPTY_PATH)?)
}

/// Among the sockets of one `SO_REUSEPORT` group, new connections go only to those whose `indices` in the kernel's order
/// are named, each with the same chance (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)). Connections under way stay where they are.
pub fn steer(socket: impl AsFd, indices: &[u32]) -> io::Result<()> {
    // The offset of a random number among what a filter may ask for (bpf(2)).
    const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
    let Ok(count) = u32::try_from(indices.len()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if count == 0 || count > 1000 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut program = vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, RANDOM),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, count),
    ];
    for (number, index) in (0..).zip(indices) {
        program.push(instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            number,
        ));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, *index));
    }
    // The remainder was one of the numbers above; the kernel wants an end all the same.
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0));
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &mut program)
}

/// New connections to `socket` are no longer begun; those whose handshake has begun still arrive in its queue. Their
/// clients try again after a second, and by then find another socket, or none, on the address.
pub fn refuse_new(socket: impl AsFd) -> io::Result<()> {
    const FLAGS: u32 = 13; // RFC 9293 section 3.1: the byte of a TCP header that holds SYN
    const SYN: u32 = 0x02;
    let filter = [
        SockFilter::new(
            u16_of(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS),
            0,
            0,
            FLAGS,
        ),
        SockFilter::new(
            u16_of(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K),
            0,
            1,
            SYN,
        ),
        SockFilter::new(u16_of(libc::BPF_RET | libc::BPF_K), 0, 0, 0),
        SockFilter::new(u16_of(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX),
    ];
    SockRef::from(&socket.as_fd()).attach_filter(&filter)
}

/// Stops `socket` from listening in every process that holds it; what still waits in its queue is reset.
pub fn stop_listening(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket.as_fd()).shutdown(std::net::Shutdown::Both)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the codes of BPF instructions are below 256"
)]
const fn u16_of(code: u32) -> u16 {
    code as u16
}

const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16_of(code),
        jt,
        jf,
        k,
    }
}

fn attach(
    socket: impl AsFd,
    option: libc::c_int,
    program: &mut [libc::sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len,
        filter: program.as_mut_ptr(),
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `program` and the instructions it points to live until the call returns; the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            (&raw const program).cast::<libc::c_void>(),
            size,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Takes the next connection out of the accept queue of `socket`, if one waits: non-blocking and closed on exec
/// (accept4(2)). Its address is absent where the other end has none, as on a Unix socket.
///
/// # Errors
/// accept4(2); `WouldBlock` when none waits.
pub fn accept(socket: impl AsFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let listener = socket.as_fd().as_raw_fd();
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let next = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        // SAFETY: the kernel writes at most `length` bytes into `storage`, and the true length into `length`.
        let number = unsafe { libc::accept4(listener, storage.cast(), length, flags) };
        Ok(Errno::result(number)?)
    };
    // SAFETY: where it succeeds, accept4(2) has initialised both the address and its length.
    let (number, address) = unsafe { socket2::SockAddr::try_init(next) }?;
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
    let connection = unsafe { OwnedFd::from_raw_fd(number) };
    Ok((connection, address.as_socket()))
}

/// A socket that a worker takes connections from.
#[derive(Debug)]
pub struct ListeningSocket {
    /// As the configuration names it.
    pub name: String,
    /// The socket, for this worker alone or together with others.
    pub socket: OwnedFd,
    /// Whether other workers take connections from the same socket.
    pub shared: bool,
    /// Whether somebody outside listens on it too, and goes on when this server ends.
    pub inherited: bool,
}
