//! From a `File` to a [`Config`]: what one value cannot tell about itself, and what several must agree on.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use super::document::Document;
use super::errors::{Problem, Problems};
use super::file::{self, File};
use super::key::KeyPath;
use super::notation::{OneOrMany, Text};
use super::origin::Origin;
use super::rules::refuse_pattern;
use super::{Bind, Config, Http, Log, Process, Reload, Server, Websocket, Workers, bind, decode};

mod access_log;
mod admin;
mod answers;
mod app;
mod auth;
mod binding;
mod claims;
mod database;
mod health;
mod hooks;
mod identity_fields;
mod issuers;
mod proxies;
mod revocation;
mod rules;
mod telemetry;
mod tls;
mod tokens;

/// Below it, a busy machine would look like a worker that hangs.
const HANG_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Checks what was decoded. The configuration is of use only when no problem was noted.
pub(super) fn validate(
    file: &File,
    document: &Document,
    problems: &mut Problems,
) -> (Config, Vec<Problem>) {
    let mut check = Check {
        document,
        problems,
        warnings: Vec::new(),
    };
    let mut server = check.server(&file.server, file);
    let tls = check.tls(&file.tls, &server.bind);
    server
        .bind
        .extend(tls.iter().flat_map(|tls| tls.bind.clone()));
    server.proxy_protocol = check.proxy_protocol(&file.server.proxy_protocol, &server);
    let http = check.http(&file.http, &file.workers);
    let auth = check.auth(&file.auth, &file.http);
    let admin = check.admin(&file.admin, &server.bind, &auth.issuers);
    let config = Config {
        file: document.file.clone(),
        admin,
        server,
        tls,
        workers: check.workers(&file.workers),
        reload: check.reload(&file.reload),
        process: check.process(&file.process),
        http,
        websocket: Websocket {
            max_message: any_if_zero(file.websocket.max_message.0),
        },
        compression: check.compression(&file.compression),
        headers: check.headers(&file.headers),
        health: check.health(&file.health, &file.workers),
        hooks: check.hooks(&file.hooks),
        telemetry: check.telemetry(&file.telemetry, file.http.trace_context),
        auth,
        app: check.app(&file.app),
        log: Log {
            level: file.log.level,
            format: file.log.format,
            file: file.log.file.as_ref().map(path),
        },
        access_log: check.access_log(&file.access_log),
    };
    check.bindings(&file.auth, &config);
    check.static_rules(&config);
    (config, check.warnings)
}

struct Check<'a> {
    document: &'a Document,
    problems: &'a mut Problems,
    warnings: Vec<Problem>,
}

