//! The end of the master, and the ends of workers: what counts as a failure, and who is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Action, ExitReason, KillReason, Now, StopManner, WorkerId};
use super::reload::answer;
use super::worker::State;
use super::{Backoff, Supervisor};

/// A fast stop gives a worker this long before SIGKILL.
const FAST: Duration = Duration::from_secs(1);

/// A worker that said that it cannot boot has this long to exit by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A worker that hangs and was sent SIGABRT has this long to die of it.
const ABORTED: Duration = Duration::from_secs(1);

/// A process that SIGKILL has not ended by then hangs in the kernel; the master does not wait for it.
const KILL_PATIENCE: Duration = Duration::from_millis(500);

/// The master is on its way out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stopping {
    pub(super) manner: StopManner,
    /// Until then everything goes on, but what is asked for from now on is refused; `None` when that is over.
    pub(super) drain_at: Option<Now>,
    /// By then every worker is killed.
    pub(super) until: Now,
    pub(super) reason: ExitReason,
}

/// How a worker failed that should not have. With it for how long it had been healthy, where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// It did not boot.
    ToBoot,
    /// It ended, or hangs.
    Life(Option<Duration>),
    /// It serves, but its probe fails.
    Probe(Option<Duration>),
}

/// How far the master is on its way out, for others to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopView {
    /// When the workers will be told to go; `None`: they were.
    pub drain_at: Option<Now>,
    /// By then every worker is killed.
    pub until: Now,
}

impl Stopping {
    pub(super) fn graceful(
        now: Now,
        drain_delay: Duration,
        graceful_timeout: Duration,
        reason: ExitReason,
    ) -> Self {
        let drain_at = now + drain_delay;
        Self {
            manner: StopManner::Graceful,
            drain_at: Some(drain_at).filter(|_| !drain_delay.is_zero()),
            until: drain_at + graceful_timeout,
            reason,
        }
    }

    /// When the next phase begins: the drain; or the master's end, whoever is still there.
    pub(super) fn deadline(&self) -> Now {
        self.drain_at.unwrap_or_else(|| self.abandoned_at())
    }

    /// When the master leaves, whoever is still there.
    pub(super) fn abandoned_at(&self) -> Now {
        self.until + KILL_PATIENCE
    }
}

impl Supervisor {
    pub(super) fn on_stop(&mut self, now: Now, manner: StopManner, actions: &mut Vec<Action>) {
        let line = self
            .serving
            .as_ref()
            .or_else(|| self.candidate.as_ref().map(|candidate| &candidate.line));
        let grace = line.map_or(Duration::ZERO, |line| line.policy.graceful_timeout);
        // Where nobody serves there is nothing that could go on.
        let delay = self
            .serving
            .as_ref()
            .filter(|line| !line.paused)
            .map_or(Duration::ZERO, |line| line.policy.drain_delay);
        match (&mut self.stopping, manner) {
            (None, StopManner::Graceful) => {
                self.stopping = Some(Stopping::graceful(now, delay, grace, ExitReason::Stopped));
            }
            (Some(_), StopManner::Graceful) => {}
            (Some(stopping), StopManner::Fast) if stopping.manner == StopManner::Fast => {
                stopping.until = stopping.until.min(now);
            }
            (stopping, StopManner::Fast) => {
                // An order to hurry changes neither why the master ends nor makes it take longer.
                let (until, reason) = match stopping.take() {
                    Some(before) => (before.until.min(now + FAST), before.reason),
                    None => (now + FAST, ExitReason::Stopped),
                };
                *stopping = Some(Stopping {
                    manner,
                    drain_at: None,
                    until,
                    reason,
                });
                for worker in self.workers.values_mut().filter(|worker| {
                    !matches!(worker.state, State::Hung { .. } | State::Killed { .. })
                }) {
                    actions.push(Action::Quit(worker.id));
                    worker.state = State::Draining {
                        until,
                        failed_boot: false,
                    };
                }
            }
        }
    }

    /// Whether the workers are told to go; before that, a stop has its delay.
    pub fn is_draining(&self) -> bool {
        self.stopping
            .as_ref()
            .is_some_and(|stopping| stopping.drain_at.is_none())
    }

    /// Nothing that was asked for will happen any more. A reload is given up: where its workers serve already, those of the
    /// generation before it come back first.
    pub(super) fn answer_when_stopping(&mut self, actions: &mut Vec<Action>) {
        if self.stopping.is_some() {
            let mut callers = self.reload_waiting.take().unwrap_or_default();
            callers.append(&mut self.scaling);
            let reason = "the master is stopping".to_owned();
            answer(callers, &Err(reason.clone()), actions);
            let candidate = self.candidate.take().map(|it| it.askers);
            let taking_over = self.taking_over.take().map(|it| it.askers);
            for askers in candidate.into_iter().chain(taking_over) {
                askers.answer(&Err(reason.clone()), actions);
            }
            self.cancel_upgrade(&reason, actions);
        }
    }

