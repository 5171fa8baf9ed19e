//! What happens to a server that somebody may want to be told of: what the master tells the agent, which runs `hooks.on_event` for it.

use serde::{Deserialize, Serialize};

/// One of them. Its fields are those that the program gets as JSON (docs/monitoring.md): they are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// A worker ended not as it was told to.
    WorkerDied {
        /// Its number.
        worker: u64,
        /// What its process was.
        pid: u32,
        /// The slot it filled.
        slot: u16,
        /// The generation it ran.
        generation: u64,
        /// As `destrier_worker_ends_total` has it.
        reason: String,
        /// In words.
        ending: String,
        /// How long it lived, in seconds.
        uptime: u64,
        /// Requests that ended with it.
        in_flight: u64,
    },
    /// The server is worse off than it should be.
    Degraded {
        /// In which way.
        reason: Trouble,
        /// Workers that take connections.
        accepting: u16,
        /// Workers that shall.
        wanted: u16,
        /// `health.ready_min`.
        ready_min: u16,
        /// For people.
        message: String,
    },
    /// It is no more.
    Recovered {
        /// What is over.
        reason: Trouble,
        /// Workers that take connections.
        accepting: u16,
        /// Workers that shall.
        wanted: u16,
    },
    /// Another generation serves.
    ReloadDone {
        /// Its number.
        generation: u64,
    },
    /// None does, the one of before serves on.
    ReloadFailed {
        /// `refused`, or `rolled_back`.
        outcome: String,
        /// Why.
        message: String,
    },
    /// A certificate that is served ends soon, or has.
    CertificateExpiring {
        /// Its file.
        certificate: String,
        /// When, in seconds since 1970.
        not_after: u64,
        /// Within so many days: 30, 7 or 1; 0: it has.
        within_days: u32,
    },
    /// A key set or a deny list that is fetched is too old to count.
    KeysStale {
        /// As `destrier_feed_good` has it.
        purpose: String,
        /// Whose keys.
        issuer: Option<String>,
        /// From where.
        source: String,
        /// Why it could not be fetched, the last time.
        message: Option<String>,
    },
}

/// What is wrong with a server that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Fewer workers take connections than `health.ready_min`.
    TooFewWorkers,
    /// Workers keep dying, or failing their probe, so that they are replaced ever more slowly.
    WorkersKeepDying,
}

impl Happening {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorkerDied { .. } => "worker_died",
            Self::Degraded { .. } => "degraded",
            Self::Recovered { .. } => "recovered",
            Self::ReloadDone { .. } => "reload_done",
            Self::ReloadFailed { .. } => "reload_failed",
            Self::CertificateExpiring { .. } => "certificate_expiring",
            Self::KeysStale { .. } => "keys_stale",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_document() {
        let happening = Happening::ReloadDone { generation: 2 };
        let document = serde_json::to_value(&happening).expect("a document");
        assert_eq!(document["event"], happening.name());
        assert_eq!(document["generation"], 2);
    }
}
