//! The listening sockets: opened once, kept for the master's whole life, lent to workers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::socket_path::{SocketPath, SocketPathError};
use crate::config::{Balance, Bind, Server};
use crate::supervisor::WorkerId;
use crate::sys::identity::{self, IdentityError};
use crate::sys::listener::{self, ListeningSocket};
use crate::sys::systemd::{self, InheritedSocket};

/// Every socket that listens.
#[derive(Debug)]
pub(super) struct Listeners {
    open: Vec<Listener>,
    /// What systemd passed, kept so that a later generation may use it.
    inherited: Vec<InheritedSocket>,
    /// Slots whose worker takes connections, for each listener that has any; others get no new ones.
    serving: BTreeMap<Bind, BTreeSet<u16>>,
    /// Whether the kernel was found unable to steer connections among sockets.
    cannot_steer: bool,
}

#[derive(Debug)]
struct Listener {
    bind: Bind,
    backlog: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// One `SO_REUSEPORT` socket for each slot.
    PerSlot {
        /// With the port that the kernel chose where 0 was asked for.
        address: SocketAddr,
        v6_only: bool,
        /// In the order of the kernel's table: appended on listen, the last one fills the gap on close.
        sockets: Vec<SlotSocket>,
    },
    /// One socket for everybody.
    Shared {
        socket: OwnedFd,
        address: Option<SocketAddr>,
        path: Option<SocketPath>,
        inherited: bool,
        /// Workers were told to close it; who wants the address once more gets another socket.
        is_leaving: bool,
    },
}

/// The socket of a slot.
#[derive(Debug)]
struct SlotSocket {
    slot: u16,
    socket: OwnedFd,
    /// Who was told to empty its queue. No new connections come to it, and whoever fills the slot next gets another one.
    given_up_by: Option<WorkerId>,
}

impl SlotSocket {
    fn new(slot: u16, socket: OwnedFd) -> Self {
        Self {
            slot,
            socket,
            given_up_by: None,
        }
    }
}

/// What ends together with a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotEnd {
    /// Its slot has somebody else.
    Nothing,
    /// Its slot: nobody will fill it.
    Slot,
    /// The whole server.
    Everything,
}

/// What a worker that leaves must do about its listeners, by name; those it does not name are left to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Partings {
    /// Emptied and then closed, for everybody.
    pub(super) close: Vec<String>,
    /// Emptied and let go: the master closes them, for it must know in which order (see [`Kind::PerSlot`]).
    pub(super) empty: Vec<String>,
}

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system call.
    #[error("cannot listen on `{0}`: {1}")]
    Open(Bind, io::Error),
    /// The place of a Unix socket.
    #[error("cannot listen on `{0}`: {1}")]
    Path(Bind, SocketPathError),
    /// The owner or group of a Unix socket.
    #[error("cannot listen on `{0}`: {1}")]
    Owner(Bind, IdentityError),
    /// Nothing was inherited under this number or name.
    #[error(
        "cannot listen on `{0}`: no listening socket was passed under it; sockets are passed at the start only"
    )]
    NotPassed(Bind),
    /// Sockets are opened for one way of balancing.
    #[error("`server.balance` cannot change for `{0}` by a reload; restart to change it")]
    BalanceChanged(Bind),
}

impl ListenError {
    /// Whether a moment's patience may help: a master that was killed leaves workers which take that moment to go.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Open(_, error) => error.kind() == io::ErrorKind::AddrInUse,
            Self::Path(_, error) => error.may_pass(),
            Self::Owner(..) | Self::NotPassed(_) | Self::BalanceChanged(_) => false,
        }
    }
}

impl Listeners {
    pub(super) fn new(inherited: Vec<InheritedSocket>) -> Self {
        Self {
            open: Vec::new(),
            inherited,
            serving: BTreeMap::new(),
            cannot_steer: false,
        }
    }

    /// Opens what `server` names and is not open yet, with sockets for the slots `0..slots`. On an error nothing that
    /// was open before has changed.
    pub(super) fn open(&mut self, server: &Server, slots: u16) -> Result<(), ListenError> {
        let before = self.open.len();
        let result = server
            .bind
            .iter()
            .try_for_each(|bind| self.open_one(bind, server, slots));
        if result.is_err() {
            self.open.truncate(before);
        }
        result
    }

