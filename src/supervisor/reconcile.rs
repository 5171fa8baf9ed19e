//! Compares what is wanted with what runs: the only place that starts and retires workers.

use super::backoff::spread;
use super::event::{
    Action, Done, Generation, KillReason, Now, Slot, StopManner, Strategy, WorkerId,
};
use super::reload::answer;
use super::worker::{State, Worker};
use super::{Backoff, Line, Supervisor};

impl Supervisor {
    pub(super) fn reconcile(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.exited {
            return;
        }
        if !self.is_draining() {
            self.let_ready_workers_accept(now, actions);
            self.commit_when_complete(now, actions);
            self.tell_when_taken_over(now, actions);
            // The commit may have lifted what held them back.
            self.let_ready_workers_accept(now, actions);
        }
        if self.stopping.is_none() {
            self.begin_waiting_upgrade(actions);
            self.begin_waiting_reload(actions);
            self.open_slots();
        }
        self.retire_unwanted(now, actions);
        self.spawn_missing(now, actions);
        self.note_recovery(now, actions);
        self.answer_scaling(actions);
        self.forget_generations(actions);
        self.exit_when_empty(now, actions);
    }

    /// The generations that want a worker in `slot`; with a candidate that does not roll, there are two.
    fn wants(&self, slot: Slot, generation: Generation) -> bool {
        if self.is_draining() {
            return false;
        }
        let candidate = self.candidate.as_ref();
        let of_candidate = candidate.is_some_and(|candidate| {
            candidate.line.generation == generation
                && candidate.line.wants(slot)
                && (!self.is_rolling() || candidate.opened.contains(&slot))
        });
        let replaced = self.is_rolling()
            && candidate.is_some_and(|candidate| candidate.opened.contains(&slot));
        let of_serving = !replaced
            && self
                .serving
                .as_ref()
                .is_some_and(|line| line.generation == generation && line.wants(slot));
        of_candidate || of_serving
    }

    fn spawn_missing(&mut self, now: Now, actions: &mut Vec<Action>) {
        for (line, is_candidate) in self.lines() {
            for slot in line.slots() {
                if self.wants(slot, line.generation)
                    && self.lacks_worker(slot, line.generation)
                    && (is_candidate || self.may_spawn_at(slot).is_some_and(|at| at <= now))
                {
                    self.spawn(now, slot, &line, actions);
                }
            }
        }
    }

    /// Whether a worker must be spawned there: because there is none, or because the one that is there shall go and it
    /// is its turn. Replacements go one by one, or as many at once as a reload may leave slots unserved.
    fn lacks_worker(&self, slot: Slot, generation: Generation) -> bool {
        let mut there = self.workers_of(slot, generation).peekable();
        if there.peek().is_none() {
            return true;
        }
        // A candidate has other worries: its workers are replaced once it serves.
        there.all(Worker::shall_go)
            && self.serving() == Some(generation)
            && self.replacements_under_way() < self.replacements_at_once()
    }

    /// Slots of the serving generation whose worker shall go and whose next one does not accept yet.
    fn replacements_under_way(&self) -> usize {
        let Some(line) = &self.serving else {
            return 0;
        };
        let under_way = |slot: &Slot| {
            let workers = || self.workers_of(*slot, line.generation);
            workers().any(Worker::shall_go)
                && workers().any(|worker| !worker.shall_go() && !worker.is_accepting())
        };
        line.slots().filter(under_way).count()
    }

    fn replacements_at_once(&self) -> usize {
        let strategy = self.serving.as_ref().map(|line| line.policy.strategy);
        match strategy {
            Some(Strategy::Rolling {
                max_unavailable, ..
            }) => usize::from(max_unavailable.max(1)),
            Some(Strategy::BlueGreen) | None => 1,
        }
    }

    fn lines(&self) -> Vec<(Line, bool)> {
        let serving = self.serving.iter().map(|line| (line.clone(), false));
        let candidate = self
            .candidate
            .iter()
            .map(|candidate| (candidate.line.clone(), true));
        serving.chain(candidate).collect()
    }

