//! Sockets that were handed over: what was listened on is listened on.

use std::fs::File;
use std::io;

use nix::fcntl::{Flock, FlockArg};

use super::state;
use crate::master::admin::{AdminListener, AdminListeners};
use crate::master::listeners::{Kind, Listener, Listeners};
use crate::master::slot_sockets::{SlotSocket, SlotSockets};
use crate::master::socket_path::SocketPath;
use crate::sys::handover::Legacy;
use crate::sys::systemd::InheritedSocket;

pub(super) fn take_listeners(
    state: state::Listeners,
    legacy: &mut Legacy,
) -> io::Result<Listeners> {
    let state::Listeners {
        open,
        inherited,
        serving,
        heirs,
        cannot_steer,
    } = state;
    let mut listeners = Listeners::new(Vec::new());
    for listener in open {
        let state::Listener { bind, kind } = listener;
        let kind = take_kind(kind, legacy)?;
        listeners.open.push(Listener { bind, kind });
    }
    for socket in inherited {
        let state::Inherited {
            name,
            number,
            socket,
        } = socket;
        listeners.inherited.push(InheritedSocket {
            name,
            number,
            socket: legacy.take(socket)?,
        });
    }
    listeners.serving = serving.into_iter().collect();
    listeners.heirs = heirs;
    listeners.cannot_steer = cannot_steer;
    Ok(listeners)
}

fn take_kind(kind: state::Kind, legacy: &mut Legacy) -> io::Result<Kind> {
    match kind {
        state::Kind::PerSlot {
            address,
            v6_only,
            backlog,
            sockets,
            serving,
        } => {
            let sockets = sockets.into_iter().map(|there| {
                let state::SlotSocket {
                    slot,
                    socket,
                    emptied_by,
                } = there;
                Ok(SlotSocket {
                    slot,
                    socket: legacy.take(socket)?,
                    emptied_by,
                })
            });
            Ok(Kind::PerSlot(SlotSockets {
                address,
                v6_only,
                backlog,
                sockets: sockets.collect::<io::Result<_>>()?,
                serving,
            }))
        }
        state::Kind::Shared {
            socket,
            address,
            path,
            inherited,
            is_leaving,
            emptied_by,
        } => Ok(Kind::Shared {
            socket: legacy.take(socket)?,
            address,
            path: path.map(|path| take_path(path, legacy)).transpose()?,
            inherited,
            is_leaving,
            emptied_by,
        }),
    }
}

pub(super) fn take_path(path: state::SocketPath, legacy: &mut Legacy) -> io::Result<SocketPath> {
    let state::SocketPath { path, made, lock } = path;
    let file = File::from(legacy.take(lock)?);
    // It is held already, by this very file description (flock(2)).
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    Ok(SocketPath { path, made, lock })
}

pub(super) fn take_admin(
    state: Vec<state::AdminListener>,
    legacy: &mut Legacy,
) -> io::Result<AdminListeners> {
    let open = state.into_iter().map(|listener| {
        let state::AdminListener { bind, socket, path } = listener;
        Ok(AdminListener {
            bind,
            socket: legacy.take(socket)?,
            path: path.map(|path| take_path(path, legacy)).transpose()?,
        })
    });
    Ok(AdminListeners {
        open: open.collect::<io::Result<_>>()?,
    })
}