    fn open_one(&mut self, bind: &Bind, server: &Server, slots: u16) -> Result<(), ListenError> {
        let per_slot = matches!(bind, Bind::Tcp(_)) && server.balance == Balance::PerWorker;
        let there = |listener: &&Listener| listener.bind == *bind && !listener.kind.is_leaving();
        if let Some(there) = self.open.iter().find(there) {
            let same = per_slot == matches!(there.kind, Kind::PerSlot { .. })
                || !matches!(bind, Bind::Tcp(_));
            return if same {
                Ok(())
            } else {
                Err(ListenError::BalanceChanged(bind.clone()))
            };
        }
        let failed = |error| ListenError::Open(bind.clone(), error);
        let kinds = match bind {
            Bind::Tcp(address) => {
                vec![open_tcp(*address, server, slots, per_slot).map_err(failed)?]
            }
            Bind::Unix(path) => {
                let owner = server.unix_owner.as_deref();
                let owner = owner.map(|name| identity::user("server.unix_owner", name));
                let group = server.unix_group.as_deref();
                let group = group.map(|name| identity::group("server.unix_group", name));
                let unknown = |error| ListenError::Owner(bind.clone(), error);
                let owner = owner.transpose().map_err(unknown)?;
                let group = group.transpose().map_err(unknown)?;
                let mut claimed = SocketPath::claim(path)
                    .map_err(|error| ListenError::Path(bind.clone(), error))?;
                let (owner, group) = (
                    owner.map(nix::unistd::Uid::as_raw),
                    group.map(nix::unistd::Gid::as_raw),
                );
                let socket =
                    listener::listen_unix(path, server.backlog, server.unix_mode, owner, group)
                        .map_err(failed)?;
                claimed.made();
                vec![Kind::Shared {
                    socket,
                    address: None,
                    path: Some(claimed),
                    inherited: false,
                    is_leaving: false,
                }]
            }
            Bind::Fd(_) | Bind::Systemd(_) => self.passed(bind)?,
        };
        self.open.extend(kinds.into_iter().map(|kind| Listener {
            bind: bind.clone(),
            backlog: server.backlog,
            kind,
        }));
        Ok(())
    }

    /// The sockets that were passed under `bind`: by number, or all that carry the name.
    fn passed(&mut self, bind: &Bind) -> Result<Vec<Kind>, ListenError> {
        if let Bind::Fd(number) = bind
            && !self.inherited.iter().any(|socket| socket.number == *number)
            && let Some(socket) = i32::try_from(*number)
                .ok()
                .and_then(systemd::take_descriptor)
        {
            self.inherited.push(InheritedSocket {
                name: String::new(),
                number: *number,
                socket,
            });
        }
        let wanted = self.inherited.iter().filter(|socket| match bind {
            Bind::Fd(number) => socket.number == *number,
            Bind::Systemd(name) => socket.name == *name,
            Bind::Tcp(_) | Bind::Unix(_) => false,
        });
        let kinds: Vec<Kind> = wanted
            .filter(|socket| listener::is_listening(&socket.socket))
            .map(|socket| {
                listener::set_nonblocking(&socket.socket)?;
                let address = listener::local_address(&socket.socket)?;
                Ok(Kind::Shared {
                    socket: socket.socket.try_clone()?,
                    address,
                    path: None,
                    inherited: true,
                    is_leaving: false,
                })
            })
            .collect::<io::Result<_>>()
            .map_err(|error| ListenError::Open(bind.clone(), error))?;
        if kinds.is_empty() {
            Err(ListenError::NotPassed(bind.clone()))
        } else {
            Ok(kinds)
        }
    }

    /// Names of passed sockets that no `bind` uses.
    pub(super) fn unused(&self) -> Vec<String> {
        let used = |socket: &&InheritedSocket| {
            !self.open.iter().any(|listener| match &listener.bind {
                Bind::Fd(number) => socket.number == *number,
                Bind::Systemd(name) => socket.name == *name,
                Bind::Tcp(_) | Bind::Unix(_) => false,
            })
        };
        self.inherited
            .iter()
            .filter(used)
            .map(|socket| socket.name.clone())
            .collect()
    }

