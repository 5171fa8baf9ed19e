//! Workers whose probe fails: each serves until another one that passes has taken its place, or until it passes again.

use super::event::{Action, Now, WorkerId};
use super::shutdown::Failing;
use super::worker::{State, Worker};
use super::{Backoff, Supervisor};

impl Supervisor {
    /// What is down may be what all workers need, so this is bounded as crashes are: one slot at a time, with the back-off of the slot,
    /// and with that of boots where a replacement does not pass either.
    pub(super) fn on_probe_failed(
        &mut self,
        now: Now,
        id: WorkerId,
        reason: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        // One that does not serve yet, or no more, need not be waited for.
        if !worker.is_accepting() || worker.is_unwell {
            return;
        }
        worker.is_unwell = true;
        let healthy_for = worker.healthy_for(now);
        self.count_failure(now, id, Failing::Probe(healthy_for), reason, actions);
    }

    pub(super) fn on_probe_passed(&mut self, now: Now, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.is_unwell) else {
            return;
        };
        worker.is_unwell = false;
        // Its health begins anew, so one that comes and goes is not taken for a healthy one.
        if let State::Accepting { since } = &mut worker.state {
            *since = now;
        }
        let generation = worker.generation;
        // Whatever the replacements lacked is there again.
        if self.serving() == Some(generation) {
            self.boots = Backoff::default();
        }
    }

    /// On its way to take the place of a worker that is well again.
    pub(super) fn is_surplus(&self, worker: &Worker) -> bool {
        !worker.is_accepting()
            && self
                .workers_of(worker.slot, worker.generation)
                .any(|other| other.is_accepting() && other.is_staying())
    }
}
