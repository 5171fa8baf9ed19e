//! What runs now, for `destrier status`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AgentStatus, DeathStatus, EventStatus, FeedStatus, Loaded, Master, ReloadOutcome,
    TemplateStatus,
};
use crate::config::WorkerCount;
use crate::scoreboard::{Latency, RequestInFlight};
use crate::supervisor::{WorkerId, WorkerView};
use crate::sys::machine::Processors;
use crate::sys::process::ProcessId;
use crate::sys::{clock, process_memory};

/// The version of the shape of [`Status`]. Fields are added without another one; it is raised when one goes or means something else.
pub const SCHEMA_VERSION: u32 = 1;

/// The answer to `status`. Fields are only ever added; times are in seconds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Of this document: 1.
    #[serde(default)]
    pub schema_version: u32,
    /// destrier's own.
    pub version: String,
    /// The master.
    pub pid: u32,
    /// Since the master started.
    pub uptime: f64,
    /// What the master itself holds in memory; absent where the kernel does not tell.
    #[serde(default)]
    pub memory: Option<MemoryStatus>,
    /// `booting`, `serving`, `upgrading`, `reloading`, `degraded`, `paused` or `stopping`.
    pub state: String,
    /// How far the stop is, once there is one.
    pub stop: Option<StopStatus>,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// Since it does.
    #[serde(default)]
    pub generation_age: Option<f64>,
    /// The configuration file; empty where there is none, as where an application was named on the command line.
    pub config: String,
    /// The Python application that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<PythonStatus>,
    /// Where this was asked.
    pub control_socket: String,
    /// How many workers shall serve.
    pub workers_wanted: u16,
    /// How that number came about.
    pub workers_because: String,
    /// The addresses.
    pub listeners: Vec<ListenerStatus>,
    /// Where monitoring asks.
    #[serde(default)]
    pub admin: Vec<ListenerStatus>,
    /// What came of the last reload, if there was one.
    pub last_reload: Option<ReloadStatus>,
    /// What was done since the start, by all workers.
    pub totals: Totals,
    /// How long requests took; absent where monitoring asks.
    #[serde(default)]
    pub latency: Option<LatencyStatus>,
    /// How many workers ended, or were replaced, for each reason.
    #[serde(default)]
    pub worker_ends: BTreeMap<String, u64>,
    /// How many reloads went how.
    #[serde(default)]
    pub reloads: BTreeMap<String, u64>,
    /// How many upgrades went how.
    #[serde(default)]
    pub upgrades: BTreeMap<String, u64>,
    /// The process that fetches and answers monitoring, where there is one.
    #[serde(default)]
    pub agent: Option<AgentStatus>,
    /// The processes that have imported a Python application and fork its workers, oldest generation first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<TemplateStatus>,
    /// The keys and deny lists of the generation that serves.
    #[serde(default)]
    pub feeds: Vec<FeedStatus>,
    /// Every worker process, oldest first.
    pub workers: Vec<WorkerStatus>,
    /// The last workers that died, newest first.
    #[serde(default)]
    pub deaths: Vec<DeathStatus>,
    /// What has happened last, newest first.
    #[serde(default)]
    pub events: Vec<EventStatus>,
}

/// How long requests took since the start, from the end of their head to the end of their answer: a histogram.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LatencyStatus {
    /// The upper bound of each bucket but the last one, which has none.
    pub bounds: Vec<f64>,
    /// How many requests fell into each bucket.
    pub counts: Vec<u64>,
    /// All durations together.
    pub sum: f64,
}

impl LatencyStatus {
    fn new(latency: &Latency) -> Self {
        let Latency { buckets, sum } = latency;
        let bounds = (0..buckets.len()).filter_map(Latency::bound);
        Self {
            bounds: bounds.map(|bound| bound.as_secs_f64()).collect(),
            counts: buckets.to_vec(),
            sum: sum.as_secs_f64(),
        }
    }
}

/// A Python application.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PythonStatus {
    /// `MODULE:ATTRIBUTE`.
    pub application: String,
    /// What runs it.
    pub interpreter: String,
}

/// A stop.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StopStatus {
    /// Whether it still serves.
    pub phase: StopPhase,
    /// How soon the workers are told to go; in the delay only.
    pub drains_in: Option<f64>,
    /// By then everything is over.
    pub ends_in: f64,
}

/// The phases of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopPhase {
    /// `workers.drain_delay`: it is not ready any more, but serves.
    Delay,
    /// The workers were told to go.
    Draining,
}

/// A listener.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ListenerStatus {
    /// As configured.
    pub bind: String,
    /// As the kernel sees it; another port where 0 was configured.
    pub address: String,
}

/// A reload that is over.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadStatus {
    /// How long ago it ended.
    pub ago: f64,
    /// The generation that came of it.
    pub generation: Option<u64>,
    /// Why none did.
    pub error: Option<String>,
}

