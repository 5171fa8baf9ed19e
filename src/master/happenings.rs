//! What the agent is told for `hooks.on_event`: gathered here until it can be said, so that nothing waits for it.

use std::collections::VecDeque;

use super::Master;
use super::ledger::{ReloadEnd, WorkerEnd};
use crate::channel::{Happening, ToAgent, Trouble};
use crate::config::Hooks;
use crate::supervisor::State;
use crate::sys::clock;

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
    is_short: bool,
}

impl Happenings {
    fn add(&mut self, at: u64, happening: Happening) {
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

    /// Something has happened that whoever wants to be told is told.
    pub(super) fn tell_of(&mut self, happening: Happening) {
        if self.hooks().is_some() {
            self.happenings.add(clock::unix().as_secs(), happening);
        }
    }

    pub(super) fn note_reload_end(&mut self, end: ReloadEnd, message: &str) {
        let happening = match (end, self.supervisor.serving()) {
            (ReloadEnd::Committed, Some(generation)) => Happening::ReloadDone {
                generation: generation.0,
            },
            (ReloadEnd::RolledBack | ReloadEnd::Refused, Some(_)) => Happening::ReloadFailed {
                outcome: end.word().to_owned(),
                message: message.to_owned(),
            },
            // The first generation came of no reload.
            (ReloadEnd::Committed | ReloadEnd::RolledBack | ReloadEnd::Refused, None) => return,
        };
        self.tell_of(happening);
    }

    pub(super) fn note_trouble(&mut self, reason: Trouble, message: &str) {
        let (accepting, wanted, ready_min) = self.strength();
        self.tell_of(Happening::Degraded {
            reason,
            accepting,
            wanted,
            ready_min,
            message: message.to_owned(),
        });
    }

    pub(super) fn note_end_of_trouble(&mut self, reason: Trouble) {
        let (accepting, wanted, _) = self.strength();
        self.tell_of(Happening::Recovered {
            reason,
            accepting,
            wanted,
        });
    }

    /// Called in each turn of the loop: whether enough workers take connections. One that was told to pause or to stop lacks none.
    pub(super) fn note_strength(&mut self) {
        if self.supervisor.serving().is_none() || self.supervisor.is_stopping() {
            return;
        }
        let (accepting, wanted, ready_min) = self.strength();
        let is_short = wanted > 0 && accepting < ready_min;
        if is_short == self.happenings.is_short {
            return;
        }
        self.happenings.is_short = is_short;
        if is_short {
            let message = format!(
                "{accepting} of {wanted} workers take connections, fewer than `health.ready_min`, {ready_min}"
            );
            self.note_trouble(Trouble::TooFewWorkers, &message);
        } else {
            self.note_end_of_trouble(Trouble::TooFewWorkers);
        }
    }

    /// How many workers take connections, how many shall, and how many are enough.
    fn strength(&self) -> (u16, u16, u16) {
        let accepting = self
            .supervisor
            .workers()
            .filter(|worker| matches!(worker.state, State::Accepting { .. }));
        let accepting = u16::try_from(accepting.count()).unwrap_or(u16::MAX);
        let ready_min = self
            .serving()
            .map_or(1, |pinned| pinned.loaded.config.health.ready_min);
        (accepting, self.supervisor.wanted(), ready_min)
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

/// A worker's end as it is told.
pub(super) fn death(
    report: &super::death_report::DeathReport,
    end: WorkerEnd,
    words: &str,
) -> Happening {
    Happening::WorkerDied {
        worker: report.worker,
        pid: report.pid,
        slot: report.slot,
        generation: report.generation,
        reason: end.word().to_owned(),
        ending: words.to_owned(),
        uptime: report.uptime().as_secs(),
        in_flight: report.seat.in_flight,
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
