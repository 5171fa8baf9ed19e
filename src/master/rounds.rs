//! The master's rounds among its workers: what they note without being asked, and what must be asked or done about it.

use std::time::Duration;

use bytesize::ByteSize;
use nix::sys::signal::Signal;

use super::Master;
use super::crew::Hand;
use super::deaths::in_words;
use super::hangs::{Finding, Seen};
use super::ledger::WorkerEnd;
use super::memory::{Judgement, Limit};
use crate::channel::ToWorker;
use crate::config::Workers;
use crate::supervisor::{Event, KillReason, Now, State, WorkerId, WorkerView};
use crate::sys::{clock, process, process_memory, process_stat};

impl Master {
    /// When the next round is due; `None` while nothing shall be watched.
    pub(super) fn next_round(&self) -> Option<Now> {
        let next = [self.next_look_for_hangs(), self.next_look_at_memory()];
        next.into_iter().flatten().min()
    }

    /// Makes the rounds that are due.
    pub(super) fn make_rounds(&mut self) {
        let now = self.now();
        let is_due = |at: Option<Now>| at.is_some_and(|at| at <= now);
        if is_due(self.next_look_for_hangs()) {
            self.look_for_hangs(now);
        }
        if is_due(self.next_look_at_memory()) {
            self.look_at_memory(now);
        }
    }

    fn next_look_for_hangs(&self) -> Option<Now> {
        let timeouts = self.settings().filter_map(|workers| workers.hang_timeout);
        self.hangs.next_look(timeouts)
    }

    fn next_look_at_memory(&self) -> Option<Now> {
        let watched = self
            .settings()
            .filter(|workers| workers.max_memory.is_some());
        self.memory
            .next_look(watched.map(|workers| workers.memory_interval))
    }

    /// `[workers]` of every generation that is left.
    fn settings(&self) -> impl Iterator<Item = &Workers> {
        let generations = self.generations.values();
        generations.map(|pinned| &pinned.loaded.config.workers)
    }

    fn settings_of(&self, hand: &Hand) -> Option<&Workers> {
        let pinned = self.generations.get(&hand.generation)?;
        Some(&pinned.loaded.config.workers)
    }

    fn look_for_hangs(&mut self, now: Now) {
        let seen: Vec<Seen> = self
            .supervisor
            .workers()
            .filter(|worker| worker.state.is_alive())
            .filter_map(|worker| self.see(worker.id))
            .collect();
        for finding in self.hangs.look(now, &seen) {
            match finding {
                Finding::Suspect(worker) => {
                    tracing::debug!(worker = worker.0, "asked for a sign of life");
                    self.tell(worker, &ToWorker::ShowLife);
                }
                Finding::Hangs(worker) => self.feed(Event::Hung(worker)),
            }
        }
    }

    fn see(&self, id: WorkerId) -> Option<Seen> {
        let hand = self.crew.get(id)?;
        let busy_since = self.scoreboard.busy_since(hand.seat);
        Some(Seen {
            worker: id,
            timeout: self.settings_of(hand)?.hang_timeout?,
            busy_since: busy_since.map(|time| time.saturating_sub(self.started)),
            // Where nobody can tell it is not.
            is_stopped: process_stat::is_stopped(hand.pid).unwrap_or(false),
        })
    }

