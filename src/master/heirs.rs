//! Who goes on with the idle connections of a worker that drains, and with what waits for one that has died.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use super::Master;
use crate::channel::ToWorker;
use crate::config::Bind;
use crate::supervisor::{Slot, State, WorkerId, WorkerView};
use crate::sys::socket;

impl Master {
    /// Introduces the worker `id`, which fills `slot` and is about to drain, to the one that goes on with its connections:
    /// the listeners that both serve, and the end of a socket on which it passes them. The master takes no part in it.
    pub(super) fn introduce_heir(
        &mut self,
        id: WorkerId,
        slot: Slot,
    ) -> Option<(Vec<String>, OwnedFd)> {
        let heir = self.heir_to_connections(id, slot)?;
        let hand = self.crew.get_mut(heir)?;
        let generation = hand.generation;
        let (ours, theirs) = match socket::packet_pair() {
            Ok(pair) => pair,
            Err(error) => {
                tracing::warn!(worker = id.0, %error, "connections cannot be passed on");
                return None;
            }
        };
        hand.tell_with(&ToWorker::Adopt, theirs);
        // Where the heir speaks TLS, a plain connection shall not go on.
        let pinned = self.generations.get(&generation);
        let speaks_tls =
            |bind: &&Bind| pinned.is_some_and(|pinned| pinned.loaded.config.speaks_tls(bind));
        let binds = self.binds_of(generation).iter();
        let binds = binds.filter(|bind| !speaks_tls(bind));
        Some((binds.map(ToString::to_string).collect(), ours))
    }

    /// The worker that has taken its place; where its place is empty for a moment, the one with the fewest connections.
    fn heir_to_connections(&self, id: WorkerId, slot: Slot) -> Option<WorkerId> {
        let heirs = self.supervisor.workers().filter(|other| {
            let accepts = matches!(other.state, State::Accepting { .. });
            let pinned = self.generations.get(&other.generation);
            accepts
                && other.id != id
                && pinned.is_some_and(|pinned| pinned.loaded.config.http.pass_connections)
        });
        let heir = heirs.min_by_key(|other| {
            let is_elsewhere = other.slot != slot;
            let connections = is_elsewhere.then(|| self.connections_of(other.id));
            // The youngest in the slot is the one that stays.
            (is_elsewhere, connections, std::cmp::Reverse(other.id))
        });
        heir.map(|heir| heir.id)
    }

    fn connections_of(&self, id: WorkerId) -> u64 {
        let hand = self.crew.get(id);
        hand.map_or(u64::MAX, |hand| self.scoreboard.connections(hand.seat))
    }

    /// Workers have ended: whoever lives serves what waits for them.
    pub(super) fn hand_over_what_waits_for(&mut self, dead: &[(WorkerId, Option<Slot>)]) {
        let mut slots: BTreeSet<u16> = dead
            .iter()
            .filter_map(|(_, slot)| Some(slot.as_ref()?.0))
            .collect();
        for (id, _) in dead {
            slots.extend(self.listeners.worker_left(*id));
        }
        for slot in slots {
            self.hand_over_queues(Slot(slot));
        }
        for (id, _) in dead {
            for (bind, slot, queue) in self.listeners.emptied_by(*id) {
                if let Some(heir) = self.hand_over(&bind, slot, queue) {
                    self.listeners.pass_on(&bind, slot, *id, heir);
                }
            }
            self.listeners.stop_emptied_by(*id);
        }
    }

    /// What waits in the queues of a slot whose worker has died need not wait for the next one, which may boot slowly, be held
    /// back, or never come: the worker with the fewest connections serves it.
    fn hand_over_queues(&mut self, slot: Slot) {
        let accepts = |worker: &WorkerView| matches!(worker.state, State::Accepting { .. });
        let mut workers = self.supervisor.workers();
        if workers.any(|worker| worker.slot == slot && accepts(&worker)) {
            return;
        }
        drop(workers);
        for (bind, queue) in self.listeners.queues_of(slot.0) {
            let _nobody_is_left = self.hand_over(&bind, slot.0, queue);
        }
    }

    /// Who shall serve what waits on `bind`: of those who take connections, or at the end of those who finish theirs, the one
    /// with the fewest.
    fn heir_for(&self, bind: &Bind) -> Option<WorkerId> {
        let is_last = self.supervisor.is_draining();
        let serves = |worker: &WorkerView| match worker.state {
            State::Accepting { .. } => true,
            State::Draining { failed_boot, .. } => is_last && !failed_boot,
            State::Booting { .. }
            | State::Waiting { .. }
            | State::Hung { .. }
            | State::Killed { .. } => false,
        };
        let workers = self.supervisor.workers().filter(serves);
        let workers = workers.filter(|worker| self.binds_of(worker.generation).contains(bind));
        let heir = workers.min_by_key(|worker| self.connections_of(worker.id));
        heir.map(|heir| heir.id)
    }

    /// Has somebody serve what waits in `queue`; who does.
    fn hand_over(&mut self, bind: &Bind, slot: u16, queue: OwnedFd) -> Option<WorkerId> {
        let heir = self.heir_for(bind)?;
        let listener = bind.to_string();
        let take_over = ToWorker::TakeOver { listener, slot };
        self.crew.get_mut(heir)?.tell_with(&take_over, queue);
        self.listeners.note_heir(bind.clone(), slot, heir);
        Some(heir)
    }
}