impl Check<'_> {
    /// Notes that the value at `path` is wrong.
    fn refuse(&mut self, path: &KeyPath, reason: &str, hint: Option<String>) {
        let found = self.document.value(path).map(decode::found);
        let message = format!("`{path}` {reason}{}", found.unwrap_or_default());
        let origin = self.document.origin(path);
        self.problems.note_at(path, origin, message, hint);
    }

    /// Notes that something about `path` is wrong that its value alone does not show.
    fn refuse_with(&mut self, path: &KeyPath, message: String, hint: Option<String>) {
        let origin = self.document.origin(path);
        self.problems.note_at(path, origin, message, hint);
    }

    fn warn(&mut self, path: &KeyPath, message: String, hint: Option<&str>) {
        let origin = self.document.origin(path);
        self.warnings.push(Problem {
            origin: (origin != Origin::Default).then_some(origin),
            message,
            hint: hint.map(str::to_owned),
        });
    }

    fn server(&mut self, server: &file::Server, file: &File) -> Server {
        let key = KeyPath::from("server.bind");
        if server.bind.0.is_empty() && file.tls.addresses().is_empty() {
            self.refuse(&key, "must have at least one address", None);
        }
        Server {
            bind: self.addresses(&key, &server.bind.0, &[]),
            backlog: server.backlog.0,
            balance: server.balance,
            unix_mode: server.unix_mode.0,
            unix_owner: server.unix_owner.as_ref().map(text),
            unix_group: server.unix_group.as_ref().map(text),
            trusted_proxies: self.trusted_proxies(&server.trusted_proxies),
            proxy_protocol: Vec::new(),
            forwarded: self.forwarded(server.forwarded, &server.trusted_proxies),
        }
    }

    /// The addresses at `key`, no two alike, and none of `others`.
    fn addresses(&mut self, key: &KeyPath, written: &[Text], others: &[Bind]) -> Vec<Bind> {
        let mut binds = Vec::new();
        for (index, Text(address)) in written.iter().enumerate() {
            let key = self.document.item(key, index);
            match bind::parse(address) {
                Ok(bind) if binds.contains(&bind) || others.contains(&bind) => {
                    self.refuse_with(&key, format!("`{key}` repeats `{bind}`"), None);
                }
                Ok(bind) => binds.push(bind),
                Err(error) => self.refuse(&key, error.reason, error.hint),
            }
        }
        binds
    }

    fn workers(&mut self, workers: &file::Workers) -> Workers {
        if workers.backoff_initial.0 > workers.backoff_max.0 {
            let message = format!(
                "`workers.backoff_initial` must not be more than `workers.backoff_max`, {}, found `{}`",
                humantime::format_duration(workers.backoff_max.0),
                humantime::format_duration(workers.backoff_initial.0),
            );
            let key = self.given(&["workers.backoff_initial", "workers.backoff_max"]);
            self.refuse_with(&key, message, None);
        }
        let hang_timeout = unless_zero(workers.hang_timeout.0);
        if hang_timeout.is_some_and(|time| time < HANG_TIMEOUT_MIN) {
            let reason = "must be 0s or at least 100ms";
            self.refuse(&"workers.hang_timeout".into(), reason, None);
        }
        Workers {
            count: workers.count,
            boot_timeout: workers.boot_timeout.0,
            graceful_timeout: workers.graceful_timeout.0,
            drain_delay: workers.drain_delay.0,
            backoff_initial: workers.backoff_initial.0,
            backoff_max: workers.backoff_max.0,
            backoff_reset: workers.backoff_reset.0,
            max_requests: workers.max_requests.0,
            max_requests_jitter: workers.max_requests_jitter.0,
            max_lifetime: unless_zero(workers.max_lifetime.0),
            max_lifetime_jitter: workers.max_lifetime_jitter.0,
            hang_timeout,
            max_memory: Some(workers.max_memory.0).filter(|bytes| *bytes > 0),
            max_memory_samples: workers.max_memory_samples.0,
            memory_interval: workers.memory_interval.0,
            poison_guard: workers.poison_guard,
            poison_window: workers.poison_window.0,
        }
    }

    fn reload(&mut self, reload: &file::Reload) -> Reload {
        let (surge, unavailable) = (reload.max_surge.0, reload.max_unavailable.0);
        if surge == 0 && unavailable == 0 {
            let key = self.given(&["reload.max_surge", "reload.max_unavailable"]);
            let message = "`reload.max_surge` and `reload.max_unavailable` must not both be 0";
            let hint = "no worker could be replaced; `max_surge = 1` starts the new one first";
            self.refuse_with(&key, message.to_owned(), Some(hint.to_owned()));
        }
        Reload {
            strategy: reload.strategy,
            max_surge: small(surge),
            max_unavailable: small(unavailable),
        }
    }

    fn process(&mut self, process: &file::Process) -> Process {
        let control_socket = process.control_socket.as_ref().map(path);
        if let Some(path) = &control_socket
            && let Some(hint) = bind::too_long(path)
        {
            let reason = "must be a path that a Unix socket can have";
            self.refuse(&"process.control_socket".into(), reason, Some(hint));
        }
        Process {
            user: process.user.as_ref().map(text),
            group: process.group.as_ref().map(text),
            groups: process.groups.as_ref().map(texts),
            umask: process.umask.0,
            pid_file: process.pid_file.as_ref().map(path),
            control_socket,
        }
    }

    fn http(&mut self, http: &file::Http, workers: &file::Workers) -> Http {
        let key = KeyPath::from("http.drain_linger");
        if http.drain_linger.0 > workers.graceful_timeout.0 {
            let message =
                "`http.drain_linger` is longer than `workers.graceful_timeout`, which ends it";
            self.warn(&key, message.to_owned(), None);
        }
        // Its default is cut short without a word: see `worker`.
        let key = KeyPath::from("http.stream_grace");
        if http.stream_grace.0 > workers.graceful_timeout.0 && self.document.value(&key).is_some() {
            let message =
                "`http.stream_grace` is longer than `workers.graceful_timeout`, which ends it";
            self.warn(&key, message.to_owned(), None);
        }
        let [target, head] = [http.max_target.0, http.max_head.0]
            .map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        Http {
            header_timeout: http.header_timeout.0,
            request_timeout: unless_zero(http.request_timeout.0),
            keep_alive: http.keep_alive.0,
            drain_linger: http.drain_linger.0,
            pass_connections: http.pass_connections,
            stream_grace: http.stream_grace.0,
            write_timeout: http.write_timeout.0,
            dead_peer_timeout: unless_zero(http.dead_peer_timeout.0),
            keep_alive_requests: unless_none(http.keep_alive_requests.0),
            max_connections: unless_none(http.max_connections.0),
            max_connections_per_address: unless_none(http.max_connections_per_address.0),
            http2: http.http2,
            trace_context: http.trace_context,
            max_streams: http.max_streams.0,
            max_target: target,
            max_headers: http.max_headers.0 as usize,
            max_head: head,
            max_body: any_if_zero(http.max_body.0),
            body_timeout: unless_zero(http.body_timeout.0),
            body_min_rate: NonZeroU64::new(http.body_min_rate.0),
            max_in_flight: unless_none(http.max_in_flight.0),
            queue: http.queue.0,
            max_queue_wait: http.max_queue_wait.0,
            static_folders: self.static_folders(&http.static_folders),
        }
    }

    /// The first of these keys that was given.
    fn given(&self, keys: &[&str]) -> KeyPath {
        let paths = keys.iter().map(|key| KeyPath::from(*key));
        paths
            .clone()
            .find(|path| self.document.value(path).is_some())
            .or_else(|| paths.clone().next())
            .unwrap_or_default()
    }
}

fn text(Text(text): &Text) -> String {
    text.clone()
}

fn path(Text(path): &Text) -> PathBuf {
    PathBuf::from(path)
}

fn texts(texts: &OneOrMany<Text>) -> Vec<String> {
    texts.0.iter().map(text).collect()
}

/// A time of which 0 means never.
fn unless_zero(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}

/// A size of which 0 means any.
fn any_if_zero(size: u64) -> u64 {
    if size == 0 { u64::MAX } else { size }
}

fn unless_none(count: u32) -> Option<u32> {
    Some(count).filter(|count| *count > 0)
}

/// A number that its type in `file` keeps below 513.
fn small(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
