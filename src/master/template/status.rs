//! What is told of templates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Master;
use crate::sys::process_memory;

/// The template of a generation of a Python application.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TemplateStatus {
    /// Whose workers are forked from it.
    pub generation: u64,
    /// `importing`, `ready`, `restarting`, or `none`: each worker imports the application.
    pub state: String,
    /// Why there is none.
    pub reason: Option<String>,
    /// Its process; null while none runs.
    pub pid: Option<u32>,
    /// Since it was started.
    pub uptime: Option<f64>,
    /// How long it took until it was ready.
    pub import_seconds: Option<f64>,
    /// Its resident set in bytes, most of which it shares with its workers; null where the kernel does not tell.
    pub rss: Option<u64>,
}

impl Master {
    /// Those of all generations that are left, oldest first, without what must be asked of the kernel.
    pub(in crate::master) fn template_statuses(&self) -> Vec<TemplateStatus> {
        let now = self.now();
        let all = self.templates.of.iter();
        let statuses = all.map(|(generation, template)| {
            let process = template.process.as_ref();
            let state = match (process, &template.fallback) {
                (_, Some(_)) => "none",
                (Some(process), None) if process.is_ready() => "ready",
                (Some(_), None) => "importing",
                (None, None) => "restarting",
            };
            let import =
                process.and_then(|process| Some(process.ready?.saturating_sub(process.started)));
            TemplateStatus {
                generation: generation.0,
                state: state.to_owned(),
                reason: template.fallback.clone(),
                pid: process.map(|process| process.pid.number()),
                uptime: process.map(|it| now.saturating_sub(it.started).as_secs_f64()),
                import_seconds: import.map(|import| import.as_secs_f64()),
                rss: None,
            }
        });
        statuses.collect()
    }

    /// Adds that.
    pub(in crate::master) fn weigh_templates(&self, statuses: &mut [TemplateStatus]) {
        for (status, template) in statuses.iter_mut().zip(self.templates.of.values()) {
            let pid = template.pid();
            status.rss = pid.and_then(|pid| process_memory::resident(pid).ok());
        }
    }
}
