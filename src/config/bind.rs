//! Addresses to listen on, as they are written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::Bind;

/// A path with its closing NUL must fit into `sun_path` (unix(7)).
const UNIX_PATH_MAX: usize = 107;
/// 0 to 2 are the standard streams.
const FD_MIN: u32 = 3;
/// The most that `sd_listen_fds_with_names(3)` passes.
const SYSTEMD_NAME_MAX: usize = 255;

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BindError {
    pub(super) reason: &'static str,
    pub(super) hint: Option<String>,
}

/// Reads an address.
pub(super) fn parse(text: &str) -> Result<Bind, BindError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    if let Some(number) = text.strip_prefix("fd:") {
        return number
            .parse()
            .ok()
            .filter(|number| (FD_MIN..=i32::MAX.unsigned_abs()).contains(number))
            .map(Bind::Fd)
            .ok_or_else(|| refuse("must have a file descriptor from 3 up after `fd:`", None));
    }
    if let Some(name) = text.strip_prefix("systemd:") {
        return systemd(name);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Bind::Tcp(address)),
        Err(_) => Err(refuse(
            "must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME",
            Some(hint_for(text)),
        )),
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Fd(number) => write!(formatter, "fd:{number}"),
            Self::Systemd(name) => write!(formatter, "systemd:{name}"),
        }
    }
}

fn refuse(reason: &'static str, hint: Option<String>) -> BindError {
    BindError { reason, hint }
}

fn unix(path: &str) -> Result<Bind, BindError> {
    if path.is_empty() {
        return Err(refuse("must have a path after `unix:`", None));
    }
    // An abstract socket has no permissions: every user of the machine could connect.
    if path.starts_with('@') {
        return Err(refuse("must be a path, not an abstract socket", None));
    }
    let path = PathBuf::from(path);
    match too_long(&path) {
        Some(hint) => Err(refuse(
            "must be a path that a Unix socket can have",
            Some(hint),
        )),
        None => Ok(Bind::Unix(path)),
    }
}

/// What to do about a path that has no room in the address of a Unix socket; `None` when it has.
pub(super) fn too_long(path: &Path) -> Option<String> {
    let length = path.as_os_str().len();
    (length > UNIX_PATH_MAX).then(|| {
        format!(
            "it has {length} bytes, at most {UNIX_PATH_MAX} fit: choose a shorter one, as in /run"
        )
    })
}

fn systemd(name: &str) -> Result<Bind, BindError> {
    let is_valid = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if name.is_empty() || name.len() > SYSTEMD_NAME_MAX || !name.bytes().all(is_valid) {
        return Err(refuse(
            "must have a FileDescriptorName= after `systemd:`",
            None,
        ));
    }
    Ok(Bind::Systemd(name.to_owned()))
}

/// What may have been meant by a text that is no address.
fn hint_for(text: &str) -> String {
    if let Some(path) = text.strip_prefix('/') {
        return format!("for a Unix socket, write `unix:/{path}`");
    }
    if text.contains("//") {
        return "leave the scheme out, as in `127.0.0.1:8000`".to_owned();
    }
    if text.parse::<u16>().is_ok() {
        return format!("for this machine only, write `127.0.0.1:{text}`");
    }
    if text.parse::<IpAddr>().is_ok() || text.ends_with(']') {
        return "the port is missing; an IPv6 address stands in brackets, as in `[::1]:8000`"
            .to_owned();
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return "the port is missing, as in `127.0.0.1:8000`".to_owned();
    };
    if port.parse::<u16>().is_err() {
        return "the port must be 0 to 65535".to_owned();
    }
    if host.is_empty() || host == "*" {
        return format!(
            "for every address of this machine, write `[::]:{port}` or `0.0.0.0:{port}`"
        );
    }
    if host.parse::<IpAddr>().is_ok() {
        return format!("an IPv6 address stands in brackets: `[{host}]:{port}`");
    }
    format!("names are not looked up: write a literal address, such as `127.0.0.1:{port}`")
}
