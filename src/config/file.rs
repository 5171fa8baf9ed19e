//! The configuration as it is written: the keys, what they are for, their bounds and their defaults. Also its schema.
//!
//! The doc comments are the descriptions in `destrier config schema`.

use std::time::Duration;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

use super::notation::{Octal, OneOrMany, Period, Size, Text, Whole};
use super::{Balance, Format, ForwardedFields, Level, Strategy, TraceContexts, WorkerCount};

mod access_log;
mod admin;
mod answers;
mod app;
mod auth;
mod health;
mod hooks;
mod telemetry;
mod tls;
mod tokens;

pub(super) use access_log::AccessLog;
pub(super) use admin::Admin;
pub(super) use answers::{Compression, Headers, Static};
pub(super) use app::App;
pub(super) use auth::{Auth, Issuer, Revocation, Rule};
pub(super) use health::Health;
pub(super) use hooks::Hooks;
pub(super) use telemetry::Telemetry;
pub(super) use tls::Tls;
pub(super) use tokens::Tokens;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIBIBYTE: u64 = 1 << 10;
const MEBIBYTE: u64 = 1 << 20;

/// The configuration of destrier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields, title = "destrier")]
pub(super) struct File {
    /// Where requests come in.
    pub server: Server,
    /// Addresses that speak TLS, and with which certificates.
    pub tls: Tls,
    /// The processes that serve them.
    pub workers: Workers,
    /// How a new configuration takes over.
    pub reload: Reload,
    /// What the processes are to the operating system.
    pub process: Process,
    /// Limits of one HTTP connection.
    pub http: Http,
    /// Limits of one WebSocket.
    pub websocket: Websocket,
    /// Which answers are compressed on their way out.
    pub compression: Compression,
    /// Header fields of every answer, unless the application has set them.
    pub headers: Headers,
    /// Where monitoring asks: probes and metrics.
    pub admin: Admin,
    /// What load balancers ask, and what the application is asked.
    pub health: Health,
    /// Programs that are run when something happens.
    pub hooks: Hooks,
    /// Spans of requests, for a collector.
    pub telemetry: Telemetry,
    /// Who may sign tokens and what they allow.
    pub auth: Auth,
    /// What is served.
    pub app: App,
    /// What is written down.
    pub log: Log,
    /// One line for each request.
    pub access_log: AccessLog,
}

/// The schema of [`File`], without references, so that it can be walked.
pub(super) fn schema() -> serde_json::Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);

    settings
        .into_generator()
        .into_root_schema_for::<File>()
        .into()
}

/// Where requests come in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Server {
    /// Addresses to listen on: `HOST:PORT`, `[V6]:PORT`, `unix:PATH`, `fd:N`, `systemd:NAME`.
    pub bind: OneOrMany<Text>,
    /// Connections that may wait in each accept queue; net.core.somaxconn of the kernel caps it.
    pub backlog: Whole<1, 65_535>,
    /// How connections are shared out: one accept queue for each worker, or one for all.
    pub balance: Balance,
    /// Permission bits of Unix sockets.
    pub unix_mode: Octal,
    /// Owner of Unix sockets, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub unix_owner: Option<Text>,
    /// Group of Unix sockets, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub unix_group: Option<Text>,
    /// Peers whose word on a client counts: addresses, networks such as `10.0.0.0/8`, or `unix` for all that come over Unix sockets.
    pub trusted_proxies: OneOrMany<Text>,
    /// Addresses of `server.bind` and `tls.bind` on which every connection begins with a PROXY header, from one of `trusted_proxies`.
    pub proxy_protocol: OneOrMany<Text>,
    /// The fields in which `trusted_proxies` tell of their clients: `X-Forwarded-For` and its like, `Forwarded` (RFC 7239), or none.
    pub forwarded: ForwardedFields,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: OneOrMany(vec![Text("127.0.0.1:8000".to_owned())]),
            backlog: Whole(2048),
            balance: Balance::PerWorker,
            unix_mode: Octal(0o660),
            unix_owner: None,
            unix_group: None,
            trusted_proxies: OneOrMany::default(),
            proxy_protocol: OneOrMany::default(),
            forwarded: ForwardedFields::XForwarded,
        }
    }
}

