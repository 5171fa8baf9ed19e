//! What has happened (`news`), for `hooks.on_event`: gathered here until it can be said to the agent, so that nothing waits for it.

use std::collections::VecDeque;

use super::Master;
use crate::channel::{Happening, ToAgent};
use crate::config::Hooks;

/// So many wait for an agent; the oldest are lost.
const WAITING_MAX: usize = 64;

/// So much may wait to be read by an agent that does not listen, in bytes.
const UNSENT_MAX: usize = 256 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    /// With when it was, in seconds since 1970.
    waiting: VecDeque<(u64, Happening)>,
    lost: u64,
    /// Fewer workers take connections than `health.ready_min`.
    pub(super) is_short: bool,
}

impl Happenings {
    pub(super) fn add(&mut self, at: u64, happening: Happening) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back((at, happening));
    }
}

impl Master {
    /// `[hooks]` of the generation that serves, or is about to be the first; none where nobody is told.
    pub(super) fn hooks(&self) -> Option<&Hooks> {
        let pinned = self
            .serving()
            .or_else(|| self.generations.values().last())?;
        pinned.loaded.config.hooks.as_ref()
    }

    /// Tells the agent what waits; for the next one where none runs.
    pub(super) fn tell_happenings(&mut self) {
        if self.happenings.waiting.is_empty() {
            return;
        }
        // What has happened may have changed what it is told with.
        self.mind_agent();
        let has_read = self
            .agent
            .unsent()
            .is_some_and(|unsent| unsent < UNSENT_MAX);
        if !has_read {
            return;
        }
        let lost = std::mem::take(&mut self.happenings.lost);
        if lost > 0 {
            tracing::warn!(
                lost,
                "more has happened than the agent could be told: `hooks.on_event` was not run for all"
            );
        }
        for (at, happening) in std::mem::take(&mut self.happenings.waiting) {
            self.agent.tell(&ToAgent::Happened { at, happening });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_be_told_is_bounded_and_the_oldest_is_lost() {
        let mut happenings = Happenings::default();
        for generation in 0..100 {
            happenings.add(generation, Happening::ReloadDone { generation });
        }
        assert_eq!(happenings.waiting.len(), WAITING_MAX);
        assert_eq!((happenings.lost, happenings.waiting[0].0), (36, 36));
    }
}
