//! The master: one process, one thread, one loop. It waits in `poll` only, hands what happened to the supervisor, and
//! does what the supervisor says. It never runs the application and never reads HTTP or a token.

mod actions;
mod admin;
mod agent;
mod boot;
pub mod control;
mod crew;
mod death_report;
mod deaths;
mod development;
mod events;
mod feed_status;
mod feeds;
mod file_watch;
mod hangs;
mod happenings;
mod heirs;
mod ledger;
mod listeners;
mod memory;
mod news;
mod orders;
mod plan;
mod reload_end;
mod rounds;
mod slot_sockets;
mod socket_path;
mod stacks;
mod status;
mod stop;
mod suspects;
mod template;
mod timeline;
mod tracebacks;
mod unwell;
mod upgrade;
mod watched_paths;

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use admin::AdminListeners;
pub use agent::{AdminAssignment, AdminGuard, AdminSocket, AgentAssignment, Known, RunAgent};
use agent::{Agent, Fetched};
pub use boot::{Inherited, ServiceManager, StartError, control_socket_path, identity_of};
use control::ControlServer;
use crew::Crew;
pub use death_report::DeathStatus;
use deaths::Deaths;
pub use feed_status::{AgentStatus, FeedCondition, FeedFailure, FeedStatus};
use feeds::FeedState;
pub use feeds::ReadFeed;
use file_watch::FileWatch;
use hangs::HangWatch;
use happenings::Happenings;
use ledger::Ledger;
pub use listeners::ListenError;
use listeners::Listeners;
use memory::MemoryWatch;
use orders::Orders;
pub use plan::{
    Change, Effect, KeyFilePlan, ListenerEffect, ListenerPlan, Outcome, Plan, WorkersPlan,
};
pub use socket_path::SocketPathError;
use stacks::Questions;
pub use stacks::{Stacks, StacksOutcome, StacksStatus, ThreadStack, WorkerStacks};
pub use status::{
    LatencyStatus, ListenerStatus, MemoryStatus, PythonStatus, ReloadStatus, RequestStatus,
    SCHEMA_VERSION, Status, StopPhase, StopStatus, ThreadsStatus, Totals, WorkerStatus,
};
use template::Templates;
pub use template::{RunTemplate, TemplateAssignment, TemplateStatus};
pub use timeline::EventStatus;
use upgrade::Upgrade;
pub use upgrade::{
    KnownGenerations, Offer, OfferError, Program, STATE_VERSION, StateError, Takeover,
};

use crate::config::{Config, Overridden, Setting, Text};
use crate::logging;
use crate::rate_limit::RateTable;
use crate::replay::ReplayCache;
use crate::scoreboard::{Scoreboard, SeatWriter};
use crate::supervisor::{Caller, Event, ExitReason, Generation, Now, Supervisor};
use crate::sys::identity::Identity;
use crate::sys::listener::ListeningSocket;
use crate::sys::machine::Processors;
use crate::sys::process::{Keep, ProcessId};
use crate::sys::signals::Signals;
use crate::sys::systemd::Notifier;
use crate::sys::{clock, poll};

/// Reads a configuration and everything it names; called for each reload and each plan, and after an upgrade.
pub type Loader = Box<dyn Fn(Purpose<'_>) -> Result<Loaded, String>>;

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// To be put into force: what it needs and may make is made.
    Force,
    /// To be looked at: nothing is made, and the generation is never put into force.
    Look,
    /// To go on with one that is in force: its file as it was read then.
    Resume(&'a Text),
}

/// What a worker process does, from the fork to its exit code. Called in the child.
pub type Serve = Rc<dyn Fn(Assignment) -> u8>;

/// A generation as it was read: everything in it is pinned, whatever happens on disk later.
#[derive(Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Arc<Config>,
    /// What it was read from.
    pub text: Text,
    /// What its workers do.
    pub serve: Serve,
    /// What the operator should look at; the generation works all the same.
    pub warnings: Vec<String>,
    /// Every key of the configuration with its value, for the comparison with what lies on disk later.
    pub settings: Vec<Setting>,
    /// What the file says in vain.
    pub overridden: Vec<Overridden>,
    /// SHA-256 of the file of each feed of `config.auth`, in their order; none for a secret that is yet to be made.
    pub digests: Vec<Option<[u8; 32]>>,
    /// How many keys or entries each of these feeds has; none where that says nothing, or is not known yet.
    pub entries: Vec<Option<usize>>,
    /// When each of them ends, in seconds since 1970, where it is a certificate.
    pub not_after: Vec<Option<u64>>,
    /// Reads a feed again, when something has happened to it.
    pub read_feed: ReadFeed,
    /// What the agent does for it.
    pub run_agent: RunAgent,
    /// What the template of its workers does, where it has a Python application.
    pub run_template: Option<RunTemplate>,
    /// What a token for the metrics is judged by while it serves; absent: none is needed.
    pub admin_guard: Option<AdminGuard>,
}

