//! What the master counts of its own doings, for monitoring: how workers ended, how reloads and upgrades went. Kept over upgrades.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::death_report::{DeathReport, OutOfMemory};
use super::timeline::Timeline;
use crate::supervisor::{KillReason, Now};
use crate::sys::process::Ending;

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    ends: BTreeMap<WorkerEnd, u64>,
    reloads: BTreeMap<ReloadEnd, u64>,
    upgrades: BTreeMap<UpgradeEnd, u64>,
    /// Since when the generation that serves does.
    pub(super) serving_since: Now,
    /// What has happened last.
    pub(super) timeline: Timeline,
}

/// Why a worker is no more, or is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum WorkerEnd {
    /// A signal ended it that the master had not sent.
    Signal,
    /// It exited by itself.
    Exit,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// Its event loop did not turn any more.
    Hang,
    /// It did not boot, or not in time.
    Boot,
    /// It did not finish its requests in time.
    GracefulTimeout,
    /// It has served enough: `max_requests`, `max_lifetime`.
    Recycle,
    /// It held too much memory.
    Memory,
    /// One of its requests is stuck.
    Stuck,
    /// Its probe failed too often.
    Probe,
    /// It was told to go: a reload, fewer workers, a pause, the stop.
    Told,
}

/// How a reload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum ReloadEnd {
    /// The new generation serves.
    Committed,
    /// It did not become ready.
    RolledBack,
    /// The configuration was refused.
    Refused,
}

/// How an upgrade went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum UpgradeEnd {
    /// The master is another program.
    Done,
    /// It stayed what it was.
    Refused,
}

impl WorkerEnd {
    const ALL: [Self; 11] = [
        Self::Signal,
        Self::Exit,
        Self::OutOfMemory,
        Self::Hang,
        Self::Boot,
        Self::GracefulTimeout,
        Self::Recycle,
        Self::Memory,
        Self::Stuck,
        Self::Probe,
        Self::Told,
    ];

    /// Whether a worker that shall be replaced for what was `before` shall be for this from now on. A probe may pass again, so what
    /// stays takes its place; else the first reason is the reason.
    pub(super) fn outweighs(self, before: Option<Self>) -> bool {
        match before {
            None => true,
            Some(before) => before == Self::Probe && self != Self::Probe,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Exit => "exit",
            Self::OutOfMemory => "oom",
            Self::Hang => "hang",
            Self::Boot => "boot",
            Self::GracefulTimeout => "graceful_timeout",
            Self::Recycle => "recycle",
            Self::Memory => "memory",
            Self::Stuck => "stuck",
            Self::Probe => "probe",
            Self::Told => "told",
        }
    }

    /// Of a worker that ended not as it was told to.
    pub(super) fn of_death(report: &DeathReport, was_ready: bool) -> Self {
        if report.out_of_memory == OutOfMemory::Yes {
            return Self::OutOfMemory;
        }
        match report.killed {
            Some(KillReason::Hung) => return Self::Hang,
            Some(KillReason::BootTimeout | KillReason::BootFailed) => return Self::Boot,
            Some(KillReason::GracefulTimeout | KillReason::Stop) => return Self::GracefulTimeout,
            Some(KillReason::Unwanted) => return Self::Told,
            None => {}
        }
        match report.ending {
            _ if report.hung_for.is_some() => Self::Hang,
            _ if !was_ready => Self::Boot,
            Ending::Exited(_) => Self::Exit,
            Ending::Killed { .. } => Self::Signal,
        }
    }
}

impl ReloadEnd {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Refused => "refused",
        }
    }
}

impl Ledger {
    pub(super) fn worker_ended(&mut self, end: WorkerEnd) {
        *self.ends.entry(end).or_default() += 1;
    }

    pub(super) fn reload_ended(&mut self, end: ReloadEnd) {
        *self.reloads.entry(end).or_default() += 1;
    }

    pub(super) fn upgrade_ended(&mut self, end: UpgradeEnd) {
        *self.upgrades.entry(end).or_default() += 1;
    }

    /// How many workers ended, for each reason.
    pub(super) fn ends(&self) -> BTreeMap<String, u64> {
        counted(WorkerEnd::ALL, WorkerEnd::word, &self.ends)
    }

    /// How many reloads went how.
    pub(super) fn reloads(&self) -> BTreeMap<String, u64> {
        let all = [
            ReloadEnd::Committed,
            ReloadEnd::RolledBack,
            ReloadEnd::Refused,
        ];
        counted(all, ReloadEnd::word, &self.reloads)
    }

    /// How many upgrades went how.
    pub(super) fn upgrades(&self) -> BTreeMap<String, u64> {
        let word = |end| match end {
            UpgradeEnd::Done => "done",
            UpgradeEnd::Refused => "refused",
        };
        counted(
            [UpgradeEnd::Done, UpgradeEnd::Refused],
            word,
            &self.upgrades,
        )
    }
}

/// Also what has not happened yet: a series that begins with 1 has no increase.
fn counted<T: Ord + Copy, const N: usize>(
    all: [T; N],
    word: impl Fn(T) -> &'static str,
    counts: &BTreeMap<T, u64>,
) -> BTreeMap<String, u64> {
    let count = |it| counts.get(&it).copied().unwrap_or(0);
    all.map(|it| (word(it).to_owned(), count(it))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_to_replace_a_worker_counts_but_a_probe_that_may_pass_again() {
        assert!(WorkerEnd::Probe.outweighs(None));
        assert!(!WorkerEnd::Probe.outweighs(Some(WorkerEnd::Probe)));
        assert!(!WorkerEnd::Probe.outweighs(Some(WorkerEnd::Recycle)));
        assert!(WorkerEnd::Recycle.outweighs(Some(WorkerEnd::Probe)));
        assert!(!WorkerEnd::Memory.outweighs(Some(WorkerEnd::Recycle)));
    }
}
