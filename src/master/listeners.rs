//! The listening sockets: opened once, kept for the master's whole life, lent to workers.

mod queues;
mod rehearsal;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::slot_sockets::{SlotSockets, stop_listening};
use super::socket_path::{SocketPath, SocketPathError};
use crate::config::{Balance, Bind, Server};
use crate::supervisor::WorkerId;
use crate::sys::identity::{self, IdentityError};
use crate::sys::listener::{self, ListeningSocket};
use crate::sys::systemd::InheritedSocket;

/// Every socket that listens.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) open: Vec<Listener>,
    /// What systemd passed, kept so that a later generation may use it.
    pub(super) inherited: Vec<InheritedSocket>,
    /// Slots whose worker takes connections, for each listener that has any; others get no new ones.
    pub(super) serving: BTreeMap<Bind, BTreeSet<u16>>,
    /// Slots whose queue a worker takes over: the socket goes on until it has.
    pub(super) heirs: BTreeSet<(Bind, u16, WorkerId)>,
    /// Whether the kernel was found unable to steer connections among sockets.
    pub(super) cannot_steer: bool,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) bind: Bind,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A socket for each slot.
    PerSlot(SlotSockets),
    /// One socket for everybody.
    Shared {
        socket: OwnedFd,
        address: Option<SocketAddr>,
        path: Option<SocketPath>,
        inherited: bool,
        /// Workers were told to empty its queue; who wants the address once more gets another socket.
        is_leaving: bool,
        /// Those of them that are still at it.
        emptied_by: BTreeSet<WorkerId>,
    },
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
            heirs: BTreeSet::new(),
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
        if self.is_open(bind, server)? {
            return Ok(());
        }
        let per_slot = is_per_slot(bind, server);
        let failed = |error| ListenError::Open(bind.clone(), error);
        let kinds = match bind {
            Bind::Tcp(address) => {
                vec![open_tcp(*address, server, slots, per_slot).map_err(failed)?]
            }
            Bind::Unix(path) => {
                let (owner, group) = owner_and_group(server)
                    .map_err(|error| ListenError::Owner(bind.clone(), error))?;
                let mut claimed = SocketPath::claim(path)
                    .map_err(|error| ListenError::Path(bind.clone(), error))?;
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
                    emptied_by: BTreeSet::new(),
                }]
            }
            Bind::Fd(_) | Bind::Systemd(_) => self.passed(bind)?,
        };
        self.open.extend(kinds.into_iter().map(|kind| Listener {
            bind: bind.clone(),
            kind,
        }));
        Ok(())
    }

    /// Whether `bind` is listened on already, by somebody who stays.
    fn is_open(&self, bind: &Bind, server: &Server) -> Result<bool, ListenError> {
        let there = |listener: &&Listener| listener.bind == *bind && !listener.kind.is_leaving();
        let Some(there) = self.open.iter().find(there) else {
            return Ok(false);
        };
        let is_same = is_per_slot(bind, server) == matches!(there.kind, Kind::PerSlot(_));
        if is_same || !matches!(bind, Bind::Tcp(_)) {
            Ok(true)
        } else {
            Err(ListenError::BalanceChanged(bind.clone()))
        }
    }

    /// The listening sockets that were passed under `bind`: by number, or all that carry the name.
    fn passed_under(&self, bind: &Bind) -> impl Iterator<Item = &InheritedSocket> {
        let wanted = self.inherited.iter().filter(move |socket| match bind {
            Bind::Fd(number) => socket.number == *number,
            Bind::Systemd(name) => socket.name == *name,
            Bind::Tcp(_) | Bind::Unix(_) => false,
        });
        wanted.filter(|socket| listener::is_listening(&socket.socket))
    }

    fn passed(&self, bind: &Bind) -> Result<Vec<Kind>, ListenError> {
        let kinds: Vec<Kind> = self
            .passed_under(bind)
            .map(|socket| {
                listener::set_nonblocking(&socket.socket)?;
                let address = listener::local_address(&socket.socket)?;
                if address.is_some() {
                    listener::set_nodelay(&socket.socket)?;
                }
                Ok(Kind::Shared {
                    socket: socket.socket.try_clone()?,
                    address,
                    path: None,
                    inherited: true,
                    is_leaving: false,
                    emptied_by: BTreeSet::new(),
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

    /// Names of sockets that systemd passed and no `bind` uses.
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
            .filter(|socket| !socket.name.is_empty())
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
                let (socket, shared, inherited) = match &mut listener.kind {
                    Kind::Shared {
                        socket, inherited, ..
                    } => (socket.try_clone()?, true, *inherited),
                    Kind::PerSlot(sockets) => (sockets.lend(slot)?, false, false),
                };
                Ok(ListeningSocket {
                    name,
                    socket,
                    shared,
                    inherited,
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
            if let Kind::PerSlot(sockets) = &mut listener.kind
                && let Err(error) = sockets.steer(self.serving.get(&listener.bind))
                && !self.cannot_steer
            {
                self.cannot_steer = true;
                tracing::warn!(%error, "cannot steer new connections: they are spread over all slots, also those that have no worker");
            }
        }
    }

    /// The names of the listeners that a leaving worker must close, for nobody serves them after it: not its heir, who
    /// serves `heir`, or nobody at all. A shared one stays while `others`, workers of its own generation, serve it too.
    pub(super) fn to_close(&self, slot: SlotEnd, heir: &[Bind], others: bool) -> Vec<String> {
        let ending = self.open.iter().filter(|listener| {
            let has_heir = heir.contains(&listener.bind);
            match (&listener.kind, slot) {
                // The owner of a passed socket goes on listening, and what waits in it is for the next start.
                (
                    Kind::Shared {
                        inherited: true, ..
                    },
                    _,
                ) => false,
                (_, SlotEnd::Everything) => true,
                (Kind::Shared { .. }, SlotEnd::Slot | SlotEnd::Nothing) => !has_heir && !others,
                (Kind::PerSlot(_), SlotEnd::Nothing) => !has_heir,
                (Kind::PerSlot(_), SlotEnd::Slot) => true,
            }
        });
        ending.map(|listener| listener.bind.to_string()).collect()
    }

    /// The worker `id`, in `slot`, empties the queues of the listeners `names`: nobody shall come to them any more, be it by
    /// the file system, and nobody gets them again.
    pub(super) fn give_up(&mut self, names: &[String], id: WorkerId, slot: u16) {
        for listener in &mut self.open {
            if !names.contains(&listener.bind.to_string()) {
                continue;
            }
            match &mut listener.kind {
                Kind::Shared {
                    path,
                    is_leaving,
                    emptied_by,
                    ..
                } => {
                    *path = None;
                    *is_leaving = true;
                    emptied_by.insert(id);
                }
                Kind::PerSlot(sockets) => sockets.give_up(slot, id),
            }
        }
        self.steer();
    }

    /// The worker has emptied the queue of the listener `name`. It is stopped here and not in the worker, so that the
    /// order in which sockets leave the kernel's table is known.
    pub(super) fn emptied(&mut self, name: &str, id: WorkerId) {
        for listener in &mut self.open {
            if listener.bind.to_string() != name {
                continue;
            }
            match &mut listener.kind {
                Kind::Shared {
                    socket, emptied_by, ..
                } => {
                    // One is enough: it stops for all of them.
                    if emptied_by.contains(&id) {
                        stop_listening(socket);
                        emptied_by.clear();
                    }
                }
                Kind::PerSlot(sockets) => drop(sockets.stop_emptied_by(id)),
            }
        }
        self.steer();
    }

    /// Closes the sockets of slots at and above `slots`, except for those that a worker empties or takes over.
    pub(super) fn close_slots(&mut self, slots: u16) {
        let heirs = std::mem::take(&mut self.heirs);
        self.stop_slots(|bind, sockets| {
            let is_taken_over = |slot| {
                heirs
                    .iter()
                    .any(|(of, taken, _)| of == bind && *taken == slot)
            };
            sockets.stop_from(slots, is_taken_over)
        });
        self.heirs = heirs;
    }

    fn stop_slots(&mut self, stop: impl Fn(&Bind, &mut SlotSockets) -> bool) {
        let mut stopped = false;
        for listener in &mut self.open {
            if let Kind::PerSlot(sockets) = &mut listener.kind {
                stopped |= stop(&listener.bind, sockets);
            }
        }
        if stopped {
            self.steer();
        }
    }

    /// Closes the listeners that no generation names any more, and those that were given up, once nobody empties them.
    pub(super) fn close_unnamed(&mut self, named: &BTreeSet<Bind>) {
        self.open.retain(|listener| {
            let is_named = named.contains(&listener.bind);
            if !is_named {
                tracing::info!(address = %listener.bind, "no longer listening");
            }
            match &listener.kind {
                Kind::Shared {
                    is_leaving: true,
                    emptied_by,
                    ..
                } => !emptied_by.is_empty(),
                Kind::Shared { .. } | Kind::PerSlot(_) => is_named,
            }
        });
    }

    /// The listeners as an operator wants to see them: what was asked for, what the kernel made of it.
    pub(super) fn describe(&self) -> Vec<(String, String)> {
        let describe = |listener: &Listener| {
            let address = match &listener.kind {
                Kind::PerSlot(sockets) => Some(sockets.address()),
                Kind::Shared { address, .. } => *address,
            };
            let bind = listener.bind.to_string();
            let address = address.map_or_else(|| bind.clone(), |address| address.to_string());
            (bind, address)
        };
        let stays = |listener: &&Listener| match &listener.kind {
            Kind::Shared { is_leaving, .. } => !is_leaving,
            Kind::PerSlot(sockets) => !sockets.are_given_up(),
        };
        self.open.iter().filter(stays).map(describe).collect()
    }
}

impl Kind {
    fn is_leaving(&self) -> bool {
        match self {
            Self::PerSlot(_) => false,
            Self::Shared { is_leaving, .. } => *is_leaving,
        }
    }
}

fn is_per_slot(bind: &Bind, server: &Server) -> bool {
    matches!(bind, Bind::Tcp(_)) && server.balance == Balance::PerWorker
}

/// `[::]` takes IPv4 as well, unless the configuration names an IPv4 address for the same port.
pub(super) fn is_v6_only(address: SocketAddr, binds: &[Bind]) -> bool {
    let same_port = |bind: &Bind| matches!(bind, Bind::Tcp(other) if other.is_ipv4() && other.port() == address.port());
    address.is_ipv6() && binds.iter().any(same_port)
}

/// Whose a Unix socket shall be.
fn owner_and_group(server: &Server) -> Result<(Option<u32>, Option<u32>), IdentityError> {
    let owner = server.unix_owner.as_deref();
    let owner = owner.map(|name| identity::user("server.unix_owner", name));
    let group = server.unix_group.as_deref();
    let group = group.map(|name| identity::group("server.unix_group", name));
    Ok((
        owner.transpose()?.map(nix::unistd::Uid::as_raw),
        group.transpose()?.map(nix::unistd::Gid::as_raw),
    ))
}

fn open_tcp(address: SocketAddr, server: &Server, slots: u16, per_slot: bool) -> io::Result<Kind> {
    let v6_only = is_v6_only(address, &server.bind);
    listener::assert_unused(address, v6_only)?;
    if per_slot {
        let sockets = SlotSockets::open(address, v6_only, server.backlog, slots)?;
        return Ok(Kind::PerSlot(sockets));
    }
    let socket = listener::listen_tcp(address, server.backlog, false, v6_only)?;
    Ok(Kind::Shared {
        address: listener::local_address(&socket)?,
        socket,
        path: None,
        inherited: false,
        is_leaving: false,
        emptied_by: BTreeSet::new(),
    })
}