/// What was done since the start.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Connections accepted.
    pub connections: u64,
    /// Requests answered.
    pub requests: u64,
    /// Of those: with 1xx, 2xx, 3xx, 4xx, 5xx.
    pub by_status_class: [u64; 5],
    /// Of those: refused for their form, for the token, or for want of one.
    pub refused: u64,
    /// Of those: passed, though a rule that is an audit would have refused them.
    #[serde(default)]
    pub audited: u64,
    /// Of those: not served because workers had died of the same request (`workers.poison_guard`).
    #[serde(default)]
    pub blocked: u64,
    /// Of those: not served because the application had no place for them (`http.max_in_flight`).
    #[serde(default)]
    pub overloaded: u64,
}

/// The threads of a Python application.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct ThreadsStatus {
    /// All of a worker.
    pub all: u64,
    /// Of those: how many execute a request.
    pub busy: u64,
}

/// A worker.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    /// Its number; never used twice.
    pub worker: u64,
    /// Its process.
    pub pid: u32,
    /// The slot it fills.
    pub slot: u16,
    /// The generation it runs.
    pub generation: u64,
    /// `booting`, `ready`, `accepting`, `draining`, `failed`, `hung` or `killed`.
    pub state: String,
    /// Since it was spawned.
    pub uptime: f64,
    /// Open connections.
    pub connections: u64,
    /// What has new ones wait, where they do: `http.max_connections` or `descriptors`.
    #[serde(default)]
    pub connections_wait: Option<String>,
    /// Requests in flight.
    pub in_flight: u64,
    /// Of those: wait until the application has a place for them.
    #[serde(default)]
    pub queued: u64,
    /// For how long the oldest of these does, where the application has threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_for: Option<f64>,
    /// The threads that call a Python application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<ThreadsStatus>,
    /// Requests answered.
    pub requests: u64,
    /// Why another worker shall take its place, once one shall: `recycle`, `memory`, `stuck` or `probe`.
    #[serde(default)]
    pub replaced_for: Option<String>,
    /// How its probe failed, since it fails too often (`health.probe`).
    #[serde(default)]
    pub probe_failure: Option<String>,
    /// What it holds in memory; absent where the kernel does not tell.
    pub memory: Option<MemoryStatus>,
    /// The oldest requests in flight.
    pub requests_in_flight: Vec<RequestStatus>,
}

/// What a worker, or the master, holds in memory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MemoryStatus {
    /// Its resident set in bytes; what it shares with others counts in full.
    pub rss: u64,
    /// In bytes, what is shared divided by the number of those who share it; of a worker as it was measured last for
    /// `workers.max_memory`, which is only done where `rss` is above that.
    pub pss: Option<u64>,
}

/// A request in flight.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RequestStatus {
    /// Its `X-Request-Id`.
    pub id: String,
    /// The trace that it belongs to, where `http.trace_context` is on.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// The method.
    pub method: String,
    /// The start of the path.
    pub path: String,
    /// Since it began.
    pub age: f64,
}

impl RequestStatus {
    /// As it is at `now`, monotonic.
    pub(super) fn new(request: &RequestInFlight, now: Duration) -> Self {
        Self {
            id: request.id.to_string(),
            trace_id: request.id.trace_id(),
            method: request.method.clone(),
            path: request.path.clone(),
            age: now.saturating_sub(request.started).as_secs_f64(),
        }
    }
}

/// Of this process, which may always read its own, and has no thread that could hold the lock.
fn own_memory() -> Option<MemoryStatus> {
    let rss = process_memory::resident(ProcessId::own()).ok()?;
    let pss = process_memory::own_share().ok();
    Some(MemoryStatus { rss, pss })
}

impl Master {
    /// All of it.
    pub(super) fn status(&self) -> Status {
        let mut status = self.brief_status();
        for worker in &mut status.workers {
            let id = WorkerId(worker.worker);
            let Some(hand) = self.crew.get(id) else {
                continue;
            };
            worker.memory = process_memory::resident(hand.pid)
                .ok()
                .map(|rss| MemoryStatus {
                    rss,
                    pss: self.memory.held(id).and_then(|held| held.pss),
                });
            let now = clock::monotonic();
            let seat = self.scoreboard.view(hand.seat);
            let requests = seat.requests.iter();
            let requests = requests.map(|request| RequestStatus::new(request, now));
            worker.requests_in_flight = requests.collect();
        }
        self.weigh_templates(&mut status.templates);
        if let Some(agent) = &mut status.agent {
            agent.rss = self.agent_memory();
        }
        status.deaths = self.deaths.statuses(self.now());
        status.events = self.ledger.timeline.events().rev().cloned().collect();
        let tally = self.scoreboard.tally();
        status.latency = tally.map(|tally| LatencyStatus::new(&tally.latency));
        status
    }

