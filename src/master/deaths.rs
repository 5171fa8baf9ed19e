//! What is done when a worker ends: its seat is read and given back, its end reported, and a request that workers keep dying
//! of is blocked.

use std::collections::VecDeque;
use std::time::Duration;

use super::Master;
use super::crew::Hand;
use super::death_report::{DeathReport, DeathStatus, KeptDeath, OutOfMemory, kill_word};
use super::ledger::WorkerEnd;
use super::suspects::{Named, Suspects};
use crate::scoreboard::Blocked;
use crate::supervisor::{KillReason, Now, WorkerId};
use crate::sys::clock;
use crate::sys::fault_dump;
use crate::sys::machine::MemoryKills;
use crate::sys::process::Ending;

/// How often deaths are summed up while they are too many to tell one by one.
const SUMMARY_EVERY: Duration = Duration::from_mins(1);

/// Death reports that are kept for `destrier status`.
const REPORTS_MAX: usize = 32;

/// So many bytes of the last words of a worker are told.
const LAST_WORDS_MAX: usize = 16 << 10;

/// What the master remembers of workers that died.
#[derive(Debug)]
pub(super) struct Deaths {
    pub(super) memory_kills: MemoryKills,
    /// The last ones, newest first.
    pub(super) reports: VecDeque<KeptDeath>,
    pub(super) suspects: Suspects,
    /// Since the last summary; told one by one at debug level only.
    pub(super) untold: u64,
    pub(super) next_summary: Now,
}

impl Deaths {
    pub(super) fn new() -> Self {
        Self {
            memory_kills: MemoryKills::watch(),
            reports: VecDeque::new(),
            suspects: Suspects::default(),
            untold: 0,
            next_summary: Now::ZERO,
        }
    }

    /// From now on each death is told again.
    pub(super) fn end_of_silence(&mut self) {
        if self.untold > 0 {
            tracing::info!(deaths = self.untold, "deaths that were not told one by one");
        }
        self.untold = 0;
    }

    /// What is known of `killed` workers that SIGKILL has ended since the last call.
    pub(super) fn out_of_memory(&mut self, killed: u64) -> OutOfMemory {
        OutOfMemory::judge(self.memory_kills.since_last(), killed)
    }

    /// The last ones, newest first.
    pub(super) fn statuses(&self, now: Now) -> Vec<DeathStatus> {
        self.reports
            .iter()
            .map(|report| report.status(now))
            .collect()
    }

    /// When [`Master::lift_blocks`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Now> {
        self.suspects.next_deadline()
    }

    fn keep(&mut self, report: &DeathReport) {
        self.reports.truncate(REPORTS_MAX - 1);
        self.reports.push_front(KeptDeath::new(report));
    }

    fn count_untold(&mut self, report: &DeathReport, words: &str) {
        self.untold += 1;
        if report.died >= self.next_summary {
            tracing::warn!(
                deaths = self.untold,
                last = words,
                worker = report.worker,
                executing = report.executing_in_words(),
                requests = report.others_in_words(),
                "workers keep dying"
            );
            self.untold = 0;
            self.next_summary = report.died + SUMMARY_EVERY;
        }
    }
}

impl Master {
    /// Takes a dead worker off the lists and reports its end. Returns how it ended, in words.
    pub(super) fn bury(
        &mut self,
        id: WorkerId,
        ending: Ending,
        out_of_memory: OutOfMemory,
    ) -> String {
        let Some(hand) = self.crew.leave(id) else {
            return ending.to_string();
        };
        let report = DeathReport {
            worker: id.0,
            pid: hand.pid.number(),
            slot: hand.slot.0,
            generation: hand.generation.0,
            spawned: hand.spawned,
            died: self.now(),
            died_unix: clock::unix(),
            died_monotonic: clock::monotonic(),
            ending,
            out_of_memory,
            killed: hand
                .killed
                .filter(|(_, signal)| ending.is_by(*signal))
                .map(|(reason, _)| reason),
            hung_for: hand.hung_for,
            seat: self.scoreboard.view(hand.seat),
        };
        self.scoreboard.close_seat(hand.seat);
        self.crew.give_back(hand.seat);
        self.memory.forget(id);
        let words = report.ending_in_words();
        if is_as_ordered(&hand, &report) {
            let end = hand.replaced_for.unwrap_or(WorkerEnd::Told);
            self.ledger.worker_ended(end);
            tell_end(&report, &words);
        } else {
            let end = WorkerEnd::of_death(&report, self.was_ready(id));
            self.ledger.worker_ended(end);
            self.tell_death(&report, &words);
            self.note_death(&report, end, &words);
            if !self.supervisor.is_degraded() {
                tell_last_words(&hand, &report);
            }
            self.suspect(&hand, &report);
            self.deaths.keep(&report);
        }
        words
    }

    /// Whether it has ever been ready; the supervisor has not heard of its end yet.
    fn was_ready(&self, id: WorkerId) -> bool {
        let mut workers = self.supervisor.workers();
        !workers.any(|worker| worker.id == id && worker.state.never_was_ready())
    }