impl Loaded {
    /// The configuration file, absolute, where there is one.
    fn file(&self) -> Option<String> {
        let is_one = self.text.is_of_a_file();
        is_one.then(|| self.config.file.display().to_string())
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Loaded")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What a worker is given.
#[derive(Debug)]
pub struct Assignment {
    /// This process.
    pub master: ProcessId,
    /// Its number, for logs.
    pub worker: u64,
    /// The slot it fills.
    pub slot: u16,
    /// The generation it runs.
    pub generation: u64,
    /// How many workers that generation has.
    pub workers: u16,
    /// Its end of the control channel.
    pub channel: UnixStream,
    /// Where its connections come from.
    pub listeners: Vec<ListeningSocket>,
    /// Where it says what it does.
    pub seat: SeatWriter,
    /// The proofs that were shown to any worker; absent while no generation has asked for proofs.
    pub replay: Option<Arc<ReplayCache>>,
    /// What clients have used of the rates of rules; absent while no generation has had any.
    pub rates: Option<Arc<RateTable>>,
    /// What it shall become before it runs anything of the application.
    pub identity: Identity,
    /// What it shows in the place of the application.
    pub failure: Option<String>,
}

impl Assignment {
    /// The descriptors that it is made of; `all` of them for a worker that becomes another program, which maps shared memory
    /// anew. Each field is named, so that a new one is decided on here: what is not kept is closed in the worker.
    fn descriptors(&self, all: bool) -> Vec<Keep> {
        let Self {
            channel,
            listeners,
            seat,
            replay,
            rates,
            master: _,
            worker: _,
            slot: _,
            generation: _,
            workers: _,
            identity: _,
            failure: _,
        } = self;
        let mut keep = vec![Keep::new(channel)];
        keep.extend(listeners.iter().map(|listener| Keep::new(&listener.socket)));
        if all {
            keep.push(Keep::new(seat.place().0.file()));
            keep.extend(replay.as_ref().map(|replay| Keep::new(replay.file())));
            keep.extend(rates.as_ref().map(|rates| Keep::new(rates.file())));
        }
        keep
    }
}

/// The master's state; see the module.
#[derive(Debug)]
pub struct Master {
    supervisor: Supervisor,
    /// Monotonic time at the start; the supervisor counts from here.
    started: Duration,
    loader: LoaderBox,
    generations: BTreeMap<Generation, Pinned>,
    crew: Crew,
    listeners: Listeners,
    admin: AdminListeners,
    control: ControlServer,
    signals: Signals,
    scoreboard: Arc<Scoreboard>,
    /// Made for the first generation that needs it, and kept for those after it.
    replay: Option<Arc<ReplayCache>>,
    /// As that; a program that goes on in an upgrade begins anew.
    rates: Option<Arc<RateTable>>,
    deaths: Deaths,
    /// Who wants to know what threads do.
    questions: Questions,
    hangs: HangWatch,
    memory: MemoryWatch,
    ledger: Ledger,
    happenings: Happenings,
    orders: Orders,
    systemd: Systemd,
    processors: Processors,
    last_reload: Option<ReloadOutcome>,
    /// Where the code of an application failed that could not be loaded, of the last generation of which that is known.
    traceback: Option<(Generation, String)>,
    /// Whose `destrier stop` waits for the end.
    stop_callers: Vec<Caller>,
    pid_file: Option<PathBuf>,
    exit: Option<ExitReason>,
    upgrade: Upgrade,
    file_watch: FileWatch,
    agent: Agent,
    templates: Templates,
}

/// The loader, which has nothing to show.
struct LoaderBox(Loader);

impl std::fmt::Debug for LoaderBox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Loader")
    }
}