    /// Without what must be asked of the kernel, the requests in flight, the deaths and the events: monitoring asks often.
    pub(super) fn brief_status(&self) -> Status {
        let now = self.now();
        let seats: Vec<usize> = self.crew.iter().map(|(_, hand)| hand.seat).collect();
        let counters = self.scoreboard.counters(&seats);
        let loaded = self
            .serving()
            .or_else(|| self.generations.values().next())
            .map(|pinned| &pinned.loaded);
        let config = loaded.map(|loaded| &loaded.config);
        let count = config.map_or(WorkerCount::Auto, |config| config.workers.count);
        let wanted = self.supervisor.wanted();
        let listeners = self.listeners.describe().into_iter();
        Status {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: ProcessId::own().number(),
            uptime: self.now().as_secs_f64(),
            memory: own_memory(),
            state: self.state_word().to_owned(),
            stop: self.stop_status(),
            generation: self.supervisor.serving().map(|generation| generation.0),
            generation_age: self
                .supervisor
                .serving()
                .map(|_| now.saturating_sub(self.ledger.serving_since).as_secs_f64()),
            config: loaded.and_then(Loaded::file).unwrap_or_default(),
            python: config
                .and_then(|config| config.app.python.as_ref())
                .map(|python| PythonStatus {
                    application: python.application.to_string(),
                    interpreter: python.interpreter.display().to_string(),
                }),
            control_socket: self.control.path().display().to_string(),
            workers_wanted: wanted,
            workers_because: because(wanted, count, self.processors),
            listeners: listeners
                .map(|(bind, address)| ListenerStatus { bind, address })
                .collect(),
            admin: self.admin_statuses(),
            last_reload: self
                .last_reload
                .as_ref()
                .map(|outcome| self.reload_status(outcome)),
            totals: Totals {
                connections: counters.connections,
                requests: counters.requests(),
                by_status_class: counters.by_status_class,
                refused: counters.refused,
                audited: counters.audited,
                blocked: counters.blocked,
                overloaded: counters.overloaded,
            },
            latency: None,
            worker_ends: self.ledger.ends(),
            reloads: self.ledger.reloads(),
            upgrades: self.ledger.upgrades(),
            agent: self.agent_status(),
            templates: self.template_statuses(),
            feeds: self.feed_statuses(),
            workers: self
                .supervisor
                .workers()
                .filter_map(|worker| self.worker_status(&worker))
                .collect(),
            deaths: Vec::new(),
            events: Vec::new(),
        }
    }

    fn state_word(&self) -> &'static str {
        let supervisor = &self.supervisor;
        if supervisor.is_stopping() {
            "stopping"
        } else if supervisor.serving().is_none() {
            "booting"
        } else if supervisor.awaits_preflight() {
            "upgrading"
        } else if supervisor.is_reloading() {
            "reloading"
        } else if supervisor.wanted() == 0 {
            "paused"
        } else if supervisor.is_degraded() {
            "degraded"
        } else {
            "serving"
        }
    }

    fn reload_status(&self, outcome: &ReloadOutcome) -> ReloadStatus {
        ReloadStatus {
            ago: self.now().saturating_sub(outcome.at).as_secs_f64(),
            generation: outcome.result.as_ref().ok().map(|generation| generation.0),
            error: outcome.result.as_ref().err().cloned(),
        }
    }

    fn worker_status(&self, worker: &WorkerView) -> Option<WorkerStatus> {
        let hand = self.crew.get(worker.id)?;
        let seat = self.scoreboard.view(hand.seat);
        let held = self.memory.held(worker.id);
        Some(WorkerStatus {
            worker: worker.id.0,
            pid: hand.pid.number(),
            slot: worker.slot.0,
            generation: worker.generation.0,
            state: worker.state.word().to_owned(),
            uptime: self.now().saturating_sub(worker.spawned).as_secs_f64(),
            connections: seat.connections,
            connections_wait: seat.connections_wait.map(|limit| limit.word().to_owned()),
            in_flight: seat.in_flight,
            queued: seat.queued,
            queued_for: seat
                .queued_since
                .map(|since| clock::monotonic().saturating_sub(since).as_secs_f64()),
            threads: seat.threads.map(|figures| ThreadsStatus {
                all: figures.threads,
                busy: figures.busy,
            }),
            requests: seat.counters.requests(),
            replaced_for: hand.replaced_for.map(|end| end.word().to_owned()),
            probe_failure: hand.unwell.clone(),
            memory: held.and_then(|held| {
                Some(MemoryStatus {
                    rss: held.rss?,
                    pss: held.pss,
                })
            }),
            requests_in_flight: Vec::new(),
        })
    }
}

/// How the number of workers came about, for an operator who wonders.
pub(super) fn because(wanted: u16, count: WorkerCount, processors: Processors) -> String {
    let configured = super::boot::worker_count(count, processors);
    let origin = match count {
        WorkerCount::Fixed(count) => format!("workers.count = {count}"),
        WorkerCount::Auto => {
            let quota = processors
                .quota
                .map_or_else(|| "none".to_owned(), |quota| format!("{quota:.2}"));
            format!(
                "auto = {configured}: processors by affinity {}, by cgroup quota {quota}",
                processors.affinity
            )
        }
    };
    match wanted {
        0 => format!("paused; {origin}"),
        wanted if wanted != configured => format!("scaled to {wanted}; {origin}"),
        _ => origin,
    }
}
