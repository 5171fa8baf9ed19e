//! The sockets on which monitoring asks: the master opens them, for it may have to before it gives nothing up, and keeps them, so
//! that nobody is turned away while the agent is replaced, or the program.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::boot::socket_of;
use super::listeners::{ListenError, is_v6_only};
use super::socket_path::SocketPath;
use super::{ListenerStatus, Master};
use crate::config::{Bind, Config};
use crate::sys::listener;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 64;

/// Root and the group of the master; a token is for those who come over TCP.
const MODE: u32 = 0o660;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AdminListeners {
    pub(super) open: Vec<AdminListener>,
}

#[derive(Debug)]
pub(super) struct AdminListener {
    pub(super) bind: Bind,
    pub(super) socket: OwnedFd,
    pub(super) path: Option<SocketPath>,
}

impl AdminListeners {
    /// Opens what `config` names and is not open yet. The place that nobody has chosen is done without where it cannot be had.
    ///
    /// # Errors
    /// What cannot be opened; then nothing has changed.
    pub(super) fn open(&mut self, config: &Config) -> Result<(), ListenError> {
        let before = self.open.len();
        let wanted = binds(config);
        let opened = wanted
            .iter()
            .try_for_each(|bind| self.open_one(bind, &wanted));
        let Err(error) = opened else {
            return Ok(());
        };
        self.open.truncate(before);
        if config.admin.bind.is_some() {
            return Err(error);
        }
        tracing::warn!(%error, "no probes and no metrics: name another place as `admin.bind`, or none");
        Ok(())
    }

    fn open_one(&mut self, bind: &Bind, all: &[Bind]) -> Result<(), ListenError> {
        if self.open.iter().any(|it| it.bind == *bind) {
            return Ok(());
        }
        let failed = |error| ListenError::Open(bind.clone(), error);
        let (socket, path) = match bind {
            Bind::Tcp(address) => {
                let v6_only = is_v6_only(*address, all);
                let socket = listener::listen_tcp(*address, BACKLOG, false, v6_only);
                (socket.map_err(failed)?, None)
            }
            Bind::Unix(path) => {
                let mut claimed = SocketPath::claim(path)
                    .map_err(|error| ListenError::Path(bind.clone(), error))?;
                let socket = listener::listen_unix(path, BACKLOG, MODE, None, None);
                let socket = socket.map_err(failed)?;
                claimed.made();
                (socket, Some(claimed))
            }
            // `config` lets no such address through.
            Bind::Fd(_) | Bind::Systemd(_) => return Err(ListenError::NotPassed(bind.clone())),
        };
        listener::set_nonblocking(&socket).map_err(failed)?;
        self.open.push(AdminListener {
            bind: bind.clone(),
            socket,
            path,
        });
        Ok(())
    }

    /// What opening what `config` names would be refused for, as far as can be told without doing it: see
    /// [`super::listeners::Listeners::rehearse`].
    pub(super) fn rehearse(&self, config: &Config) -> Vec<ListenError> {
        let named = config.admin.bind.as_deref().unwrap_or_default();
        let missing = named
            .iter()
            .filter(|bind| self.open.iter().all(|it| it.bind != **bind));
        let rehearsed = missing.map(|bind| match bind {
            Bind::Tcp(address) => listener::assert_unused(*address, is_v6_only(*address, named))
                .map_err(|error| ListenError::Open(bind.clone(), error)),
            Bind::Unix(path) => SocketPath::assert_claimable(path)
                .map_err(|error| ListenError::Path(bind.clone(), error)),
            Bind::Fd(_) | Bind::Systemd(_) => Err(ListenError::NotPassed(bind.clone())),
        });
        rehearsed.filter_map(Result::err).collect()
    }

    /// Closes what none of these names.
    fn keep(&mut self, wanted: &[Bind]) {
        self.open.retain(|it| wanted.contains(&it.bind));
    }

    fn statuses(&self) -> Vec<ListenerStatus> {
        let statuses = self.open.iter().map(|it| {
            let address = listener::local_address(&it.socket).ok().flatten();
            ListenerStatus {
                bind: it.bind.to_string(),
                address: address.map_or_else(|| it.bind.to_string(), |address| address.to_string()),
            }
        });
        statuses.collect()
    }
}

impl Master {
    /// Called when generations have come or gone: closes what none of them names.
    pub(super) fn close_unused_admin(&mut self) {
        let generations = self.generations.values();
        let wanted: Vec<Bind> = generations
            .flat_map(|pinned| binds(&pinned.loaded.config))
            .collect();
        self.admin.keep(&wanted);
    }

    pub(super) fn admin_statuses(&self) -> Vec<ListenerStatus> {
        self.admin.statuses()
    }
}

/// Where monitoring asks a server with this configuration.
pub(super) fn binds(config: &Config) -> Vec<Bind> {
    let default = || vec![Bind::Unix(beside(&socket_of(config)))];
    config.admin.bind.clone().unwrap_or_else(default)
}

/// `web.admin.sock` beside `web.sock`.
fn beside(control_socket: &Path) -> std::path::PathBuf {
    control_socket.with_extension("admin.sock")
}
