//! A generation on its way to serve: how it is started, taken over or given up.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Action, Caller, Done, ExitReason, Generation, Now, Policy, Slot, Strategy};
use super::shutdown::Stopping;
use super::worker::Worker;
use super::{Backoff, Line, Supervisor};

/// Workers that were told to drain have this long to say that they take no connections any more. One that has not said so by then is busy, or
/// hangs.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(1);

/// The generation that a reload, or the start, is bringing up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Candidate {
    pub(super) line: Line,
    /// Who waits for the outcome.
    pub(super) askers: Askers,
    /// Rolling: the slots whose replacement has begun.
    pub(super) opened: BTreeSet<Slot>,
    /// Rolling: those of them that lose their old worker before the new one is ready.
    pub(super) stop_first: BTreeSet<Slot>,
}

impl Candidate {
    pub(super) fn new(line: Line, askers: Askers) -> Self {
        Self {
            line,
            askers,
            opened: BTreeSet::new(),
            stop_first: BTreeSet::new(),
        }
    }

    /// Slots from `first` on are wanted no longer: nothing begins there, and a canary that was there is none.
    pub(super) fn close_slots(&mut self, first: u16) {
        self.opened.retain(|slot| slot.0 < first);
        self.stop_first.retain(|slot| slot.0 < first);
    }
}

/// A generation that was put into force while workers of those before it still took connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TakingOver {
    generation: Generation,
    /// Who waits for the outcome.
    pub(super) askers: Askers,
    /// Then it is told, whatever they do.
    pub(super) until: Now,
}

/// Who waits for the outcome of a reload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Askers {
    /// Those who asked for it.
    pub(super) of_reload: Vec<Caller>,
    /// Those whose upgrade it completes.
    pub(super) of_upgrade: Vec<Caller>,
}

impl Askers {
    pub(super) fn answer(self, outcome: &Result<Generation, String>, actions: &mut Vec<Action>) {
        answer(
            self.of_reload,
            &outcome.clone().map(Done::Reloaded),
            actions,
        );
        actions.extend(
            self.of_upgrade
                .into_iter()
                .map(|caller| Action::AnswerUpgrade(caller, outcome.clone())),
        );
    }
}

impl Supervisor {
    pub(super) fn on_prepared(&mut self, policy: Policy, actions: &mut Vec<Action>) {
        let generation = self.next_generation();
        self.last_generation = generation;
        self.known.insert(generation);
        let askers = self.preparing.take().unwrap_or_default();
        if self.stopping.is_some() {
            askers.answer(&Err("the master is stopping".to_owned()), actions);
            return;
        }
        self.candidate = Some(Candidate::new(Line::new(generation, policy), askers));
    }

    pub(super) fn on_refused(&mut self, now: Now, reason: &str, actions: &mut Vec<Action>) {
        let askers = self.preparing.take().unwrap_or_default();
        askers.answer(&Err(reason.to_owned()), actions);
        // What was to stand in for a first generation that has failed.
        if self.serving.is_none() && self.stopping.is_none() {
            self.stop_for_failed_boot(now, Duration::ZERO, reason);
        }
    }

    /// A reload that was asked for begins when none is going on; one that is asked for meanwhile is remembered.
    pub(super) fn begin_waiting_reload(&mut self, actions: &mut Vec<Action>) {
        if self.is_settled()
            && self.upgrade.is_none()
            && let Some(callers) = self.reload_waiting.take()
        {
            self.prepare(callers, Vec::new(), actions);
        }
    }

    pub(super) fn prepare(
        &mut self,
        of_reload: Vec<Caller>,
        of_upgrade: Vec<Caller>,
        actions: &mut Vec<Action>,
    ) {
        self.preparing = Some(Askers {
            of_reload,
            of_upgrade,
        });
        actions.push(Action::Prepare);
    }

    /// No generation is on its way, and the last one is alone.
    pub(super) fn is_settled(&self) -> bool {
        self.candidate.is_none() && self.preparing.is_none() && self.taking_over.is_none()
    }

