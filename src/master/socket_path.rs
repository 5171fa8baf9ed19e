//! A Unix socket's place in the file system: never taken from a living owner, always from a dead one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::boot::make_folder;
use crate::sys::process::ProcessId;
use crate::sys::socket::{connect_at_once, peer_credentials};

/// A path that this process owns until it is dropped. A lock beside it, `PATH.lock`, keeps two starting servers apart;
/// the kernel releases it when the owner dies, however it dies.
#[derive(Debug)]
pub(super) struct SocketPath {
    pub(super) path: PathBuf,
    /// Device and inode of the socket, once it was made: only that one is removed.
    pub(super) made: Option<(u64, u64)>,
    pub(super) lock: Flock<File>,
}

/// A path that cannot be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named in the messages")]
pub enum SocketPathError {
    /// Somebody listens there, or is about to.
    #[error("`{path}` belongs to a server that runs: process {owner}")]
    InUse { path: PathBuf, owner: String },
    /// A file of another kind.
    #[error("`{0}` exists and is no socket; it is left alone")]
    NotASocket(PathBuf),
    /// The file system.
    #[error("cannot use `{path}`: {error}")]
    Io { path: PathBuf, error: io::Error },
}

impl SocketPathError {
    /// Whether a moment's patience may help: a master that was killed leaves workers which take that moment to go.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::NotASocket(_) | Self::Io { .. } => false,
        }
    }
}

impl SocketPath {
    /// Makes `path` free for a new socket.
    pub(super) fn claim(path: &Path) -> Result<Self, SocketPathError> {
        let failed = |error| SocketPathError::Io {
            path: path.to_owned(),
            error,
        };
        if let Some(folder) = path.parent() {
            make_folder(folder).map_err(failed)?;
        }
        let lock = lock(path)?;
        if Occupant::of(path)? == Occupant::Dead {
            fs::remove_file(path).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            made: None,
            lock,
        })
    }

    /// Whether `path` could be claimed, as far as a look tells: nothing is made, and no lock is tried.
    pub(super) fn assert_claimable(path: &Path) -> Result<(), SocketPathError> {
        match Occupant::of(path)? {
            Occupant::Nobody | Occupant::Dead => Ok(()),
        }
    }

    /// The socket is in place now.
    pub(super) fn made(&mut self) {
        self.made = fs::symlink_metadata(&self.path)
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()));
    }
}

/// Who has a path that may be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occupant {
    /// Nothing is there.
    Nobody,
    /// The socket of a server that is gone.
    Dead,
}

impl Occupant {
    fn of(path: &Path) -> Result<Self, SocketPathError> {
        let failed = |error| SocketPathError::Io {
            path: path.to_owned(),
            error,
        };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nobody),
            Err(error) => return Err(failed(error)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(SocketPathError::NotASocket(path.to_owned()));
            }
            Ok(_) => {}
        }
        match connect_at_once(path) {
            // Somebody listens without our lock: a server of another kind.
            Ok(stream) => {
                let owner = peer_credentials(&stream)
                    .map_or_else(|_| "unknown".to_owned(), |peer| peer.pid.to_string());
                Err(in_use(path, &owner))
            }
            // Its accept queue is full: it listens, but does not keep up, or hangs.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(in_use(path, "unknown")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Self::Dead),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path)
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()));
        if there.is_some() && there == self.made {
            let _already_gone = fs::remove_file(&self.path);
        }
    }
}

fn in_use(path: &Path, owner: &str) -> SocketPathError {
    SocketPathError::InUse {
        path: path.to_owned(),
        owner: owner.to_owned(),
    }
}

/// Takes the lock and writes the own process id into it, for whoever finds it taken.
fn lock(path: &Path) -> Result<Flock<File>, SocketPathError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |error| SocketPathError::Io {
        path: lock_path.clone(),
        error,
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&lock_path).map_err(failed)?;
    let mut owner = String::new();
    file.read_to_string(&mut owner).map_err(failed)?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| in_use(path, owner.trim()))?;
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .map_err(failed)?;
    writeln!(lock, "{}", ProcessId::own()).map_err(failed)?;
    Ok(lock)
}
