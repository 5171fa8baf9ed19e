//! Where a log goes: opened so that nobody can misdirect it, written to without ever blocking.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{AccessFlags, faccessat};

use super::identity::{self, Identity};
use super::poll::{self, Interest};

/// So many bytes a pipe takes whole or not at all (`PIPE_BUF`, pipe(7)).
pub const AT_ONCE: usize = libc::PIPE_BUF;

/// A place for bytes that takes what it can at once.
#[derive(Debug)]
pub enum Output {
    /// A regular file that has one name.
    File(File),
    /// A pipe, a terminal, or whatever else standard error is, on a file description of its own so that `O_NONBLOCK` concerns nobody else.
    Stream(File),
    /// The same where that cannot be had, as with a pipe of another user: on the file description that others have too.
    Shared(File),
    /// A socket, as systemd connects standard error to the journal.
    Socket(OwnedFd),
    /// Whoever is bound to this path just now; each write is a datagram.
    Datagram {
        /// Bound to nothing.
        socket: UnixDatagram,
        /// Looked up at each write, so that it may be another daemon's by then.
        path: PathBuf,
    },
}

impl Output {
    /// Standard error.
    pub fn standard_error() -> io::Result<Self> {
        Self::stream(io::stderr().as_fd())
    }

    /// Standard output.
    pub fn standard_output() -> io::Result<Self> {
        Self::stream(io::stdout().as_fd())
    }

    fn stream(stream: BorrowedFd<'_>) -> io::Result<Self> {
        let own = stream.try_clone_to_owned()?;
        let kind = File::from(own.try_clone()?).metadata()?.file_type();
        if kind.is_socket() {
            return Ok(Self::Socket(own));
        }
        if kind.is_file() {
            append_from_now_on(&own)?;
        }
        // Opening it anew makes a description of our own.
        let path = format!("/proc/self/fd/{}", own.as_raw_fd());
        let mut options = OpenOptions::new();
        options
            .write(true)
            .append(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        Ok(match options.open(path) {
            Ok(file) => Self::Stream(file),
            Err(_) => Self::Shared(File::from(own)),
        })
    }

    /// The file at `path`, appended to, made when missing with mode 0640; a named pipe or a device is as good.
    ///
    /// # Errors
    /// open(2); also a link, or a file with a second name. Whoever may write to the folder of the log, as its workers often
    /// may, could otherwise have a master that is root write to any file, and even give it away.
    pub fn file(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut options = OpenOptions::new();
        options.append(true);
        if names_device(path) {
            return options.custom_flags(flags).open(path).map(Self::Stream);
        }
        options
            .create(true)
            .mode(0o640)
            .custom_flags(flags | libc::O_NOFOLLOW);
        let file = options.open(path).map_err(explain_link)?;
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        if kind.is_fifo() || kind.is_char_device() {
            return Ok(Self::Stream(file));
        }
        if !kind.is_file() {
            return Err(refusal("it is neither a file nor a pipe"));
        }
        match metadata.nlink() {
            0 | 1 => Ok(Self::File(file)),
            _ => Err(refusal("it has a second name (a hard link)")),
        }
    }

    /// The datagram socket at `path`, which need not be there yet.
    pub fn datagrams(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let path = path.to_owned();
        Ok(Self::Datagram { socket, path })
    }

    /// How many bytes may be written at once so that nothing of another process gets between them.
    pub fn whole(&self) -> usize {
        match self {
            // The file is locked while a process appends to it.
            Self::File(_) => 16 * 1024,
            // pipe(7)
            Self::Stream(_) | Self::Shared(_) | Self::Socket(_) => AT_ONCE,
            Self::Datagram { .. } => 0,
        }
    }

    /// What another program has opened with [`Self::file`].
    ///
    /// # Errors
    /// fstat(2).
    pub fn of(descriptor: OwnedFd) -> io::Result<Self> {
        let file = File::from(descriptor);
        Ok(if file.metadata()?.is_file() {
            Self::File(file)
        } else {
            Self::Stream(file)
        })
    }

    /// Gives a regular file to `identity`, which can then open it without privileges. Anything else stays whose it is.
    pub fn hand_over(&self, identity: &Identity) -> io::Result<()> {
        match self {
            Self::File(file) => identity.own(file),
            Self::Stream(_) | Self::Shared(_) | Self::Socket(_) | Self::Datagram { .. } => Ok(()),
        }
    }

    /// Writes a part of `bytes` at least, or fails with `WouldBlock`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) | Self::Stream(file) => file.write(bytes),
            Self::Shared(file) => {
                let entry = [(file.as_fd(), Interest::Write)];
                if poll::wait(&entry, Some(Duration::ZERO))?.is_empty() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                // That much a pipe takes at once when it takes any (pipe(7)).
                let at_once = bytes.len().min(AT_ONCE);
                file.write(bytes.get(..at_once).unwrap_or(bytes))
            }
            Self::Socket(socket) => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                send(socket.as_raw_fd(), bytes, flags).map_err(io::Error::from)
            }
            Self::Datagram { socket, path } => socket.send_to(bytes, path),
        }
    }
}

