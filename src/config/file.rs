//! The configuration as it is written: the keys, what they are for, their bounds and their defaults. Also its schema.
//!
//! The doc comments are the descriptions in `destrier config schema`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

use super::notation::{Octal, OneOrMany, Period, Size, Text, Whole};
use super::{
    Access, Algorithm, AppKind, Balance, Format, LEEWAY_MAX, Level, Strategy, WorkerCount,
};

mod tokens;

pub(super) use tokens::Tokens;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const MEBIBYTE: u64 = 1 << 20;

/// The configuration of destrier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields, title = "destrier")]
pub(super) struct File {
    /// Where requests come in.
    pub server: Server,
    /// The processes that serve them.
    pub workers: Workers,
    /// How a new configuration takes over.
    pub reload: Reload,
    /// What the processes are to the operating system.
    pub process: Process,
    /// Limits of one HTTP connection.
    pub http: Http,
    /// What load balancers ask.
    pub health: Health,
    /// Who may sign tokens and what they allow.
    pub auth: Auth,
    /// What is served.
    pub app: App,
    /// What is written down.
    pub log: Log,
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
        }
    }
}

/// What load balancers ask.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Health {
    /// The path that is answered with 200 while the server wants requests and with 503 from the order to stop on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub readiness_path: Option<Text>,
}

/// Who may sign tokens and what they allow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Auth {
    /// Named to clients that come without a valid token.
    pub realm: Text,
    /// What the server is called as a protected resource, `https://api.example.com`: clients are told where they get a token
    /// (RFC 9728). Not set: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub resource: Option<Text>,
    /// Who issues tokens for it; when empty, every `auth.issuer.issuer` that is an address.
    pub authorization_servers: OneOrMany<Text>,
    /// Where a token may stand: `authorization`, `cookie:NAME`, `header:NAME`, `protocol:NAME`.
    pub token_from: OneOrMany<Text>,
    /// Origins whose pages may make requests with the token in a cookie, beside the host itself: `https://app.example.com`.
    pub trusted_origins: OneOrMany<Text>,
    /// A cookie whose value `csrf_header` repeats proves the same where the browser sends neither Origin nor Referer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub csrf_cookie: Option<Text>,
    /// See `csrf_cookie`; the two stand together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub csrf_header: Option<Text>,
    /// The token service: login, refresh, verify, blacklist.
    pub tokens: Tokens,
    /// The parties whose tokens are believed.
    pub issuer: Vec<Issuer>,
    /// What requests need: the first rule that matches decides, a request that none matches is refused.
    pub rule: Vec<Rule>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            realm: Text("destrier".to_owned()),
            resource: None,
            authorization_servers: OneOrMany::default(),
            token_from: OneOrMany(vec![Text("authorization".to_owned())]),
            trusted_origins: OneOrMany::default(),
            csrf_cookie: None,
            csrf_header: None,
            tokens: Tokens::default(),
            issuer: Vec::new(),
            rule: Vec::new(),
        }
    }
}

/// One party whose tokens are believed. Exactly one of `secret_file`, `public_key_file` and `jwks_file` is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "the key is named after the claim `iss`"
)]
pub(super) struct Issuer {
    /// What messages call it; `issuer` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub name: Option<Text>,
    /// The file with the shared secret for HS256, HS384 and HS512.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub secret_file: Option<Text>,
    /// The file with the public key or certificate in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub public_key_file: Option<Text>,
    /// The file with the JWK or JWK set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub jwks_file: Option<Text>,
    /// Make `secret_file`, with a random secret, when it is missing. For development.
    pub create_missing: bool,
    /// The `iss` that its tokens must carry; when absent, any that no other issuer has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub issuer: Option<Text>,
    /// `aud` must hold one of these; when empty a token must not carry an `aud`.
    pub audience: OneOrMany<Text>,
    /// Algorithms that its keys may be used with; when empty, what each key is made for.
    pub algorithms: OneOrMany<Algorithm>,
    /// Clock difference that is forgiven, in whole seconds.
    pub leeway: Period<0, { LEEWAY_MAX.as_secs() * SECOND }>,
    /// Claims that must be present.
    pub require: OneOrMany<Text>,
    /// What claims of all its tokens must hold; written as `auth.rule.claims`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub claims: BTreeMap<String, toml::Value>,
    /// Values of the `typ` header that are accepted; when empty, any.
    pub typ: OneOrMany<Text>,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            name: None,
            secret_file: None,
            public_key_file: None,
            jwks_file: None,
            create_missing: false,
            issuer: None,
            audience: OneOrMany::default(),
            algorithms: OneOrMany::default(),
            leeway: Period(Duration::ZERO),
            require: OneOrMany::default(),
            claims: BTreeMap::new(),
            typ: OneOrMany::default(),
        }
    }
}

/// What the requests that match need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct Rule {
    /// A pattern on the path: `/exact`, `/users/{id}`, `/prefix/**`. Needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub path: Option<Text>,
    /// Methods it is for; when empty, all.
    pub methods: OneOrMany<Text>,
    /// Hosts it is for, without port: `api.example.com`, `*.example.com`; when empty, all.
    pub hosts: OneOrMany<Text>,
    /// Whether a token is needed.
    pub access: Access,
    /// Scopes that must all be granted.
    pub scopes: OneOrMany<Text>,
    /// Scopes of which one must be granted.
    pub any_scopes: OneOrMany<Text>,
    /// Roles of which one must be held.
    pub roles: OneOrMany<Text>,
    /// What claims must hold, by name or dotted path: exactly a value, or `{ contains = … }`, `{ one_of = […] }`,
    /// `{ equals = … }`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub claims: BTreeMap<String, toml::Value>,
    /// How long ago the user may have logged in, by the claim `auth_time`; 0s: any time.
    pub max_age: Period<0, { 365 * DAY }>,
    /// Log and count what this rule would refuse, and let it pass.
    pub audit: bool,
    /// As `http.request_timeout`, which it replaces where it is given. 0s: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Period<0, DAY>")]
    pub request_timeout: Option<Period<0, DAY>>,
    /// The parameter of the query that may hold the token; it stands in logs and histories. Not set: none may.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub query_token: Option<Text>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            path: None,
            methods: OneOrMany::default(),
            hosts: OneOrMany::default(),
            access: Access::Token,
            scopes: OneOrMany::default(),
            any_scopes: OneOrMany::default(),
            roles: OneOrMany::default(),
            claims: BTreeMap::new(),
            max_age: Period(Duration::ZERO),
            audit: false,
            request_timeout: None,
            query_token: None,
        }
    }
}

/// What is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(super) struct App {
    /// Which application.
    pub kind: AppKind,
    /// Whether the fault routes of the demo (crash, hang, leak, exit, stuck) exist.
    pub faults: bool,
}

impl Default for App {
    fn default() -> Self {
        Self {
            kind: AppKind::Demo,
            faults: false,
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
    /// Whether each request gets a line.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: Format::Auto,
            file: None,
            access: false,
        }
    }
}
