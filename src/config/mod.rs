//! The configuration in force: checked, complete, immutable. `file` is how it is written, `validate` turns that into this.
//!
//! The way of a key: `sources` reads the file; `document` lays environment and flags over it and remembers where each
//! value came from; `decode` turns the values into a `File`; `validate` turns the `File` into a [`Config`]. Each of them
//! notes what is wrong and goes on, so that an operator sees everything at once.
//!
//! A new key: a field here, the field with its bounds, default and description in `file`, a line in `validate`, and one
//! in `config/reference.toml`, which a test asks for.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod access_log;
mod admin;
mod answers;
mod app;
mod auth;
mod bind;
mod decode;
mod difference;
mod document;
mod errors;
mod feed;
mod fetch;
mod file;
mod health;
mod hooks;
mod interpreter;
mod key;
mod known;
mod locate;
mod notation;
mod origin;
mod peer;
mod resolve;
mod rules;
mod show;
mod sources;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod token_source;
mod tokens;
mod trace_contexts;
mod trusted_proxies;
mod validate;

use errors::Problems;

pub use access_log::{AccessField, AccessFormat, AccessLog, AccessTarget, Facility, TemplatePart};
pub use admin::Admin;
pub use answers::{Compression, CompressionAlgorithm, HeaderPreset, Headers, StaticFolder};
pub use app::{
    App, AppKind, Interface, NamedApplication, Preload, Python, PythonEntry, SourceFiles,
};
pub use auth::{
    Access, Algorithm, Auth, Binding, ClaimField, ClaimTest, ClientCert, ClientCertFormat,
    ClientCertNeed, DPOP_WINDOW_MAX, DenyListSource, DoubleSubmit, FieldFormat, Issuer, KeySource,
    LEEWAY_MAX, OnStale, RateBy, Revocation, Rule, RuleRate, TokenSource,
};
pub use difference::{Difference, differences};
pub use errors::{ConfigErrors, Problem};
pub use feed::{DENY_LIST_MAX, Feed, FeedContent, FeedPurpose, FeedSource, KEYS_MAX};
pub use fetch::{Fetch, FetchKind, is_loopback, is_trusted};
pub use health::{Health, Probe};
pub use hooks::Hooks;
pub use locate::{Located, locate, locate_without_file};
pub use origin::Origin;
pub use peer::network_of;
pub use show::{Overridden, Setting, shown};
pub use sources::{Search, Sources, Text};
pub use telemetry::Telemetry;
pub use tls::{ClientAuth, ClientAuthMode, Tls, TlsCertificate, TlsVersion};
pub use tokens::{
    Database, RESERVED_CLAIMS, Rate, RatePeriod, Schema, SchemaName, TokenKind, Tokens,
};
pub use trace_contexts::TraceContexts;
pub use trusted_proxies::TrustedProxies;

/// Reads, merges and checks the configuration.
///
/// The file is `sources.file`, else `destrier.toml` in the current directory, else `/etc/destrier/destrier.toml`.
/// Environment variables `DESTRIER_SECTION__KEY` override the file, flags override both.
///
/// # Errors
///
/// Everything that is wrong, not only the first thing.
pub fn load(sources: &Sources) -> Result<Config, ConfigErrors> {
    read(sources).map(|loaded| loaded.config)
}

/// As [`load`], with what `destrier check` and `destrier config show` want to know besides.
///
/// # Errors
///
/// Everything that is wrong, not only the first thing.
pub fn read(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut problems = Problems::default();
    match sources::read(sources, &mut problems) {
        Some(text) => check(text, problems, sources),
        None => Err(problems.into_errors()),
    }
}

/// As [`read`], of a file as it was when `text` was read.
///
/// # Errors
///
/// Everything that is wrong, not only the first thing.
pub fn read_again(text: Text, sources: &Sources) -> Result<Loaded, ConfigErrors> {
    check(text, Problems::default(), sources)
}

fn check(text: Text, mut problems: Problems, sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let Some(mut document) = document::parse(&text, &sources.folder, &mut problems) else {
        return Err(problems.into_errors());
    };
    let mut warnings = document.override_with(sources, &mut problems);
    let mut file = decode::decode(&mut document, &mut problems);
    resolve::settle(&mut file, &document);
    resolve::make_absolute(&mut file, &document);
    interpreter::find(&mut file, &document, sources, &mut problems);
    let (config, doubts) = validate::validate(&file, &document, &mut problems);
    warnings.extend(doubts);
    if !problems.is_empty() {
        return Err(problems.into_errors());
    }
    Ok(Loaded {
        config,
        warnings,
        settings: show::settings(&file, &document),
        overridden: document.overridden(),
        text,
    })
}

