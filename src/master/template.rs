//! Templates as the master knows them: one process for each generation of a Python application with `app.preload`, which has imported the
//! application and forks its workers. It is no worker: it has no slot, and the supervisor does not know it. A worker that the
//! supervisor wants before its template is ready waits to be born (`births.rs`).

mod births;
mod process;
mod start;
mod status;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use births::Birth;
use process::{Heard, Process};
pub use status::TemplateStatus;

use super::Master;
use crate::channel::FromTemplate;
use crate::config::Preload;
use crate::logging;
use crate::rate_limit::RateTable;
use crate::replay::ReplayCache;
use crate::scoreboard::Scoreboard;
use crate::supervisor::{Backoff, Event, Generation, Now};
use crate::sys::identity::Identity;
use crate::sys::process::{self as processes, Ending, ProcessId};

/// What the template process does, from the fork to its exit code. Called in the child.
pub type RunTemplate = Rc<dyn Fn(TemplateAssignment) -> u8>;

/// What a template is given.
#[derive(Debug)]
pub struct TemplateAssignment {
    /// This process.
    pub master: ProcessId,
    /// Whose workers it forks.
    pub generation: u64,
    /// Its end of the channel: packets, non-blocking.
    pub channel: std::os::fd::OwnedFd,
    /// Where its workers say what they do.
    pub scoreboard: Arc<Scoreboard>,
    /// As workers get it.
    pub replay: Option<Arc<ReplayCache>>,
    /// As workers get it.
    pub rates: Option<Arc<RateTable>>,
    /// What it shall become before it runs anything of the application.
    pub identity: Identity,
}

/// The template of a generation that serves is started so many times in a row in vain; then its workers are executed.
const ATTEMPTS_MAX: u32 = 3;

/// A fork is answered within this time, or the template hangs: milliseconds on any machine that still serves.
const FORK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a template that was told to go may take: functions that are registered with `atexit` run.
const PATIENCE: Duration = Duration::from_secs(1);

/// One that cannot be forked has so much time for what its application does at its end.
const EXIT_PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Templates {
    of: BTreeMap<Generation, Template>,
    /// Those that were told to go and were not reaped yet, and by when they are killed.
    leaving: Vec<(ProcessId, Option<Now>)>,
}

/// That of a generation.
#[derive(Debug, Default)]
struct Template {
    process: Option<Process>,
    /// Workers that shall be forked from it, oldest first.
    births: VecDeque<Birth>,
    /// Processes in a row that died.
    deaths: Backoff,
    /// Why the workers of the generation are executed instead.
    fallback: Option<String>,
}

impl Templates {
    /// Their channels, with whether something waits to be sent.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Generation, BorrowedFd<'_>, bool)> {
        self.of.iter().filter_map(|(generation, template)| {
            let process = template.process.as_ref()?;
            let has_unsent = process.is_ready() && template.births.iter().any(Birth::is_waiting);
            Some((*generation, process.descriptor()?, has_unsent))
        })
    }

    fn pid_of(&self, generation: Generation) -> Option<u32> {
        let template = self.of.get(&generation)?;
        template.pid().map(ProcessId::number)
    }

    fn find(&self, pid: ProcessId) -> Option<Generation> {
        let mut all = self.of.iter();
        let found = all.find(|(_, template)| template.pid() == Some(pid));
        found.map(|(generation, _)| *generation)
    }

    /// Whether this process is, or was, a template.
    fn knows(&self, pid: ProcessId) -> bool {
        self.find(pid).is_some() || self.leaving.iter().any(|(leaving, _)| *leaving == pid)
    }

    fn get_mut(&mut self, generation: Generation) -> Option<&mut Template> {
        self.of.get_mut(&generation)
    }
}

impl Template {
    fn pid(&self) -> Option<ProcessId> {
        self.process.as_ref().map(|process| process.pid)
    }
}

impl Master {
    /// Whether the workers of this generation are forked from a template.
    pub(super) fn has_template(&self, generation: Generation) -> bool {
        let pinned = self.generations.get(&generation);
        let python = pinned.and_then(|pinned| pinned.loaded.config.app.python.as_ref());
        let template = self.templates.of.get(&generation);
        python.is_some_and(|python| python.preload != Preload::Never)
            && template.is_none_or(|template| template.fallback.is_none())
    }