    /// The sockets for a worker in `slot`, opened where the slot is new.
    pub(super) fn lend(&mut self, slot: u16, server: &Server) -> io::Result<Vec<ListeningSocket>> {
        let wanted = self
            .open
            .iter_mut()
            .filter(|listener| server.bind.contains(&listener.bind) && !listener.kind.is_leaving());
        wanted
            .map(|listener| {
                let name = listener.bind.to_string();
                let (socket, shared) = match &mut listener.kind {
                    Kind::Shared { socket, .. } => (socket.try_clone()?, true),
                    Kind::PerSlot {
                        address,
                        v6_only,
                        sockets,
                    } => {
                        let there = sockets
                            .iter()
                            .find(|there| there.slot == slot && there.given_up_by.is_none());
                        let lent = if let Some(there) = there {
                            there.socket.try_clone()?
                        } else {
                            let backlog = listener.backlog;
                            let socket = listener::listen_tcp(*address, backlog, true, *v6_only)?;
                            let lent = socket.try_clone()?;
                            sockets.push(SlotSocket::new(slot, socket));
                            lent
                        };
                        (lent, false)
                    }
                };
                Ok(ListeningSocket {
                    name,
                    socket,
                    shared,
                })
            })
            .collect::<io::Result<Vec<_>>>()
            .inspect(|_| self.steer())
    }

    /// From now on new connections to each listener go to the slots that `serving` names for it; where none serves, all
    /// its sockets get them, and they wait for whoever comes back.
    pub(super) fn set_serving(&mut self, serving: BTreeMap<Bind, BTreeSet<u16>>) {
        if self.serving != serving {
            self.serving = serving;
            self.steer();
        }
    }

    fn steer(&mut self) {
        for listener in &mut self.open {
            let Kind::PerSlot { sockets, .. } = &mut listener.kind else {
                continue;
            };
            // The kernel has taken them out of its table.
            remove(sockets, |there| {
                there.given_up_by.is_some() && !listener::is_listening(&there.socket)
            });
            let serving = self.serving.get(&listener.bind);
            let gets_some = |there: &SlotSocket| {
                there.given_up_by.is_none()
                    && serving.is_none_or(|slots| slots.contains(&there.slot))
            };
            let indices: Vec<u32> = (0..)
                .zip(&*sockets)
                .filter(|(_, there)| gets_some(there))
                .map(|(index, _)| index)
                .collect();
            let Some(there) = sockets.iter().find(|there| gets_some(there)) else {
                continue;
            };
            if let Err(error) = listener::steer(&there.socket, &indices)
                && !self.cannot_steer
            {
                self.cannot_steer = true;
                tracing::warn!(%error, "cannot steer new connections: they are spread over all slots, also those that have no worker");
            }
        }
    }

    /// What a leaving worker must do about its listeners where nobody serves them after it: not its heir, who serves
    /// `heir`, or nobody at all. What `others`, workers of its own generation, serve too is not closed.
    pub(super) fn partings(&self, slot: SlotEnd, heir: &[Bind], others: bool) -> Partings {
        let mut partings = Partings::default();
        for listener in &self.open {
            let name = || listener.bind.to_string();
            let has_heir = heir.contains(&listener.bind);
            match (&listener.kind, slot) {
                // The owner of a passed socket goes on listening, and what waits in it is for the next start.
                (
                    Kind::Shared {
                        inherited: true, ..
                    },
                    _,
                ) => {}
                (_, SlotEnd::Everything) => partings.close.push(name()),
                (_, SlotEnd::Slot | SlotEnd::Nothing) if !has_heir && !others => {
                    partings.close.push(name());
                }
                (Kind::PerSlot { .. }, SlotEnd::Slot) => partings.empty.push(name()),
                (Kind::PerSlot { .. }, SlotEnd::Nothing) if !has_heir => {
                    partings.empty.push(name());
                }
                (Kind::PerSlot { .. } | Kind::Shared { .. }, SlotEnd::Slot | SlotEnd::Nothing) => {}
            }
        }
        partings
    }