/// The JSON Schema (2020-12) of the configuration file.
pub fn schema() -> serde_json::Value {
    file::schema()
}

/// A configuration that may be put in force, and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What is put in force.
    pub config: Config,
    /// What is allowed but hardly meant.
    pub warnings: Vec<Problem>,
    /// Every key with its value in force and where that came from.
    pub settings: Vec<Setting>,
    /// What it was read from.
    pub text: Text,
    /// What the file says in vain.
    pub overridden: Vec<Overridden>,
}

/// Everything destrier was told, with every default filled in. Nothing checks it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it was read from; relative paths in it were resolved against its folder.
    pub file: PathBuf,
    /// Where requests come in.
    pub server: Server,
    /// The addresses among them that speak TLS; absent: none does.
    pub tls: Option<Tls>,
    /// The processes that serve them.
    pub workers: Workers,
    /// How a new generation takes over.
    pub reload: Reload,
    /// What the processes are to the operating system.
    pub process: Process,
    /// Limits of one HTTP connection.
    pub http: Http,
    /// Limits of one WebSocket.
    pub websocket: Websocket,
    /// Which answers are compressed on their way out.
    pub compression: Compression,
    /// Header fields of every answer.
    pub headers: Headers,
    /// Where monitoring asks.
    pub admin: Admin,
    /// What load balancers ask.
    pub health: Health,
    /// `[hooks]`; absent: nothing is run when something happens.
    pub hooks: Option<Hooks>,
    /// `[telemetry]`; absent: spans are not exported.
    pub telemetry: Option<Telemetry>,
    /// Who may sign tokens and what they allow.
    pub auth: Auth,
    /// What is served.
    pub app: App,
    /// What is written down.
    pub log: Log,
    /// One line for each request; absent: they get none.
    pub access_log: Option<AccessLog>,
}

/// `[server]`: the listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Addresses to listen on, at least one, no two alike: those of `server.bind`, then those of `tls.bind`.
    pub bind: Vec<Bind>,
    /// Connections that may wait in each accept queue (listen(2)).
    pub backlog: u32,
    /// How connections are shared out among the workers.
    pub balance: Balance,
    /// Permission bits of Unix sockets.
    pub unix_mode: u32,
    /// Owner of Unix sockets, by name or number.
    pub unix_owner: Option<String>,
    /// Group of Unix sockets, by name or number.
    pub unix_group: Option<String>,
    /// Peers whose word on a client counts.
    pub trusted_proxies: TrustedProxies,
    /// Those of the addresses on which every connection begins with a PROXY header.
    pub proxy_protocol: Vec<Bind>,
    /// The fields in which those peers tell of their clients.
    pub forwarded: ForwardedFields,
}

/// The fields in which a trusted proxy tells of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedFields {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`, `X-Real-IP`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None: the proxy is the client.
    None,
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bind {
    /// `HOST:PORT` or `[V6]:PORT`; a literal address, names are not looked up.
    Tcp(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `fd:N`: a listening socket inherited under this number.
    Fd(u32),
    /// `systemd:NAME`: the sockets that systemd passes under this `FileDescriptorName=`.
    Systemd(String),
}

/// How connections are shared out among the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One `SO_REUSEPORT` socket for each worker slot.
    PerWorker,
    /// One socket that all workers accept from.
    Shared,
}