    /// Starts templates that are missing, ends those that are of no use any more or hang.
    pub(super) fn mind_templates(&mut self) {
        let now = self.now();
        for (pid, killed_at) in &mut self.templates.leaving {
            if killed_at.is_some_and(|at| at <= now) {
                *killed_at = None;
                let _gone_already = processes::kill_now(*pid);
            }
        }
        let is_draining = self.supervisor.is_draining();
        let gone =
            |generation: &&Generation| is_draining || !self.generations.contains_key(generation);
        let gone: Vec<Generation> = self.templates.of.keys().filter(gone).copied().collect();
        for generation in gone {
            self.end_template(generation);
        }
        for template in self.templates.of.values_mut() {
            let Some(process) = &mut template.process else {
                continue;
            };
            if process.answers_by.is_some_and(|at| at <= now) {
                process.answers_by = None;
                let pid = process.pid.number();
                if process.is_ready() {
                    tracing::error!(pid, "the template does not answer, it is replaced");
                } else {
                    tracing::error!(
                        pid,
                        "killed: the template was not ready within `workers.boot_timeout`"
                    );
                }
                // Reaped and started again as one that died.
                let _gone_already = processes::kill_now(process.pid);
            }
        }
        for generation in self
            .missing_templates()
            .map(|(of, _)| of)
            .collect::<Vec<_>>()
        {
            let mut events = VecDeque::new();
            self.start_template_if_due(generation, &mut events);
            self.feed_all(events);
        }
    }

    fn feed_all(&mut self, events: VecDeque<Event>) {
        for event in events {
            self.feed(event);
        }
    }

    /// When [`Self::mind_templates`] has something to do.
    pub(super) fn next_template(&self) -> Option<Now> {
        let all = self.templates.of.values();
        let answers = all.filter_map(|template| template.process.as_ref()?.answers_by);
        let kills = self.templates.leaving.iter().filter_map(|(_, at)| *at);
        let starts = self.missing_templates().map(|(_, at)| at);
        answers.chain(kills).chain(starts).min()
    }

    /// Generations whose template is wanted and does not run, and when the next one may be started.
    fn missing_templates(&self) -> impl Iterator<Item = (Generation, Now)> {
        let serving = self.supervisor.serving();
        let is_draining = self.supervisor.is_draining();
        let all = self.templates.of.iter();
        all.filter_map(move |(generation, template)| {
            let is_wanted = Some(*generation) == serving || !template.births.is_empty();
            let is_missing = template.process.is_none() && template.fallback.is_none();
            (is_wanted && is_missing && !is_draining)
                .then_some((*generation, template.deaths.not_before))
        })
    }

    /// Ends the template of a generation that is no more. It leaves when its channel closes; one that imports does not look.
    fn end_template(&mut self, generation: Generation) {
        let template = self.templates.of.remove(&generation);
        let Some(Template {
            process, births, ..
        }) = template
        else {
            return;
        };
        if let Some(process) = process {
            let patience = process.is_ready().then_some(PATIENCE);
            self.let_template_leave(&process, patience);
        }
        for birth in births {
            let event = self.end_birth(birth, "its template has ended");
            self.feed(event);
        }
    }

    /// Ends a process, which has so much time to do so by itself.
    fn let_template_leave(&mut self, process: &Process, patience: Option<Duration>) {
        if patience.is_none() {
            let _gone_already = processes::kill_now(process.pid);
        }
        let until = patience.map(|patience| self.now() + patience);
        self.templates.leaving.push((process.pid, until));
    }

    /// A process has ended that is no worker; whether it was a template.
    pub(super) fn heard_of_template(&mut self, pid: ProcessId, ending: Ending) -> bool {
        let leaving = &mut self.templates.leaving;
        let before = leaving.len();
        leaving.retain(|(leaving, _)| *leaving != pid);
        if leaving.len() < before {
            return true;
        }
        let Some(generation) = self.templates.find(pid) else {
            return false;
        };
        // Its last words may have arrived together with its end.
        self.hear_template(generation);
        let template = self.templates.get_mut(generation);
        let is_it = |template: &&mut Template| template.pid() == Some(pid);
        if let Some(template) = template.filter(is_it)
            && let Some(process) = template.process.take()
        {
            let words = ending.to_string();
            tracing::error!(
                pid = pid.number(),
                generation = generation.0,
                ending = words,
                "the template died; workers that serve go on"
            );
            self.lost_template(generation, &process, &words);
        }
        // It may have said so itself, and is no more.
        self.templates
            .leaving
            .retain(|(leaving, _)| *leaving != pid);
        true
    }

    /// Nothing more comes of this process.
    fn lost_template(&mut self, generation: Generation, process: &Process, words: &str) {
        let mut events = VecDeque::new();
        let now = self.now();
        let is_serving = self.supervisor.serving() == Some(generation);
        let seed = u64::from(ProcessId::own().number());
        let Some(template) = self.templates.get_mut(generation) else {
            return;
        };
        if let Some(policy) = self.supervisor.policy() {
            if process.was_ready_for(now) >= Some(policy.backoff_reset) {
                template.deaths = Backoff::default();
            }
            template.deaths.crashed(now, policy, seed);
        }
        let is_given_up = template.deaths.failures >= ATTEMPTS_MAX;
        let births = std::mem::take(&mut template.births);
        for mut birth in births {
            // What may have been born without a word sees that nobody is at the other end of its channel.
            self.take_back(&mut birth);
            if is_serving && birth.killed.is_none() {
                if let Some(template) = self.templates.get_mut(generation) {
                    template.births.push_back(birth);
                }
            } else {
                events.push_back(self.end_birth(birth, words));
            }
        }
        if is_serving && is_given_up {
            let reason = format!("the template died {ATTEMPTS_MAX} times in a row: {words}");
            self.fall_back(generation, reason, &mut events);
        }
        self.feed_all(events);
    }