    fn spawn(&mut self, now: Now, slot: Slot, line: &Line, actions: &mut Vec<Action>) {
        self.last_worker = WorkerId(self.last_worker.0 + 1);
        let (id, generation) = (self.last_worker, line.generation);
        let state = State::Booting {
            until: now + line.policy.boot_timeout,
        };
        self.workers.insert(
            id,
            Worker {
                id,
                slot,
                generation,
                spawned: now,
                graceful_timeout: line.policy.graceful_timeout,
                state,
                may_accept: false,
                is_outgoing: false,
                is_unwell: false,
                lifetime: line.policy.lifetime.map(|lifetime| {
                    let jitter = spread(lifetime.jitter_max, self.seed ^ id.0.rotate_left(16));
                    lifetime.at_least + jitter
                }),
                outlived: None,
            },
        );
        actions.push(Action::Spawn {
            worker: id,
            slot,
            generation,
        });
    }

    /// When the back-off lets the serving generation fill `slot`; `None` while another boot shows whether it can boot at all.
    fn may_spawn_at(&self, slot: Slot) -> Option<Now> {
        let crashes = self
            .crashes
            .get(&slot)
            .map_or(Now::ZERO, |crashes| crashes.not_before);
        if self.boots.failures == 0 {
            return Some(crashes);
        }
        let serving = self.serving()?;
        let attempt_running = self
            .workers
            .values()
            .any(|worker| worker.generation == serving && worker.is_booting());
        (!attempt_running).then_some(crashes.max(self.boots.not_before))
    }

    /// The next time at which a missing worker may be spawned.
    pub(super) fn next_spawn(&self) -> Option<Now> {
        let line = self.serving.as_ref()?;
        line.slots()
            .filter(|slot| self.wants(*slot, line.generation))
            .filter(|slot| self.lacks_worker(*slot, line.generation))
            .filter_map(|slot| self.may_spawn_at(slot))
            .min()
    }

    /// A candidate that takes over as a whole waits for its commit; everyone else who is wanted may start.
    fn let_ready_workers_accept(&mut self, now: Now, actions: &mut Vec<Action>) {
        let candidate = self.candidate.as_ref().filter(|_| !self.is_rolling());
        let held_back = candidate.map(|candidate| candidate.line.generation);
        let free: Vec<WorkerId> = self
            .workers
            .values()
            .filter(|worker| worker.is_ready() && !worker.is_accepting())
            .filter(|worker| Some(worker.generation) != held_back)
            .filter(|worker| self.wants(worker.slot, worker.generation))
            .map(|worker| worker.id)
            .collect();
        for id in free {
            if let Some(worker) = self.workers.get_mut(&id)
                && let State::Waiting { since } = worker.state
            {
                worker.state = State::Accepting { since };
                worker.may_accept = true;
                worker.outlived = worker.lifetime.map(|lifetime| now + lifetime);
                actions.push(Action::Accept(id));
            }
        }
    }

    fn retire_unwanted(&mut self, now: Now, actions: &mut Vec<Action>) {
        let unwanted: Vec<WorkerId> = self
            .workers
            .values()
            .filter(|worker| !worker.is_leaving())
            .filter(|worker| {
                worker.shall_go()
                    || !self.wants(worker.slot, worker.generation)
                    || self.is_surplus(worker)
            })
            .filter(|worker| !worker.is_accepting() || self.can_be_spared(worker))
            .map(|worker| worker.id)
            .collect();
        for id in unwanted {
            self.retire(now, id, actions);
        }
    }