/// The processes that serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Workers {
    /// How many serve at once; `auto`: as many as the processors that destrier may use.
    pub count: WorkerCount,
    /// How long a new worker may take until it is ready.
    pub boot_timeout: Period<SECOND, HOUR>,
    /// How long a worker may take to finish its requests when it is told to go; then it is killed.
    pub graceful_timeout: Period<0, DAY>,
    /// How long everything goes on after the order to stop, while load balancers learn that it will end.
    pub drain_delay: Period<0, HOUR>,
    /// The first wait between two replacements of a worker that keeps dying; it doubles each time.
    pub backoff_initial: Period<1, HOUR>,
    /// The longest such wait.
    pub backoff_max: Period<1, HOUR>,
    /// A worker that lived this long counts as healthy again.
    pub backoff_reset: Period<1, DAY>,
    /// A worker that has answered so many requests is replaced, without a gap; 0: never.
    pub max_requests: Whole<0, 1_000_000_000>,
    /// Up to so many requests more, different for each worker, so that they do not go together.
    pub max_requests_jitter: Whole<0, 1_000_000_000>,
    /// A worker that has served for so long is replaced, without a gap; 0s: never.
    pub max_lifetime: Period<0, { 365 * DAY }>,
    /// Up to so much longer, different for each worker.
    pub max_lifetime_jitter: Period<0, DAY>,
    /// A worker whose event loop has not turned for so long serves nobody: it is aborted and replaced; 0s: never.
    pub hang_timeout: Period<0, DAY>,
    /// A worker that holds more memory than this is replaced, without a gap; 0: never. Memory that workers share counts by its share.
    pub max_memory: Size<MEBIBYTE, { 1 << 50 }>,
    /// When it holds more in so many measurements in a row: a moment's need is no leak.
    pub max_memory_samples: Whole<1, 1_000>,
    /// From one measurement to the next.
    pub memory_interval: Period<100, HOUR>,
    /// Whether a request that three workers died of within `poison_window` is answered with 503 and not tried again for as long.
    /// The same request: method, path, query, and issuer and subject of the token.
    pub poison_guard: bool,
    /// How long such deaths are remembered, and how long after the last one the request is blocked.
    pub poison_window: Period<SECOND, DAY>,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            count: WorkerCount::Auto,
            boot_timeout: Period(Duration::from_secs(30)),
            graceful_timeout: Period(Duration::from_secs(30)),
            drain_delay: Period(Duration::ZERO),
            backoff_initial: Period(Duration::from_millis(100)),
            backoff_max: Period(Duration::from_secs(30)),
            backoff_reset: Period(Duration::from_mins(1)),
            max_requests: Whole(0),
            max_requests_jitter: Whole(0),
            max_lifetime: Period(Duration::ZERO),
            max_lifetime_jitter: Period(Duration::ZERO),
            hang_timeout: Period(Duration::from_mins(1)),
            max_memory: Size(0),
            max_memory_samples: Whole(3),
            memory_interval: Period(Duration::from_secs(5)),
            poison_guard: false,
            poison_window: Period(Duration::from_mins(10)),
        }
    }
}

/// How a new configuration takes over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Reload {
    /// The whole new generation at once, or worker by worker; the first is the canary.
    pub strategy: Strategy,
    /// Rolling: workers that may run beyond `workers.count`.
    pub max_surge: Whole<0, 512>,
    /// Rolling: workers that may be missing. Not 0 together with `max_surge`.
    pub max_unavailable: Whole<0, 512>,
}

impl Default for Reload {
    fn default() -> Self {
        Self {
            strategy: Strategy::BlueGreen,
            max_surge: Whole(1),
            max_unavailable: Whole(0),
        }
    }
}

/// What the processes are to the operating system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Process {
    /// The user that workers run as, by name or number. Another one than the master's needs a master that runs as root, and a
    /// number that no account has needs `group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub user: Option<Text>,
    /// Their group; the user's primary group when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub group: Option<Text>,
    /// Their supplementary groups; the user's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OneOrMany<Text>")]
    pub groups: Option<OneOrMany<Text>>,
    /// Their file mode creation mask: the bits that new files do not get.
    pub umask: Octal,
    /// Where the master writes its process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub pid_file: Option<Text>,
    /// Where commands reach the master; it picks a place when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub control_socket: Option<Text>,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            user: None,
            group: None,
            groups: None,
            umask: Octal(0o022),
            pid_file: None,
            control_socket: None,
        }
    }
}