    /// The worker, in `slot`, does what `partings` say: nobody shall come to these listeners any more, be it by the file
    /// system, and nobody gets them again.
    pub(super) fn give_up(&mut self, partings: &Partings, worker: WorkerId, slot: u16) {
        for listener in &mut self.open {
            let name = listener.bind.to_string();
            let is_closed = partings.close.contains(&name);
            match &mut listener.kind {
                Kind::Shared {
                    path, is_leaving, ..
                } if is_closed => {
                    *path = None;
                    *is_leaving = true;
                }
                Kind::PerSlot { sockets, .. } if is_closed || partings.empty.contains(&name) => {
                    let given_up = sockets
                        .iter_mut()
                        .find(|there| there.slot == slot && there.given_up_by.is_none());
                    if let Some(there) = given_up {
                        there.given_up_by = Some(worker);
                    }
                }
                Kind::Shared { .. } | Kind::PerSlot { .. } => {}
            }
        }
        self.steer();
    }

    /// The worker needs the sockets no more that it was told to empty: it has, or it has ended.
    pub(super) fn close_given_up_by(&mut self, worker: WorkerId) {
        self.remove_slots(|there| there.given_up_by == Some(worker));
    }

    /// Closes the sockets of slots at and above `slots`; those that are given up are their workers' to close.
    pub(super) fn close_slots(&mut self, slots: u16) {
        self.remove_slots(|there| there.given_up_by.is_none() && there.slot >= slots);
    }

    fn remove_slots(&mut self, which: impl Fn(&SlotSocket) -> bool) {
        for listener in &mut self.open {
            if let Kind::PerSlot { sockets, .. } = &mut listener.kind {
                remove(sockets, &which);
            }
        }
        self.steer();
    }

    /// Closes the listeners that no generation names any more, and those that were given up.
    pub(super) fn close_unnamed(&mut self, named: &BTreeSet<Bind>) {
        self.open.retain(|listener| {
            let is_named = named.contains(&listener.bind);
            if !is_named {
                tracing::info!(address = %listener.bind, "no longer listening");
            }
            is_named && !listener.kind.is_leaving()
        });
    }

    /// The listeners as an operator wants to see them: what was asked for, what the kernel made of it.
    pub(super) fn describe(&self) -> Vec<(String, String)> {
        let describe = |listener: &Listener| {
            let address = match &listener.kind {
                Kind::PerSlot { address, .. } => Some(address),
                Kind::Shared { address, .. } => address.as_ref(),
            };
            let bind = listener.bind.to_string();
            let address = address.map_or_else(|| bind.clone(), ToString::to_string);
            (bind, address)
        };
        let stays = |listener: &&Listener| !listener.kind.is_leaving();
        self.open.iter().filter(stays).map(describe).collect()
    }
}

impl Kind {
    fn is_leaving(&self) -> bool {
        match self {
            Self::PerSlot { .. } => false,
            Self::Shared { is_leaving, .. } => *is_leaving,
        }
    }
}

/// As the kernel does it: the last one fills the gap.
fn remove(sockets: &mut Vec<SlotSocket>, which: impl Fn(&SlotSocket) -> bool) {
    while let Some(index) = sockets.iter().position(&which) {
        sockets.swap_remove(index);
    }
}

fn open_tcp(address: SocketAddr, server: &Server, slots: u16, per_slot: bool) -> io::Result<Kind> {
    let same_port = |bind: &Bind| matches!(bind, Bind::Tcp(other) if other.is_ipv4() && other.port() == address.port());
    // `[::]` takes IPv4 as well, unless the configuration names an IPv4 address for the same port.
    let v6_only = address.is_ipv6() && server.bind.iter().any(same_port);
    listener::assert_unused(address, v6_only)?;
    let first = listener::listen_tcp(address, server.backlog, per_slot, v6_only)?;
    let address = listener::local_address(&first)?.unwrap_or(address);
    if !per_slot {
        return Ok(Kind::Shared {
            socket: first,
            address: Some(address),
            path: None,
            inherited: false,
            is_leaving: false,
        });
    }
    let mut sockets = vec![SlotSocket::new(0, first)];
    for slot in 1..slots {
        let socket = listener::listen_tcp(address, server.backlog, true, v6_only)?;
        sockets.push(SlotSocket::new(slot, socket));
    }
    Ok(Kind::PerSlot {
        address,
        v6_only,
        sockets,
    })
}
