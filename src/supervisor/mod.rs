//! Decides which workers shall run. Events and the time go in, actions come out; no clock, no I/O, no file descriptor.
//!
//! Events only record. [`Supervisor::handle`] then lets `reconcile` compare what is wanted with what runs: it is the
//! only place that starts and retires workers, so a rollback, a stop or a new worker count needs no code of its own.
//!
//! All of its state can be written down (serde), for an upgrade hands it to another program.

mod backoff;
mod event;
mod probe;
mod reconcile;
mod reload;
mod shutdown;
#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for the actions it is about"
)]
mod simulation;
#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for the actions it is about"
)]
mod tests;
mod upgrade;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

pub use backoff::Backoff;
use serde::{Deserialize, Serialize};

pub use event::{
    Action, Caller, Done, Event, ExitReason, Generation, KillReason, Lifetime, Now, Policy, Scale,
    Slot, StopManner, Strategy, WorkerId,
};
use reload::{Askers, Candidate, TakingOver};
pub use shutdown::StopView;
use shutdown::Stopping;
use upgrade::Upgrade;
use worker::Worker;
pub use worker::{State, WorkerView};

/// The state machine; see the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervisor {
    /// The generation that serves; none until the first one has booted.
    serving: Option<Line>,
    /// The generation that a reload, or the start, is bringing up.
    candidate: Option<Candidate>,
    /// The generation that serves, while those before it may still take connections.
    taking_over: Option<TakingOver>,
    /// Every worker from the decision to spawn it until the kernel has reported its end.
    workers: BTreeMap<WorkerId, Worker>,
    /// Crashes of workers that had been ready, by slot of the serving generation.
    crashes: BTreeMap<Slot, Backoff>,
    /// Boots of the serving generation that failed, all slots together: an application that cannot boot fails everywhere.
    boots: Backoff,
    /// Whether the operator was told that workers keep dying.
    degraded: bool,
    /// Callers whose reload has not begun; `Some` with an empty list is a reload that a signal asked for.
    reload_waiting: Option<Vec<Caller>>,
    /// A reload whose configuration is being read.
    preparing: Option<Askers>,
    upgrade: Option<Upgrade>,
    /// Callers who wait for the new number of workers.
    scaling: Vec<Caller>,
    stopping: Option<Stopping>,
    /// Generations the master still keeps a configuration for.
    known: BTreeSet<Generation>,
    last_worker: WorkerId,
    last_generation: Generation,
    seed: u64,
    exited: bool,
}

/// A generation that is kept at full strength.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    generation: Generation,
    policy: Policy,
    /// Slots `0..wanted` shall serve; `scale` changes it.
    wanted: u16,
    /// WINCH: nobody shall serve, one accept queue is kept for whoever comes back.
    paused: bool,
}

impl Line {
    fn new(generation: Generation, policy: Policy) -> Self {
        Self {
            generation,
            wanted: policy.workers,
            policy,
            paused: false,
        }
    }

    fn wants(&self, slot: Slot) -> bool {
        !self.paused && slot.0 < self.wanted
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..if self.paused { 0 } else { self.wanted }).map(Slot)
    }
}

impl Supervisor {
    /// A supervisor about to boot its first generation. `seed` spreads the waits of servers that fail together.
    pub fn new(policy: Policy, seed: u64) -> Self {
        let generation = Generation(1);
        Self {
            serving: None,
            candidate: Some(Candidate::new(
                Line::new(generation, policy),
                Askers::default(),
            )),
            taking_over: None,
            workers: BTreeMap::new(),
            crashes: BTreeMap::new(),
            boots: Backoff::default(),
            degraded: false,
            reload_waiting: None,
            preparing: None,
            upgrade: None,
            scaling: Vec::new(),
            stopping: None,
            known: BTreeSet::from([generation]),
            last_worker: WorkerId(0),
            last_generation: generation,
            seed,
            exited: false,
        }
    }