    fn tell_death(&mut self, report: &DeathReport, words: &str) {
        let DeathReport {
            worker,
            pid,
            slot,
            generation,
            ..
        } = *report;
        let uptime = in_words(report.uptime());
        let (connections, in_flight) = (report.seat.connections, report.seat.in_flight);
        let executing = report.executing_in_words();
        let requests = report.others_in_words();
        let hung_for = report.hung_for.map(in_words);
        if self.supervisor.is_degraded() {
            tracing::debug!(
                worker,
                pid,
                slot,
                generation,
                uptime,
                ending = words,
                hung_for,
                connections,
                in_flight,
                executing,
                requests,
                "worker died"
            );
            self.deaths.count_untold(report, words);
            return;
        }
        tracing::error!(
            worker,
            pid,
            slot,
            generation,
            uptime,
            ending = words,
            hung_for,
            out_of_memory = report.out_of_memory.word(),
            killed_for = report.killed.map(kill_word),
            connections,
            in_flight,
            executing,
            requests,
            "worker died"
        );
    }

    /// Counts the death against the request that the worker died of, if that is proven and its generation wants it.
    fn suspect(&mut self, hand: &Hand, report: &DeathReport) {
        let Some(request) = report.culprit() else {
            return;
        };
        let workers = self
            .generations
            .get(&hand.generation)
            .map(|pinned| &pinned.loaded.config.workers);
        let Some((workers, fingerprint)) = workers.zip(request.fingerprint) else {
            return;
        };
        if !workers.poison_guard {
            return;
        }
        let window = workers.poison_window;
        let name = Named {
            method: request.method.clone(),
            path: request.path.clone(),
        };
        let suspects = &mut self.deaths.suspects;
        if suspects.death(report.died, window, fingerprint, name) {
            tracing::warn!(
                method = request.method,
                path = request.path,
                request = %request.id,
                trace_id = request.id.trace_id(),
                window = %humantime::format_duration(window),
                "blocked: workers keep dying of this request, it is answered with 503"
            );
        }
        self.publish_blocks();
    }

    /// Lets those blocked requests pass again whose time is over.
    pub(super) fn lift_blocks(&mut self) {
        let lifted = self.deaths.suspects.lift(self.now());
        for Named { method, path } in &lifted {
            tracing::info!(method, path, "a blocked request may be tried again");
        }
        if !lifted.is_empty() {
            self.publish_blocks();
        }
    }

    /// Tells the workers.
    pub(super) fn publish_blocks(&self) {
        let blocked = self.deaths.suspects.blocked();
        let blocked = blocked.map(|(fingerprint, until)| Blocked {
            fingerprint,
            until: self.started + until,
        });
        self.scoreboard.set_blocked(&blocked.collect::<Vec<_>>());
    }
}

/// Whether a worker ended as the master had told it to: that is no death. One that had to be killed because it did not do in
/// time what it should has died, whether that cost requests or not.
fn is_as_ordered(hand: &Hand, report: &DeathReport) -> bool {
    let costs_nothing = report.seat.in_flight == 0;
    let is_orderly = match (report.ending, report.killed) {
        (Ending::Exited(0), _) => true,
        (Ending::Exited(_), _) => costs_nothing,
        (Ending::Killed { .. }, Some(KillReason::Unwanted | KillReason::Stop)) => costs_nothing,
        (
            Ending::Killed { .. },
            Some(
                KillReason::BootTimeout
                | KillReason::GracefulTimeout
                | KillReason::BootFailed
                | KillReason::Hung,
            )
            | None,
        ) => false,
    };
    hand.told_to_go && is_orderly && report.hung_for.is_none()
}

fn tell_end(report: &DeathReport, words: &str) {
    let DeathReport {
        worker,
        pid,
        slot,
        generation,
        ..
    } = *report;
    let uptime = in_words(report.uptime());
    if report.ending == Ending::Exited(0) {
        tracing::info!(worker, pid, slot, generation, uptime, "worker finished");
    } else {
        tracing::debug!(
            worker,
            pid,
            slot,
            generation,
            uptime,
            ending = words,
            "worker ended as ordered"
        );
    }
}

/// What the threads of its application did, where it died of a fault and could still write that. As long as deaths are told
/// one by one: the text is long.
fn tell_last_words(hand: &Hand, report: &DeathReport) {
    let Some(file) = &hand.last_words else {
        return;
    };
    let Ending::Killed { .. } = report.ending else {
        return;
    };
    let (worker, pid) = (report.worker, report.pid);
    match fault_dump::read(file) {
        Ok(dump) => {
            let stacks = fault_dump::arranged(&dump, LAST_WORDS_MAX);
            if !stacks.is_empty() {
                tracing::error!(
                    worker,
                    pid,
                    stacks,
                    "what the threads of the worker did when it died"
                );
            }
        }
        Err(error) => tracing::warn!(worker, pid, %error, "cannot read the last words of a worker"),
    }
}

/// To the millisecond.
pub(super) fn in_words(time: Duration) -> String {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(milliseconds)).to_string()
}
