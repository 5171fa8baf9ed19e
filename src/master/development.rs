//! For development (`app.reload_on_change`): a change of the application is a reload, and one that cannot be loaded is no end of the server.

use super::Master;
use crate::config::SourceFiles;
use crate::supervisor::{Event, Generation, WorkerId};

impl Master {
    /// What the agent watches for changes: those of the generation that serves, or that is to be the first.
    pub(super) fn watched_sources(&self) -> Option<SourceFiles> {
        let newest = || self.generations.values().last();
        let config = &self.serving().or_else(newest)?.loaded.config;
        config.app.python.as_ref()?.watched_files()
    }

    /// They have changed. During a reload one more is remembered.
    pub(super) fn source_changed(&mut self, file: &str) {
        if self.watched_sources().is_some() {
            tracing::info!(file, "the application has changed, it is reloaded");
            self.feed(Event::ReloadRequested(None));
        }
    }

    /// A worker serves no application, but shows why that cannot be loaded.
    pub(super) fn note_stand_in(&mut self, id: WorkerId, reason: String) {
        tracing::error!(
            worker = id.0,
            reason,
            "the application cannot be loaded, clients are shown why"
        );
        let generation = self.crew.get(id).map(|hand| hand.generation);
        let pinned = generation.and_then(|generation| self.generations.get_mut(&generation));
        if let Some(pinned) = pinned {
            pinned.stands_in = Some(reason);
        }
    }

    /// The generation, where it serves its application.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn if_loaded(&self, generation: Generation) -> Result<Generation, String> {
        let pinned = self.generations.get(&generation);
        let reason = pinned.and_then(|pinned| pinned.stands_in.as_ref());
        reason.map_or(Ok(generation), |reason| {
            Err(format!(
                "generation {generation} serves, but shows why its application cannot be loaded: {reason}"
            ))
        })
    }
}