    /// Takes in what happened and says what must be done about it, in this order.
    #[must_use = "an action that is not performed leaves the state wrong"]
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::DeadlinePassed => {}
            Event::BootBegins(worker) => self.on_boot_begins(now, worker),
            Event::Ready(worker) => self.on_ready(now, worker),
            Event::BootFailed(worker, reason) => {
                self.on_boot_failed(now, worker, &reason, &mut actions);
            }
            Event::Exited(worker, ending) => self.on_exited(now, worker, &ending, &mut actions),
            Event::StoppedAccepting(worker) => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.may_accept = false;
                }
            }
            Event::Hung(worker) => self.on_hung(now, worker, &mut actions),
            Event::ReplacementWanted(worker) => self.on_replacement_wanted(worker),
            Event::ProbeFailed(worker, reason) => {
                self.on_probe_failed(now, worker, &reason, &mut actions);
            }
            Event::ProbePassed(worker) => self.on_probe_passed(now, worker),
            Event::ReloadRequested(caller) => {
                self.reload_waiting.get_or_insert_default().extend(caller);
            }
            Event::Prepared(policy) => self.on_prepared(policy, &mut actions),
            Event::Refused(reason) => self.on_refused(now, &reason, &mut actions),
            Event::UpgradeRequested { caller, program } => {
                self.on_upgrade_requested(caller, program, &mut actions);
            }
            Event::UpgradeFailed(reason) => self.on_upgrade_failed(&reason, &mut actions),
            Event::Upgraded => self.on_upgraded(&mut actions),
            Event::ScaleRequested(scale, caller) => self.on_scale(scale, caller),
            Event::PauseRequested => self.on_pause(now, &mut actions),
            Event::StopRequested(manner) => self.on_stop(now, manner, &mut actions),
        }
        self.expire(now, &mut actions);
        self.answer_when_stopping(&mut actions);
        self.reconcile(now, &mut actions);
        actions
    }

    /// When [`Event::DeadlinePassed`] is due; `None`: only an event can change anything.
    pub fn next_deadline(&self) -> Option<Now> {
        // A stop ends everybody when its own time is over.
        let stop_until = self.stopping.as_ref().map(|stopping| stopping.until);
        let earlier = |at: Now| stop_until.map_or(at, |until| at.min(until));
        let workers = self.workers.values().filter_map(Worker::deadline);
        workers
            .map(earlier)
            .chain(self.next_spawn())
            .chain(self.next_recovery())
            .chain(self.taking_over.as_ref().map(|it| it.until))
            .chain(self.stopping.as_ref().map(Stopping::deadline))
            .min()
    }

    /// Every worker that exists, oldest first.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView> {
        self.workers.values().map(Worker::view)
    }

    /// The generation that serves, if one has booted.
    pub fn serving(&self) -> Option<Generation> {
        self.serving.as_ref().map(|line| line.generation)
    }

    /// What the generation that serves says, or the one that is about to be the first.
    pub fn policy(&self) -> Option<&Policy> {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.line);
        let line = self.serving.as_ref().or(candidate)?;
        Some(&line.policy)
    }

    /// What the configuration will be called that [`Event::Prepared`] announces next.
    pub fn next_generation(&self) -> Generation {
        Generation(self.last_generation.0 + 1)
    }

    /// How many workers shall serve.
    pub fn wanted(&self) -> u16 {
        let line = self
            .serving
            .as_ref()
            .or_else(|| self.candidate.as_ref().map(|candidate| &candidate.line));
        line.map_or(0, |line| if line.paused { 0 } else { line.wanted })
    }

    /// How many workers of this generation shall serve, or did before a pause; at least the one that asks.
    pub fn wanted_in(&self, generation: Generation) -> u16 {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.line);
        let mut lines = self.serving.iter().chain(candidate);
        let line = lines.find(|line| line.generation == generation);
        line.map_or(1, |line| line.wanted.max(1))
    }

    /// How many slots must keep their listeners: those that are, or soon will be, wanted; in a pause one.
    pub fn slots_kept(&self) -> u16 {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.line);
        let lines = self.serving.iter().chain(candidate);
        let kept = lines.map(|line| {
            if line.paused {
                Slot::KEPT_IN_PAUSE.0 + 1
            } else {
                line.wanted
            }
        });
        kept.max().unwrap_or(0)
    }

    /// Whether workers keep dying.
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Whether a reload is going on.
    pub fn is_reloading(&self) -> bool {
        self.serving.is_some()
            && (self.candidate.is_some() || self.preparing.is_some() || self.taking_over.is_some())
    }

    /// Whether a generation serves while those before it may still take connections.
    pub fn is_taking_over(&self) -> bool {
        self.taking_over.is_some()
    }

    /// Whether the master is on its way out.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// How far it is on its way out, if it is.
    pub fn stop(&self) -> Option<StopView> {
        self.stopping.as_ref().map(|stopping| StopView {
            drain_at: stopping.drain_at,
            until: stopping.until,
        })
    }

    fn on_ready(&mut self, now: Now, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        // A worker that was told to leave while it booted may still say that it is ready.
        if matches!(worker.state, State::Booting { .. }) {
            worker.state = State::Waiting { since: now };
            if self
                .serving
                .as_ref()
                .is_some_and(|line| line.generation == worker.generation)
            {
                self.boots = Backoff::default();
            }
        }
    }

    fn on_boot_begins(&mut self, now: Now, id: WorkerId) {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.line);
        let lines = self.serving.iter().chain(candidate);
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.is_booting()
            && let Some(line) = lines
                .into_iter()
                .find(|line| line.generation == worker.generation)
        {
            worker.state = State::Booting {
                until: now + line.policy.boot_timeout,
            };
        }
    }

    fn on_replacement_wanted(&mut self, id: WorkerId) {
        // One that does not serve yet, or no more, need not be waited for.
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.is_accepting()
        {
            worker.is_outgoing = true;
        }
    }

    fn on_scale(&mut self, scale: Scale, caller: Option<Caller>) {
        self.scaling.extend(caller);
        if self.stopping.is_some() {
            return;
        }
        let wanted = scale.apply(self.wanted());
        if let Some(candidate) = &mut self.candidate {
            candidate.close_slots(wanted);
        }
        let candidate = self.candidate.as_mut().map(|candidate| &mut candidate.line);
        for line in self.serving.as_mut().into_iter().chain(candidate) {
            line.wanted = wanted;
            line.paused = false;
        }
    }

    /// Nobody shall serve, so a generation on its way has nothing to take over.
    fn on_pause(&mut self, now: Now, actions: &mut Vec<Action>) {
        if let Some(line) = self.serving.as_mut().filter(|_| self.stopping.is_none()) {
            line.paused = true;
            self.roll_back(now, "the workers were told to pause", actions);
        }
    }
}