    /// Ends a worker that hangs so that it leaves a core where cores are kept.
    pub(super) fn abort(&mut self, id: WorkerId) {
        let timeout = self.crew.get(id).and_then(|hand| self.settings_of(hand));
        let timeout = timeout.and_then(|workers| workers.hang_timeout);
        let Some(hand) = self.crew.get_mut(id) else {
            return;
        };
        let (pid, since) = (hand.pid, self.scoreboard.busy_since(hand.seat));
        let hung_for = since.map(|since| clock::monotonic().saturating_sub(since));
        // One that waited when it was stopped has noted nothing.
        let hung_for = hung_for.or(timeout).unwrap_or_default();
        hand.hung_for = Some(hung_for);
        hand.killed = Some((KillReason::Hung, Signal::SIGABRT));
        let what = if process_stat::is_stopped(pid).unwrap_or(false) {
            "it is stopped, as by SIGSTOP or a debugger"
        } else {
            "its event loop hangs"
        };
        tracing::error!(
            worker = id.0,
            pid = pid.number(),
            hung_for = in_words(hung_for),
            "{what}, aborted"
        );
        if let Err(error) = process::abort(pid) {
            tracing::error!(worker = id.0, pid = pid.number(), %error, "cannot abort");
        }
        // Nothing new shall wait where nobody looks.
        self.note_who_serves();
    }

    /// Those that serve: whoever is on the way out gives its memory back anyway.
    fn look_at_memory(&mut self, now: Now) {
        let serving: Vec<WorkerId> = self
            .supervisor
            .workers()
            .filter(|worker| matches!(worker.state, State::Accepting { .. }))
            .map(|worker| worker.id)
            .collect();
        for id in serving {
            if let Some((interval, limit)) = self.memory_limit(id)
                && self.memory.is_due(now, interval)
            {
                let pid = self.crew.get(id).map(|hand| hand.pid);
                let rss = pid.and_then(|pid| process_memory::resident(pid).ok());
                let judgement = self.memory.take_rss(id, rss, limit);
                self.judge_memory(id, judgement);
            }
        }
        self.memory.has_looked(now);
    }

    /// A worker has told its PSS, or that it cannot.
    pub(super) fn take_memory(&mut self, id: WorkerId, pss: Option<u64>) {
        let serves =
            |worker: WorkerView| worker.id == id && matches!(worker.state, State::Accepting { .. });
        let Some((_, limit)) = self.memory_limit(id) else {
            return;
        };
        if !self.supervisor.workers().any(serves) {
            return;
        }
        if pss.is_none() && self.memory.must_tell_blindness() {
            tracing::warn!(
                "workers cannot read their PSS here, so `workers.max_memory` counts what they share in full"
            );
        }
        let judgement = self.memory.take_pss(id, pss, limit);
        self.judge_memory(id, judgement);
    }

    fn memory_limit(&self, id: WorkerId) -> Option<(Duration, Limit)> {
        let workers = self.settings_of(self.crew.get(id)?)?;
        let limit = Limit {
            bytes: workers.max_memory?,
            samples: workers.max_memory_samples,
        };
        Some((workers.memory_interval, limit))
    }

    fn judge_memory(&mut self, id: WorkerId, judgement: Judgement) {
        match judgement {
            Judgement::Enough => {}
            Judgement::Ask => self.tell(id, &ToWorker::TellMemory),
            Judgement::Above(samples) => {
                tracing::debug!(worker = id.0, samples, "above `workers.max_memory`");
            }
            Judgement::TooMuch => {
                self.tell_of_memory(id);
                self.note_reason(id, "max_memory", WorkerEnd::Memory);
                self.feed(Event::ReplacementWanted(id));
            }
        }
    }

    fn tell_of_memory(&self, id: WorkerId) {
        let (Some(hand), Some(held)) = (self.crew.get(id), self.memory.held(id)) else {
            return;
        };
        let size = |bytes: Option<u64>| bytes.map(|bytes| ByteSize(bytes).to_string());
        let (worker, pid) = (id.0, hand.pid.number());
        let (rss, pss, samples) = (size(held.rss), size(held.pss), held.above);
        let max_memory = size(self.memory_limit(id).map(|(_, limit)| limit.bytes));
        tracing::info!(
            worker,
            pid,
            reason = "max_memory",
            rss,
            pss,
            max_memory,
            samples,
            "worker shall be replaced"
        );
        if !held.was_below {
            tracing::warn!(
                worker,
                pid,
                max_memory,
                "it held more than `workers.max_memory` whenever it was looked at: its successors may do so too"
            );
        }
    }
}
