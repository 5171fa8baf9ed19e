//! What the kernel knows of the processes beside the workers: the master, the agent, templates. Looked up once a second at most, as of
//! workers, and only when somebody asks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::processes::AGE_MAX;
use crate::master::Status;
use crate::sys::process::ProcessId;
use crate::sys::{clock, process_memory, process_times};

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

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Beside(Mutex<Option<(Duration, Vec<Usage>)>>);

impl Beside {
    /// Of the processes of this server, or of those that were there less than a second ago.
    pub(super) fn of(&self, status: &Status) -> Vec<Usage> {
        let now = clock::monotonic();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, usages)) = &*known
            && now.saturating_sub(*at) < AGE_MAX
        {
            return usages.clone();
        }
        let usages = of_now(status);
        *known = Some((now, usages.clone()));
        usages
    }
}

fn of_now(status: &Status) -> Vec<Usage> {
    let of = |process, generation, pid: u32, pss| {
        let pid = i32::try_from(pid).ok().map(ProcessId::from_number);
        Usage {
            process,
            generation,
            rss: pid.and_then(|pid| process_memory::resident(pid).ok()),
            pss,
            cpu: pid.and_then(|pid| process_times::processor_time(pid).ok()),
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