/// A generation with what the master made of it.
#[derive(Debug)]
struct Pinned {
    loaded: Loaded,
    identity: Identity,
    /// One for each feed of the configuration.
    feeds: Vec<FeedState>,
    /// Why its workers serve no application, where they show that in its place.
    stands_in: Option<String>,
    /// What its workers show in the place of the application, which they do not load: it ended their process, or never came to an end.
    failure: Option<String>,
}

/// What systemd is told and wants to be told.
#[derive(Debug)]
struct Systemd {
    notifier: Notifier,
    watchdog: Option<Duration>,
    next_sign_of_life: Now,
}

/// How the master ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it was told to.
    Stopped,
    /// The first generation could not boot; the reason is its last log line.
    BootFailed,
}

/// What came of the last reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadOutcome {
    at: Now,
    result: Result<Generation, String>,
}

impl Master {
    /// Serves until told to stop, or until the first generation turns out not to boot.
    pub fn run(mut self) -> Ending {
        self.watch_files();
        // Before the first worker, which waits for what is fetched.
        self.mind_agent();
        self.feed(Event::DeadlinePassed);
        loop {
            if let Some(reason) = self.exit.take() {
                return self.finish(reason);
            }
            let logs_wait = logging::flush();
            let timeout = self
                .next_wake_up(logs_wait)
                .map(|at| at.saturating_sub(self.now()));
            let ready = {
                let sources = self.sources();
                let entries: Vec<_> = sources
                    .iter()
                    .map(|source| (source.descriptor, source.interest))
                    .collect();
                match poll::wait(&entries, timeout) {
                    Ok(ready) => ready
                        .into_iter()
                        .filter_map(|index| sources.get(index))
                        .map(|source| source.what)
                        .collect(),
                    Err(error) => {
                        tracing::error!(%error, "cannot wait for events");
                        Vec::new()
                    }
                }
            };
            for what in ready {
                self.take_in(what);
            }
            self.give_sign_of_life();
            self.make_rounds();
            self.look_at_files();
            self.mind_agent();
            self.mind_templates();
            self.lift_blocks();
            self.end_questions();
            self.feed(Event::DeadlinePassed);
            self.note_strength();
            self.tell_happenings();
            self.go_on_with_upgrade();
        }
    }

    /// Hands an event to the supervisor, does what it says, and goes on with what came of that.
    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now();
            self.note_event(&event);
            for action in self.supervisor.handle(now, event) {
                self.note_action(&action);
                self.perform(action, &mut events);
            }
            self.close_unused_slots();
        }
    }

    fn now(&self) -> Now {
        clock::monotonic().saturating_sub(self.started)
    }

    fn next_wake_up(&self, logs_wait: bool) -> Option<Now> {
        let sign_of_life = self
            .systemd
            .watchdog
            .map(|_| self.systemd.next_sign_of_life);
        let log_retry = logs_wait.then(|| self.now() + logging::RETRY);
        self.supervisor
            .next_deadline()
            .into_iter()
            .chain(sign_of_life)
            .chain(log_retry)
            .chain(self.upgrade.deadline())
            .chain(self.next_round())
            .chain(self.file_watch.next_look())
            .chain(self.next_agent())
            .chain(self.next_template())
            .chain(self.deaths.next_deadline())
            .chain(self.questions.next_deadline())
            .chain(self.control.end_of_pause(self.now()))
            .min()
    }

    fn give_sign_of_life(&mut self) {
        if let Some(interval) = self.systemd.watchdog
            && self.systemd.next_sign_of_life <= self.now()
        {
            self.systemd.notifier.send("WATCHDOG=1");
            self.systemd.next_sign_of_life = self.now() + interval;
        }
    }

    /// The last words: callers learn the outcome, files that say that this master runs go.
    fn finish(mut self, reason: ExitReason) -> Ending {
        // Whoever asks from now on finds nobody, instead of somebody who does not answer.
        self.control.stop_listening();
        for caller in std::mem::take(&mut self.stop_callers) {
            self.control.answer(caller, Ok("stopped".to_owned()));
        }
        if let Some(path) = &self.pid_file {
            let _already_gone = std::fs::remove_file(path);
        }
        let ending = match reason {
            ExitReason::Stopped => {
                tracing::info!("stopped");
                Ending::Stopped
            }
            ExitReason::BootFailed(reason) => {
                tracing::error!(reason, "the application failed to boot");
                Ending::BootFailed
            }
        };
        logging::flush();
        ending
    }
}
