//! What waits in the accept queues of workers that have died: who takes it, and when its socket stops.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use super::{Kind, Listeners, stop_listening};
use crate::config::Bind;
use crate::supervisor::WorkerId;

impl Listeners {
    /// The queues of `slot`, which nobody serves for the moment, with the names of their listeners.
    pub(in crate::master) fn queues_of(&self, slot: u16) -> Vec<(Bind, OwnedFd)> {
        let queues = self.open.iter().filter_map(|listener| {
            let queue = match &listener.kind {
                Kind::PerSlot(sockets) => sockets.queue_of(slot)?.ok()?,
                Kind::Shared { .. } => return None,
            };
            Some((listener.bind.clone(), queue))
        });
        queues.collect()
    }

    /// The worker has ended. Returns the slots whose queues it was to take over, and has not.
    pub(in crate::master) fn worker_left(&mut self, id: WorkerId) -> BTreeSet<u16> {
        for listener in &mut self.open {
            if let Kind::Shared {
                socket, emptied_by, ..
            } = &mut listener.kind
                && emptied_by.remove(&id)
                && emptied_by.is_empty()
            {
                stop_listening(socket);
            }
        }
        let its_own = |(_, _, heir): &&(Bind, u16, WorkerId)| *heir == id;
        let left = self.heirs.iter().filter(its_own);
        let left = left.map(|(_, slot, _)| *slot).collect();
        self.heirs.retain(|(_, _, heir)| *heir != id);
        left
    }

    /// The queues that the worker was told to empty, and has not.
    pub(in crate::master) fn emptied_by(&self, id: WorkerId) -> Vec<(Bind, u16, OwnedFd)> {
        let mut queues = Vec::new();
        for listener in &self.open {
            if let Kind::PerSlot(sockets) = &listener.kind {
                for (slot, socket) in sockets.emptied_by(id) {
                    let bind = listener.bind.clone();
                    queues.extend(socket.ok().map(|socket| (bind, slot, socket)));
                }
            }
        }
        queues
    }

    /// `heir` empties what `id` was told to empty in this slot.
    pub(in crate::master) fn pass_on(
        &mut self,
        bind: &Bind,
        slot: u16,
        id: WorkerId,
        heir: WorkerId,
    ) {
        for listener in &mut self.open {
            if let Kind::PerSlot(sockets) = &mut listener.kind
                && listener.bind == *bind
            {
                sockets.pass_on(slot, id, heir);
            }
        }
    }

    /// Closes what the worker was told to empty, for nobody will.
    pub(in crate::master) fn stop_emptied_by(&mut self, id: WorkerId) {
        self.stop_slots(|_, sockets| sockets.stop_emptied_by(id));
    }

    /// A worker takes over what waits in the queue of a slot.
    pub(in crate::master) fn note_heir(&mut self, bind: Bind, slot: u16, heir: WorkerId) {
        self.heirs.insert((bind, slot, heir));
    }

    /// It has.
    pub(in crate::master) fn taken_over(&mut self, name: &str, slot: u16, heir: WorkerId) {
        let is_it = |(bind, of, by): &(Bind, u16, WorkerId)| {
            bind.to_string() == name && *of == slot && *by == heir
        };
        self.heirs.retain(|heir| !is_it(heir));
        self.stop_slots(|bind, sockets| {
            bind.to_string() == name && sockets.stop_taken_over(slot, heir)
        });
    }
}