/// `[workers]`: how many, and how long their phases may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// How many serve at once.
    pub count: WorkerCount,
    /// From the fork until the worker says that it is ready.
    pub boot_timeout: Duration,
    /// From the order to drain until SIGKILL.
    pub graceful_timeout: Duration,
    /// From the order to stop until the order to drain: everything goes on, but readiness.
    pub drain_delay: Duration,
    /// The first wait between two replacements of a worker that keeps dying.
    pub backoff_initial: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// A worker that lived this long has proved healthy: the next crash counts as the first.
    pub backoff_reset: Duration,
    /// A worker that has answered so many requests is replaced; 0: never.
    pub max_requests: u32,
    /// Up to so many more, different for each worker.
    pub max_requests_jitter: u32,
    /// A worker that has served for so long is replaced.
    pub max_lifetime: Option<Duration>,
    /// Up to so much longer, different for each worker.
    pub max_lifetime_jitter: Duration,
    /// A worker whose event loop has not turned for so long is aborted.
    pub hang_timeout: Option<Duration>,
    /// A worker that holds more memory than this, in bytes, is replaced.
    pub max_memory: Option<u64>,
    /// When it does so in so many measurements in a row.
    pub max_memory_samples: u32,
    /// From one measurement to the next.
    pub memory_interval: Duration,
    /// Whether a request that workers died of again and again is blocked for a while.
    pub poison_guard: bool,
    /// How long such deaths are remembered, and how long after the last one the request is blocked.
    pub poison_window: Duration,
}

/// `workers.count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerCount {
    /// As many as the processors this process may use (affinity and cgroup quota).
    Auto,
    /// 1 to 512.
    Fixed(u16),
}

/// `[reload]`: how a new generation takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// All at once or slot by slot.
    pub strategy: Strategy,
    /// Rolling: workers that may run beyond `workers.count`.
    pub max_surge: u16,
    /// Rolling: workers that may be missing. Not zero together with `max_surge`.
    pub max_unavailable: u16,
}

/// `reload.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The whole new generation boots beside the old one and takes over at once.
    BlueGreen,
    /// One slot after the other; the first is the canary.
    Rolling,
}

/// `[process]`: what the processes are to the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The user that workers run as, by name or number.
    pub user: Option<String>,
    /// Their group; the user's primary group when absent.
    pub group: Option<String>,
    /// Their supplementary groups; the user's own when absent.
    pub groups: Option<Vec<String>>,
    /// Their file mode creation mask.
    pub umask: u32,
    /// Where the master writes its process id.
    pub pid_file: Option<PathBuf>,
    /// Where commands reach the master; when absent the master picks a place from the name of the file.
    pub control_socket: Option<PathBuf>,
}

/// `[http]`: limits of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// From the first byte of a request until its last header.
    pub header_timeout: Duration,
    /// From the last header of a request until its answer begins, where its rule says nothing else.
    pub request_timeout: Option<Duration>,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long an idle connection is still served after its worker was told to drain.
    pub drain_linger: Duration,
    /// Whether idle connections are passed on to the worker that takes the place of the one they are on.
    pub pass_connections: bool,
    /// How long an event stream goes on after its worker was told to drain.
    pub stream_grace: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// How long a peer that vanished without a word goes unnoticed.
    pub dead_peer_timeout: Option<Duration>,
    /// How many requests a connection may carry.
    pub keep_alive_requests: Option<u32>,
    /// How many connections a worker has at most.
    pub max_connections: Option<u32>,
    /// How many connections of one address a worker has at most.
    pub max_connections_per_address: Option<u32>,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
    /// Whose word on the trace of a request counts.
    pub trace_context: TraceContexts,
    /// How many requests a connection of HTTP/2 may have under way at once.
    pub max_streams: u32,
    /// How many bytes the target of a request may have.
    pub max_target: usize,
    /// How many header fields a request may have.
    pub max_headers: usize,
    /// How many bytes the head of a request may have.
    pub max_head: usize,
    /// How many bytes the body of a request may have, where its rule says nothing else.
    pub max_body: u64,
    /// How long no byte of a body may come that somebody waits for.
    pub body_timeout: Option<Duration>,
    /// How many bytes of a body must come in a second while somebody waits for them.
    pub body_min_rate: Option<NonZeroU64>,
    /// How many requests the application of a worker works on at once.
    pub max_in_flight: Option<u32>,
    /// How many more wait for that in a worker.
    pub queue: u32,
    /// For how long.
    pub max_queue_wait: Duration,
    /// Folders whose files are answers.
    pub static_folders: Vec<StaticFolder>,
}

/// `[websocket]`: limits of one WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Websocket {
    /// How many bytes a message may have that a client sends.
    pub max_message: u64,
}

/// `[log]`: what is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least urgent level that is written.
    pub level: Level,
    /// How lines look.
    pub format: Format,
    /// Where they go; standard error when absent. Reopened on SIGUSR1.
    pub file: Option<PathBuf>,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the field's own names")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For reading.
    Human,
    /// One JSON object a line.
    Json,
}
