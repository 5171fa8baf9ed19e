//! Does what the supervisor says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;

use nix::sys::signal::Signal;

use super::boot::{pin, rate_table_for, replay_cache_for};
use super::crew::Hand;
use super::ledger::{ReloadEnd, WorkerEnd};
use super::listeners::SlotEnd;
use super::{Assignment, Master, Pinned, Purpose};
use crate::channel::ToWorker;
use crate::config::Bind;
use crate::logging;
use crate::supervisor::{
    Action, Caller, Done, Event, Generation, KillReason, Slot, State, WorkerId,
};
use crate::sys::process::{self, ProcessId};

impl Master {
    pub(super) fn perform(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Prepare => events.push_back(self.prepare(None)),
            Action::PrepareStandIn(reason) => events.push_back(self.prepare(Some(reason))),
            Action::Preflight(program) => self.begin_preflight(program, events),
            Action::CancelPreflight => self.cancel_preflight(),
            Action::Spawn {
                worker,
                slot,
                generation,
            } => self.spawn(worker, slot, generation, events),
            Action::Accept(worker) => {
                self.tell(worker, &ToWorker::Accept);
                self.note_who_serves();
            }
            Action::Drain {
                worker,
                queue_has_heir,
            } => self.drain(worker, queue_has_heir),
            Action::Outlived(worker) => {
                self.note_replacement(worker, "max_lifetime", WorkerEnd::Recycle);
            }
            Action::Quit(worker) => {
                self.tell_to_go(worker);
                self.tell(worker, &ToWorker::Quit);
            }
            Action::Abort(worker) => self.abort(worker),
            Action::Kill(worker, reason) => self.kill(worker, reason, events),
            Action::Commit(generation) => self.commit(generation),
            Action::TakenOver => self.tell_systemd_that_it_serves(),
            Action::RollBack(generation, reason) => self.roll_back(generation, reason),
            Action::Forget(generation) => {
                self.generations.remove(&generation);
                self.close_unused_listeners();
                self.close_unused_admin();
                self.watch_files();
            }
            Action::Degraded { failures, reason } => {
                tracing::warn!(
                    failures,
                    reason,
                    "degraded: workers keep dying, they are replaced ever more slowly"
                );
                self.systemd
                    .notifier
                    .send("STATUS=Degraded: workers keep dying");
            }
            Action::Recovered => {
                tracing::info!("recovered: workers stopped dying");
                self.deaths.end_of_silence();
                // The end of a reload says so by itself; before that, systemd would take it for the end.
                if !self.supervisor.is_reloading() && !self.supervisor.is_stopping() {
                    self.tell_systemd_that_it_serves();
                }
            }
            Action::Answer(caller, outcome) => self.answer(caller, outcome),
            Action::AnswerUpgrade(caller, outcome) => self.answer_upgrade(caller, outcome),
            Action::Exit(reason) => self.exit = Some(reason),
        }
    }

    /// Reads the configuration on disk and opens its listeners; nothing that serves is touched. `failure` is what is shown in the place of
    /// the application.
    fn prepare(&mut self, failure: Option<String>) -> Event {
        tracing::info!("reload begins");
        self.systemd.notifier.send_reloading();
        let result = (self.loader.0)(Purpose::Force).and_then(|loaded| {
            let before = self
                .serving()
                .map(|pinned| Arc::clone(&pinned.loaded.config));
            if let Some(before) = before {
                super::boot::assert_reloadable(&before, &loaded.config)?;
            }
            let (pinned, policy) =
                pin(loaded, self.processors).map_err(|error| error.to_string())?;
            let opened = self
                .listeners
                .open(&pinned.loaded.config.server, policy.workers);
            opened.map_err(|error| error.to_string())?;
            let opened = self.admin.open(&pinned.loaded.config);
            opened.map_err(|error| error.to_string())?;
            self.replay = replay_cache_for(&pinned.loaded.config, self.replay.as_ref())
                .map_err(|error| format!("cannot share memory with workers: {error}"))?;
            self.rates = rate_table_for(&pinned.loaded.config, self.rates.as_ref())
                .map_err(|error| format!("cannot share memory with workers: {error}"))?;
            Ok((pinned, policy))
        });
        match result {
            Ok((mut pinned, mut policy)) => {
                let generation = self.supervisor.next_generation();
                self.tell_warnings(&pinned.loaded);
                if let Some(reason) = failure {
                    pinned.stand_in(reason, &mut policy);
                }
                self.generations.insert(generation, pinned);
                self.watch_files();
                self.mind_agent();
                Event::Prepared(policy)
            }
            Err(reason) => {
                tracing::error!(reason, "reload refused, everything stays as it is");
                // Where one address cannot be had, others may have been opened before it.
                self.close_unused_listeners();
                self.close_unused_admin();
                self.ledger.reload_ended(ReloadEnd::Refused);
                self.note_reload(Err(reason.clone()));
                Event::Refused(reason)
            }
        }
    }

    fn spawn(
        &mut self,
        id: WorkerId,
        slot: Slot,
        generation: Generation,
        events: &mut VecDeque<Event>,
    ) {
        if self.has_template(generation) {
            self.await_birth(id, slot, generation, events);
        } else {
            self.spawn_by_exec(id, slot, generation, events);
        }
    }

    /// Forks the worker from this process; one that runs Python executes its interpreter.
    pub(super) fn spawn_by_exec(
        &mut self,
        id: WorkerId,
        slot: Slot,
        generation: Generation,
        events: &mut VecDeque<Event>,
    ) {
        match self.fork(id, slot, generation) {
            Ok(pid) => {
                tracing::info!(
                    worker = id.0,
                    pid = pid.number(),
                    slot = slot.0,
                    generation = generation.0,
                    "worker spawned"
                );
            }
            Err(reason) => {
                tracing::error!(
                    worker = id.0,
                    slot = slot.0,
                    generation = generation.0,
                    reason,
                    "cannot spawn a worker"
                );
                events.push_back(Event::BootFailed(id, reason.clone()));
                events.push_back(Event::Exited(id, reason));
            }
        }
    }

    fn fork(
        &mut self,
        id: WorkerId,
        slot: Slot,
        generation: Generation,
    ) -> Result<ProcessId, String> {
        let Some(Pinned {
            loaded,
            identity,
            failure,
            ..
        }) = self.generations.get(&generation)
        else {
            return Err(format!("generation {generation} is not known"));
        };
        let listeners = self
            .listeners
            .lend(slot.0, &loaded.config.server)
            .map_err(|error| error.to_string())?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| format!("socketpair: {error}"))?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true)
                .map_err(|error| format!("socketpair: {error}"))?;
        }
        let seat = self
            .crew
            .take_seat()
            .ok_or("too many workers: every seat on the scoreboard is taken")?;
        let assignment = Assignment {
            master: ProcessId::own(),
            worker: id.0,
            slot: slot.0,
            generation: generation.0,
            workers: self.supervisor.wanted_in(generation),
            channel: theirs,
            listeners,
            seat: self.scoreboard.writer(seat),
            replay: self.replay.clone(),
            rates: self.rates.clone(),
            identity: identity.clone(),
            failure: failure.clone(),
        };
        let becomes_program = loaded.config.app.python.is_some();
        let mut keep = assignment.descriptors(becomes_program);
        keep.extend(logging::descriptors());
        let (scoreboard, serve) = (Arc::clone(&self.scoreboard), Rc::clone(&loaded.serve));
        let forked = process::fork_worker(&keep, move || {
            logging::after_fork();
            scoreboard.open_seat(
                seat,
                ProcessId::own().number(),
                assignment.slot,
                assignment.generation,
            );
            serve(assignment)
        });
        match forked {
            Ok(pid) => {
                self.crew.join(
                    id,
                    Hand::new(pid, (slot, generation), seat, self.now(), ours),
                );
                self.hand_feeds_to(id);
                Ok(pid)
            }
            Err(error) => {
                self.crew.give_back(seat);
                Err(format!("fork: {error}"))
            }
        }
    }

    pub(super) fn tell(&mut self, id: WorkerId, message: &ToWorker) {
        if let Some(hand) = self.crew.get_mut(id) {
            hand.tell(message);
        }
    }

    fn tell_to_go(&mut self, id: WorkerId) {
        if let Some(hand) = self.crew.get_mut(id) {
            hand.told_to_go = true;
        }
    }

    fn drain(&mut self, id: WorkerId, queue_has_heir: bool) {
        self.tell_to_go(id);
        let Some((slot, generation)) = self.crew.get(id).map(|hand| (hand.slot, hand.generation))
        else {
            return;
        };
        // Before the worker stops, so that nothing new arrives where nobody will look.
        self.note_who_serves();
        let end = match (self.supervisor.is_draining(), queue_has_heir) {
            (true, _) => SlotEnd::Everything,
            (false, true) => SlotEnd::Nothing,
            (false, false) => SlotEnd::Slot,
        };
        let others = self.supervisor.workers().any(|other| {
            let accepts = matches!(other.state, State::Accepting { .. });
            accepts && other.generation == generation && other.id != id
        });
        let heir = self.heir_of(generation);
        let close = self.listeners.to_close(end, &heir, others);
        self.listeners.give_up(&close, id, slot.0);
        tracing::debug!(worker = id.0, ?close, "worker drains");
        let heir = (end == SlotEnd::Nothing)
            .then(|| self.introduce_heir(id, slot))
            .flatten();
        if let Some((pass, channel)) = heir {
            if let Some(hand) = self.crew.get_mut(id) {
                hand.tell_with(&ToWorker::Drain { close, pass }, channel);
            }
        } else {
            let pass = Vec::new();
            self.tell(id, &ToWorker::Drain { close, pass });
        }
    }

    pub(super) fn kill(&mut self, id: WorkerId, reason: KillReason, events: &mut VecDeque<Event>) {
        let Some(hand) = self.crew.get_mut(id) else {
            self.cancel_birth(id, reason, events);
            return;
        };
        hand.told_to_go = true;
        hand.killed = Some((reason, Signal::SIGKILL));
        let pid = hand.pid;
        match reason {
            KillReason::BootTimeout => tracing::error!(
                worker = id.0,
                pid = pid.number(),
                "killed: not ready within `workers.boot_timeout`"
            ),
            KillReason::Hung => tracing::error!(
                worker = id.0,
                pid = pid.number(),
                "killed: its event loop hangs, and SIGABRT did not end it"
            ),
            KillReason::GracefulTimeout | KillReason::Stop => {
                let seat = self.scoreboard.view(hand.seat);
                let has_served_all = seat.connections == 0 && seat.in_flight == 0;
                let (worker, pid) = (id.0, pid.number());
                if has_served_all {
                    tracing::warn!(
                        worker,
                        pid,
                        "killed: it has served everybody and does not end, for a thread of the application, or what `atexit` calls, goes on"
                    );
                } else {
                    tracing::warn!(worker, pid, "killed: its time to drain is over");
                }
            }
            KillReason::BootFailed | KillReason::Unwanted => {
                tracing::debug!(worker = id.0, pid = pid.number(), ?reason, "killed");
            }
        }
        if let Err(error) = process::kill_now(pid) {
            tracing::error!(worker = id.0, pid = pid.number(), %error, "cannot kill");
        }
    }

    fn answer(&mut self, caller: Caller, outcome: Result<Done, String>) {
        let outcome = outcome.and_then(|done| match done {
            Done::Reloaded(generation) => {
                let loaded = self.if_loaded(generation);
                loaded.map(|generation| format!("generation {generation} serves"))
            }
            Done::Scaled(workers) => Ok(format!("{workers} workers serve, until the next reload")),
        });
        let outcome = outcome.map_err(|reason| self.with_traceback(reason));
        self.tell_caller(caller, outcome);
    }

    fn answer_upgrade(&mut self, caller: Caller, outcome: Result<Generation, String>) {
        let version = env!("CARGO_PKG_VERSION");
        let program = self.program().path().display();
        let outcome = match outcome {
            Ok(generation) => Ok(format!(
                "upgraded to destrier {version}; generation {generation} serves"
            )),
            Err(reason) => Err(format!(
                "the master is destrier {version} (`{program}`) now, but the workers of before serve on: {reason}"
            )),
        };
        self.control.answer(caller, outcome);
    }

    /// Whoever serves must be able to open the log file anew.
    pub(super) fn hand_over_log_file(&self) -> io::Result<()> {
        self.serving()
            .map_or(Ok(()), |pinned| logging::hand_over(&pinned.identity))
    }

    /// The generation in force.
    pub(super) fn serving(&self) -> Option<&Pinned> {
        self.generations.get(&self.supervisor.serving()?)
    }

    /// What is listened on after a worker of `leaving`: a reload that replaces slot by slot drains workers of the generation in
    /// force, and then the candidate is the heir.
    fn heir_of(&self, leaving: Generation) -> Vec<Bind> {
        let serving = self.supervisor.serving();
        let heir = if Some(leaving) == serving {
            self.generations.keys().last().copied()
        } else {
            serving
        };
        heir.map(|heir| self.binds_of(heir).to_vec())
            .unwrap_or_default()
    }

    pub(super) fn binds_of(&self, generation: Generation) -> &[Bind] {
        let pinned = self.generations.get(&generation);
        pinned.map_or(&[], |pinned| &pinned.loaded.config.server.bind)
    }

    /// New connections go where somebody takes them.
    pub(super) fn note_who_serves(&mut self) {
        let mut serving: BTreeMap<Bind, BTreeSet<u16>> = BTreeMap::new();
        for worker in self.supervisor.workers() {
            if matches!(worker.state, State::Accepting { .. }) {
                for bind in self.binds_of(worker.generation) {
                    let slots = serving.entry(bind.clone()).or_default();
                    slots.insert(worker.slot.0);
                }
            }
        }
        self.listeners.set_serving(serving);
    }

    /// Closes listeners that no generation names.
    fn close_unused_listeners(&mut self) {
        if self.supervisor.is_draining() {
            return;
        }
        let named: BTreeSet<Bind> = self
            .generations
            .values()
            .flat_map(|pinned| pinned.loaded.config.server.bind.clone())
            .collect();
        self.listeners.close_unnamed(&named);
    }

    /// Closes the sockets of slots that nobody fills or shall fill.
    pub(super) fn close_unused_slots(&mut self) {
        if self.supervisor.is_draining() {
            return;
        }
        let filled = self
            .supervisor
            .workers()
            .map(|worker| worker.slot.0 + 1)
            .max()
            .unwrap_or(0);
        let wanted = self.supervisor.slots_kept();
        self.listeners.close_slots(filled.max(wanted));
    }
}
