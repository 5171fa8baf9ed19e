//! Where the code of an application failed that cannot be loaded: whoever waits for the outcome of a reload is shown it.

use super::{Master, ReloadOutcome};
use crate::supervisor::{Generation, WorkerId};

impl Master {
    /// A generation cannot boot, for its code failed there.
    pub(super) fn note_traceback(&mut self, generation: Generation, text: String) {
        self.traceback = Some((generation, text));
    }

    /// The same of a worker's generation.
    pub(super) fn note_traceback_of(&mut self, id: WorkerId, text: String) {
        if let Some(generation) = self.crew.get(id).map(|hand| hand.generation) {
            self.note_traceback(generation, text);
        }
    }

    /// Why something failed; of the generation that was given up last with its traceback, which the log has as a line of its own.
    pub(super) fn with_traceback(&self, reason: String) -> String {
        let last = self.last_reload.as_ref();
        let is_of_last = last.is_some_and(
            |ReloadOutcome { result, .. }| matches!(result, Err(last) if *last == reason),
        );
        let newest = self.supervisor.next_generation().0.saturating_sub(1);
        match &self.traceback {
            Some((generation, text)) if is_of_last && generation.0 == newest => {
                format!("{reason}\n{text}")
            }
            Some(_) | None => reason,
        }
    }
}
