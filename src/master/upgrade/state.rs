//! What the master hands over to the program that it becomes: everything it knows, and where its descriptors are.
//!
//! A program takes over from the version of the state that it was made with, and from no other. Whoever changes what is
//! written here, the derives of the supervisor among it, or what master and workers say to each other, raises
//! [`STATE_VERSION`]; a test holds the shape.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::program::Program;
use crate::config::{Bind, Text};
use crate::logging::Unwritten;
use crate::master::ReloadOutcome;
use crate::supervisor::{Caller, Generation, Now, Slot, Supervisor, WorkerId};

/// The number of the shape below.
pub const STATE_VERSION: u32 = 1;

/// The number of a descriptor in this process, which stays open through execve(2).
pub(super) type Number = i32;

/// The state of a master. Times are monotonic: as the machine counts where it says so, else since the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) state_version: u32,
    /// Of the destrier that wrote it.
    pub(super) version: String,
    pub(super) program: Program,
    /// All that are handed over, the one of this state aside.
    pub(super) descriptors: BTreeSet<Number>,
    /// As the machine counts.
    pub(super) started: Duration,
    pub(super) supervisor: Supervisor,
    pub(super) generations: BTreeMap<Generation, Text>,
    pub(super) listeners: Listeners,
    pub(super) control: Control,
    pub(super) crew: Vec<Hand>,
    pub(super) scoreboard: Scoreboard,
    pub(super) deaths: Deaths,
    pub(super) last_reload: Option<ReloadOutcome>,
    pub(super) stop_callers: Vec<Caller>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) log: Unwritten,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listeners {
    pub(super) open: Vec<Listener>,
    pub(super) inherited: Vec<Inherited>,
    pub(super) serving: Vec<(Bind, BTreeSet<u16>)>,
    pub(super) cannot_steer: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) bind: Bind,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Kind {
    PerSlot {
        address: SocketAddr,
        v6_only: bool,
        backlog: u32,
        /// In the order of the kernel.
        sockets: Vec<SlotSocket>,
        serving: Option<BTreeSet<u16>>,
    },
    Shared {
        socket: Number,
        address: Option<SocketAddr>,
        path: Option<SocketPath>,
        inherited: bool,
        is_leaving: bool,
        emptied_by: BTreeSet<WorkerId>,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlotSocket {
    pub(super) slot: u16,
    pub(super) socket: Number,
    pub(super) emptied_by: Option<WorkerId>,
}

/// A socket that was passed at the start: its number then, and now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inherited {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) socket: Number,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SocketPath {
    pub(super) path: PathBuf,
    pub(super) made: Option<(u64, u64)>,
    /// The lock belongs to what is open, not to the process: it is never let go.
    pub(super) lock: Number,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Control {
    pub(super) listener: Option<(Number, SocketPath)>,
    pub(super) clients: Vec<Client>,
    pub(super) last_caller: Caller,
    pub(super) path: PathBuf,
    pub(super) pause: Option<Now>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub(super) caller: Caller,
    pub(super) stream: Number,
    pub(super) unread: Vec<u8>,
    pub(super) unsent: Vec<u8>,
    pub(super) unanswered: usize,
    pub(super) has_finished: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hand {
    pub(super) worker: WorkerId,
    pub(super) pid: i32,
    pub(super) slot: Slot,
    pub(super) generation: Generation,
    pub(super) seat: usize,
    pub(super) spawned: Now,
    pub(super) told_to_go: bool,
    pub(super) channel: Option<Number>,
    pub(super) unread: Vec<u8>,
    pub(super) unsent: Vec<u8>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scoreboard {
    pub(super) memory: Number,
    pub(super) layout: u64,
    /// For a program that knows another layout.
    pub(super) totals: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deaths {
    pub(super) memory_kills: Option<u64>,
    pub(super) untold: u64,
    pub(super) next_summary: Now,
}

/// What a program says when it can take over: a line on its standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Readiness {
    /// Of the program.
    pub(super) destrier: String,
    /// The version of the state that it has read.
    pub(super) state_version: u32,
}

/// A state that this program does not take over.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It could not be read.
    #[error("cannot read the state of the master that runs: {0}")]
    Read(#[from] std::io::Error),
    /// It is of another version.
    #[error(
        "the master that runs has state version {theirs}, this program (destrier {own}) takes over version {STATE_VERSION}; only a restart changes to it",
        own = env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// The other one.
        theirs: u32,
    },
    /// It is of this version, and yet not understood.
    #[error("cannot understand the state of the master that runs: {0}")]
    Garbled(#[from] serde_json::Error),
}

impl State {
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// # Errors
    /// Another version, before anything else is looked at; anything that this program does not know.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            state_version: u32,
        }
        let Version { state_version } = serde_json::from_slice(bytes)?;
        if state_version != STATE_VERSION {
            return Err(StateError::Version {
                theirs: state_version,
            });
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl Readiness {
    pub(super) fn own() -> Self {
        Self {
            destrier: env!("CARGO_PKG_VERSION").to_owned(),
            state_version: STATE_VERSION,
        }
    }
}
