//! For development (`app.reload_on_change`): a change of the application is a reload, and one that cannot be loaded is no end of the server.

use super::{Loaded, Master, Pinned};
use crate::config::{Config, SourceFiles};
use crate::supervisor::{Event, Generation, Policy, WorkerId};

/// Whether the application is being written.
pub(super) fn is_written(config: &Config) -> bool {
    let python = config.app.python.as_ref();
    python.is_some_and(|python| python.reload_on_change)
}

impl Pinned {
    /// Its workers do not load the application, but show why another generation was given up. Where they cannot do that either there
    /// is nothing more to show.
    pub(super) fn stand_in(&mut self, reason: String, policy: &mut Policy) {
        policy.wants_stand_in = false;
        self.failure = Some(reason);
    }
}

impl Master {
    /// What the operator should look at. While the application is being written reloads are many, and each warning is told once.
    pub(super) fn tell_warnings(&self, loaded: &Loaded) {
        let before = self.serving().or_else(|| self.generations.values().last());
        let before = before.filter(|before| is_written(&before.loaded.config));
        let told = before.map_or(&[][..], |before| &before.loaded.warnings);
        for warning in &loaded.warnings {
            if !told.contains(warning) {
                tracing::warn!("{warning}");
            }
        }
    }

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
