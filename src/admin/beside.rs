//! What the kernel knows of the processes beside the workers: the master, the agent, templates.

use std::time::Duration;

use crate::master::Status;
use crate::sys::process::ProcessId;
use crate::sys::{process_memory, process_stat};

/// What is known of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    /// `master`, `agent` or `template`.
    pub(super) process: &'static str,
    /// Whose workers are forked from it, of a template.
    pub(super) generation: Option<String>,
    /// Its resident set, in bytes.
    pub(super) rss: Option<u64>,
    /// Its proportional set, in bytes. Each tells its own, for others may not read it; of a template nobody does, for that takes a lock
    /// which its forks wait for.
    pub(super) pss: Option<u64>,
    /// The time that processors have spent on it.
    pub(super) cpu: Option<Duration>,
}

/// Of the processes of the server whose status this is.
pub(super) fn of_now(status: &Status) -> Vec<Usage> {
    let of = |process, generation, pid: u32, pss| {
        let pid = i32::try_from(pid).ok().map(ProcessId::from_number);
        Usage {
            process,
            generation,
            rss: pid.and_then(|pid| process_memory::resident(pid).ok()),
            pss,
            cpu: pid.and_then(|pid| process_stat::processor_time(pid).ok()),
        }
    };
    let of_master = status.memory.as_ref().and_then(|memory| memory.pss);
    let own = ProcessId::own().number();
    let own_share = process_memory::own_share().ok();
    let templates = status.templates.iter().filter_map(|template| {
        let generation = Some(template.generation.to_string());
        Some(of("template", generation, template.pid?, None))
    });
    [
        of("master", None, status.pid, of_master),
        of("agent", None, own, own_share),
    ]
    .into_iter()
    .chain(templates)
    .collect()
}
