//! Workers whose probe fails: what the operator is told of them.

use super::Master;
use super::ledger::WorkerEnd;
use crate::logging::cut;
use crate::supervisor::{Event, WorkerId};

impl Master {
    /// The probe of a worker has failed too often in a row.
    pub(super) fn note_unwell(&mut self, id: WorkerId, reason: &str) -> Event {
        let reason = cut(reason).to_owned();
        if let Some(hand) = self.crew.get_mut(id) {
            hand.unwell = Some(reason.clone());
            let pid = hand.pid.number();
            tracing::warn!(
                worker = id.0,
                pid,
                reason = "probe",
                probe = reason,
                "worker shall be replaced"
            );
        }
        self.note_reason(id, &reason, WorkerEnd::Probe);
        Event::ProbeFailed(id, reason)
    }

    /// It passes again: the worker stays, unless it shall go for another reason.
    pub(super) fn note_well(&mut self, id: WorkerId) -> Event {
        if let Some(hand) = self.crew.get_mut(id) {
            hand.replaced_for.take_if(|end| *end == WorkerEnd::Probe);
            hand.unwell = None;
            let pid = hand.pid.number();
            tracing::info!(
                worker = id.0,
                pid,
                "worker is well again, it need not be replaced"
            );
        }
        Event::ProbePassed(id)
    }
}