/// Whoever else writes to this description, as what an application prints does, writes to the end too: a shell that was told `> file` has
/// opened it at its beginning, where what is appended would be written over.
fn append_from_now_on(file: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_APPEND))?;
    Ok(())
}

/// Whether this process could open the file at `path` as [`Output::file`] does; nothing is opened or made.
///
/// # Errors
/// Why not (access(2)): of the file, or of the folder where there is none.
pub fn may_append(path: &Path) -> io::Result<()> {
    let wanted = AccessFlags::W_OK;
    let checked = match faccessat(AT_FDCWD, path, wanted, AtFlags::AT_EACCESS) {
        Err(Errno::ENOENT) => {
            let folder = path.parent().unwrap_or_else(|| Path::new("/"));
            let wanted = wanted | AccessFlags::X_OK;
            faccessat(AT_FDCWD, folder, wanted, AtFlags::AT_EACCESS)
        }
        checked => checked,
    };
    checked.map_err(io::Error::from)
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) | Self::Stream(file) | Self::Shared(file) => file.as_fd(),
            Self::Socket(socket) => socket.as_fd(),
            Self::Datagram { socket, .. } => socket.as_fd(),
        }
    }
}

/// Whether `path` is a link such as `/dev/stderr`, or one to it as container images have for their logs: it names a device
/// or an open descriptor, and nobody but root and this user could make it.
fn names_device(path: &Path) -> bool {
    let (Some(folder), Ok(target)) = (path.parent(), fs::read_link(path)) else {
        return false;
    };
    let is_safe = fs::metadata(folder).is_ok_and(|metadata| {
        let owner = metadata.uid();
        (owner == 0 || owner == identity::effective_user()) && metadata.mode() & 0o022 == 0
    });
    let is_of_the_kernel = |path: &Path| path.starts_with("/dev") || path.starts_with("/proc");
    is_safe && (folder.starts_with("/proc") || is_of_the_kernel(&folder.join(target)))
}

fn explain_link(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::ELOOP as i32) {
        refusal("it is a link, which is not followed; name what it points to")
    } else {
        error
    }
}

fn refusal(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{OpenOptionsExt, symlink};
    use std::path::Path;

    use nix::libc;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::Output;

    fn refused(path: &Path) -> String {
        Output::file(path).expect_err("refused").to_string()
    }

    #[test]
    fn a_log_file_that_is_a_link_or_has_a_second_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [log, link, victim] = ["log", "link", "victim"].map(|name| folder.path().join(name));
        assert!(matches!(Output::file(&log), Ok(Output::File(_))));
        assert!(matches!(Output::file(&log), Ok(Output::File(_))));
        symlink(&victim, &link).unwrap();
        assert!(refused(&link).contains("is a link"));
        assert!(!victim.exists());
        fs::hard_link(&log, &victim).unwrap();
        assert!(refused(&log).contains("second name"));
    }

    #[test]
    fn what_others_print_into_a_file_that_a_shell_has_opened_comes_behind_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut printed = File::create(&path).unwrap();
        let mut log = Output::stream(printed.as_fd()).unwrap();
        log.write(b"a line of the log\n").unwrap();
        printed.write_all(b"what is printed\n").unwrap();
        log.write(b"another line\n").unwrap();
        let all = fs::read_to_string(path).unwrap();
        assert_eq!(all, "a line of the log\nwhat is printed\nanother line\n");
    }

    #[test]
    fn pipes_and_devices_are_logged_to() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, link] = ["pipe", "link"].map(|name| folder.path().join(name));
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let mut reader = OpenOptions::new();
        let _reader = reader
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&pipe)
            .unwrap();
        symlink("/dev/null", &link).unwrap();
        for path in [&pipe, &link, Path::new("/dev/null")] {
            assert!(matches!(Output::file(path), Ok(Output::Stream(_))));
        }
    }
}
