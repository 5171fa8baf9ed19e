//! What the kernel knows of the workers.

use std::time::Duration;

use crate::master::WorkerStatus;
use crate::sys::process::ProcessId;
use crate::sys::{process_memory, process_stat};

/// What is known of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Its number, which is never used twice.
    pub(super) worker: u64,
    pub(super) slot: u16,
    /// Its resident set, in bytes.
    pub(super) rss: Option<u64>,
    /// Its proportional set, in bytes, as the master measured it last.
    pub(super) pss: Option<u64>,
    /// The time that processors have spent on it.
    pub(super) cpu: Option<Duration>,
}

/// Of these.
pub(super) fn of_now(workers: &[WorkerStatus]) -> Vec<Usage> {
    workers.iter().map(usage).collect()
}

fn usage(worker: &WorkerStatus) -> Usage {
    // One that has ended meanwhile has none.
    let process = i32::try_from(worker.pid).ok().map(ProcessId::from_number);
    Usage {
        worker: worker.worker,
        slot: worker.slot,
        rss: process.and_then(|process| process_memory::resident(process).ok()),
        pss: worker.memory.as_ref().and_then(|memory| memory.pss),
        cpu: process.and_then(|process| process_stat::processor_time(process).ok()),
    }
}