    /// A worker that serves is kept, even when unwanted, until its slot has another one or is not wanted at all:
    /// else a rollback after a crash would leave nobody.
    fn can_be_spared(&self, worker: &Worker) -> bool {
        let slot = worker.slot;
        let wanted: Vec<Generation> = self
            .lines()
            .iter()
            .map(|(line, _)| line.generation)
            .filter(|line| self.wants(slot, *line))
            .collect();
        let stop_first = self.candidate.as_ref().is_some_and(|candidate| {
            candidate.line.generation != worker.generation && candidate.stop_first.contains(&slot)
        });
        wanted.is_empty()
            || stop_first
            || wanted
                .iter()
                .flat_map(|line| self.workers_of(slot, *line))
                .any(|heir| heir.is_accepting() && heir.is_staying())
    }

    fn retire(&mut self, now: Now, id: WorkerId, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (slot, was_booting) = (worker.slot, worker.is_booting());
        let paused = self.serving.as_ref().is_some_and(|line| line.paused);
        let queue_has_heir = !self.is_draining()
            && (paused && slot == Slot::KEPT_IN_PAUSE
                || self.lines().iter().any(|(line, _)| line.wants(slot)));
        let (until, fast) = match &self.stopping {
            Some(stopping) if stopping.drain_at.is_none() => {
                (stopping.until, stopping.manner == StopManner::Fast)
            }
            Some(stopping) => (stopping.until.min(now + worker.graceful_timeout), false),
            None => (now + worker.graceful_timeout, false),
        };
        let state = if was_booting {
            actions.push(Action::Kill(id, KillReason::Unwanted));
            State::Killed { since: now }
        } else {
            actions.push(if fast {
                Action::Quit(id)
            } else {
                Action::Drain {
                    worker: id,
                    queue_has_heir,
                }
            });
            State::Draining {
                until,
                failed_boot: false,
            }
        };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.state = state;
        }
    }

    /// When the crashes of a degraded generation will be forgiven if nothing more happens.
    pub(super) fn next_recovery(&self) -> Option<Now> {
        if !self.degraded || self.boots.failures > 0 || self.stopping.is_some() {
            return None;
        }
        let line = self.serving.as_ref()?;
        let mut recovery = Now::ZERO;
        for slot in line.slots() {
            let since = self
                .workers_of(slot, line.generation)
                .filter(|worker| !worker.is_unwell)
                .find_map(|worker| match worker.state {
                    State::Accepting { since } => Some(since),
                    State::Booting { .. }
                    | State::Waiting { .. }
                    | State::Draining { .. }
                    | State::Hung { .. }
                    | State::Killed { .. } => None,
                })?;
            if self.crashes.contains_key(&slot) {
                recovery = recovery.max(since + line.policy.backoff_reset);
            }
        }
        Some(recovery)
    }

    fn note_recovery(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.next_recovery().is_some_and(|recovery| recovery <= now) {
            self.degraded = false;
            self.crashes.clear();
            self.boots = Backoff::default();
            actions.push(Action::Recovered);
        }
    }

    fn answer_scaling(&mut self, actions: &mut Vec<Action>) {
        let Some(line) = self
            .serving
            .as_ref()
            .filter(|_| !self.scaling.is_empty() && self.candidate.is_none())
        else {
            return;
        };
        let complete = line.slots().all(|slot| {
            self.workers_of(slot, line.generation)
                .any(Worker::is_accepting)
        });
        if complete {
            let done = Done::Scaled(self.wanted());
            answer(std::mem::take(&mut self.scaling), &Ok(done), actions);
        }
    }

    fn forget_generations(&mut self, actions: &mut Vec<Action>) {
        let mut needed: Vec<Generation> = self
            .workers
            .values()
            .map(|worker| worker.generation)
            .collect();
        needed.extend(self.lines().iter().map(|(line, _)| line.generation));
        self.known.retain(|generation| {
            let keep = needed.contains(generation);
            if !keep {
                actions.push(Action::Forget(*generation));
            }
            keep
        });
    }

    fn exit_when_empty(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(stopping) = &self.stopping else {
            return;
        };
        if stopping.drain_at.is_some() {
            return;
        }
        if self.workers.is_empty() || stopping.abandoned_at() <= now {
            self.exited = true;
            actions.push(Action::Exit(stopping.reason.clone()));
        }
    }
}
