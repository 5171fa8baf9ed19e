//! The vocabulary of the supervisor: what can happen, and what can be done about it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time since the master started. The supervisor reads no clock.
pub type Now = Duration;

/// One worker process, from the decision to spawn it. Never reused; process ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u64);

/// The place that a worker fills, `0..workers`; it owns a listener of its own where connections are balanced per worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u16);

impl Slot {
    /// While nobody shall serve, connections wait here: whoever comes back, and be it one worker, fills this slot.
    pub const KEPT_IN_PAUSE: Self = Self(0);
}

/// One configuration with everything it pins, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// Someone who asked for something and waits for its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Caller(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a generation says about its workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How many shall serve, at least 1.
    pub workers: u16,
    /// How the generation takes over from the one before.
    pub strategy: Strategy,
    /// From the spawn until the worker is ready.
    pub boot_timeout: Duration,
    /// From the order to drain until SIGKILL.
    pub graceful_timeout: Duration,
    /// From the order to stop until the order to drain.
    pub drain_delay: Duration,
    /// The first wait between two replacements of a worker that keeps dying.
    pub backoff_initial: Duration,
    /// The longest such wait, before jitter.
    pub backoff_max: Duration,
    /// A worker that was ready for so long has proved healthy.
    pub backoff_reset: Duration,
    /// A worker that has accepted for so long is replaced.
    pub lifetime: Option<Lifetime>,
    /// Where it fails, another one is to stand in that shows why, also before anything has served: for who writes the application.
    pub wants_stand_in: bool,
}

/// How long a worker may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifetime {
    /// At least this long.
    pub at_least: Duration,
    /// At most so much longer, different for each worker, so that they do not go together.
    pub jitter_max: Duration,
}

/// How a candidate takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Strategy {
    /// All at once, when all of it is ready.
    BlueGreen,
    /// Slot by slot; the first is the canary. At least one of the two is not 0.
    Rolling {
        /// Workers that may run beyond the wanted number.
        max_surge: u16,
        /// Slots that may be without a worker that serves.
        max_unavailable: u16,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The time that [`next_deadline`](super::Supervisor::next_deadline) named has come.
    DeadlinePassed,
    /// The process of the worker exists only now, for what it is forked from had to be made first: its boot time-out counts from here.
    BootBegins(WorkerId),
    /// The worker has booted and could serve.
    Ready(WorkerId),
    /// The worker cannot boot, for this reason; or it could not even be spawned, and then `Exited` follows at once.
    BootFailed(WorkerId, String),
    /// The kernel reported its end; in words, as in "killed by SIGSEGV".
    Exited(WorkerId, String),
    /// The worker was told to drain, and takes no connection any more that another one could take.
    StoppedAccepting(WorkerId),
    /// The event loop of the worker does not turn any more: it serves nobody.
    Hung(WorkerId),
    /// The worker serves, and shall do so until another one has taken its place.
    ReplacementWanted(WorkerId),
    /// The worker serves, but its probe has failed too often, for this reason: as that, until it passes again.
    ProbeFailed(WorkerId, String),
    /// It passes again.
    ProbePassed(WorkerId),
    /// Put the configuration on disk into force.
    ReloadRequested(Option<Caller>),
    /// Answer to [`Action::Prepare`]: it is valid, its listeners are open.
    Prepared(Policy),
    /// Answer to [`Action::Prepare`]: it is not, for this reason.
    Refused(String),
    /// Go on as another program in the same process; the one that the master was started as where none is named.
    UpgradeRequested {
        /// Who waits for the outcome.
        caller: Option<Caller>,
        /// The file of the program.
        program: Option<PathBuf>,
    },
    /// Answer to [`Action::Preflight`]: this program stays the master, for this reason.
    UpgradeFailed(String),
    /// Answer to [`Action::Preflight`], in the new program: it is the master now.
    Upgraded,
    /// Change the number of workers until the next reload.
    ScaleRequested(Scale, Option<Caller>),
    /// Drain every worker, keep the listeners.
    PauseRequested,
    /// End.
    StopRequested(StopManner),
}

/// A new number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Exactly so many.
    To(u16),
    /// One more.
    Up,
    /// One less, but never none.
    Down,
}

impl Scale {
    /// The most workers there can be.
    pub const MAX: u16 = 512;

    /// The number that results from `workers`.
    pub fn apply(self, workers: u16) -> u16 {
        match self {
            Self::To(count) => count,
            Self::Up => workers.saturating_add(1),
            Self::Down => workers.saturating_sub(1),
        }
        .clamp(1, Self::MAX)
    }
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopManner {
    /// Finish the requests in flight, within the graceful time-out.
    Graceful,
    /// Within a second; a second order ends at once.
    Fast,
}

/// What must be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read and check the configuration on disk and open its listeners; answer `Prepared` or `Refused`.
    Prepare,
    /// Ask this program whether it can take over, and if so go on as it with this very state; answer `UpgradeFailed`, or
    /// `Upgraded` there.
    Preflight(Option<PathBuf>),
    /// The upgrade is given up: the program need not answer.
    CancelPreflight,
    /// Fork a worker.
    Spawn {
        /// Its id.
        worker: WorkerId,
        /// The slot it fills.
        slot: Slot,
        /// The generation whose configuration it runs.
        generation: Generation,
    },
    /// Tell the worker to take connections.
    Accept(WorkerId),
    /// Tell the worker to finish its requests and exit.
    Drain {
        /// Which.
        worker: WorkerId,
        /// Whether the connections that wait in its slot's accept queue have somebody else to serve them.
        queue_has_heir: bool,
    },
    /// The worker has lived long enough: it serves until its replacement does.
    Outlived(WorkerId),
    /// Tell the worker to exit without finishing anything.
    Quit(WorkerId),
    /// SIGABRT, which leaves a core: the worker hangs.
    Abort(WorkerId),
    /// SIGKILL.
    Kill(WorkerId, KillReason),
    /// The generation serves now; the workers of those before it are told to go.
    Commit(Generation),
    /// They take no connections any more: whoever comes is served by the generation that serves.
    TakenOver,
    /// The generation is given up, for this reason.
    RollBack(Generation, String),
    /// As [`Action::Prepare`], with workers that show in the place of the application why it was given up.
    PrepareStandIn(String),
    /// No worker of the generation is left and none will be spawned.
    Forget(Generation),
    /// Workers keep dying: say so once.
    Degraded {
        /// How many died in a row.
        failures: u32,
        /// How the last one ended.
        reason: String,
    },
    /// They stopped dying.
    Recovered,
    /// Tell the caller what came of it.
    Answer(Caller, Result<Done, String>),
    /// Tell the caller that this is another program now, and what came of the reload that completes the upgrade.
    AnswerUpgrade(Caller, Result<Generation, String>),
    /// End the master; no worker is left.
    Exit(ExitReason),
}

/// What was done for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// This generation serves.
    Reloaded(Generation),
    /// So many workers serve.
    Scaled(u16),
}

/// Why a worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillReason {
    /// It was not ready within the boot time-out.
    BootTimeout,
    /// It had not finished within the graceful time-out.
    GracefulTimeout,
    /// It said that it cannot boot, and then did not exit.
    BootFailed,
    /// It was still booting when it was no longer wanted.
    Unwanted,
    /// Its event loop hung, and SIGABRT did not end it.
    Hung,
    /// The master stops fast.
    Stop,
}

/// Why the master ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    /// It was told to.
    Stopped,
    /// The first generation could not boot.
    BootFailed(String),
}
