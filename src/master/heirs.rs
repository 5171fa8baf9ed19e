//! Who goes on with the idle connections of a worker that drains.

use std::os::fd::OwnedFd;

use super::Master;
use crate::channel::ToWorker;
use crate::supervisor::{Slot, State, WorkerId};
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
        let binds = self.binds_of(generation).iter();
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
        let connections = |worker: WorkerId| {
            let hand = self.crew.get(worker);
            hand.map_or(u64::MAX, |hand| self.scoreboard.view(hand.seat).connections)
        };
        let heir = heirs.min_by_key(|other| {
            let is_elsewhere = other.slot != slot;
            let connections = is_elsewhere.then(|| connections(other.id));
            // The youngest in the slot is the one that stays.
            (is_elsewhere, connections, std::cmp::Reverse(other.id))
        });
        heir.map(|heir| heir.id)
    }
}