    pub(super) fn on_boot_failed(
        &mut self,
        now: Now,
        id: WorkerId,
        reason: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if worker.is_booting() {
            worker.state = State::Draining {
                until: now + LAST_WORDS,
                failed_boot: true,
            };
            self.count_failure(now, id, Failing::ToBoot, reason, actions);
        }
    }

    /// The worker serves nobody: it goes at once, and its slot is free for another one.
    pub(super) fn on_hung(&mut self, now: Now, id: WorkerId, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if !worker.state.is_alive() {
            return;
        }
        let healthy_for = worker.healthy_for(now);
        worker.state = State::Hung {
            until: now + ABORTED,
        };
        actions.push(Action::Abort(id));
        // One that was leaving anyway is missed by nobody.
        if healthy_for.is_some() {
            let reason = "its event loop hung";
            self.count_failure(now, id, Failing::Life(healthy_for), reason, actions);
        }
    }

    pub(super) fn on_exited(
        &mut self,
        now: Now,
        id: WorkerId,
        ending: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (was_booting, healthy_for) = (worker.is_booting(), worker.healthy_for(now));
        if was_booting || healthy_for.is_some() {
            let failing = if was_booting {
                Failing::ToBoot
            } else {
                Failing::Life(healthy_for)
            };
            self.count_failure(now, id, failing, ending, actions);
        }
        self.workers.remove(&id);
    }

    /// Ends the delay of a stop, kills whoever is past its time, and notes whoever has served for long enough.
    pub(super) fn expire(&mut self, now: Now, actions: &mut Vec<Action>) {
        if let Some(stopping) = &mut self.stopping {
            stopping.drain_at = stopping.drain_at.filter(|drain_at| *drain_at > now);
        }
        let stop_until = self.stopping.as_ref().map(|stopping| stopping.until);
        let mut timed_out = Vec::new();
        for worker in self.workers.values_mut() {
            if worker.is_accepting()
                && !worker.is_outgoing
                && worker.outlived.is_some_and(|time| time <= now)
            {
                worker.is_outgoing = true;
                actions.push(Action::Outlived(worker.id));
            }
            let reason = match worker.state {
                State::Killed { .. } => continue,
                _ if stop_until.is_some_and(|until| until <= now) => KillReason::Stop,
                State::Booting { until } if until <= now => KillReason::BootTimeout,
                State::Draining {
                    until,
                    failed_boot: true,
                } if until <= now => KillReason::BootFailed,
                State::Draining {
                    until,
                    failed_boot: false,
                } if until <= now => KillReason::GracefulTimeout,
                State::Hung { until } if until <= now => KillReason::Hung,
                State::Booting { .. }
                | State::Waiting { .. }
                | State::Accepting { .. }
                | State::Draining { .. }
                | State::Hung { .. } => continue,
            };
            worker.state = State::Killed { since: now };
            actions.push(Action::Kill(worker.id, reason));
            if reason == KillReason::BootTimeout {
                timed_out.push(worker.id);
            }
        }
        for id in timed_out {
            let reason = "not ready within the boot time-out";
            self.count_failure(now, id, Failing::ToBoot, reason, actions);
        }
    }

    /// A worker failed that should not have: the candidate's ends the reload, the serving generation's is waited for.
    pub(super) fn count_failure(
        &mut self,
        now: Now,
        id: WorkerId,
        failing: Failing,
        reason: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (slot, generation) = (worker.slot, worker.generation);
        if self
            .candidate
            .as_ref()
            .is_some_and(|candidate| candidate.line.generation == generation)
        {
            let what = match failing {
                Failing::ToBoot => "could not boot",
                Failing::Life(_) => "died before the reload was complete",
                Failing::Probe(_) => "failed its probe before the reload was complete",
            };
            self.give_up(now, &format!("worker {id} {what}: {reason}"), actions);
            return;
        }
        let Some(line) = self
            .serving
            .as_ref()
            .filter(|line| line.generation == generation)
        else {
            return;
        };
        let seed = self.seed ^ id.0.rotate_left(32);
        let failures = match failing {
            Failing::ToBoot => {
                self.boots.boot_failed(now, &line.policy, seed);
                let reason = format!("worker {id} could not boot: {reason}");
                answer(std::mem::take(&mut self.scaling), &Err(reason), actions);
                self.boots.failures
            }
            Failing::Life(healthy_for) | Failing::Probe(healthy_for) => {
                let crashes = self.crashes.entry(slot).or_default();
                if healthy_for.is_some_and(|healthy| healthy >= line.policy.backoff_reset) {
                    *crashes = Backoff::default();
                }
                crashes.crashed(now, &line.policy, seed);
                crashes.failures
            }
        };
        if failures >= 2 && !self.degraded && self.stopping.is_none() {
            self.degraded = true;
            actions.push(Action::Degraded {
                failures,
                reason: reason.to_owned(),
            });
        }
    }
}