    /// From now on the workers of this generation are executed.
    fn fall_back(&mut self, generation: Generation, reason: String, events: &mut VecDeque<Event>) {
        tracing::warn!(
            generation = generation.0,
            reason,
            "preload: no template for this generation, each worker imports the application"
        );
        let Some(template) = self.templates.get_mut(generation) else {
            return;
        };
        template.fallback = Some(reason);
        let (process, births) = (
            template.process.take(),
            std::mem::take(&mut template.births),
        );
        if let Some(process) = process {
            self.let_template_leave(&process, Some(EXIT_PATIENCE));
        }
        for mut birth in births {
            self.take_back(&mut birth);
            if birth.killed.is_some() {
                events.push_back(self.end_birth(birth, "no longer wanted"));
            } else {
                self.spawn_by_exec(birth.id, birth.slot, generation, events);
                events.push_back(Event::BootBegins(birth.id));
            }
        }
    }

    /// Takes in what templates have said.
    pub(super) fn hear_templates(&mut self) {
        for generation in self.templates.of.keys().copied().collect::<Vec<_>>() {
            self.hear_template(generation);
        }
    }

    /// Takes in what the template of this generation has said.
    pub(super) fn hear_template(&mut self, generation: Generation) {
        let mut events = VecDeque::new();
        while let Some(process) = self
            .templates
            .get_mut(generation)
            .and_then(|template| template.process.as_mut())
        {
            let message = match process.receive() {
                Heard::Message(message) => message,
                Heard::Nothing => break,
                Heard::End(reason) => {
                    if let Some(reason) = reason {
                        tracing::error!(
                            reason,
                            "the template does what no template does, it is replaced"
                        );
                    }
                    // The kernel will report its end.
                    let _gone_already = processes::kill_now(process.pid);
                    break;
                }
            };
            self.take_from_template(generation, message, &mut events);
        }
        self.ask_for_births(generation, &mut events);
        self.feed_all(events);
    }

    fn take_from_template(
        &mut self,
        generation: Generation,
        message: FromTemplate,
        events: &mut VecDeque<Event>,
    ) {
        let now = self.now();
        match message {
            FromTemplate::Ready => {
                let template = self.templates.get_mut(generation);
                if let Some(process) = template.and_then(|template| template.process.as_mut()) {
                    let import = process.is_ready_now(now);
                    tracing::info!(
                        pid = process.pid.number(),
                        generation = generation.0,
                        import = super::deaths::in_words(import),
                        "template ready"
                    );
                }
            }
            FromTemplate::Unfit { reason } => self.fall_back(generation, reason, events),
            FromTemplate::Traceback { text } => self.note_traceback(generation, text),
            FromTemplate::Failed { reason } => self.template_failed(generation, &reason, events),
            FromTemplate::Forked { worker, pid } => self.born(generation, worker, pid, events),
            FromTemplate::NotForked { worker, reason } => {
                self.not_born(generation, worker, &reason, events);
            }
        }
    }

    /// The application cannot be imported, or the template cannot be one.
    fn template_failed(
        &mut self,
        generation: Generation,
        reason: &str,
        events: &mut VecDeque<Event>,
    ) {
        tracing::error!(
            generation = generation.0,
            reason,
            "the template cannot boot"
        );
        let process = self.templates.get_mut(generation);
        let Some(process) = process.and_then(|template| template.process.take()) else {
            return;
        };
        // It ends by itself, as what fails to boot does.
        let until = self.now() + PATIENCE;
        self.templates.leaving.push((process.pid, Some(until)));
        if self.supervisor.serving() == Some(generation) {
            self.lost_template(generation, &process, reason);
            return;
        }
        let template = self.templates.get_mut(generation);
        let births = template.map(|template| std::mem::take(&mut template.births));
        for birth in births.into_iter().flatten() {
            events.push_back(Event::BootFailed(birth.id, reason.to_owned()));
            events.push_back(self.end_birth(birth, reason));
        }
    }

    /// The log files were opened anew.
    pub(super) fn tell_templates_to_reopen_logs(&self) {
        for (generation, template) in &self.templates.of {
            let Some(process) = &template.process else {
                continue;
            };
            // What this process logs to is what its generation logs to, unless that does not serve yet.
            let outputs = if self.supervisor.serving() == Some(*generation) {
                logging::outputs().unwrap_or_default()
            } else {
                logging::Outputs::default()
            };
            process.reopen_logs(&outputs);
        }
    }
}
