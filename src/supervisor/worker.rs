//! A worker as the supervisor sees it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Generation, Now, Slot, WorkerId};

/// One worker process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) slot: Slot,
    pub(super) generation: Generation,
    pub(super) spawned: Now,
    /// From the order to drain until SIGKILL.
    pub(super) graceful_timeout: Duration,
    pub(super) state: State,
    /// It was told to take connections, and has not said that it does so no longer.
    pub(super) may_accept: bool,
    /// It serves until another one has taken its place.
    pub(super) is_outgoing: bool,
    /// Its probe fails: it serves until another one has taken its place, unless it is well again before.
    pub(super) is_unwell: bool,
    /// From the order to accept until it has lived long enough.
    pub(super) lifetime: Option<Duration>,
    /// When it will have.
    pub(super) outlived: Option<Now>,
}

/// Where in its life a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum State {
    /// Spawned, not ready yet.
    Booting {
        /// Then it is killed.
        until: Now,
    },
    /// Ready, not told to take connections yet.
    Waiting {
        /// When it became ready.
        since: Now,
    },
    /// Takes connections.
    Accepting {
        /// When it became ready.
        since: Now,
    },
    /// Told to go: finishes its requests, or said that it cannot boot.
    Draining {
        /// Then it is killed.
        until: Now,
        /// Whether it never was ready.
        failed_boot: bool,
    },
    /// Its event loop does not turn any more; SIGABRT was sent.
    Hung {
        /// Then it is killed.
        until: Now,
    },
    /// SIGKILL was sent; the kernel has not reported the end yet.
    Killed {
        /// When.
        since: Now,
    },
}

impl State {
    /// Whether it has not booted yet, or could not.
    pub fn never_was_ready(&self) -> bool {
        match self {
            Self::Booting { .. } => true,
            Self::Draining { failed_boot, .. } => *failed_boot,
            Self::Waiting { .. }
            | Self::Accepting { .. }
            | Self::Hung { .. }
            | Self::Killed { .. } => false,
        }
    }
}

/// A worker as others may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerView {
    /// Its id.
    pub id: WorkerId,
    /// The slot it fills.
    pub slot: Slot,
    /// The generation it runs.
    pub generation: Generation,
    /// When it was spawned.
    pub spawned: Now,
    /// Where in its life it is.
    pub state: State,
}

impl Worker {
    /// Ready, whether told to accept or not.
    pub(super) fn is_ready(&self) -> bool {
        match self.state {
            State::Waiting { .. } | State::Accepting { .. } => true,
            State::Booting { .. }
            | State::Draining { .. }
            | State::Hung { .. }
            | State::Killed { .. } => false,
        }
    }

    pub(super) fn is_booting(&self) -> bool {
        matches!(self.state, State::Booting { .. })
    }

    pub(super) fn is_accepting(&self) -> bool {
        matches!(self.state, State::Accepting { .. })
    }

    /// Told to go, one way or the other: it fills its slot no longer.
    pub(super) fn is_leaving(&self) -> bool {
        match self.state {
            State::Draining { .. } | State::Hung { .. } | State::Killed { .. } => true,
            State::Booting { .. } | State::Waiting { .. } | State::Accepting { .. } => false,
        }
    }

    /// Fills its slot for good: not on its way out, and not about to be.
    pub(super) fn is_staying(&self) -> bool {
        !self.is_leaving() && !self.shall_go()
    }

    /// Another one shall take its place.
    pub(super) fn shall_go(&self) -> bool {
        self.is_outgoing || self.is_unwell
    }

    /// For how long it has been ready; `None` when it is not.
    pub(super) fn healthy_for(&self, now: Now) -> Option<Duration> {
        match self.state {
            State::Waiting { since } | State::Accepting { since } => {
                Some(now.saturating_sub(since))
            }
            State::Booting { .. }
            | State::Draining { .. }
            | State::Hung { .. }
            | State::Killed { .. } => None,
        }
    }

    /// When something must be done about it, whatever it does.
    pub(super) fn deadline(&self) -> Option<Now> {
        match self.state {
            State::Booting { until } | State::Draining { until, .. } | State::Hung { until } => {
                Some(until)
            }
            State::Accepting { .. } if !self.is_outgoing => self.outlived,
            State::Waiting { .. } | State::Accepting { .. } | State::Killed { .. } => None,
        }
    }

    pub(super) fn view(&self) -> WorkerView {
        WorkerView {
            id: self.id,
            slot: self.slot,
            generation: self.generation,
            spawned: self.spawned,
            state: self.state,
        }
    }
}

impl State {
    /// Whether its event loop should be turning: it has booted, and nobody has ended it yet.
    pub fn is_alive(self) -> bool {
        match self {
            Self::Waiting { .. } | Self::Accepting { .. } => true,
            Self::Draining { failed_boot, .. } => !failed_boot,
            Self::Booting { .. } | Self::Hung { .. } | Self::Killed { .. } => false,
        }
    }

    /// The word for it in logs and in `destrier status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Booting { .. } => "booting",
            Self::Waiting { .. } => "ready",
            Self::Accepting { .. } => "accepting",
            Self::Draining {
                failed_boot: false, ..
            } => "draining",
            Self::Draining {
                failed_boot: true, ..
            } => "failed",
            Self::Hung { .. } => "hung",
            Self::Killed { .. } => "killed",
        }
    }
}
