//! How a template is forked, and what it is given.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::{Process, TemplateAssignment};
use crate::logging;
use crate::master::Master;
use crate::supervisor::{Event, Generation};
use crate::sys::process::{self, Keep, ProcessId};
use crate::sys::{adoption, socket};

impl Master {
    /// Starts the template of this generation, unless its back-off says that it is too early.
    pub(super) fn start_template_if_due(
        &mut self,
        generation: Generation,
        events: &mut VecDeque<Event>,
    ) {
        let template = self.templates.of.get(&generation);
        if template.is_some_and(|template| self.now() < template.deaths.not_before) {
            return;
        }
        match self.fork_template(generation) {
            Ok(pid) => tracing::info!(
                pid = pid.number(),
                generation = generation.0,
                "template started"
            ),
            Err(reason) => {
                let reason = format!("cannot start the template: {reason}");
                self.fall_back(generation, reason, events);
            }
        }
    }

    fn fork_template(&mut self, generation: Generation) -> Result<ProcessId, String> {
        let pinned = self.generations.get(&generation);
        let pinned = pinned.ok_or_else(|| format!("generation {generation} is not known"))?;
        let run = pinned.loaded.run_template.as_ref().map(Rc::clone);
        let run = run.ok_or("there is no Python application")?;
        adoption::adopt_orphans().map_err(|error| format!("cannot adopt workers: {error}"))?;
        let (ours, theirs) =
            socket::packet_pair().map_err(|error| format!("socketpair: {error}"))?;
        let assignment = TemplateAssignment {
            master: ProcessId::own(),
            generation: generation.0,
            channel: theirs,
            scoreboard: Arc::clone(&self.scoreboard),
            replay: self.replay.clone(),
            rates: self.rates.clone(),
            identity: pinned.identity.clone(),
        };
        let mut keep = vec![
            Keep::new(&assignment.channel),
            Keep::new(assignment.scoreboard.file()),
        ];
        let (replay, rates) = (assignment.replay.as_ref(), assignment.rates.as_ref());
        keep.extend(replay.map(|replay| Keep::new(replay.file())));
        keep.extend(rates.map(|rates| Keep::new(rates.file())));
        keep.extend(logging::descriptors());
        let boot_timeout = pinned.loaded.config.workers.boot_timeout;
        let forked = process::fork_worker(&keep, move || {
            logging::after_fork();
            run(assignment)
        });
        let pid = forked.map_err(|error| format!("fork: {error}"))?;
        let now = self.now();
        let template = self.templates.of.entry(generation).or_default();
        template.process = Some(Process::new(pid, ours, now, now + boot_timeout));
        Ok(pid)
    }
}
