//! One key file: its bytes, and who can reach them.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use nix::fcntl::OFlag;

use super::Digest;
use super::files::Held;
use crate::config::KEYS_MAX;

/// Who may reach a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Whoever reads it can sign tokens.
    Secret,
    /// Anyone may read it, but whoever writes it decides who can sign.
    Public,
}

/// A key file that was read once: whoever judges it judges the bytes that will be used.
pub(crate) struct KeyFile<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    /// Permission bits; a pipe has none that mean anything.
    mode: Option<u32>,
}

impl<'a> KeyFile<'a> {
    /// Reads a regular file, and waits for nothing.
    pub(crate) fn read(path: &'a Path) -> Result<Self, String> {
        Self::read_up_to(KEYS_MAX, path)
    }

    /// As [`Self::read`], of another size at most, in bytes.
    pub(crate) fn read_up_to(most: u64, path: &'a Path) -> Result<Self, String> {
        // Without O_NONBLOCK a named pipe would hold up whoever opens it.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = options.open(path).map_err(|error| failed(path, &error))?;
        let mode = mode(path, &file)?;
        if mode.is_none() {
            return Err(format!("`{}` is not a regular file", path.display()));
        }
        Self::take(path, file, mode, most)
    }

    /// Reads whatever gives bytes, for a person who waits: `<(…)` of a shell is a pipe.
    pub(crate) fn read_any(path: &'a Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| failed(path, &error))?;
        let mode = mode(path, &file)?;
        Self::take(path, file, mode, KEYS_MAX)
    }

    /// One that was read before.
    pub(super) fn of(path: &'a Path, Held { bytes, mode }: Held) -> Self {
        Self { path, bytes, mode }
    }

    /// For [`Self::of`].
    pub(super) fn held(&self) -> Held {
        Held {
            bytes: self.bytes.clone(),
            mode: self.mode,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Tells whether it is still what it was.
    pub(crate) fn digest(&self) -> Option<Digest> {
        digest(&SHA256, &self.bytes).as_ref().try_into().ok()
    }

    /// Why what is in it cannot be used.
    pub(crate) fn unusable(&self, error: &dyn Display) -> String {
        format!("`{}`: {error}", self.path.display())
    }

    /// What is in it: its bytes without one line break at the end, which is no part of a secret.
    pub(crate) fn content(&self) -> Result<&[u8], String> {
        let line = self.bytes.strip_suffix(b"\n");
        let secret = line.map_or(self.bytes.as_slice(), |line| {
            line.strip_suffix(b"\r").unwrap_or(line)
        });
        if secret.is_empty() {
            return Err(format!("`{}` is empty", self.path.display()));
        }
        Ok(secret)
    }

    /// Who can reach it that should not, and the command that helps.
    pub(crate) fn judge(&self, secrecy: Secrecy) -> Result<(), String> {
        let mode = self.mode.unwrap_or_default();
        let shown = self.path.display();
        let problem = match secrecy {
            Secrecy::Secret if mode & 0o004 != 0 => "can be read by everyone",
            Secrecy::Secret if mode & 0o022 != 0 => "can be written by others",
            Secrecy::Public if mode & 0o002 != 0 => "can be written by everyone",
            Secrecy::Secret | Secrecy::Public => return Ok(()),
        };
        let fix = match secrecy {
            Secrecy::Secret => "600",
            Secrecy::Public => "644",
        };
        Err(format!(
            "`{shown}` {problem} (mode {mode:04o}); run `chmod {fix} {shown}`"
        ))
    }

    fn take(path: &'a Path, file: File, mode: Option<u32>, most: u64) -> Result<Self, String> {
        let shown = path.display();
        let mut bytes = Vec::new();
        file.take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(path, &error))?;
        if bytes.is_empty() {
            return Err(format!("`{shown}` is empty"));
        }
        if bytes.len() as u64 > most {
            return Err(format!(
                "`{shown}` is larger than {most} bytes, more than is read of such a file"
            ));
        }
        Ok(Self { path, bytes, mode })
    }
}

/// The permission bits of a regular file.
fn mode(path: &Path, file: &File) -> Result<Option<u32>, String> {
    let metadata = file.metadata().map_err(|error| failed(path, &error))?;
    if metadata.is_dir() {
        let shown = path.display();
        return Err(format!("`{shown}` is a directory, not a key file"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    Ok(metadata.is_file().then_some(mode))
}

fn failed(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    if error.kind() == io::ErrorKind::NotFound {
        format!(
            "`{shown}` does not exist; make it with `destrier key generate`, or correct the path"
        )
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        format!(
            "cannot read `{shown}`: permission denied; let the user that destrier runs as read it"
        )
    } else {
        format!("cannot read `{shown}`: {error}")
    }
}