/// Limits of one HTTP connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Http {
    /// From the first byte of a request until its last header; then 408.
    pub header_timeout: Period<1, HOUR>,
    /// How long the application may take until its answer begins; then the client gets 504. 0s: for ever.
    pub request_timeout: Period<0, DAY>,
    /// How long a connection may wait for its next request.
    pub keep_alive: Period<1, DAY>,
    /// How long an idle connection is still served after its worker was told to go.
    pub drain_linger: Period<0, HOUR>,
    /// Whether idle connections are passed on to the worker that takes the place of the one they are on.
    pub pass_connections: bool,
    /// How long an event stream goes on after its worker was told to go; then it is ended, so that its client connects anew.
    pub stream_grace: Period<0, DAY>,
    /// How long a client may take nothing of an answer that waits for it; then it is cut off.
    pub write_timeout: Period<1, DAY>,
    /// How long a peer that vanished without a word goes unnoticed. 0s: for ever.
    pub dead_peer_timeout: Period<0, HOUR>,
    /// How many requests a connection may carry; then it is closed. 0: any number.
    pub keep_alive_requests: Whole<0, 4_294_967_295>,
    /// How many connections a worker has at most; more wait until one ends. 0: any number.
    pub max_connections: Whole<0, 4_294_967_295>,
    /// How many connections of one address a worker has at most; more are closed at once. 0: any number.
    pub max_connections_per_address: Whole<0, 4_294_967_295>,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
    /// Whose `traceparent` goes on: `off`, nobody looks; `trusted`, that of trusted proxies; `all`. Other requests begin a trace.
    pub trace_context: TraceContexts,
    /// How many requests a connection of HTTP/2 may have under way at once.
    pub max_streams: Whole<1, 10_000>,
    /// How long the target of a request may be, its path and query; then 414.
    pub max_target: Size<KIBIBYTE, { 32 * KIBIBYTE }, false>,
    /// How many header fields a request may have; then 431.
    pub max_headers: Whole<1, 1_000>,
    /// How long the head of a request may be, from its first line to its last header; then 431.
    pub max_head: Size<KIBIBYTE, { 256 * KIBIBYTE }, false>,
    /// How large the body of a request may be; then 413. 0: any size.
    pub max_body: Size<1, { 1 << 50 }>,
    /// How long no byte of a body may come while somebody waits for it; then 408. 0s: for ever.
    pub body_timeout: Period<0, DAY>,
    /// How many bytes of a body must come in a second while somebody waits for them, over `body_timeout`, or over 20 s where that
    /// is 0s; else 408. 0: any number.
    pub body_min_rate: Size<1, { 1 << 30 }>,
    /// How many requests the application of a worker works on at once; more wait in the queue. 0: any number.
    pub max_in_flight: Whole<0, 1_000_000>,
    /// How many requests wait in a worker until the application has a place for them; more get 503 at once.
    pub queue: Whole<0, 1_000_000>,
    /// How long a request waits there; then 503.
    pub max_queue_wait: Period<1, HOUR>,
    /// Folders whose files are answers to requests for paths under a prefix.
    #[serde(rename = "static")]
    pub static_folders: Vec<Static>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            header_timeout: Period(Duration::from_secs(10)),
            request_timeout: Period(Duration::from_mins(1)),
            keep_alive: Period(Duration::from_secs(75)),
            drain_linger: Period(Duration::from_secs(1)),
            pass_connections: false,
            stream_grace: Period(Duration::from_secs(10)),
            write_timeout: Period(Duration::from_secs(30)),
            dead_peer_timeout: Period(Duration::from_secs(30)),
            keep_alive_requests: Whole(0),
            max_connections: Whole(16_384),
            max_connections_per_address: Whole(0),
            http2: true,
            trace_context: TraceContexts::Off,
            max_streams: Whole(100),
            max_target: Size(8 * KIBIBYTE),
            max_headers: Whole(100),
            max_head: Size(32 * KIBIBYTE),
            max_body: Size(1 << 30),
            body_timeout: Period(Duration::from_secs(30)),
            body_min_rate: Size(500),
            max_in_flight: Whole(4096),
            queue: Whole(1024),
            max_queue_wait: Period(Duration::from_secs(1)),
            static_folders: Vec::new(),
        }
    }
}

/// Limits of one WebSocket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Websocket {
    /// How long a message may be that a client sends; a longer one ends its WebSocket with 1009. 0: as long as it likes.
    pub max_message: Size<1, { 1 << 50 }>,
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            max_message: Size(16 * MEBIBYTE),
        }
    }
}

/// What is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Log {
    /// The least urgent level that is written.
    pub level: Level,
    /// How lines look; `auto`: for reading on a terminal, JSON otherwise.
    pub format: Format,
    /// Where they go; standard error when absent. Opened anew on SIGUSR1. A link is followed to a device such as /dev/stdout only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub file: Option<Text>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: Format::Auto,
            file: None,
        }
    }
}
