//! How a reload ends: what is put into force, noted and told.

use std::sync::Arc;

use super::ledger::ReloadEnd;
use super::{Master, ReloadOutcome};
use crate::logging;
use crate::supervisor::Generation;

impl Master {
    /// The generation serves.
    pub(super) fn commit(&mut self, generation: Generation) {
        if let Some(pinned) = self.generations.get(&generation) {
            let config = Arc::clone(&pinned.loaded.config);
            if let Err(error) = logging::change(&config.log)
                .and_then(|()| logging::change_access(config.access_log.as_ref()))
                .and_then(|()| self.hand_over_log_file())
            {
                tracing::error!(%error, "cannot open the log file, the old one stays in use");
            }
            for (bind, address) in self.listeners.describe() {
                tracing::info!(bind, address, generation = generation.0, "listening");
            }
        }
        tracing::info!(
            generation = generation.0,
            workers = self.supervisor.wanted(),
            "serving"
        );
        // The first generation came of no reload.
        self.ledger.serving_since = self.now();
        if generation > Generation(1) {
            self.ledger.reload_ended(ReloadEnd::Committed);
            self.note_reload(self.if_loaded(generation));
        }
    }

    /// It is given up.
    pub(super) fn roll_back(&mut self, generation: Generation, reason: String) {
        if self.supervisor.serving().is_some() {
            tracing::error!(
                generation = generation.0,
                reason,
                "rolled back: this generation is given up, the one before it serves on"
            );
        } else {
            tracing::error!(
                generation = generation.0,
                reason,
                "given up: it cannot serve"
            );
        }
        self.ledger.reload_ended(ReloadEnd::RolledBack);
        self.note_reload(Err(reason));
    }

    /// What a reload has come to is told by `status`, and where it failed by systemd.
    pub(super) fn note_reload(&mut self, result: Result<Generation, String>) {
        let serves_on = result.is_err() && self.supervisor.serving().is_some();
        self.last_reload = Some(ReloadOutcome {
            at: self.now(),
            result,
        });
        if serves_on {
            self.tell_systemd_that_it_serves();
        }
    }

    pub(super) fn tell_systemd_that_it_serves(&self) {
        let status = match &self.last_reload {
            Some(ReloadOutcome {
                result: Err(reason),
                ..
            }) => format!("the last reload failed: {reason}"),
            _ => format!(
                "{} workers, generation {}",
                self.supervisor.wanted(),
                self.supervisor
                    .serving()
                    .map_or(0, |generation| generation.0)
            ),
        };
        self.systemd.notifier.send(&format!(
            "READY=1\nSTATUS=Serving; {}",
            status.replace('\n', " ")
        ));
    }
}