    /// Gives up the candidate. Its workers are no longer wanted, so `reconcile` retires them; where one of them already
    /// serves a slot, only after the serving generation has a worker there again.
    pub(super) fn roll_back(&mut self, now: Now, reason: &str, actions: &mut Vec<Action>) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        actions.push(Action::RollBack(
            candidate.line.generation,
            reason.to_owned(),
        ));
        candidate.askers.answer(&Err(reason.to_owned()), actions);
        if self.serving.is_none() {
            self.stop_for_failed_boot(now, candidate.line.policy.graceful_timeout, reason);
        }
    }

    /// The candidate has failed: it is given up, and where its application is being written another one is to show why.
    pub(super) fn give_up(&mut self, now: Now, reason: &str, actions: &mut Vec<Action>) {
        let candidate = self.candidate.as_ref();
        let wants_stand_in = candidate.is_some_and(|it| it.line.policy.wants_stand_in);
        let was_stopping = self.stopping.is_some();
        self.roll_back(now, reason, actions);
        if wants_stand_in && !was_stopping {
            self.stopping = None;
            self.preparing = Some(Askers::default());
            actions.push(Action::PrepareStandIn(reason.to_owned()));
        }
    }

    fn stop_for_failed_boot(&mut self, now: Now, grace: Duration, reason: &str) {
        self.stopping = Some(Stopping::graceful(
            now,
            Duration::ZERO,
            grace,
            ExitReason::BootFailed(reason.to_owned()),
        ));
    }

    /// Puts the candidate into force once it has a ready worker in every slot, and one that accepts where it rolls.
    pub(super) fn commit_when_complete(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(candidate) = &self.candidate else {
            return;
        };
        let rolling = self.is_rolling();
        let complete = candidate.line.slots().all(|slot| {
            self.workers_of(slot, candidate.line.generation)
                .any(|worker| {
                    if rolling {
                        worker.is_accepting()
                    } else {
                        worker.is_ready()
                    }
                })
        });
        if !complete {
            return;
        }
        if let Some(candidate) = self.candidate.take() {
            let generation = candidate.line.generation;
            self.serving = Some(candidate.line);
            self.crashes.clear();
            self.boots = Backoff::default();
            actions.push(Action::Commit(generation));
            if std::mem::take(&mut self.degraded) {
                actions.push(Action::Recovered);
            }
            self.taking_over = Some(TakingOver {
                generation,
                askers: candidate.askers,
                until: now + TAKE_OVER_PATIENCE,
            });
        }
    }

    /// Tells those who wait that the generation serves, once nobody is served by those before it who comes from now on.
    pub(super) fn tell_when_taken_over(&mut self, now: Now, actions: &mut Vec<Action>) {
        let workers = &self.workers;
        let is_told = |taking_over: &mut TakingOver| {
            taking_over.until <= now
                || !workers
                    .values()
                    .any(|worker| worker.may_accept && worker.generation < taking_over.generation)
        };
        if let Some(taking_over) = self.taking_over.take_if(is_told) {
            actions.push(Action::TakenOver);
            let outcome = Ok(taking_over.generation);
            taking_over.askers.answer(&outcome, actions);
        }
    }

    /// Whether the candidate takes over slot by slot. The first generation has nobody to take over from.
    pub(super) fn is_rolling(&self) -> bool {
        self.serving.is_some()
            && self.candidate.as_ref().is_some_and(|candidate| {
                matches!(candidate.line.policy.strategy, Strategy::Rolling { .. })
            })
    }

    /// Rolling: begins the replacement of as many slots as the strategy allows, the canary alone.
    pub(super) fn open_slots(&mut self) {
        while let Some((slot, stop_first)) = self.next_slot_to_open() {
            if let Some(candidate) = &mut self.candidate {
                candidate.opened.insert(slot);
                if stop_first {
                    candidate.stop_first.insert(slot);
                }
            }
        }
    }

    fn next_slot_to_open(&self) -> Option<(Slot, bool)> {
        let candidate = self.candidate.as_ref()?;
        let serving = self.serving.as_ref()?;
        let Strategy::Rolling {
            max_surge,
            max_unavailable,
        } = candidate.line.policy.strategy
        else {
            return None;
        };
        let accepts =
            |slot: Slot, generation| self.workers_of(slot, generation).any(Worker::is_accepting);
        let in_transition = || {
            candidate
                .opened
                .iter()
                .filter(|slot| !accepts(**slot, candidate.line.generation))
                .copied()
        };
        let canary_pending =
            candidate.opened.len() == in_transition().count() && !candidate.opened.is_empty();
        if canary_pending {
            return None;
        }
        let closed = || {
            candidate
                .line
                .slots()
                .filter(|slot| !candidate.opened.contains(slot))
        };
        // A slot that nobody serves loses nothing: it goes first, so that a reload can mend a generation that crashes.
        if let Some(slot) = closed().find(|slot| !accepts(*slot, serving.generation)) {
            return Some((slot, false));
        }
        let slot = closed().next()?;
        let surging = in_transition()
            .filter(|slot| accepts(*slot, serving.generation))
            .count();
        if surging < usize::from(max_surge) {
            return Some((slot, false));
        }
        let unavailable = serving
            .slots()
            .filter(|slot| !self.is_served(*slot))
            .count();
        (unavailable < usize::from(max_unavailable)).then_some((slot, true))
    }

    /// Whether any worker, of any generation, accepts in the slot.
    fn is_served(&self, slot: Slot) -> bool {
        let opened_stop_first = self
            .candidate
            .as_ref()
            .is_some_and(|candidate| candidate.stop_first.contains(&slot));
        let candidate = self
            .candidate
            .as_ref()
            .map(|candidate| candidate.line.generation);
        self.workers.values().any(|worker| {
            worker.slot == slot
                && worker.is_accepting()
                && (!opened_stop_first || Some(worker.generation) == candidate)
        })
    }

    pub(super) fn workers_of(
        &self,
        slot: Slot,
        generation: Generation,
    ) -> impl Iterator<Item = &Worker> {
        self.workers.values().filter(move |worker| {
            worker.slot == slot && worker.generation == generation && !worker.is_leaving()
        })
    }
}

pub(super) fn answer(
    callers: Vec<Caller>,
    outcome: &Result<Done, String>,
    actions: &mut Vec<Action>,
) {
    actions.extend(
        callers
            .into_iter()
            .map(|caller| Action::Answer(caller, outcome.clone())),
    );
}
